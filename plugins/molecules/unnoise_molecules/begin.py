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

_TRIES: Final = 100


def started(
    mols: Sequence[Chem.Mol],
    seeds: Sequence[tuple[int, int, int]],
    layout: Layout,
    kernel: GaussianKernel,
    level: float,
) -> Start:
    """The embeddings of `mols` at the time when the noise is `level` angstrom.

    `seeds` are (seed, sample number, attempt). Raises InputError when one cannot be embedded.
    """
    parts = [embedded(mol, seed) for mol, seed in zip(mols, seeds, strict=True)]
    x = tensor(kernel.space.project(torch.cat(parts), layout))
    return Start(x.to(layout.dtype), time_at(kernel, level))


def embedded(mol: Chem.Mol, seed: tuple[int, int, int]) -> Tensor:
    """(n, 3) float64 angstrom: one ETKDGv3 embedding, without any force field."""
    places = placed(mol, seed_of(*seed), _TRIES)
    if places is None:  # that of the seed 1 was found before
        places = placed(mol, 1, _TRIES)
    if places is None:
        raise InputError(
            "no conformer of this molecule can be embedded",
            value=Chem.MolToSmiles(Chem.RemoveHs(mol)),
            fix="pass begin='noise'",
        )
    return torch.from_numpy(places)
