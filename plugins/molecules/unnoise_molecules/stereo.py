"""Stereochemistry as geometry.

A tagged centre has four corners: its neighbours in the order of its bonds, and where one of them is
a lone pair, the centre itself in that place, which is the last: a hydrogen that is made explicit
comes last, too. Looked at from the first corner the others turn clockwise for CW, so that

    V = (r1 - r0) . ((r2 - r0) x (r3 - r0))

is positive for CW and negative for CCW. A centre and its lone pair lie on the same side of the
three neighbours, so that V has its sign with either of them. Of directions, unit vectors from the
centre, V is 16 / (3 sqrt 3) for a regular tetrahedron, and a quarter of that for three neighbours.

A double bond's neighbours lie on the same side (Z) or on opposite ones (E). How a bond between two
hindered planes is turned (an axis of chirality) is perceived by RDKit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from rdkit import Chem

Matrix: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

TETRAHEDRAL: Final = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
SAME: Final = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
OPPOSITE: Final = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
AXES: Final = (Chem.BondStereo.STEREOATROPCW, Chem.BondStereo.STEREOATROPCCW)
FLAT: Final = 0.1
"""Share of a regular tetrahedron's volume below which a centre has no hand."""
UNTWISTED: Final = 0.5
"""Cosine of the largest twist, 60 degrees, that a double bond may have."""
_REGULAR: Final = 16 / 27**0.5


@final
@dataclass(frozen=True)
class Centre:
    """A tagged atom, its four corners, and the sign that their volume has."""

    atom: int
    corners: tuple[int, int, int, int]
    sign: int


def centres(mol: Chem.Mol) -> list[Centre]:
    """The tetrahedral centres of a molecule with explicit hydrogens, in order of their atoms."""
    found = []
    for atom in mol.GetAtoms():
        if atom.GetChiralTag() not in TETRAHEDRAL:
            continue
        corners = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
        if len(corners) == 3:
            corners.append(atom.GetIdx())
        if len(corners) != 4:
            continue
        sign = 1 if atom.GetChiralTag() == Chem.ChiralType.CHI_TETRAHEDRAL_CW else -1
        found.append(Centre(atom.GetIdx(), tuple(corners), sign))
    return found


def volume(places: Matrix, centre: Centre) -> float:
    """The volume of the directions of the corners, as a share of that of a regular centre: near 1
    where the hand is that of the tag, near -1 for the other one, 0 for a flat centre."""
    away = places[list(centre.corners)] - places[centre.atom]
    a, b, c, d = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    regular = _REGULAR / 4 if centre.atom in centre.corners else _REGULAR
    return centre.sign * float((b - a) @ np.cross(c - a, d - a)) / regular


def double_bonds(mol: Chem.Mol) -> list[Chem.Bond]:
    """Those whose sides are specified."""
    return [bond for bond in mol.GetBonds() if bond.GetStereo() in (*SAME, *OPPOSITE)]


def axes(mol: Chem.Mol) -> list[Chem.Bond]:
    """Bonds between two planes whose hand is specified (atropisomers)."""
    return [bond for bond in mol.GetBonds() if bond.GetStereo() in AXES]


def on_its_side(bond: Chem.Bond, places: Matrix) -> bool:
    """Whether the two atoms that a double bond's stereochemistry names lie as it says."""
    first, last = bond.GetStereoAtoms()
    begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    cosine = cosine_of_torsion(places, (first, begin, end, last))
    return bool(cosine > UNTWISTED if bond.GetStereo() in SAME else cosine < -UNTWISTED)


def cosine_of_torsion(places: Matrix, atoms: Sequence[int]) -> float:
    """Of the angle between the planes (a, b, c) and (b, c, d): 1 when a and d are on one side."""
    a, b, c, d = (places[i] for i in atoms)
    axis = (c - b) / np.linalg.norm(c - b)
    u, v = a - b, d - c
    u, v = u - axis * (u @ axis), v - axis * (v @ axis)
    return float(u @ v / max(np.linalg.norm(u) * np.linalg.norm(v), 1e-12))
