"""The builder of reference ensembles: what is in them, and what a build that was stopped does."""

import gzip

import numpy as np
import pytest
from rdkit import Chem

from unnoise.errors import InputError
from unnoise_molecules import build as building
from unnoise_molecules import xtb
from unnoise_molecules.build import Recipe, build, build_ensemble, main
from unnoise_molecules.check import check, connected
from unnoise_molecules.metrics import rmsd
from unnoise_molecules.molecules import read

pytest.importorskip("tblite")
SHORT = Recipe(embeddings=(8, 8), candidates=(4, 4))
LINES = "CCCO\nC[C@H](N)C=O\nOCC=C\n"


@pytest.fixture(autouse=True)
def by_tblite(monkeypatch):
    monkeypatch.setattr(xtb, "engine", lambda: "tblite")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "m.smi").write_text(LINES)
    return tmp_path / "m.smi"


def records(path):
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return list(Chem.ForwardSDMolSupplier(file, removeHs=False))


def test_an_ensemble_is_what_it_says():
    (mol,) = read("C[C@H](N)C(=O)O")
    found = build_ensemble(mol, Recipe(), "tblite")
    count = found.GetNumConformers()
    assert count >= 3
    energies = xtb.energies(found)
    relative = [c.GetDoubleProp("rel_energy_kcal") for c in found.GetConformers()]
    weights = np.array([c.GetDoubleProp("boltzmann_298K") for c in found.GetConformers()])
    assert relative[0] == 0
    assert relative == sorted(relative)
    assert relative[-1] <= 6
    assert energies - energies[0] == pytest.approx(relative, abs=0.02)
    expected = np.exp(-np.array(relative) / 0.5925)
    assert weights == pytest.approx(expected / expected.sum(), abs=2e-4)
    d = rmsd(found, found) + np.eye(count)
    assert d.min() > 0.1
    for conformer in found.GetConformers():
        assert check(found, conformer.GetId()).passed
        assert connected(found, conformer.GetId())
    assert found.GetProp("_Name") == "C[C@H](N)C(=O)O"


def test_open_stereochemistry_is_drawn_once_and_for_all():
    names = {build_ensemble(read("CC(F)Cl")[0], SHORT, "tblite").GetProp("_Name") for _ in "ab"}
    assert len(names) == 1
    assert "@" in names.pop()


@pytest.mark.parametrize("name", ["c.sdf", "c.sdf.gz"])
def test_a_build_is_a_file_that_can_be_read(source, tmp_path, name):
    counts = build(source, tmp_path / name, recipe=SHORT)
    found = records(tmp_path / name)
    assert counts == {"molecules": 3, "conformers": len(found)}
    assert list(dict.fromkeys(mol.GetProp("_Name") for mol in found)) == [
        "CCCO", "C[C@H](N)C=O", "C=CCO",
    ]  # fmt: skip
    assert {mol.GetProp("set") for mol in found} == {"small"}


def test_a_stopped_build_goes_on_where_it_was(source, tmp_path, monkeypatch):
    build(source, tmp_path / "whole.sdf", recipe=SHORT)
    plain, calls = build_ensemble, []

    def counting(mol, *rest):
        calls.append(mol.GetProp("input"))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(mol, *rest)

    monkeypatch.setattr(building, "build_ensemble", counting)
    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path / "c.sdf", recipe=SHORT)
    assert not (tmp_path / "c.sdf").exists()
    build(source, tmp_path / "c.sdf", recipe=SHORT)
    assert calls == ["CCCO", "C[C@H](N)C=O", "C[C@H](N)C=O", "C=CCO"]
    assert (tmp_path / "c.sdf").read_bytes() == (tmp_path / "whole.sdf").read_bytes()
    build(source, tmp_path / "c.sdf", recipe=Recipe(embeddings=(4, 4), candidates=(2, 2)))
    assert len(calls) == 7  # another recipe takes nothing from the cache


def test_processes_change_nothing(source, tmp_path):
    for name, processes in (("a.sdf", 1), ("b.sdf", 2)):
        build(source, tmp_path / name, recipe=SHORT, processes=processes)
    assert (tmp_path / "a.sdf").read_bytes() == (tmp_path / "b.sdf").read_bytes()


def test_what_cannot_be_built_is_counted(tmp_path, caplog):
    source = ["CCO", "OCC", "C1C[C@H]2CC[C@H]1C2", "CB(C)C", "C(("]
    counts = build(source, tmp_path / "c.sdf", recipe=SHORT, unreadable="skip")
    assert counts == {
        "molecules": 1,
        "conformers": len(records(tmp_path / "c.sdf")),
        "unreadable": 1,
        "the same molecule again": 1,
        "no conformer of this molecule is possible": 1,
        "MMFF94s has no parameters": 1,
    }
    assert "left out: molecule 4" in caplog.text
    again = build(source, tmp_path / "c.sdf", recipe=SHORT, unreadable="skip")
    assert again == counts


def test_mistakes_are_found_before_any_work(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(building, "build_ensemble", lambda *_: pytest.fail("worked"))
    with pytest.raises(InputError, match=r"\.sdf"):
        build(source, tmp_path / "c.xyz")
    with pytest.raises(InputError, match="at least 1"):
        build(source, tmp_path / "c.sdf", processes=0)
    with pytest.raises(InputError, match="molecule 1"):
        build(["CC", "C(("], tmp_path / "c.sdf")
    assert main(["nowhere.smi", str(tmp_path / "c.sdf")]) == 2
    assert "no file 'nowhere.smi'" in capsys.readouterr().err


def test_conformers_that_react_are_left_out(monkeypatch):
    plain = xtb.optimised

    def torn(mol, conformer, *, by):
        places, energy = plain(mol, conformer, by=by)
        places[-1] += 3
        return places, energy

    monkeypatch.setattr(xtb, "optimised", torn)
    with pytest.raises(InputError, match="kept its bonds"):
        build_ensemble(read("CCO")[0], SHORT, "tblite")
