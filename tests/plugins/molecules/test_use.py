"""Requests for energies, selections and uses, from the request to the files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rdkit import Chem

from unnoise.errors import InputError
from unnoise.model import Model
from unnoise_molecules.energies import energies
from unnoise_molecules.ranking import ranked
from unnoise_molecules.request import USES, Request

ALCOHOL = "OCCCC=O"


def test_files_hold_what_is_ranked(model: Model, tmp_path: Path):
    asked = {"energy": "mmff94s", "relax": True, "window": 3.0, "apart": 0.2, "temperature": 350.0}
    out = model.generate(smiles=["CCO", ALCOHOL], num_samples=6, seed=1, **asked)
    assert len(out.samples) == 12  # of which none is lost
    for mol in out.samples:
        assert mol.GetDoubleProp("energy_kcal") == pytest.approx(energies(mol, "mmff94s")[0])
        assert mol.GetDoubleProp("energy_kcal") == pytest.approx(mol.GetDoubleProp("mmff_kcal"))
    paths = out.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "conformers.csv").read_text().splitlines()))
    found = ranked(out.samples)
    assert len(rows) == sum(whole.GetNumConformers() for whole in found) < 12
    for whole, path in zip(found, paths, strict=True):
        records = list(Chem.SDMolSupplier(str(path), removeHs=False))
        numbers = [conformer.GetIntProp("sample") for conformer in whole.GetConformers()]
        assert [record.GetIntProp("sample") for record in records] == numbers
        assert 1 <= len(numbers) <= 6
        above = [record.GetDoubleProp("rel_energy_kcal") for record in records]
        assert above == pytest.approx(sorted(above), abs=1e-3)
        assert min(above) == 0
        assert max(above) <= 3.0
        weights = [record.GetDoubleProp("boltzmann_weight") for record in records]
        assert sum(weights) == pytest.approx(1)
    assert out.provenance["request"]["window"] == 3.0
    model.generate(smiles="CCO").save(tmp_path)  # a table of another request is no table of this
    assert not (tmp_path / "conformers.csv").exists()


def test_energies_without_relaxation_are_of_what_was_generated(model: Model):
    (mol,) = model.generate(smiles="CCO", energy="mmff94s", check="flag").samples
    assert mol.GetProp("energy_by") == "MMFF94s"
    assert not mol.HasProp("relaxed")
    assert mol.GetDoubleProp("energy_kcal") == pytest.approx(energies(mol, "mmff94s")[0])


def test_relaxing_is_to_the_surface_of_the_energy(model: Model):
    pytest.importorskip("tblite")
    (mol,) = model.generate(smiles="CO", use="thermochemistry").samples
    assert mol.GetProp("relaxed") == "GFN2-xTB"
    below = mol.GetDoubleProp("energy_kcal") - mol.GetDoubleProp("gfn2_kcal")
    assert below == pytest.approx(0, abs=1e-3)


def test_auto_makes_as_many_as_flexibility_asks_for(model: Model):
    asked = {"num_samples": "auto", "check": "flag"}
    out = model.generate(smiles=["C=O", "CCCO", "CC(F)C(Cl)=O"], **asked)
    assert [len(group) for group in out.groups()] == [5, 10, 20]  # the last is two molecules
    alone = model.generate(smiles=["C=O"], **asked)
    a, b = (mol.GetConformer().GetPositions() for mol in (alone.samples[4], out.samples[4]))
    assert a == pytest.approx(b, abs=1e-4)


@pytest.mark.parametrize("use", list(USES))
def test_a_use_sets_what_is_not_given(use: str):
    request = Request(smiles="C", use=use)
    assert {name: getattr(request, name) for name in USES[use]} == USES[use]
    own = Request(smiles="C", use=use, window=1.5, energy="mmff94s")
    assert (own.window, own.energy, own.apart) == (1.5, "mmff94s", USES[use]["apart"])
    assert Request(smiles="C").level is None


def test_what_is_refused(model: Model):
    with pytest.raises(InputError, match=r"window needs energies.*energy='mmff94s'"):
        model.generate(smiles="C", window=3.0)
    with pytest.raises(InputError, match="temperature needs energies"):
        model.generate(smiles="C", temperature=300.0)
    for wrong in ({"window": 0.0}, {"apart": -0.1}, {"temperature": -1.0}, {"use": "fun"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            model.generate(smiles="C", energy="mmff94s", **wrong)
