"""Stereochemistry, bonds and clashes of a conformer: what is right passes, what is made wrong
fails, and the atoms are named."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError, NonFiniteError
from unnoise_molecules.check import Check, check, connected, counted, specified
from unnoise_molecules.molecules import positions

CHIRAL = ["C[C@H](N)C(=O)O", "C[S@](=O)CC", "F[C@](Cl)(Br)C", "C[C@H](F)/C=C/[C@@H](C)O"]


def embedded(smiles, seed=1):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    return mol


def moved(mol, places):
    copy = Chem.Mol(mol)
    copy.GetConformer().SetPositions(np.ascontiguousarray(places))
    return copy


def mirrored(mol):
    return moved(mol, positions(mol) * [-1, 1, 1])


@pytest.mark.parametrize("smiles", [*CHIRAL, "C/C=C\\C", "C/C=N/O", "C1CCCC1", "OCC1CC1"])
def test_embeddings_pass(smiles):
    for seed in range(5):
        mol = embedded(smiles, seed)
        assert check(mol) == Check()
        assert connected(mol)


@pytest.mark.parametrize("smiles", CHIRAL)
def test_mirror_images_fail_at_every_centre(smiles):
    mol = embedded(smiles)
    centres = tuple(atoms for atoms in specified(mol) if len(atoms) == 1)
    found = check(mirrored(mol))
    assert found.stereo == centres
    assert (found.bonds, found.clashes, found.failed) == ((), (), ("stereo",))


def test_molecules_that_are_their_own_mirror_image_pass_as_it():
    meso = embedded("O[C@H](C(=O)O)[C@@H](O)C(=O)O")
    ring = embedded("C[C@H]1C[C@@H](C)C1")
    assert check(mirrored(meso)).passed
    assert check(mirrored(ring)).passed


def test_one_wrong_centre_of_two_is_not_excused_by_symmetry():
    meso, chiral = "O[C@H](C(=O)O)[C@@H](O)C(=O)O", "O[C@H](C(=O)O)[C@H](O)C(=O)O"
    asked = Chem.AddHs(Chem.MolFromSmiles(chiral))
    assert len(check(embedded(meso), reference=asked).stereo) == 1


@pytest.mark.parametrize(("given", "other"), [("C/C=C/C", "C/C=C\\C"), ("C/C=N/O", "C/C=N\\O")])
def test_double_bonds_are_read_from_coordinates(given, other):
    asked = Chem.AddHs(Chem.MolFromSmiles(given))
    assert check(embedded(given), reference=asked).stereo == ()
    assert check(embedded(other), reference=asked).stereo == ((1, 2),)


def test_a_double_bond_on_edge_is_wrong_both_ways():
    mol = embedded("F/C=C/F")
    places = positions(mol)
    axis = (places[2] - places[1]) / np.linalg.norm(places[2] - places[1])
    for atom in (3, 5):  # F and H of the second carbon, turned by a quarter around the bond
        v = places[atom] - places[2]
        places[atom] = places[2] + np.cross(axis, v) + axis * (axis @ v)
    assert check(moved(mol, places)).stereo == ((1, 2),)


def test_what_is_left_open_may_be_anything():
    asked = Chem.AddHs(Chem.MolFromSmiles("CC(N)C(=O)O"))
    for mol in (embedded(CHIRAL[0]), mirrored(embedded(CHIRAL[0]))):
        assert check(mol, reference=asked).passed


def test_long_and_short_bonds_are_named():
    mol = embedded("CCO")
    long, short = positions(mol), positions(mol)
    along = long[2] - long[1]
    long[[2, 8]] += along  # O and its H
    short[[2, 8]] -= 0.5 * along
    assert (1, 2) in check(moved(mol, long)).bonds
    assert not connected(moved(mol, long))
    assert check(moved(mol, short)).bonds == ((1, 2),)


def test_clashes_are_named():
    mol = embedded("CCCCCC")
    places = positions(mol)
    places[0] = places[5] + [0.9, 0, 0]
    assert (0, 5) in check(moved(mol, places)).clashes
    assert not connected(moved(mol, places))


def test_a_hydrogen_bond_is_no_clash():
    mol = embedded("OC(=O)c1ccccc1O")
    places = positions(mol)
    donor, acceptor = 15, 2
    assert mol.GetAtomWithIdx(donor).GetNeighbors()[0].GetIdx() == 9
    places[donor] = places[acceptor] + 1.65 * _unit(places[donor] - places[acceptor])
    assert (acceptor, donor) not in check(moved(mol, places)).clashes
    places[donor] = places[acceptor] + 1.0 * _unit(places[donor] - places[acceptor])
    assert (acceptor, donor) in check(moved(mol, places)).clashes


def test_a_check_says_what_failed():
    assert Check().properties() == {"check": "passed"}
    wrong = Check(stereo=((1,),), clashes=((0, 5), (1, 7)))
    assert wrong.properties() == {"check": "stereo 1; clashes 0-5 1-7"}
    assert counted([wrong, Check()]) == {
        "samples": 2, "passed": 1, "stereo": 1, "bonds": 0, "clashes": 1,
    }  # fmt: skip


def test_what_cannot_be_checked_is_an_error():
    with pytest.raises(InputError, match="no conformer"):
        check(Chem.AddHs(Chem.MolFromSmiles("CC")))
    mol = embedded("CC")
    with pytest.raises(NonFiniteError):
        check(moved(mol, np.full((8, 3), np.inf)))


def _unit(v):
    return v / np.linalg.norm(v)
