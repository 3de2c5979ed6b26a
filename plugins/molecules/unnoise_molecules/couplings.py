"""What is wrong with embeddings: pairs of an embedding and the reference conformer it belongs to.

A run that begins with an embedding at noise level s does not begin with the data plus noise: the
embedding has errors of its own. A network learns to mend them when it is trained on them, so below
s the noise of a training state is sigma (eps + (embedding - x_0) / s) instead of sigma eps: what a
run meets at every level, as both parts shrink alike (`unnoise_molecules.objectives.Concentrated`).

An embedding belongs to the minimum that lies downhill of it, which need not be the reference that
is nearest to it: it is relaxed by MMFF94s, and its reference is the one that is there.
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
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from unnoise_molecules.ensembles import Ensemble
from unnoise_molecules.relax import MOST_STEPS, parametrised

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

FARTHEST: Final = 0.5
"""Heavy-atom RMSD in angstrom above which a relaxed embedding is another conformer."""
MOST_SYMMETRIES: Final = 16


def errors(
    ensembles: Sequence[Ensemble], count: int, cache: Path | None = None
) -> list[list[Tensor]]:
    """For each ensemble and each of its references (m, n, 3) angstrom: those of `count` ETKDGv3
    embeddings that belong to the reference minus the reference, superposed, symmetric atoms
    matched. m may be 0.

    They are kept in the folder `cache`, by default `unnoise` in the user's cache.
    """
    digest = hashlib.sha256(f"relaxed {count} {FARTHEST} {MOST_SYMMETRIES}".encode())
    for ensemble in ensembles:
        digest.update(ensemble.name.encode())
        digest.update(ensemble.positions.numpy().tobytes())
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unnoise"
    path = folder / f"embedding-errors-{digest.hexdigest()[:16]}.safetensors"
    if not path.is_file():
        found = {
            f"{k} {row}": shifts
            for k, e in enumerate(
                tqdm(ensembles, desc="embedding", unit=" molecules", disable=None)
            )
            for row, shifts in enumerate(coupled(e, count))
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(found, path)
    kept = load_file(path)
    return [[kept[f"{k} {r}"] for r in range(len(e.positions))] for k, e in enumerate(ensembles)]


def coupled(ensemble: Ensemble, count: int) -> list[Tensor]:
    """The errors of one ensemble, see `errors`."""
    references = ensemble.positions.double().numpy()
    found: list[list[Floats]] = [[] for _ in references]
    mol = Chem.Mol(ensemble.mol)
    mol.RemoveAllConformers()
    options = rdDistGeom.ETKDGv3()
    options.randomSeed = int(hashlib.sha256(ensemble.name.encode()).hexdigest()[:7], 16)
    with rdBase.BlockLogs():
        rdDistGeom.EmbedMultipleConfs(mol, count, options)
    embeddings = [c.GetPositions() for c in mol.GetConformers()]
    if embeddings and parametrised(mol):
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
            mol, maxIters=MOST_STEPS, mmffVariant="MMFF94s"
        )
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    orders = _symmetries(mol, heavy)
    for embedding, conformer in zip(embeddings, mol.GetConformers(), strict=True):
        relaxed = conformer.GetPositions()
        turns, rmsd = _superpositions(
            references[:, heavy], np.stack([relaxed[order] for order in orders])
        )
        k, m = divmod(int(rmsd.argmin()), len(orders))
        if rmsd[k, m] < FARTHEST:
            reference, partner = references[k], dict(zip(heavy, orders[m], strict=True))
            centre = reference[heavy].mean(0)
            moved = (relaxed - relaxed[orders[m]].mean(0)) @ turns[k, m].T + centre
            matched = embedding[_matching(mol, partner, reference, moved)]
            (turn,) = _superpositions(reference[None], matched[None])[0][0]
            shift = (matched - matched.mean(0)) @ turn.T - (reference - reference.mean(0))
            found[k].append(shift)
    shape = (-1, *references.shape[1:])
    return [torch.tensor(np.array(shifts)).float().reshape(shape) for shifts in found]


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


def _matching(
    mol: Chem.Mol, partner: dict[int, int], reference: Floats, moved: Floats
) -> list[int]:
    """For each atom of `reference` its atom in `moved`: heavy atoms by `partner`, the hydrogens of
    each in the order that is nearest."""
    matching = list(range(len(reference)))
    for atom, other in partner.items():
        matching[atom] = other
        own, theirs = (
            [n.GetIdx() for n in mol.GetAtomWithIdx(i).GetNeighbors() if n.GetAtomicNum() == 1]
            for i in (atom, other)
        )
        if own:
            best = min(
                itertools.permutations(theirs),
                key=lambda order: ((moved[list(order)] - reference[own]) ** 2).sum(),
            )
            for i, j in zip(own, best, strict=True):
                matching[i] = j
    return matching
