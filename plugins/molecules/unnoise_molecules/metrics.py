"""How good ensembles are, against reference ensembles and by themselves.

Coverage (COV) and matching (MAT) as of GeoDiff: with d_ij the smallest RMSD of reference i and
sample j over rigid motions and over the automorphisms of the molecular graph, of heavy atoms,

    COV-R = share of references with min_j d_ij <= threshold,  MAT-R = mean over i of min_j d_ij,

and the same with the parts exchanged for precision (COV-P, MAT-P). The means are over molecules.
No force field touches the samples; the field takes twice as many samples as references. Numbers at
different thresholds, or of differently chosen references, do not compare.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers, rdMolAlign
from scipy.stats import wasserstein_distance

from unnoise.errors import InputError, PluginError
from unnoise_molecules.check import check
from unnoise_molecules.molecules import positions
from unnoise_molecules.relax import MOST_STEPS, parametrised

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

MOST_MATCHES: Final = 10_000
"""Automorphisms that are tried for one RMSD."""


@final
@dataclass(frozen=True)
class Coverage:
    """COV and MAT, recall (R) and precision (P), means and medians over molecules.

    Attributes
    ----------
    threshold : of COV, angstrom; MAT is in angstrom.
    molecules, references, samples : how many; `missing` molecules had no sample: their COV is 0,
        and they are not in MAT.
    """

    cov_r: float
    mat_r: float
    cov_p: float
    mat_p: float
    medians: tuple[float, float, float, float]
    threshold: float
    molecules: int
    references: int
    samples: int
    missing: int

    @property
    def protocol(self) -> str:
        return (
            f"{self.molecules} molecules, {self.references} references, {self.samples} samples;"
            f" symmetry-aware best RMSD of heavy atoms (the oxygens of COOH alike),"
            f" COV at {self.threshold:g} A, means over molecules"
        )


def rmsd(samples: Chem.Mol, references: Chem.Mol) -> Floats:
    """(references, samples) in angstrom: smallest RMSD of heavy atoms over motions and symmetry.

    Both are one molecule with any number of conformers; atoms may stand in another order. Terminal
    groups that conjugation makes equal (nitro, carboxylate) are permuted, too, and so are the
    oxygens of an acid, COOH, whose hydrogen no longer tells them apart: its two rotamers are one
    here, as in the tables of the field. Raises InputError when the molecules differ.
    """
    heavy, other = Chem.RemoveHs(references), Chem.RemoveHs(samples)
    order = other.GetSubstructMatch(heavy)
    if len(order) != heavy.GetNumAtoms() or len(order) != other.GetNumAtoms():
        raise InputError(
            "samples and references are different molecules",
            value=Chem.MolToSmiles(other),
            limit=Chem.MolToSmiles(heavy),
        )
    count, both = heavy.GetNumConformers(), Chem.Mol(heavy)
    for conformer in other.GetConformers():
        moved = Chem.Conformer(len(order))
        moved.SetPositions(np.ascontiguousarray(conformer.GetPositions()[list(order)]))
        both.AddConformer(moved, assignId=True)
    total = both.GetNumConformers()
    found = np.zeros((total, total))
    if heavy.GetNumAtoms() > 1:
        rows = rdMolAlign.GetAllConformerBestRMS(both, maxMatches=MOST_MATCHES)
        found[np.tril_indices(total, -1)] = rows  # row by row below the diagonal
    return found[count:, :count].T


def coverage(pairs: Iterable[tuple[Chem.Mol, Chem.Mol]], threshold: float) -> Coverage:
    """COV and MAT over pairs (samples, references), each a Mol with its conformers.

    `threshold` is in angstrom: .5 for molecules of up to 9 heavy atoms and 1.25 (or .75) for
    drug-like ones are in use. Raises InputError without molecules or references.
    """
    if not threshold > 0:
        raise InputError("the threshold is positive", value=threshold)
    rows, counts, missing = [], np.zeros(2, dtype=int), 0
    for samples, references in pairs:
        numbers = references.GetNumConformers(), samples.GetNumConformers()
        if numbers[0] == 0:
            raise InputError("a molecule has no references", value=Chem.MolToSmiles(references))
        counts += numbers
        if numbers[1] == 0:
            missing += 1
            rows.append((0.0, np.nan, 0.0, np.nan))
            continue
        d = rmsd(samples, references)
        recall, precision = d.min(1), d.min(0)
        row = []
        for nearest in (recall, precision):
            row += [float((nearest <= threshold).mean()), float(nearest.mean())]
        rows.append(tuple(row))
    if not rows:
        raise InputError("coverage needs at least one molecule")
    table = np.array(rows)
    means, medians = np.nanmean(table, 0).tolist(), np.nanmedian(table, 0).tolist()
    references, samples = counts.tolist()
    return Coverage(*means, tuple(medians), threshold, len(rows), references, samples, missing)


def bond_lengths(mol: Chem.Mol) -> dict[str, Floats]:
    """All lengths in angstrom over the conformers of `mol`, by elements and order: C-N, C=O, ..."""
    found: dict[str, list[Floats]] = defaultdict(list)
    places = _places(mol)
    for bond in mol.GetBonds():
        a, b = bond.GetBeginAtom(), bond.GetEndAtom()
        first, last = sorted((a.GetSymbol(), b.GetSymbol()))
        kind = f"{first}{_ORDERS.get(bond.GetBondType(), '~')}{last}"
        step = places[:, a.GetIdx()] - places[:, b.GetIdx()]
        found[kind].append(np.linalg.norm(step, axis=1))
    return {kind: np.concatenate(values) for kind, values in found.items()}


def angles(mol: Chem.Mol) -> dict[str, Floats]:
    """All bond angles in degrees over the conformers of `mol`, by elements: C-N-H, ..."""
    found: dict[str, list[Floats]] = defaultdict(list)
    places = _places(mol)
    for centre in mol.GetAtoms():
        around = [n.GetIdx() for n in centre.GetNeighbors()]
        for k, a in enumerate(around):
            for b in around[k + 1 :]:
                ends = sorted(mol.GetAtomWithIdx(i).GetSymbol() for i in (a, b))
                u, v = (places[:, i] - places[:, centre.GetIdx()] for i in (a, b))
                cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
                kind = f"{ends[0]}-{centre.GetSymbol()}{centre.GetHybridization()}-{ends[1]}"
                found[kind].append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return {kind: np.concatenate(values) for kind, values in found.items()}


def wasserstein(
    samples: Sequence[Mapping[str, Floats]], references: Sequence[Mapping[str, Floats]]
) -> float:
    """Mean 1-Wasserstein distance of two collections of `bond_lengths` or of `angles`.

    Values are pooled over molecules by kind; kinds are weighted by how often the references have
    them. A kind that only one side has is left out.
    """
    ours, theirs = _pooled(samples), _pooled(references)
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        raise InputError("samples and references have no bond in common")
    weights = np.array([len(theirs[kind]) for kind in shared])
    distances = [wasserstein_distance(ours[kind], theirs[kind]) for kind in shared]
    return float(np.average(distances, weights=weights))


def mmff_strain(mol: Chem.Mol) -> Floats:
    """MMFF94s energy of each conformer above the minimum that it relaxes to, kcal/mol.

    NaN for each where MMFF94s has no parameters.
    """
    if not parametrised(mol):
        return np.full(mol.GetNumConformers(), np.nan)
    relaxed = Chem.Mol(mol)
    known = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94s")
    before = [
        rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, known, confId=c.GetId()).CalcEnergy()
        for c in mol.GetConformers()
    ]
    after = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
        relaxed, maxIters=MOST_STEPS, mmffVariant="MMFF94s"
    )
    return np.array(before) - np.array([energy for _, energy in after])


def stereo_agreement(mol: Chem.Mol, *, reference: Chem.Mol | None = None) -> float:
    """Share of the conformers whose stereochemistry is that of the molecule; see `check`."""
    found = [not check(mol, c.GetId(), reference=reference).stereo for c in mol.GetConformers()]
    return float(np.mean(found))


def posebusters(mols: Sequence[Chem.Mol]) -> dict[str, float]:
    """Share of molecules (first conformer of each) that pass each test of PoseBusters' `mol` set.

    The entry `all` is the pass rate. Needs `pip install 'unnoise-molecules[evaluate]'`: PluginError
    says so.
    """
    with rdBase.BlockLogs():
        table = _posebusters()(config="mol").bust([Chem.Mol(mol) for mol in mols], None, None)
    tests = table.astype(bool)
    return {"all": float(tests.all(axis=1).mean()), **tests.mean().astype(float).to_dict()}


def require_posebusters() -> None:
    """Raise PluginError unless `posebusters` can be computed."""
    _posebusters()


def _posebusters() -> Any:
    try:
        from posebusters import PoseBusters
    except ImportError as error:
        raise PluginError(
            "PoseBusters is not installed", fix="pip install 'unnoise-molecules[evaluate]'"
        ) from error
    return PoseBusters


def _places(mol: Chem.Mol) -> Floats:
    return np.stack([positions(mol, c.GetId()) for c in mol.GetConformers()])


def _pooled(rows: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    pooled: dict[str, list[Floats]] = defaultdict(list)
    for row in rows:
        for kind, values in row.items():
            pooled[kind].append(values)
    return {kind: np.concatenate(values) for kind, values in pooled.items()}


_ORDERS: Final = {
    Chem.BondType.SINGLE: "-",
    Chem.BondType.DOUBLE: "=",
    Chem.BondType.TRIPLE: "#",
    Chem.BondType.AROMATIC: ":",
}
