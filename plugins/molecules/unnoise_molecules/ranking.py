"""From samples to the ensemble that is used: lowest energy first, within a window of energy, none
twice, each with its weight.

What is asked for travels with the samples, as the properties `window_kcal`, `apart_angstrom` and
`temperature_kelvin`, so that files and `ranked(out.samples)` agree. No sample is moved or changed.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign
from rdkit.Chem.PropertyMol import PropertyMol

from unnoise.errors import InputError
from unnoise.storage.files import disk_errors, replace_file
from unnoise_molecules.ensemble import ensemble, grouped, sdf
from unnoise_molecules.metrics import MOST_MATCHES
from unnoise_molecules.molecules import set_property
from unnoise_molecules.weights import ROOM, boltzmann, effective

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

WINDOW: Final = "window_kcal"
APART: Final = "apart_angstrom"
TEMPERATURE: Final = "temperature_kelvin"
ASKED: Final = (WINDOW, APART, TEMPERATURE)
COLUMNS: Final = (
    *("molecule", "stereoisomer", "rank", "sample", "energy_by", "energy_kcal", "rel_energy_kcal"),
    *("boltzmann_weight", "effective_conformers", "relaxed", "check"),
)
"""Of the table of a request's conformers."""

_DECIMALS: Final = 3  # mirror images have one energy: what a file rounds does not order them


def ranked(
    samples: Sequence[Chem.Mol],
    *,
    window: float | None = None,
    apart: float | None = None,
    temperature: float | None = None,
) -> list[PropertyMol]:
    """The ensembles of samples, one Mol for each molecule and stereoisomer, lowest conformer first.

    Parameters
    ----------
    window : kcal/mol above the lowest; what is higher is left out.
    apart : angstrom; a conformer that is no farther than this from a lower one is left out (RMSD of
        heavy atoms and of hydrogens on others than carbon, over motions and symmetry).
    temperature : kelvin, of the weights; 298.15 by default.

    By default what the samples' request asked for. Samples that have no coordinates, fail their
    check or have no energy where others have one are left out, too; without any energy the order
    is that of the samples, and there are no weights. The properties of conformers say `rank`,
    `rel_energy_kcal` and `boltzmann_weight`, those of the Mol `effective_conformers` and, where
    something was left out, `left_out`: how many and why.
    """
    given = {WINDOW: window, APART: apart, TEMPERATURE: temperature}
    found = (_ranked(group, given) for group in grouped(samples))
    return [whole for whole in found if whole is not None]


def select(paths: Sequence[Path]) -> str | None:
    """Rank what SDF files hold, each file in its place, and return the table of all; None, and
    nothing is changed, where no energies and no selection were asked for."""
    rows: list[str] = []
    for path in paths:
        if not path.stat().st_size:  # every sample was dropped
            continue
        with Chem.SDMolSupplier(str(path), removeHs=False) as records:
            samples = [mol for mol in records if mol is not None]
        if not any(samples[0].HasProp(name) for name in (*ASKED, "energy_by")):
            return None
        found = ranked(samples)
        with disk_errors(f"writing {str(path)!r}"):
            replace_file(path, "".join(map(sdf, found)).encode())
        rows += table(found).splitlines(keepends=True)[1 if rows else 0 :]
    return "".join(rows) or None


def distances(mol: Chem.Mol) -> Floats:
    """(n, n) in angstrom: RMSD between conformers over motions and symmetry, of heavy atoms and of
    hydrogens that are not on carbon: rotamers of OH and of COOH differ, those of methyl do not."""
    copy = Chem.RWMol(mol)
    hydrogens = [
        a.GetIdx()
        for a in mol.GetAtoms()
        if a.GetAtomicNum() == 1 and any(b.GetAtomicNum() == 6 for b in a.GetNeighbors())
    ]
    if len(hydrogens) < mol.GetNumAtoms() - 1:
        for i in reversed(hydrogens):
            copy.RemoveAtom(i)
    Chem.FastFindRings(copy)
    n = mol.GetNumConformers()
    found = np.zeros((n, n))
    if n > 1:
        rows = rdMolAlign.GetAllConformerBestRMS(copy, maxMatches=MOST_MATCHES)
        found[np.tril_indices(n, -1)] = rows  # row by row below the diagonal
    return found + found.T


