"""What a chemist looks at first: stereochemistry, bond lengths and clashes of one conformer.

Nothing is corrected here: a conformer is looked at, and what is wrong with it is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError, NonFiniteError
from unnoise_molecules.molecules import positions

Atoms: TypeAlias = "tuple[int, ...]"
_Matrix: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

BOND_TOLERANCE: Final = 0.25
"""Share by which a bond may leave the bounds of distance geometry, as in PoseBusters."""
CLASH_TOLERANCE: Final = 0.3
"""Share by which atoms that are not bonded may come closer than those bounds, likewise."""
HYDROGEN_BOND: Final = 1.4
"""Angstrom. A hydrogen on N, O or S may come as close to an acceptor: those bounds do not know
hydrogen bonds."""
BONDED: Final = 1.3
"""Atoms closer than this many times the sum of their covalent radii look bonded."""

_TETRAHEDRAL: Final = (
    Chem.ChiralType.CHI_TETRAHEDRAL_CW,
    Chem.ChiralType.CHI_TETRAHEDRAL_CCW,
)
_SAME: Final = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
_OPPOSITE: Final = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
_UNTWISTED: Final = 0.5  # cosine of the largest twist, 60 degrees, that a double bond may have


@final
@dataclass(frozen=True)
class Check:
    """What is wrong with a conformer: each field holds the atoms of what is.

    Attributes
    ----------
    stereo : (centre,) or (a, b) of a double bond whose 3D geometry is not what the molecule says.
    bonds : (a, b) that are too short or too long.
    clashes : (a, b) that are not bonded, and too close.
    """

    stereo: tuple[Atoms, ...] = ()
    bonds: tuple[Atoms, ...] = ()
    clashes: tuple[Atoms, ...] = ()

    @property
    def passed(self) -> bool:
        return not (self.stereo or self.bonds or self.clashes)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of what did not pass."""
        return tuple(name for name in ("stereo", "bonds", "clashes") if getattr(self, name))

    def properties(self) -> dict[str, str]:
        """As the property of a sample: passed, or what failed and where."""
        said = []
        for name in self.failed:
            said.append(" ".join([name, *("-".join(map(str, a)) for a in getattr(self, name))]))
        return {"check": "; ".join(said) or "passed"}


def check(mol: Chem.Mol, conformer: int = -1, *, reference: Chem.Mol | None = None) -> Check:
    """Compare a conformer with the molecule that it is to be.

    Parameters
    ----------
    mol : explicit hydrogens, at least one conformer.
    reference : the molecule whose stereochemistry is asked for; by default `mol` itself. Atoms in
        the same order.

    Tetrahedral centres and double bonds that the reference specifies are perceived from the
    coordinates; those that it leaves open may be anything. A molecule whose centres depend on each
    other may be drawn with all of them swapped (cis-1,3-dimethylcyclobutane): that is the same
    molecule, and passes. Axial and planar chirality are not looked at.

    Raises InputError without a conformer, NonFiniteError.
    """
    if mol.GetNumConformers() == 0:
        raise InputError("the molecule has no conformer to check")
    places = positions(mol, conformer)
    if not np.isfinite(places).all():
        raise NonFiniteError("NaN or infinity in the positions of a molecule")
    asked = mol if reference is None else reference
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    bonds, clashes = _distances(mol, distance)
    return Check(_stereo(asked, places), bonds, clashes)


def specified(mol: Chem.Mol) -> list[Atoms]:
    """Tetrahedral centres (a,) and double bonds (a, b) whose stereochemistry is specified."""
    centres = [(a.GetIdx(),) for a in mol.GetAtoms() if a.GetChiralTag() in _TETRAHEDRAL]
    double = [
        (b.GetBeginAtomIdx(), b.GetEndAtomIdx())
        for b in mol.GetBonds()
        if b.GetStereo() in (*_SAME, *_OPPOSITE)
    ]
    return [*centres, *double]


def connected(mol: Chem.Mol, conformer: int = -1) -> bool:
    """Whether distances alone give the bonds of `mol`: none broken, none formed."""
    places = positions(mol, conformer)
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()])
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    near = distance < BONDED * (radius[:, None] + radius[None])
    np.fill_diagonal(near, False)
    return bool((near == Chem.GetAdjacencyMatrix(mol).astype(bool)).all())


def counted(checks: Iterable[Check]) -> dict[str, int]:
    """How many there are, how many passed, and how many failed on what."""
    found: Counter[str] = Counter(
        {"samples": 0, "passed": 0, "stereo": 0, "bonds": 0, "clashes": 0}
    )
    for each in checks:
        found["samples"] += 1
        found["passed"] += each.passed
        found.update(each.failed)
    return dict(found)


