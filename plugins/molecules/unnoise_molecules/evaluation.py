"""The table of ensembles: a model beside RDKit's ETKDGv3 with and without MMFF94s, on the same
held-out molecules, under one protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from pydantic import Field
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from unnoise.errors import InputError
from unnoise.model import Metric, Model
from unnoise_molecules import metrics, xtb
from unnoise_molecules.data import Ensemble, read_ensembles, usable
from unnoise_molecules.relax import MOST_STEPS, parametrised
from unnoise_molecules.split import Part, part

Report: TypeAlias = Callable[[str, float], None]

SMALL: Final = 9
"""Heavy atoms of the largest molecule that is called small."""
THRESHOLDS: Final = {"small": 0.5, "medium": 0.75}
COLUMNS: Final = {
    "cov_r": ("COV-R", "{:.3f}"),
    "mat_r": ("MAT-R", "{:.3f}"),
    "cov_p": ("COV-P", "{:.3f}"),
    "mat_p": ("MAT-P", "{:.3f}"),
    "bonds": ("bonds W1, A", "{:.4f}"),
    "angles": ("angles W1, deg", "{:.2f}"),
    "xtb": ("xTB strain", "{:.1f}"),
    "mmff": ("MMFF strain", "{:.1f}"),
    "posebusters": ("PoseBusters", "{:.3f}"),
    "stereo": ("stereo", "{:.4f}"),
    "per_second": ("conformers/s", "{:.1f}"),
}


@final
@dataclass(frozen=True, eq=False)
class Made:
    """What one method made: a Mol with its conformers for each molecule, and how long it took."""

    name: str
    mols: Sequence[Chem.Mol]
    seconds: float
    notes: Mapping[str, Any] = field(default_factory=dict)


@final
class Conformers(Metric):
    """COV and MAT of a model's ensembles, their strain and their validity, beside RDKit's."""

    num_samples: int = Field(
        100, ge=1, description="held-out molecules of each size, at most; evenly spaced"
    )
    per_reference: int = Field(2, ge=1, description="samples for each reference conformer")
    small: float = Field(0.5, gt=0, description="threshold up to 9 heavy atoms, angstrom")
    medium: float = Field(0.75, gt=0, description="threshold from 10 heavy atoms, angstrom")
    sampler: str | None = Field(None, description="default: the model's own")
    steps: int | None = Field(None, ge=1, description="default: the model's own")
    batch_size: int = Field(64, ge=1)
    seed: int = 0
    check: Literal["flag", "retry", "drop"] = Field("retry", description="as of generate")
    begin: Literal["embedding", "noise"] | None = Field(None, description="as of generate")
    strain: bool = Field(True, description="energies by GFN2-xTB (tblite) and MMFF94s")
    posebusters: bool = Field(True, description="PoseBusters, on the first sample of each molecule")

    def measure(self, model: Model, source: Any, report: Report) -> Mapping[str, Any]:
        if self.strain:
            xtb.require_tblite()
        if self.posebusters:
            metrics.require_posebusters()
        asked: dict[str, Any] = {"check": self.check, "seed": self.seed}
        for name in ("sampler", "steps", "begin"):
            if (value := getattr(self, name)) is not None:
                asked[name] = value
        tables = {}
        for size, ensembles in sets_of(source, most=self.num_samples).items():
            counts = [self.per_reference * len(e.positions) for e in ensembles]
            mols = [bare(e) for e in ensembles]
            report(f"{size}: {len(mols)} molecules", 0.0)
            ours = by_model(model, mols, counts, batch_size=self.batch_size, **asked)
            raw = by_etkdg(mols, counts, self.seed)
            rows = [ours, raw, relaxed(raw)]
            threshold = self.small if size == "small" else self.medium
            tables[size] = table(
                rows,
                [references(e) for e in ensembles],
                threshold,
                strain=self.strain,
                busted=self.posebusters,
                report=report,
            )
        return {"model": model.hash, "sets": tables}

    def text(self, result: Mapping[str, Any]) -> str:
        return "\n\n".join(as_text(name, found) for name, found in result["sets"].items())


def sets_of(
    source: Any, which: Part = "held out", most: int | None = None
) -> dict[str, list[Ensemble]]:
    """The ensembles of one part of a file by size, small and medium, at most `most` of each.

    Raises InputError when the part is empty.
    """
    chosen = [e for e in usable(read_ensembles(source)) if part(e.mol) == which]
    sets: dict[str, list[Ensemble]] = {"small": [], "medium": []}
    for ensemble in chosen:
        sets["small" if ensemble.mol.GetNumHeavyAtoms() <= SMALL else "medium"].append(ensemble)
    found = {}
    for name, ensembles in sets.items():
        count = len(ensembles) if most is None else min(most, len(ensembles))
        if count:
            found[name] = [ensembles[i * len(ensembles) // count] for i in range(count)]
    if not found:
        raise InputError(f"no molecule of the data is in the part {which!r}", value=str(source))
    return found


def bare(ensemble: Ensemble) -> Chem.Mol:
    """The molecule without conformers, its stereochemistry that of the references."""
    mol = Chem.Mol(ensemble.mol)
    mol.RemoveAllConformers()
    return mol


def references(ensemble: Ensemble) -> Chem.Mol:
    """The molecule with its reference conformers."""
    return with_conformers(bare(ensemble), ensemble.positions.double().numpy())


def with_conformers(mol: Chem.Mol, places: Sequence[Any]) -> Chem.Mol:
    """`mol` with conformers of these positions, each (n, 3) in angstrom."""
    made = Chem.Mol(mol)
    made.RemoveAllConformers()
    for each in places:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(each, dtype=np.float64))
        conformer.Set3D(True)
        made.AddConformer(conformer, assignId=True)
    return made


def by_model(
    model: Model, mols: Sequence[Chem.Mol], counts: Sequence[int], name: str = "", **request: Any
) -> Made:
    """`counts[i]` samples of each molecule, by `model.generate(**request)` in one request.

    Samples that were dropped are missing; the notes say how many, and how many needed a retry.
    """
    most = max(counts)
    ids = [i * most + k for i, count in enumerate(counts) for k in range(count)]
    begun = time.perf_counter()
    out = model.generate(mols=list(mols), num_samples=most, ids=ids, **request)
    seconds = time.perf_counter() - begun
    groups: list[list[Any]] = [[] for _ in mols]
    for number, sample in zip(ids, out.samples, strict=True):
        if sample is not None and sample.GetNumConformers():
            groups[number // most].append(sample.GetConformer().GetPositions())
    made = [with_conformers(mol, group) for mol, group in zip(mols, groups, strict=True)]
    notes = {
        "sampler": out.provenance["sampler"],
        "evaluations": out.provenance["evaluations"],
        "dropped": len(ids) - sum(map(len, groups)),
    }
    steps = out.provenance["steps"]
    shown = steps if isinstance(steps, int) else len(steps) - 1
    return Made(name or f"unnoise, {shown} steps", made, seconds, notes)


def by_etkdg(mols: Sequence[Chem.Mol], counts: Sequence[int], seed: int = 0) -> Made:
    """RDKit's ETKDGv3 as it comes, one embedding per sample."""
    begun, made = time.perf_counter(), []
    for mol, count in zip(mols, counts, strict=True):
        embedded, options = Chem.Mol(mol), rdDistGeom.ETKDGv3()
        options.randomSeed = seed + 1
        rdDistGeom.EmbedMultipleConfs(embedded, count, options)
        made.append(embedded)
    return Made("ETKDGv3", made, time.perf_counter() - begun)


