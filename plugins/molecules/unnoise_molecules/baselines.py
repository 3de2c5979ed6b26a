"""Rivals in the tables of ensembles that cost more than an embedding: over-sampling with
clustering, and openconf.

Each makes `counts[i]` conformers of molecule i, as `evaluation.by_etkdg` does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from unnoise_molecules.evaluation import Made, with_conformers
from unnoise_molecules.metrics import rmsd
from unnoise_molecules.molecules import positions


def by_clusters(
    mols: Sequence[Chem.Mol], counts: Sequence[int], seed: int = 0, times: int = 10
) -> Made:
    """ETKDGv3, over-sampled and clustered by RMSD: the medoids of as many clusters (average
    linkage) as conformers are wanted. Published as a rival of deep models of conformers."""
    begun, made = time.perf_counter(), []
    for mol, count in zip(mols, counts, strict=True):
        many, options = Chem.Mol(mol), rdDistGeom.ETKDGv3()
        options.randomSeed = seed + 1
        rdDistGeom.EmbedMultipleConfs(many, times * count, options)
        kept = medoids(rmsd(many, many), count)
        made.append(with_conformers(mol, [positions(many, i) for i in kept]))
    return Made(f"ETKDGv3 x {times}, clustered", made, time.perf_counter() - begun)


def medoids(distance: np.ndarray[Any, np.dtype[np.float64]], count: int) -> list[int]:
    """Of (n, n) distances, one place of each of `count` clusters: the nearest to all of its own."""
    if len(distance) <= count:
        return list(range(len(distance)))
    symmetric = (distance + distance.T) / 2
    np.fill_diagonal(symmetric, 0.0)
    tree = linkage(squareform(symmetric, checks=False), "average")
    label = fcluster(tree, count, "maxclust")
    found = []
    for one in np.unique(label):
        inside = np.flatnonzero(label == one)
        found.append(int(inside[symmetric[np.ix_(inside, inside)].sum(1).argmin()]))
    return sorted(found)


def has_openconf() -> bool:
    """Whether openconf (PyPI, Python 3.12 and newer) is installed."""
    return find_spec("openconf") is not None


def by_openconf(mols: Sequence[Chem.Mol], counts: Sequence[int], seed: int = 0) -> Made:
    """openconf's preset `ensemble`: torsional Monte Carlo with MMFF94s; at most `counts[i]`."""
    import openconf

    begun, made = time.perf_counter(), []
    for mol, count in zip(mols, counts, strict=True):
        config = openconf.preset_config("ensemble")
        config.max_out, config.random_seed, config.num_threads = count, seed + 1, 1
        found = openconf.generate_conformers(Chem.Mol(mol), config=config)
        # it keeps the order of atoms, which have their hydrogens
        made.append(with_conformers(mol, [positions(found.mol, i) for i in found.conf_ids]))
    return Made("openconf, ensemble", made, time.perf_counter() - begun)
