"""The stereoisomers that a molecule leaves open, each found when it is asked for.

Whether an isomer exists is asked of distance geometry: what cannot be embedded is none. That costs
milliseconds for most molecules and seconds for some, so nothing is embedded that no sample needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions
from rdkit.Geometry import Point3D

from unnoise.errors import InputError
from unnoise_molecules import stereo
from unnoise_molecules.molecules import set_property

MOST_ISOMERS: Final = 64
"""Stereoisomers that are drawn from when a molecule leaves more of them open."""
_TRIES: Final = 30
_FEW: Final = 8
"""Tries of an isomer of a molecule of which another one was embedded."""
_PLACE: Final = "_unnoise_place"
_IMINE: Final = Chem.MolFromSmarts("[#6]=!@[#7;+0;X2]-[#1]")


@final
@dataclass(frozen=True, eq=False)
class Isomer:
    """What a sample is of.

    Attributes
    ----------
    mol : the stereoisomer, with its SMILES as the property `stereoisomer`.
    told : the same with a side for each C=N-H, which a network is told and an embedding has: what
        was trained on conformers knows no double bond without sides.
    """

    mol: Chem.Mol
    told: Chem.Mol


@final
class Isomers:
    """The stereoisomers that agree with a molecule and can be embedded, in a fixed order.

    What `mol`, with explicit hydrogens, specifies is kept. Where it leaves centres or double bonds
    open, sample k of an input is drawn as `isomers[k]`, which is number k mod n of all n: evenly,
    and the same at any seed. Above `most` isomers, a fixed choice of them. Atoms keep their order.
    The two sides of a C=N-H, which turn into each other, are one isomer; they take turns.

    Where none can be embedded because the bridgeheads that they name are none (housane), the only
    one is what an embedding of the molecule as it stands is seen to be, or the molecule as it is.
    """

    def __init__(self, mol: Chem.Mol, most: int = MOST_ISOMERS) -> None:
        self.mol, self._most = mol, most
        self._found: list[Chem.Mol] = []
        self._left: Iterator[Chem.Mol] | None = None
        self._told: dict[tuple[int, int], Isomer] = {}

    def __getitem__(self, k: int) -> Isomer:
        """Raises InputError when there is no conformer at all: the geometry is impossible."""
        if self._left is None:
            self._left = self._embeddable()
        while len(self._found) <= k and (more := next(self._left, None)) is not None:
            self._found.append(more)
        if not self._found:
            raise InputError(
                "no conformer of this molecule is possible",
                value=Chem.MolToSmiles(Chem.RemoveHs(self.mol)),
                fix="check its stereochemistry: rings may not allow what is written",
            )
        turn, number = divmod(k, len(self._found))
        mol = self._found[number]
        imines = _imines(mol)
        place = number, turn % 2 ** len(imines)
        if place not in self._told:
            told = _with_sides(mol, imines, turn) if imines else mol
            self._told[place] = Isomer(mol, told)
        return self._told[place]

    def all(self) -> list[Chem.Mol]:
        """Every one. Errors: as for one."""
        self[self._most]
        return list(self._found)

    def _embeddable(self) -> Iterator[Chem.Mol]:
        candidates, any_yet = open_isomers(self.mol, self._most), False
        if len(candidates) > 1:
            seen = _as_embedded(self.mol)
            for isomer in candidates if seen is not None else ():
                if placed(isomer, 1, _FEW) is not None:
                    any_yet = True
                    yield _named(isomer, self.mol)
        else:
            seen = None if placed(candidates[0], 1, _TRIES) is None else candidates[0]
        if seen is not None and not any_yet:
            yield _named(seen, self.mol)


def open_isomers(mol: Chem.Mol, most: int = MOST_ISOMERS) -> list[Chem.Mol]:
    """The stereoisomers that agree with `mol` on paper, at most `most`, in order of their SMILES.

    They are enumerated without hydrogens, of which RDKit makes stereo bonds (C=N-H) and bridgeheads
    that are none (cubane).
    """
    marked = Chem.Mol(mol)
    for atom in marked.GetAtoms():
        atom.SetIntProp(_PLACE, atom.GetIdx())
    heavy = Chem.RemoveHs(marked)
    options = StereoEnumerationOptions(unique=False, maxIsomers=most, rand=1)
    found: dict[str, Chem.Mol] = {}
    for isomer in EnumerateStereoisomers(heavy, options=options):
        Chem.AssignStereochemistry(isomer, cleanIt=True, force=True)
        found.setdefault(Chem.MolToSmiles(isomer), isomer)
    return [_with_hydrogens(found[smiles], mol) for smiles in sorted(found)]


def placed(
    mol: Chem.Mol,
    seed: int,
    tries: int = _TRIES,
    points: Mapping[int, Point3D] | None = None,
) -> Any | None:
    """(atoms, 3) angstrom: one embedding by ETKDGv3 without any force field; by random coordinates
    where that fails, and by distances alone where they fail, too; or None. The atoms of `points`
    lie to each other about as those do."""
    for plain, random in ((False, False), (False, True), (True, True)):
        options = rdDistGeom.ETKDGv3()
        options.randomSeed, options.maxIterations, options.clearConfs = seed, tries, True
        options.useRandomCoords = random
        if points:
            options.SetCoordMap(dict(points))
        if plain:
            options.useExpTorsionAnglePrefs = options.useBasicKnowledge = False
            options.ignoreSmoothingFailures = True
        trial = Chem.Mol(mol)
        with rdBase.BlockLogs():
            if rdDistGeom.EmbedMolecule(trial, options) >= 0:
                return trial.GetConformer().GetPositions().copy()
    return None


def seed_of(*numbers: int) -> int:
    """A seed for RDKit that is a function of several numbers."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def _as_embedded(mol: Chem.Mol) -> Chem.Mol | None:
    """The isomer that an embedding of `mol` is, its open centres read from the coordinates."""
    places = placed(mol, 1)
    if places is None:
        return None
    shaped = Chem.Mol(mol)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(places)
    conformer.Set3D(True)
    shaped.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(shaped)
    shaped.RemoveAllConformers()
    asked, seen = ({c.atom for c in stereo.centres(each)} for each in (mol, shaped))
    if asked <= seen and placed(shaped, 1, _FEW) is not None:
        return shaped
    return Chem.Mol(mol)  # as it stands: distance geometry may not be able to repeat what is seen