def relaxed(made: Made) -> Made:
    """The same conformers in their minima of MMFF94s; as they were where it has no parameters."""
    begun, moved = time.perf_counter(), []
    for mol in made.mols:
        copy = Chem.Mol(mol)
        if copy.GetNumConformers() and parametrised(copy):
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
                copy, maxIters=MOST_STEPS, mmffVariant="MMFF94s"
            )
        moved.append(copy)
    seconds = made.seconds + time.perf_counter() - begun
    return Made(f"{made.name} + MMFF94s", moved, seconds, made.notes)


def table(
    rows: Sequence[Made],
    refs: Sequence[Chem.Mol],
    threshold: float,
    *,
    strain: bool = True,
    busted: bool = True,
    report: Report = lambda what, part: None,
) -> dict[str, Any]:
    """Every measure of every method, and of the references themselves.

    Strain is in kcal/mol, a mean over conformers: for GFN2-xTB above the lowest reference of the
    molecule, as generated (`unsolved` conformers have no energy, and are not in the mean); for
    MMFF94s above the minimum of the conformer. The first row, `references`, is what an exact
    method would have.
    """
    floor = [float(np.nanmin(xtb.energies(mol))) for mol in refs] if strain else None
    found = []
    for k, made in enumerate([Made("references", refs, 0.0), *rows]):
        report(f"measuring {made.name}", k / (len(rows) + 1))
        row = {"method": made.name, **_scores(made, refs, threshold, floor, busted)}
        if made.seconds:
            row["per_second"] = sum(m.GetNumConformers() for m in made.mols) / made.seconds
        found.append({**row, **made.notes})
    first = metrics.coverage(zip(rows[0].mols, refs, strict=True), threshold)
    return {"protocol": first.protocol, "threshold": threshold, "rows": found}


