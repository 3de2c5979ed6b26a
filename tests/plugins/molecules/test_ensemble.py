"""Samples of one molecule as one Mol, as files, and relaxed."""

import gzip

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError
from unnoise_molecules.check import check
from unnoise_molecules.ensemble import ensemble, ensembles, gather, write_sdf, write_xyz
from unnoise_molecules.isomers import Isomers, placed
from unnoise_molecules.molecules import positions, read, sample
from unnoise_molecules.relax import energy, parametrised, relax


def samples(smiles="C[C@H](N)C(=O)O", count=4):
    (mol,) = read(smiles)
    many = Chem.Mol(mol)
    rdDistGeom.EmbedMultipleConfs(many, count, randomSeed=7)
    return [
        sample(mol, positions(many, c.GetId()), {"number": k, "seed": 0, "energy": k / 2})
        for k, c in enumerate(many.GetConformers())
    ]


def test_an_ensemble_has_a_conformer_per_sample_in_order():
    given = samples()
    whole = ensemble(given)
    assert whole.GetNumConformers() == 4
    for each, conformer in zip(given, whole.GetConformers(), strict=True):
        assert np.array_equal(conformer.GetPositions(), positions(each))
        assert conformer.GetIntProp("number") == each.GetIntProp("number")
    shared = whole.GetPropsAsDict(includePrivate=True, includeComputed=False)
    assert shared["seed"] == 0
    assert "number" not in shared


def test_an_ensemble_is_of_one_molecule():
    with pytest.raises(InputError, match="at least one"):
        ensemble([])
    with pytest.raises(InputError, match=r"sample 1 is another.*C\[C@@H\]"):
        ensemble([samples()[0], samples("C[C@@H](N)C(=O)O")[0]])
    with pytest.raises(InputError, match="sample 0 has no conformer"):
        ensemble(read("CC"))


def test_sdf_holds_what_an_ensemble_does(tmp_path):
    given = samples()
    path = write_sdf(ensemble(given), tmp_path / "a.sdf")
    found = list(Chem.SDMolSupplier(str(path), removeHs=False))
    assert len(found) == 4
    for a, b in zip(given, found, strict=True):
        assert np.abs(positions(a) - positions(b)).max() < 1e-4  # four decimals
        assert a.GetPropsAsDict() == b.GetPropsAsDict()
        assert a.GetProp("_Name") == b.GetProp("_Name")
        assert check(b).passed


def test_xyz_holds_the_same_numbers(tmp_path):
    given = samples()
    lines = write_xyz(ensemble(given), tmp_path / "a.xyz").read_text().splitlines()
    assert len(lines) == 4 * 15
    assert lines[15] == "13"
    numbers = np.array([[float(x) for x in line.split()[1:]] for line in lines[17:30]])
    assert np.abs(numbers - positions(given[1])).max() < 1e-7
    assert [line.split()[0] for line in lines[2:15]] == list("CCNCOOHHHHHHH")


def test_gathering_makes_one_file_of_many(tmp_path):
    groups = []
    for k, smiles in enumerate(["CCO", "CN"]):
        groups.append([])
        for each in samples(smiles, 3):
            path = tmp_path / f"{3 * k + each.GetIntProp('number'):05d}.sdf"
            groups[k].append(write_sdf(ensemble([each]), path))
    found = gather(groups, tmp_path)
    assert [path.name for path in found] == ["conformers-0.sdf", "conformers-1.sdf"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in found)
    read_back = [list(Chem.SDMolSupplier(str(path), removeHs=False)) for path in found]
    assert [[m.GetIntProp("number") for m in row] for row in read_back] == [[0, 1, 2]] * 2
    assert [row[0].GetProp("input") for row in read_back] == ["CCO", "CN"]


def test_gathering_one_input_needs_no_number(tmp_path):
    path = write_sdf(ensemble(samples()), tmp_path / "00000.sdf")
    (found,) = gather([[path]], tmp_path)
    assert found.name == "conformers.sdf"


def test_relaxing_goes_downhill_and_says_so():
    (given,) = samples("CCCCO", 1)
    rough = sample(
        given, positions(given) + 0.05 * np.random.default_rng(0).normal(size=(15, 3)), {"seed": 5}
    )
    found = relax(rough)
    assert found.GetProp("relaxed") == "MMFF94s"
    assert found.GetIntProp("seed") == 5
    assert found.GetDoubleProp("mmff_before_kcal") == pytest.approx(energy(rough))
    assert found.GetDoubleProp("mmff_kcal") == pytest.approx(energy(found))
    assert energy(found) < energy(rough) - 1
    assert energy(relax(found)) == pytest.approx(energy(found), abs=1e-3)
    assert not np.array_equal(positions(found), positions(rough))
    assert not rough.HasProp("relaxed")


def test_relaxing_that_is_cut_short_says_so():
    (given,) = samples("CCCCCCO", 1)
    assert relax(given, steps=1).GetProp("relaxed") == "MMFF94s, not converged"


def test_mmff_does_not_know_boron():
    (given,) = samples("CB(C)C", 1)
    assert not parametrised(given)
    with pytest.raises(InputError, match=r"no parameters.*CB\(C\)C"):
        relax(given)


def test_files_of_samples_can_be_packed_and_read_again(tmp_path):
    path = write_sdf(ensemble(samples()), tmp_path / "a.sdf")
    packed = tmp_path / "a.sdf.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [mol.GetProp("input") for mol in read(packed)] == ["C[C@H](N)C(=O)O"] * 4


def test_samples_of_several_isomers_are_several_ensembles():
    left, right = samples(), samples("C[C@@H](N)C(=O)O", 2)
    with pytest.raises(InputError, match=r"ensembles\(samples\)"):
        ensemble([*left, *right])
    found = ensembles([left[0], *right, *left[1:]])
    assert [each.GetNumConformers() for each in found] == [4, 2]


def test_the_two_sides_of_an_imine_are_one_ensemble():
    (mol,) = read("NC(=N)c1ccccc1")
    isomers = Isomers(mol)
    drawn = [sample(isomers[k].mol, placed(isomers[k].told, k), {}) for k in range(4)]
    assert ensemble(drawn).GetNumConformers() == 4


def test_line_ends_in_titles_and_properties_break_no_file(tmp_path):
    (one,) = samples(count=1)
    one.SetProp("_Name", "first\nsecond")
    one.SetProp("note", "a\n\nb\n>  <x>\nc")
    path = write_sdf(one, str(tmp_path / "a.sdf"))
    (found,) = Chem.SDMolSupplier(str(path), removeHs=False)
    assert found.GetProp("_Name") == "first second"
    assert found.GetProp("note") == "a  b >  <x> c"
    assert write_xyz(one, str(tmp_path / "a.xyz")).read_text().splitlines()[1] == "first second"


def test_a_column_comes_back_as_it_was_written(tmp_path):
    """007 is no number, and 4.00 not 4."""
    (tmp_path / "a.csv").write_text("id,smiles,pIC50\n007,CC(F)O,4.00\n")
    (mol,) = read(tmp_path / "a.csv")
    isomer = Isomers(mol)[1].mol
    made = relax(sample(isomer, placed(isomer, 1), {"seed": 5}))
    (found,) = Chem.SDMolSupplier(str(write_sdf(ensemble([made]), tmp_path / "a.sdf")))
    assert [found.GetProp(name) for name in ("_Name", "id", "pIC50")] == ["007", "007", "4.00"]