def _with_hydrogens(isomer: Chem.Mol, mol: Chem.Mol) -> Chem.Mol:
    """A heavy-atom isomer with the hydrogens of `mol`, its atoms in the order that they have there.

    Hydrogens of one atom are alike, and come in their order.
    """
    whole = Chem.AddHs(isomer)
    hydrogens: dict[int, list[int]] = {}
    kept = {atom.GetIntProp(_PLACE) for atom in isomer.GetAtoms()}
    for atom in mol.GetAtoms():
        if atom.GetIdx() not in kept:
            hydrogens.setdefault(atom.GetNeighbors()[0].GetIdx(), []).append(atom.GetIdx())
    order = [0] * mol.GetNumAtoms()
    for atom in whole.GetAtoms():
        if atom.GetIdx() < isomer.GetNumAtoms():
            order[atom.GetIntProp(_PLACE)] = atom.GetIdx()
        else:
            parent = atom.GetNeighbors()[0].GetIntProp(_PLACE)
            order[hydrogens[parent].pop(0)] = atom.GetIdx()
    found = Chem.RenumberAtoms(whole, order)
    for atom in found.GetAtoms():
        atom.ClearProp(_PLACE)
    Chem.AssignStereochemistry(found, cleanIt=True, force=True)
    return found


def _imines(mol: Chem.Mol) -> list[tuple[int, int, int, int]]:
    """(a, C, N, H) of every C=N-H that is in no ring and whose sides differ."""
    found, ranks = [], list(Chem.CanonicalRankAtoms(mol, breakTies=False))
    for c, n, h in mol.GetSubstructMatches(_IMINE):
        bond = mol.GetBondBetweenAtoms(c, n)
        others = [a.GetIdx() for a in mol.GetAtomWithIdx(c).GetNeighbors() if a.GetIdx() != n]
        if len({ranks[a] for a in others}) == 2 and bond.GetStereo() == Chem.BondStereo.STEREONONE:
            found.append((min(others), c, n, h))
    return found


def _with_sides(mol: Chem.Mol, imines: Sequence[tuple[int, int, int, int]], turn: int) -> Chem.Mol:
    """With the sides that the bits of `turn` say; without, where that leaves no room."""
    told = Chem.Mol(mol)
    for i, (a, c, n, h) in enumerate(imines):
        bond = told.GetBondBetweenAtoms(c, n)
        ends = (a, h) if bond.GetBeginAtomIdx() == c else (h, a)
        bond.SetStereoAtoms(*ends)
        side = Chem.BondStereo.STEREOTRANS if turn >> i & 1 else Chem.BondStereo.STEREOCIS
        bond.SetStereo(side)
    return mol if placed(told, 1, _FEW) is None else told


def _named(isomer: Chem.Mol, mol: Chem.Mol) -> Chem.Mol:
    """With the properties of the input, and its own SMILES."""
    made = Chem.Mol(isomer)
    for name, value in mol.GetPropsAsDict(
        includePrivate=True, includeComputed=False, autoConvertStrings=False
    ).items():
        set_property(made, name, value)
    made.SetProp("stereoisomer", Chem.MolToSmiles(Chem.RemoveHs(isomer)))
    return made