def as_text(name: str, found: Mapping[str, Any]) -> str:
    """A table of Markdown with the protocol above it."""
    rows = found["rows"]
    columns = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    lines = [f"{name}: {found['protocol']}", ""]
    lines.append("| method | " + " | ".join(COLUMNS[key][0] for key in columns) + " |")
    lines.append("|---" * (1 + len(columns)) + "|")
    for row in rows:
        cells = ["" if row.get(c) is None else COLUMNS[c][1].format(row[c]) for c in columns]
        if row.get("unsolved"):
            cells[columns.index("xtb")] += f" ({row['unsolved']} unsolved)"
        lines.append(f"| {row['method']} | " + " | ".join(cells).replace("-0.0 ", "0.0 ") + " |")
    return "\n".join(lines)


def _scores(
    made: Made,
    refs: Sequence[Chem.Mol],
    threshold: float,
    floor: Sequence[float] | None,
    busted: bool,
) -> dict[str, float]:
    full = [(mol, ref) for mol, ref in zip(made.mols, refs, strict=True) if mol.GetNumConformers()]
    mols = [mol for mol, _ in full]
    scores: dict[str, float] = {}
    if made.mols is not refs:
        cov = metrics.coverage(zip(made.mols, refs, strict=True), threshold)
        scores |= {key: getattr(cov, key) for key in ("cov_r", "mat_r", "cov_p", "mat_p")}
        scores |= {
            name: metrics.wasserstein([of(m) for m, _ in full], [of(r) for _, r in full])
            for name, of in (("bonds", metrics.bond_lengths), ("angles", metrics.angles))
        }
    if floor is not None:
        above = [
            xtb.energies(mol) - low
            for mol, low in zip(made.mols, floor, strict=True)
            if mol.GetNumConformers()
        ]
        energies = np.concatenate(above)
        scores["xtb"] = float(np.nanmean(energies))
        scores["unsolved"] = int(np.isnan(energies).sum())
        scores["mmff"] = float(np.nanmean(np.concatenate([metrics.mmff_strain(m) for m in mols])))
    if busted:
        scores["posebusters"] = metrics.posebusters(mols)["all"]
    agreed = [metrics.stereo_agreement(m, reference=r) for m, r in full]
    weights = [m.GetNumConformers() for m in mols]
    scores["stereo"] = float(np.average(agreed, weights=weights))
    return scores
