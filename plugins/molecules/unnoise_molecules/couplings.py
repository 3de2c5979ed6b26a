"""What is wrong with embeddings: pairs of a reference conformer and the nearest embedding.

A run that begins with an embedding at noise level s does not begin with the data plus noise: the
embedding has errors of its own. A network learns to mend them when it is trained on them, so below
s the noise of a training state is sigma (eps + (embedding - x_0) / s) instead of sigma eps: what a
run meets at every level, as both parts shrink alike (`unnoise_molecules.objectives.Concentrated`).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from unnoise_molecules.ensembles import Ensemble

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

FARTHEST: Final = 1.2
"""Heavy-atom RMSD in angstrom above which an embedding is another conformer."""
TRIED: Final = 8
"""Nearest embeddings whose hydrogens are looked at."""
MOST_SYMMETRIES: Final = 16


def errors(ensembles: Sequence[Ensemble], count: int, cache: Path | None = None) -> list[Tensor]:
    """For each ensemble (k, n, 3) angstrom: the nearest of `count` ETKDGv3 embeddings minus the
    reference, superposed, symmetric atoms matched; zero where none is near.

    They are kept in the folder `cache`, by default `unnoise` in the user's cache.
    """
    digest = hashlib.sha256(f"{count} {FARTHEST} {MOST_SYMMETRIES}".encode())
    for ensemble in ensembles:
        digest.update(ensemble.name.encode())
        digest.update(ensemble.positions.numpy().tobytes())
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unnoise"
    path = folder / f"embedding-errors-{digest.hexdigest()[:16]}.safetensors"
    if not path.is_file():
        found = [coupled(e, count) for e in tqdm(ensembles, desc="embedding", unit=" molecules")]
        folder.mkdir(parents=True, exist_ok=True)
        save_file({str(k): shift for k, shift in enumerate(found)}, path)
    kept = load_file(path)
    return [kept[str(k)] for k in range(len(ensembles))]


def coupled(ensemble: Ensemble, count: int) -> Tensor:
    """The errors of one ensemble, see `errors`."""
    references = ensemble.positions.double().numpy()
    nothing = torch.zeros_like(ensemble.positions)
    mol = Chem.Mol(ensemble.mol)
    mol.RemoveAllConformers()
    options = rdDistGeom.ETKDGv3()
    options.randomSeed = int(hashlib.sha256(ensemble.name.encode()).hexdigest()[:7], 16)
    with rdBase.BlockLogs():
        rdDistGeom.EmbedMultipleConfs(mol, count, options)
    if not mol.GetNumConformers():
        return nothing
    embeddings = np.stack([c.GetPositions() for c in mol.GetConformers()])
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    orders = _symmetries(mol, heavy)
    # every reference (k) with every embedding and order of its atoms (m)
    candidates = np.stack([e[order] for e in embeddings for order in orders])
    turns, rmsd = _superpositions(references[:, heavy], candidates)
    for k, reference in enumerate(references):
        near = [int(i) for i in rmsd[k].argsort()[:TRIED] if rmsd[k, i] < FARTHEST]
        shifts = []
        for i in near:
            which, order = divmod(i, len(orders))
            centre = reference[heavy].mean(0)
            moved = (embeddings[which] - candidates[i].mean(0)) @ turns[k, i].T + centre
            partner = dict(zip(heavy, orders[order], strict=True))
            shifts.append(_hydrogens(mol, partner, reference, moved) - reference)
        if shifts:  # hydrogens decide between embeddings whose heavy atoms are near
            shift = min(shifts, key=lambda each: float((each**2).sum()))
            nothing[k] = torch.from_numpy(shift - shift.mean(0)).float()
    return nothing


def _symmetries(mol: Chem.Mol, heavy: list[int]) -> list[list[int]]:
    """Orders of the heavy atoms that give the same molecule."""
    bare = Chem.RemoveHs(mol)
    bare.RemoveAllConformers()
    if bare.GetNumAtoms() != len(heavy):
        return [heavy]
    found = bare.GetSubstructMatches(
        bare, uniquify=False, useChirality=True, maxMatches=MOST_SYMMETRIES
    )
    hydrogens = [mol.GetAtomWithIdx(i).GetTotalNumHs(includeNeighbors=True) for i in heavy]
    orders = [match for match in found if [hydrogens[i] for i in match] == hydrogens]
    return [[heavy[i] for i in match] for match in orders] or [heavy]


def _superpositions(references: Floats, candidates: Floats) -> tuple[Floats, Floats]:
    """(k, m, 3, 3) best rotations of candidates (m, n, 3) onto references (k, n, 3), and RMSD."""
    a = references - references.mean(1, keepdims=True)
    b = candidates - candidates.mean(1, keepdims=True)
    u, s, vt = np.linalg.svd(np.einsum("knx,mny->kmxy", a, b))
    sign = np.sign(np.linalg.det(u @ vt))
    s[..., 2] *= sign
    u[..., 2] *= sign[..., None]
    norm = (a**2).sum((1, 2))[:, None] + (b**2).sum((1, 2))[None]
    square = np.maximum(norm - 2 * s.sum(-1), 0) / a.shape[1]
    return u @ vt, np.sqrt(square)


def _hydrogens(mol: Chem.Mol, partner: dict[int, int], reference: Floats, moved: Floats) -> Floats:
    """`moved` in the order of `reference`: heavy atoms by `partner`, the hydrogens of each in the
    order that is nearest."""
    matched = np.empty_like(reference)
    for atom, other in partner.items():
        matched[atom] = moved[other]
        own, theirs = (
            [n.GetIdx() for n in mol.GetAtomWithIdx(i).GetNeighbors() if n.GetAtomicNum() == 1]
            for i in (atom, other)
        )
        if not own:
            continue
        best = min(
            itertools.permutations(theirs),
            key=lambda order: ((moved[list(order)] - reference[own]) ** 2).sum(),
        )
        matched[own] = moved[list(best)]
    return matched