def _distances(mol: Chem.Mol, distance: _Matrix) -> tuple[tuple[Atoms, ...], tuple[Atoms, ...]]:
    bounds = rdDistGeom.GetMoleculeBoundsMatrix(mol)
    upper = np.triu(bounds, 1)
    upper = upper + upper.T
    lower = np.tril(bounds, -1)
    lower = lower + lower.T
    apart = Chem.GetDistanceMatrix(mol)
    pair = np.triu(np.ones_like(apart, dtype=bool), 1)
    wrong = (distance < (1 - BOND_TOLERANCE) * lower) | (distance > (1 + BOND_TOLERANCE) * upper)
    near = (1 - CLASH_TOLERANCE) * lower
    close = distance < np.where(_hydrogen_bonds(mol), np.minimum(near, HYDROGEN_BOND), near)
    return _pairs(pair & (apart == 1) & wrong), _pairs(pair & (apart > 2) & close)


def _hydrogen_bonds(mol: Chem.Mol) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(n, n): pairs of a hydrogen that can be donated and an atom that can accept it."""
    atoms = list(mol.GetAtoms())
    donated = np.array(
        [
            a.GetAtomicNum() == 1
            and any(b.GetSymbol() in ("N", "O", "S") for b in a.GetNeighbors())
            for a in atoms
        ]
    )
    accepts = np.array([a.GetSymbol() in ("N", "O", "F", "S", "Cl") for a in atoms])
    pairs = donated[:, None] & accepts[None]
    return np.asarray(pairs | pairs.T)


def _pairs(where: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Atoms, ...]:
    return tuple((int(a), int(b)) for a, b in np.argwhere(where))


def _stereo(asked: Chem.Mol, places: _Matrix) -> tuple[Atoms, ...]:
    wanted = specified(asked)
    if not wanted:
        return ()
    shaped = _shaped(asked, places)
    wrong = [atoms for atoms in wanted if len(atoms) == 1 and not _alike(asked, shaped, atoms[0])]
    for a, b in (atoms for atoms in wanted if len(atoms) == 2):
        if not _on_its_side(asked.GetBondBetweenAtoms(a, b), places):
            wrong.append((a, b))
    if wrong and all(len(atoms) == 1 for atoms in wrong) and len(wrong) > 1:
        # Centres that depend on each other have two labellings, which name one molecule.
        return () if _smiles(shaped) == _smiles(asked) else tuple(wrong)
    return tuple(wrong)


def _shaped(asked: Chem.Mol, places: _Matrix) -> Chem.Mol:
    """`asked` with the tags of its specified centres taken from the coordinates."""
    shaped = Chem.Mol(asked)
    shaped.RemoveAllConformers()
    conformer = Chem.Conformer(len(places))
    conformer.SetPositions(np.ascontiguousarray(places))
    conformer.Set3D(True)
    shaped.AddConformer(conformer)
    Chem.AssignAtomChiralTagsFromStructure(shaped, replaceExistingTags=True)
    for atom in asked.GetAtoms():
        if atom.GetChiralTag() not in _TETRAHEDRAL:
            shaped.GetAtomWithIdx(atom.GetIdx()).SetChiralTag(atom.GetChiralTag())
    return shaped


def _alike(asked: Chem.Mol, shaped: Chem.Mol, centre: int) -> bool:
    tags = [mol.GetAtomWithIdx(centre).GetChiralTag() for mol in (asked, shaped)]
    return bool(tags[0] == tags[1])


def _smiles(mol: Chem.Mol) -> str:
    copy = Chem.Mol(mol)
    Chem.AssignStereochemistry(copy, cleanIt=True, force=True)
    return str(Chem.MolToSmiles(copy))


def _on_its_side(bond: Chem.Bond, places: _Matrix) -> bool:
    """Whether the two atoms that a double bond's stereochemistry names lie as it says."""
    first, last = bond.GetStereoAtoms()
    begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    cosine = cosine_of_torsion(places, (first, begin, end, last))
    return bool(cosine > _UNTWISTED if bond.GetStereo() in _SAME else cosine < -_UNTWISTED)


def cosine_of_torsion(places: _Matrix, atoms: Sequence[int]) -> float:
    """Of the angle between the planes (a, b, c) and (b, c, d): 1 when a and d are on one side."""
    a, b, c, d = (places[i] for i in atoms)
    axis = (c - b) / np.linalg.norm(c - b)
    u, v = a - b, d - c
    u, v = u - axis * (u @ axis), v - axis * (v @ axis)
    return float(u @ v / max(np.linalg.norm(u) * np.linalg.norm(v), 1e-12))