def table(ensembles: Sequence[Chem.Mol]) -> str:
    """Ranked ensembles as the text of a .csv file, a row for each conformer."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for mol in ensembles:
        of = _properties(mol)
        for conformer in mol.GetConformers():
            said = {"molecule": of.get("_Name", ""), **of, **_properties(conformer)}
            rows.writerow([_shown(said.get(name, "")) for name in COLUMNS])
    return text.getvalue()


def _ranked(group: Sequence[Chem.Mol], given: Mapping[str, float | None]) -> PropertyMol | None:
    asked = {name: _asked(group[0], name, value) for name, value in given.items()}
    left: Counter[str] = Counter()
    rows = [
        each for each in group if not each.HasProp("check") or each.GetProp("check") == "passed"
    ]
    left["failed the check"] = len(group) - len(rows)
    priced = [each for each in rows if each.HasProp("energy_kcal")]
    if not priced and asked[WINDOW] is not None:
        raise InputError("a window needs energies", fix="generate with energy='mmff94s'")
    if priced:
        left["without energy"] = len(rows) - len(priced)
        if len({each.GetProp("energy_by") for each in priced}) > 1:
            raise InputError("the energies of samples are of different levels")
        rows = sorted(priced, key=lambda each: round(_energy(each), _DECIMALS))
        reach = np.inf if asked[WINDOW] is None else asked[WINDOW]
        near = [each for each in rows if _energy(each) - _energy(rows[0]) <= reach]
        left["above the window"] = len(rows) - len(near)
        rows = near
    if not rows:
        return None
    if asked[APART] is not None:
        kept = _distinct(distances(ensemble(rows)), asked[APART])
        left["near a lower one"] = len(rows) - len(kept)
        rows = [rows[k] for k in kept]
    return _whole(rows, bool(priced), asked[TEMPERATURE] or ROOM, left)


def _whole(
    rows: Sequence[Chem.Mol], priced: bool, temperature: float, left: Counter[str]
) -> PropertyMol:
    made = [PropertyMol(each) for each in rows]
    for rank, each in enumerate(made, 1):
        each.SetIntProp("rank", rank)
    weights = boltzmann([_energy(each) for each in rows], temperature) if priced else ()
    for each, weight in zip(made, weights, strict=False):
        each.SetDoubleProp("rel_energy_kcal", _energy(each) - min(map(_energy, rows)))
        each.SetDoubleProp("boltzmann_weight", float(weight))
    whole = ensemble(made)
    if priced:
        set_property(whole, "effective_conformers", effective(weights))
        set_property(whole, TEMPERATURE, temperature)
    if said := ", ".join(f"{n} {why}" for why, n in left.items() if n):
        whole.SetProp("left_out", said)
    return whole


def _distinct(distance: Floats, apart: float) -> list[int]:
    kept: list[int] = []
    for i in range(len(distance)):
        if all(distance[i, k] > apart for k in kept):
            kept.append(i)
    return kept


def _asked(sample: Chem.Mol, name: str, given: float | None) -> float | None:
    if given is not None:
        return given
    return float(sample.GetProp(name)) if sample.HasProp(name) else None


def _failed(sample: Chem.Mol) -> bool:
    return bool(sample.HasProp("check") and sample.GetProp("check") != "passed")


def _energy(sample: Chem.Mol) -> float:
    return float(sample.GetProp("energy_kcal"))


def _properties(holder: Chem.Mol | Chem.Conformer) -> dict[str, Any]:
    return dict(
        holder.GetPropsAsDict(includePrivate=True, includeComputed=False, autoConvertStrings=False)
    )


def _shown(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else " ".join(str(value).splitlines())
