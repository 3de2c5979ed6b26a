"""The stereoisomers of a molecule: those that exist, each when it is asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rdkit import Chem

from unnoise.errors import InputError
from unnoise_molecules import isomers as module
from unnoise_molecules.check import check
from unnoise_molecules.isomers import Isomers, open_isomers, placed
from unnoise_molecules.molecules import read, sample

ALANINE = "C[C@H](N)C(=O)O"
CHOLESTEROL = "CC(C)CCCC(C)C1CCC2C1(CCC3C2CC=C4C3(CCC(C4)O)C)C"
CAGES = {
    "bicyclo[1.1.1]pentane": "C1C2CC1C2",
    "its acid": "OC(=O)C12CC(C1)(C2)c1ccccc1",
    "housane": "C1CC2CC12",
    "propellane": "C1C23CC12C3",
    "prismane": "C12C3C1C1C3C21",
    "cubane": "C12C3C4C1C5C2C3C45",
    "its acid too": "OC(=O)C12C3C4C1C5C2C3C45",
    "dodecahedrane": "C12C3C4C5C1C6C7C2C8C3C9C4C1C5C6C2C7C8C9C12",
    "adamantane": "C1C2CC3CC1CC(C2)C3",
    "quinuclidine": "C1CN2CCC1CC2",
}


@pytest.mark.parametrize(
    ("smiles", "isomers"),
    [
        ("CCO", ["CCO"]),
        (ALANINE, [ALANINE]),
        (
            "CC(F)C=CC",
            ["C/C=C/[C@@H](C)F", "C/C=C/[C@H](C)F", "C/C=C\\[C@@H](C)F", "C/C=C\\[C@H](C)F"],
        ),
        ("C[C@H](F)C=CC", ["C/C=C/[C@H](C)F", "C/C=C\\[C@H](C)F"]),
        # A bridge cannot be trans: two of the four labellings are no molecules.
        ("OC1C2CCC1C2", ["O[C@@H]1[C@@H]2CC[C@H]1C2", "O[C@H]1[C@@H]2CC[C@H]1C2"]),
    ],
)
def test_open_stereochemistry_is_every_isomer_that_exists(smiles, isomers):
    (mol,) = read(smiles)
    found = Isomers(mol).all()
    assert [x.GetProp("stereoisomer") for x in found] == isomers
    assert all(x.GetProp("input") == mol.GetProp("input") for x in found)
    numbers = [[a.GetAtomicNum() for a in x.GetAtoms()] for x in (mol, *found)]
    assert all(row == numbers[0] for row in numbers)


def test_no_conformer_possible():
    (mol,) = read("C1C[C@H]2CC[C@H]1C2")  # a bridge with one end turned inside out
    with pytest.raises(InputError, match="no conformer"):
        Isomers(mol)[0]


@pytest.mark.parametrize("smiles", CAGES.values(), ids=CAGES)
def test_cages_are_possible(smiles):
    """Their bridgeheads are no centres, or none that RDKit can embed as it names them."""
    (mol,) = read(smiles)
    found = Isomers(mol).all()
    assert len(found) == 1
    for seed in range(3):
        assert not check(sample(found[0], placed(found[0], seed), {})).stereo


def counting(monkeypatch) -> list[Chem.Mol]:
    """Every embedding is put down."""
    seen: list[Chem.Mol] = []

    def counted(mol, *numbers):
        seen.append(mol)
        return placed(mol, *numbers)

    monkeypatch.setattr(module, "placed", counted)
    return seen


def test_nothing_is_embedded_that_no_sample_needs(monkeypatch):
    seen = counting(monkeypatch)
    (mol,) = read(CHOLESTEROL)
    isomers = Isomers(mol)
    assert not seen
    names = [isomers[k].mol.GetProp("stereoisomer") for k in range(2)]
    few = len(seen)
    assert few < 12
    assert [isomers[k].mol.GetProp("stereoisomer") for k in range(2)] == names
    assert len(seen) == few
    assert len(open_isomers(mol)) > 50


def test_a_sample_is_the_same_isomer_however_many_are_asked_for():
    (mol,) = read("CC(F)C=CC")
    whole = [Isomers(mol)[k].mol.GetProp("stereoisomer") for k in range(9)]
    isomers = Isomers(mol)
    assert [isomers[k].mol.GetProp("stereoisomer") for k in reversed(range(9))] == whole[::-1]
    assert whole == [whole[k % 4] for k in range(9)]


@pytest.mark.parametrize(
    ("smiles", "imines"),
    [("NC(=N)c1ccccc1", 1), ("CN(C)C(=N)NC(=N)N", 2), ("N=C1CCCC1C", 1), ("C=N", 0), ("CC=N", 1)],
)
def test_the_sides_of_an_imine_are_told_and_are_no_isomers(smiles, imines):
    (mol,) = read(smiles)
    isomers = Isomers(mol)
    drawn = [isomers[k] for k in range(2 ** (imines + 1) * len(isomers.all()))]
    names = {isomer.mol.GetProp("stereoisomer") for isomer in drawn}
    assert len(names) == len(isomers.all())
    told = {id(isomer.told) for isomer in drawn}
    assert len(told) == len(names) * 2**imines
    for isomer in drawn:
        sides = [b for b in isomer.told.GetBonds() if b.GetStereo() != Chem.BondStereo.STEREONONE]
        assert len(sides) == imines
        assert not check(sample(isomer.told, placed(isomer.told, 1), {})).stereo
        assert isomer.mol.GetNumAtoms() == mol.GetNumAtoms()


def test_hydrogens_keep_their_places_and_centres_their_hands():
    """Of any order of the atoms, and of labelled hydrogens."""
    generator = np.random.default_rng(0)
    (mol,) = read("C[C@H](N)C([2H])(F)C(=O)/C=C/C=N")
    for _ in range(5):
        order = generator.permutation(mol.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(mol, order)
        numbers = [atom.GetAtomicNum() for atom in shuffled.GetAtoms()]
        found = Isomers(shuffled).all()
        assert len(found) == 2
        for isomer in found:
            assert [atom.GetAtomicNum() for atom in isomer.GetAtoms()] == numbers
            for a, b in itertools.combinations(range(len(numbers)), 2):
                bonded = [m.GetBondBetweenAtoms(a, b) is not None for m in (shuffled, isomer)]
                assert bonded[0] == bonded[1]
            hand = Chem.MolFromSmiles("C[C@H](N)C(F)C=O")
            again = Chem.MolFromSmiles(isomer.GetProp("stereoisomer"))
            assert again.HasSubstructMatch(hand, useChirality=True)
