"""What a chemist looks at first: stereochemistry, bond lengths and clashes of one conformer.

Nothing is corrected here: a conformer is looked at, and what is wrong with it is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError, NonFiniteError
from unnoise_molecules import stereo
from unnoise_molecules.molecules import positions
from unnoise_molecules.stereo import Matrix

Atoms: TypeAlias = "tuple[int, ...]"

BOND_TOLERANCE: Final = 0.12
"""Share by which a bond may leave the bounds of distance geometry. Of 15,726 minima of GFN2-xTB the
farthest bond leaves them by .1187; PoseBusters allows .25."""
CLASH_TOLERANCE: Final = 0.3
"""Share by which atoms that are not bonded may come closer than those bounds, as in PoseBusters."""
HYDROGEN_BOND: Final = 1.4
"""Angstrom. A hydrogen on N, O or S may come as close to an acceptor: those bounds do not know
hydrogen bonds."""
BONDED: Final = 1.3
"""Atoms closer than this many times the sum of their covalent radii look bonded."""


@final
@dataclass(frozen=True)
class Check:
    """What is wrong with a conformer: each field holds the atoms of what is.

    Attributes
    ----------
    stereo : (centre,) or (a, b) of a double bond or an axis whose geometry in space is not what
        the molecule says.
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

    Tetrahedral centres (lone pairs included), double bonds and hindered axes that the reference
    specifies are looked at by signed volumes and torsions; those that it leaves open may be
    anything. A molecule whose centres depend on each other may be drawn with all of them swapped
    (cis-1,3-dimethylcyclobutane): that is the same molecule, and passes. Allenes and planar
    chirality, which RDKit cannot specify, are not looked at.

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
    """What stereochemistry is specified: tetrahedral centres (a,), double bonds and axes (a, b)."""
    return [
        *((centre.atom,) for centre in stereo.centres(mol)),
        *(ends(bond) for bond in (*stereo.double_bonds(mol), *stereo.axes(mol))),
    ]


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


def _distances(mol: Chem.Mol, distance: Matrix) -> tuple[tuple[Atoms, ...], tuple[Atoms, ...]]:
    with rdBase.BlockLogs():  # atoms that its force field does not know are said by others
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


def _stereo(asked: Chem.Mol, places: Matrix) -> tuple[Atoms, ...]:
    turned = [c.atom for c in stereo.centres(asked) if stereo.volume(places, c) < stereo.FLAT]
    wrong = [ends(b) for b in stereo.double_bonds(asked) if not stereo.on_its_side(b, places)]
    wrong += _axes(asked, places)
    if len(turned) > 1 and not wrong and _same_molecule(asked, places, turned):
        return ()
    return (*((atom,) for atom in turned), *wrong)


def _same_molecule(asked: Chem.Mol, places: Matrix, turned: Sequence[int]) -> bool:
    """Whether the molecule with the other hand at these centres is `asked`: centres that depend on
    each other have two labellings. None of them is flat."""
    other = Chem.Mol(asked)
    for centre in stereo.centres(asked):
        if centre.atom in turned:
            if stereo.volume(places, centre) > -stereo.FLAT:
                return False
            other.GetAtomWithIdx(centre.atom).InvertChirality()
    return _smiles(other) == _smiles(asked)


def _axes(asked: Chem.Mol, places: Matrix) -> list[Atoms]:
    wanted = stereo.axes(asked)
    if not wanted:
        return []
    shaped = Chem.Mol(asked)
    shaped.RemoveAllConformers()
    conformer = Chem.Conformer(len(places))
    conformer.SetPositions(np.ascontiguousarray(places))
    conformer.Set3D(True)
    shaped.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(shaped)
    pairs = [(bond, shaped.GetBondWithIdx(bond.GetIdx())) for bond in wanted]
    return [ends(bond) for bond, found in pairs if found.GetStereo() != bond.GetStereo()]


def _smiles(mol: Chem.Mol) -> str:
    copy = Chem.Mol(mol)
    Chem.AssignStereochemistry(copy, cleanIt=True, force=True)
    return str(Chem.MolToSmiles(copy))


def ends(bond: Chem.Bond) -> Atoms:
    """The two atoms of a bond."""
    return bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
