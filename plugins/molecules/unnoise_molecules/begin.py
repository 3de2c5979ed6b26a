"""Where a run begins: an embedding by distance geometry, with noise on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from rdkit import Chem
from torch import Tensor

from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel
from unnoise.samplers import Start, time_at
from unnoise.spaces import Layout, tensor
from unnoise_molecules.isomers import placed, seed_of
from unnoise_molecules.scaffold import Scaffold

_TRIES: Final = 100


def started(
    mols: Sequence[Chem.Mol],
    seeds: Sequence[tuple[int, int, int]],
    scaffolds: Sequence[Scaffold | None],
) -> list[Tensor]:
    """The embeddings of `mols`, (n, 3) float64 angstrom each, those with a scaffold laid on it.

    `seeds` are (seed, sample number, attempt). Raises InputError when one cannot be embedded.
    """
    return [embedded(*each) for each in zip(mols, seeds, scaffolds, strict=True)]


def start_of(
    embeddings: Sequence[Tensor], layout: Layout, kernel: GaussianKernel, level: float
) -> Start:
    """Embeddings at the time when the noise is `level` angstrom."""
    x = tensor(kernel.space.project(torch.cat(list(embeddings)), layout))
    return Start(x.to(layout.dtype), time_at(kernel, level))


def embedded(mol: Chem.Mol, seed: tuple[int, int, int], scaffold: Scaffold | None = None) -> Tensor:
    """(n, 3) float64 angstrom: one ETKDGv3 embedding, without any force field."""
    points = scaffold and scaffold.points
    places = placed(mol, seed_of(*seed), _TRIES, points)
    if places is None:  # that of the seed 1 was found before
        places = placed(mol, 1, _TRIES, points)
    if places is None:
        fix = "pass begin='noise'" if scaffold is None else "take another scaffold, or none"
        raise InputError(
            "no conformer of this molecule can be embedded"
            + ("" if scaffold is None else " about this scaffold"),
            value=Chem.MolToSmiles(Chem.RemoveHs(mol)),
            fix=fix,
        )
    return torch.from_numpy(places if scaffold is None else scaffold.laid(places))
