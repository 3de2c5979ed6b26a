"""A part of a molecule that keeps its coordinates: a core in a binding site, a crystal's fragment.

The scaffold's heavy atoms are found in the molecule; embeddings are made about them, and the run is
conditioned on how they lie to each other. A conformer comes out in the scaffold's own frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D
from torch import Tensor

from unnoise.errors import InputError
from unnoise.samplers import Observation
from unnoise.spaces import Layout
from unnoise_molecules.molecules import in_space, items, positions, sanitized

Places = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, eq=False)
class Scaffold:
    """Atoms of a molecule, by number, and where they stay, angstrom (k, 3)."""

    atoms: tuple[int, ...]
    places: Places

    @property
    def points(self) -> Mapping[int, Point3D]:
        """As RDKit wants them."""
        return {k: Point3D(*xyz) for k, xyz in zip(self.atoms, self.places.tolist(), strict=True)}

    def laid(self, x: Places) -> Places:
        """Positions (n, 3) turned and moved so that the atoms lie on their places as well as they
        can (Kabsch 1976)."""
        own = x[list(self.atoms)]
        middle, target = own.mean(0), self.places.mean(0)
        u, _, v = np.linalg.svd((own - middle).T @ (self.places - target))
        u[:, -1] *= np.sign(np.linalg.det(u @ v))  # no mirror image
        turned: Places = (x - middle) @ (u @ v) + target
        return turned

    def kept(self, x: Places) -> Places:
        """Positions (n, 3) moved, but not turned, to the scaffold's frame, its atoms in their very
        places."""
        index = list(self.atoms)
        moved = x + (self.places - x[index]).mean(0)
        moved[index] = self.places
        return moved


def read_scaffold(source: Any) -> Chem.Mol:
    """The heavy atoms of an .sdf or .mol file, or of a Mol, with their coordinates.

    Raises InputError for several molecules, fewer than three atoms, and coordinates that are
    missing, flat or not finite.
    """
    found = list(items(source))
    if len(found) != 1:
        raise InputError("a scaffold is one molecule", value=f"{len(found)} of them")
    record = found[0]
    if isinstance(record.item, InputError):
        raise record.item
    whole = sanitized(record.item, record.where)
    if not whole.GetNumConformers() or not in_space(whole):
        raise InputError(
            "a scaffold has coordinates in space",
            value=record.where,
            fix="pass an .sdf file or a Mol",
        )
    with rdBase.BlockLogs():
        core = Chem.RemoveAllHs(whole)
    if core.GetNumAtoms() < 3:
        raise InputError(
            "a scaffold says where three heavy atoms are, at least", value=core.GetNumAtoms()
        )
    if not np.isfinite(positions(core)).all():
        raise InputError("the scaffold has coordinates that are not finite", value=record.where)
    return core


def find(core: Chem.Mol, mol: Chem.Mol, where: str) -> Scaffold:
    """Where the scaffold is in a molecule: the first match, of several.

    Raises InputError when there is none.
    """
    atoms = mol.GetSubstructMatch(core)
    if not atoms:
        raise InputError(
            f"{where} does not contain the scaffold",
            value=Chem.MolToSmiles(core),
            limit=f"a part of {Chem.MolToSmiles(Chem.RemoveHs(mol))}",
        )
    return Scaffold(tuple(atoms), positions(core))


def observed(
    scaffolds: Sequence[Scaffold | None], starts: Sequence[Tensor], layout: Layout
) -> Observation | None:
    """What is known of a batch: the places of each scaffold, `starts` being (n, 3) of each; None
    without a scaffold."""
    if all(scaffold is None for scaffold in scaffolds):
        return None
    value = torch.cat(list(starts)).to(layout.dtype)
    known = torch.zeros(len(value), 1, dtype=torch.bool)
    first = 0
    for scaffold, start in zip(scaffolds, starts, strict=True):
        if scaffold is not None:
            index = torch.tensor(scaffold.atoms) + first
            value[index] = torch.from_numpy(scaffold.places).to(value.dtype)
            known[index] = True
        first += len(start)
    return Observation(value, known.expand(value.shape))
