"""Where a run begins: an embedding by distance geometry, with noise on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from torch import Tensor

from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel
from unnoise.samplers import Start, time_at
from unnoise.spaces import Layout, tensor


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
    digest = hashlib.blake2b(repr(seed).encode(), digest_size=4).digest()
    options = rdDistGeom.ETKDGv3()
    options.randomSeed = int.from_bytes(digest, "little") >> 1
    options.clearConfs = True
    trial = Chem.Mol(mol)
    with rdBase.BlockLogs():
        found = rdDistGeom.EmbedMolecule(trial, options)
        if found < 0:
            options.useRandomCoords = True
            found = rdDistGeom.EmbedMolecule(trial, options)
    if found < 0:
        raise InputError(
            "no conformer of this molecule can be embedded",
            value=Chem.MolToSmiles(Chem.RemoveHs(mol)),
            fix="pass begin='noise'",
        )
    return torch.from_numpy(trial.GetConformer().GetPositions().copy())
