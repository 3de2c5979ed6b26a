"""GFN2-xTB: energies against finite differences of themselves, minima against what is known."""

import shutil

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError, PluginError
from unnoise_molecules import xtb
from unnoise_molecules.check import check
from unnoise_molecules.evaluation import with_conformers
from unnoise_molecules.molecules import positions

pytest.importorskip("tblite")
PROGRAM = pytest.mark.skipif(shutil.which("xtb") is None, reason="the program xtb is not on PATH")


def embedded(smiles, seed=1):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    return mol


def test_the_energy_of_hydrogen_is_the_published_one():
    """H2 at its GFN2-xTB minimum, .776 A: -.98269 hartree, as the program xtb prints it."""
    mol = with_conformers(Chem.AddHs(Chem.MolFromSmiles("[H][H]")), [[[0, 0, 0], [0.7, 0, 0]]])
    places, energy = xtb.optimised(mol, by="tblite")
    assert np.linalg.norm(places[0] - places[1]) == pytest.approx(0.776, abs=2e-3)
    assert energy / xtb.HARTREE == pytest.approx(-0.98269, abs=1e-4)


@pytest.mark.parametrize("by", ["tblite", pytest.param("xtb", marks=PROGRAM)])
def test_a_minimum_is_one(by):
    mol = embedded("C[C@H](N)C(=O)O")
    places, energy = xtb.optimised(mol, by=by)
    best = with_conformers(mol, [places])
    assert xtb.energies(best)[0] == pytest.approx(energy, abs=0.01)
    assert energy < xtb.energies(mol)[0] - 1
    assert check(best).passed
    rng = np.random.default_rng(0)
    around = with_conformers(mol, [places + 0.02 * rng.normal(size=places.shape) for _ in range(8)])
    assert (xtb.energies(around) > energy).all()


def test_energies_are_those_of_each_conformer_and_do_not_move():
    mol = embedded("CCO")
    places = positions(mol)
    moved = with_conformers(mol, [places, places + np.array([5, 0, 0]), places * 1.05])
    found = xtb.energies(moved)
    assert found[0] == pytest.approx(xtb.energies(mol)[0], abs=1e-4)
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert found[2] > found[0] + 1


def test_charges_count():
    anion = embedded("CC(=O)[O-]")
    neutral = xtb.energies(embedded("CC(=O)O"))[0]
    assert xtb.energies(anion)[0] > neutral + 50  # a proton less


def test_rubble_has_no_energy():
    mol = embedded("C[C@H](N)C(=O)O")
    places = positions(mol)
    scattered = 2.5 * np.random.default_rng(0).normal(size=places.shape)
    found = xtb.energies(with_conformers(mol, [scattered, places]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(xtb.energies(mol)[0], abs=1e-3)


def test_what_cannot_be_computed_is_an_error(monkeypatch):
    with pytest.raises(InputError, match="no conformer"):
        xtb.energies(Chem.AddHs(Chem.MolFromSmiles("CC")))
    monkeypatch.setitem(__import__("sys").modules, "tblite.interface", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PluginError, match=r"pip install 'unnoise-molecules\[xtb\]'"):
        xtb.engine()
