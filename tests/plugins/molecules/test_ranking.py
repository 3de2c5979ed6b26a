"""Ranking, windows, duplicates and weights of ensembles; how many conformers are enough."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolTransforms

from unnoise.errors import InputError
from unnoise_molecules.energies import energies, relaxed, require, with_energy
from unnoise_molecules.ensemble import ensemble, write_sdf
from unnoise_molecules.flexibility import enough, freedom
from unnoise_molecules.molecules import positions, read, sample
from unnoise_molecules.ranking import COLUMNS, distances, ranked, select
from unnoise_molecules.weights import boltzmann


def made(smiles: str, values: list[float], **properties) -> list[Chem.Mol]:
    """Samples with these energies, as far apart as embeddings are."""
    (mol,) = read(smiles)
    many = Chem.Mol(mol)
    rdDistGeom.EmbedMultipleConfs(many, len(values), randomSeed=11)
    facts = {"check": "passed", "energy_by": "MMFF94s", **properties}
    return [
        sample(mol, positions(many, k), {**facts, "sample": k, "energy_kcal": value})
        for k, value in enumerate(values)
    ]


def bare(one: Chem.Mol, **properties) -> Chem.Mol:
    """The same conformer, without what is known of it."""
    mol = Chem.Mol(one)
    for name in one.GetPropNames(includePrivate=False, includeComputed=False):
        mol.ClearProp(name)
    return sample(mol, positions(one), properties)


def turned(smiles: str, atoms: tuple[int, ...], angles: list[float]) -> Chem.Mol:
    """A Mol with conformers that differ in a torsion."""
    (mol,) = read(smiles)
    whole = Chem.Mol(mol)
    rdDistGeom.EmbedMolecule(whole, randomSeed=3)
    start = Chem.Conformer(whole.GetConformer())
    whole.RemoveAllConformers()
    for angle in angles:
        k = whole.AddConformer(Chem.Conformer(start), assignId=True)
        rdMolTransforms.SetDihedralDeg(whole.GetConformer(k), *atoms, angle)
    return whole


def test_lowest_first_with_weights():
    (whole,) = ranked(made("OCCCCN", [3.0, 1.0, 2.0, 1.5]), temperature=350.0)
    rows = list(whole.GetConformers())
    assert [row.GetIntProp("sample") for row in rows] == [1, 3, 2, 0]
    assert [row.GetIntProp("rank") for row in rows] == [1, 2, 3, 4]
    assert [row.GetDoubleProp("rel_energy_kcal") for row in rows] == [0, 0.5, 1, 2]
    weights = [row.GetDoubleProp("boltzmann_weight") for row in rows]
    assert weights == pytest.approx(boltzmann([1, 1.5, 2, 3], 350.0))
    assert whole.GetDoubleProp("effective_conformers") == pytest.approx(
        1 / np.square(weights).sum()
    )
    assert whole.GetProp("energy_by") == "MMFF94s"
    assert not whole.HasProp("left_out")


def test_what_is_left_out_is_said():
    samples = made("OCCCCN", [0.0, 9.0, 0.1, 2.0, 3.0], window_kcal=5.0, apart_angstrom=0.01)
    samples.append(bare(samples[0], check="passed"))
    samples[2].SetProp("check", "clashes 1-7")
    twin = sample(samples[0], positions(samples[3]), samples[3].GetPropsAsDict())
    twin.SetDoubleProp("energy_kcal", 2.5)
    (whole,) = ranked([*samples, twin])
    assert [row.GetIntProp("sample") for row in whole.GetConformers()] == [0, 3, 4]
    assert whole.GetProp("left_out") == (
        "1 failed the check, 1 without energy, 1 above the window, 1 near a lower one"
    )
    (all_of_them,) = ranked(samples, window=100.0, apart=0.0)
    assert all_of_them.GetNumConformers() == 4


def test_without_energies_the_order_is_that_of_the_samples():
    samples = made("OCCCCN", [0.0, 0.0])
    for each in samples:
        for name in ("energy_kcal", "energy_by"):
            each.ClearProp(name)
    again = bare(samples[0], sample=2)
    (whole,) = ranked([*samples, again], apart=0.01)
    assert [row.GetIntProp("sample") for row in whole.GetConformers()] == [0, 1]
    assert not whole.GetConformer(0).HasProp("boltzmann_weight")
    with pytest.raises(InputError, match="a window needs energies"):
        ranked(samples, window=3.0)


def test_isomers_are_ranked_apart_and_levels_not_mixed():
    left, right = made("C[C@H](N)C(=O)O", [1.0, 0.0]), made("C[C@@H](N)C(=O)O", [5.0])
    assert [m.GetNumConformers() for m in ranked([*left, *right])] == [2, 1]
    left[0].SetProp("energy_by", "GFN2-xTB")
    with pytest.raises(InputError, match="different levels"):
        ranked(left)


@pytest.mark.parametrize(
    ("smiles", "atoms"),
    [("OC(=O)c1ccccc1O", (0, 1, 3, 4)), ("CO", (2, 0, 1, 5)), ("CC", (2, 0, 1, 5))],
)
def test_rotamers_of_an_acid_are_two_and_those_of_methyl_one(smiles: str, atoms: tuple[int, ...]):
    found = distances(turned(smiles, atoms, [0.0, 180.0]))
    assert found.shape == (2, 2)
    assert np.array_equal(found, found.T)
    if smiles.startswith("OC"):
        assert found[0, 1] > 0.5
    else:
        assert found[0, 1] < 0.05


def test_files_are_ranked_with_a_table(tmp_path: Path):
    first = made("OCCCCN", [3.0, 1.0, 2.0], window_kcal=1.5, apart_angstrom=0.01)
    other = made("C[C@H](N)C(=O)O", [2.0, 1.0], temperature_kelvin=250.0)
    paths = [tmp_path / "a.sdf", tmp_path / "none.sdf", tmp_path / "b.sdf"]
    write_sdf(ensemble(first), paths[0])
    paths[1].write_text("")  # all were dropped
    write_sdf(ensemble(other), paths[2])
    rows = list(csv.DictReader((select(paths) or "").splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["molecule"], row["rank"], row["sample"]) for row in rows] == [
        ("NCCCCO", "1", "1"),
        ("NCCCCO", "2", "2"),
        ("C[C@H](N)C(=O)O", "1", "1"),
        ("C[C@H](N)C(=O)O", "2", "0"),
    ]
    assert float(rows[2]["boltzmann_weight"]) == pytest.approx(boltzmann([1, 2], 250.0)[0])
    read_back = list(Chem.SDMolSupplier(str(paths[0]), removeHs=False))
    assert [mol.GetIntProp("rank") for mol in read_back] == [1, 2]
    assert [mol.GetDoubleProp("rel_energy_kcal") for mol in read_back] == [0, 1]
    assert read_back[0].GetProp("left_out") == "1 above the window"
    again = [path.read_bytes() for path in paths]
    select(paths)
    kept = b"left_out"  # what a second look leaves out is nothing
    assert [p.read_bytes().count(kept) for p in paths[1:]] == [a.count(kept) for a in again[1:]]


def test_files_without_energies_are_left_as_they_are(tmp_path: Path):
    (one,) = made("CCO", [0.0])
    plain = bare(one, sample=0, check="passed")
    path = write_sdf(ensemble([plain]), tmp_path / "a.sdf")
    before = path.stat().st_mtime_ns, path.read_bytes()
    assert select([path]) is None
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_energies_are_of_what_they_say():
    pytest.importorskip("tblite")
    one = made("CCO", [0.0])[0]
    for level, name, key in (("mmff94s", "MMFF94s", "mmff"), ("gfn2", "GFN2-xTB", "gfn2")):
        priced = with_energy(one, level)
        assert priced.GetProp("energy_by") == name
        assert priced.GetDoubleProp("energy_kcal") == pytest.approx(energies(one, level)[0])
        down, before = relaxed(one, level), energies(one, level)[0]
        assert down.GetProp("relaxed") == name
        assert down.GetDoubleProp(f"{key}_before_kcal") == pytest.approx(before)
        after = down.GetDoubleProp(f"{key}_kcal")
        assert after == pytest.approx(energies(down, level)[0], abs=1e-3)
        assert after < before - 0.5
        held = relaxed(one, level, fixed=[0, 1, 2])
        assert np.abs(positions(held) - positions(one))[:3].max() < 1e-6
        assert np.abs(positions(held) - positions(one))[3:].max() > 1e-3
    assert with_energy(one, "gfn2").GetDoubleProp("energy_kcal") == pytest.approx(-7147, abs=30)


def test_mmff_is_refused_where_it_has_no_parameters():
    (boron,) = read("CB(C)C")
    with pytest.raises(InputError, match=r"no parameters for line 3.*gfn2"):
        require(boron, "mmff94s", "line 3")


@pytest.mark.parametrize(
    ("smiles", "free", "count"),
    [
        ("c1ccccc1", 0, 5),
        ("CCCC", 1, 10),
        ("C1CCCCC1", 3, 25),
        ("OC(=O)[C@@H]1CCCN1", 3, 25),  # the ring's 2, and the acid
        ("CC(C)Cc1ccc(cc1)C(C)C(=O)O", 4, 50),
        ("CCCCCCCCCCC", 8, 200),
        ("CCCCCCCCCCCCCCCCC", 14, 300),
        ("CNC(C)=O", 0, 5),
    ],
)
def test_flexible_molecules_need_more(smiles: str, free: int, count: int):
    (mol,) = read(smiles)
    assert freedom(mol) == free
    assert enough(mol) == count
