"""Reference ensembles at the GFN2-xTB level, from SMILES:

    python -m unnoise_molecules.build molecules.smi conformers.sdf.gz --processes 4

ETKDGv3 embeddings are relaxed by MMFF94s and pruned, what is left is optimised by GFN2-xTB (the
program `xtb` when it is on PATH, else tblite), and kept within a window of energy where bonds and
stereochemistry are still those of the molecule. Every finished molecule is a file of its own in the
cache beside the result, so that a build that was stopped goes on where it was. The result is what
`unnoise train molecules --data` reads.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from tqdm import tqdm

from unnoise.errors import InputError, UnnoiseError
from unnoise.storage.files import disk_errors, replace_file, writable_folder
from unnoise_molecules import molecules, xtb
from unnoise_molecules.check import check, connected
from unnoise_molecules.ensemble import write_sdf
from unnoise_molecules.isomers import Isomers
from unnoise_molecules.metrics import Floats, rmsd
from unnoise_molecules.molecules import positions, set_property
from unnoise_molecules.relax import MOST_STEPS, parametrised

_LOG: Final = logging.getLogger(__name__)
SMALL: Final = 9
"""Heavy atoms of the largest molecule of the set `small`."""
_KT: Final = 0.0019872043 * 298.15  # kcal/mol


@final
@dataclass(frozen=True)
class Recipe:
    """How an ensemble is made. Pairs are for small molecules (up to 9 heavy atoms) and others.

    Attributes
    ----------
    embeddings : by ETKDGv3.
    candidates : of them that are optimised by GFN2-xTB, at most.
    pruned : angstrom, heavy atoms: MMFF94s minima that are closer are one.
    reach : kcal/mol above the lowest MMFF94s minimum.
    duplicate : angstrom, as `pruned`, of GFN2-xTB minima.
    window : kcal/mol above the lowest GFN2-xTB minimum.
    seed : of the embeddings.
    """

    embeddings: tuple[int, int] = (24, 40)
    candidates: tuple[int, int] = (10, 12)
    pruned: float = 0.12
    reach: float = 10.0
    duplicate: float = 0.1
    window: float = 6.0
    seed: int = 1


def build_ensemble(mol: Chem.Mol, recipe: Recipe, engine: xtb.Engine) -> Chem.Mol:
    """The ensemble of one molecule: a Mol with its conformers, lowest first.

    `mol` as `molecules.read` gives it; where it leaves stereochemistry open, one isomer is drawn,
    the same each time. Conformers have the properties `rel_energy_kcal` and `boltzmann_298K`.

    Raises InputError that says at which stage nothing was left.
    """
    isomers = Isomers(mol).all()
    smiles = mol.GetProp("input")
    chosen = isomers[
        int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:4], "big") % len(isomers)
    ]
    if not parametrised(chosen):
        raise InputError("MMFF94s has no parameters", value=smiles)
    size = 0 if chosen.GetNumHeavyAtoms() <= SMALL else 1
    rough = _minima(chosen, recipe, size)
    found: list[tuple[float, Floats]] = []
    for conformer in rough.GetConformers():
        try:
            places, energy = xtb.optimised(rough, conformer.GetId(), by=engine)
        except InputError:
            continue
        trial = _with(chosen, [places])
        if connected(trial) and not check(trial).stereo:
            found.append((energy, places))
    if not found:
        raise InputError("no conformer kept its bonds and stereochemistry", value=smiles)
    found.sort(key=lambda pair: pair[0])
    energies = np.array([energy for energy, _ in found]) - found[0][0]
    whole = _with(chosen, [places for _, places in found])
    kept = _distinct(
        whole, recipe.duplicate, [i for i, e in enumerate(energies) if e <= recipe.window]
    )
    made = _with(chosen, [positions(whole, i) for i in kept])
    weights = np.exp(-energies[kept] / _KT)
    for conformer, i, weight in zip(
        made.GetConformers(), kept, weights / weights.sum(), strict=True
    ):
        conformer.SetDoubleProp("rel_energy_kcal", round(float(energies[i]), 4))
        conformer.SetDoubleProp("boltzmann_298K", round(float(weight), 4))
    for name in list(made.GetPropNames(includePrivate=True, includeComputed=False)):
        made.ClearProp(name)
    set_property(made, "_Name", chosen.GetProp("stereoisomer"))
    set_property(made, "set", ("small", "medium")[size])
    return made


def build(
    source: molecules.Given,
    out: str | Path,
    *,
    column: str | None = None,
    recipe: Recipe = Recipe(),
    processes: int = 1,
    unreadable: Literal["stop", "skip"] = "stop",
    cache: str | Path | None = None,
) -> dict[str, int]:
    """Ensembles of all molecules of `source` into the SDF file `out` (.sdf or .sdf.gz).

    Molecules that occur twice are built once. Those that cannot be built are left out, and counted
    by reason in the result. `cache` is a folder, `out` + ".parts" by default: it may be kept, so
    that the next build with the same recipe takes from it what it has, or removed.

    Raises InputError for what cannot be read (unless `unreadable` is "skip": then it is counted)
    and for an `out` that is no SDF; PluginError without GFN2-xTB; before any work.
    """
    path = Path(out)
    if not path.name.endswith((".sdf", ".sdf.gz")):
        raise InputError("the result is an SDF file", value=path.name, limit=".sdf, .sdf.gz")
    if processes < 1:
        raise InputError("processes is at least 1", value=processes)
    engine = xtb.engine()
    mols, counts = _read(source, column, unreadable)
    writable_folder(path.parent)
    folder = Path(cache) if cache is not None else path.with_name(f"{path.name}.parts")
    writable_folder(folder)
    parts = {_key(mol, recipe, engine): mol for mol in mols}
    counts["the same molecule again"] = len(mols) - len(parts)
    missing = {key: mol for key, mol in parts.items() if not _finished(folder, key)}
    with tqdm(
        total=len(parts),
        initial=len(parts) - len(missing),
        unit="mol",
        smoothing=0.05,
        disable=None,  # shown in a terminal alone
    ) as bar:
        for _ in _built(missing, folder, recipe, engine, processes):
            bar.update()
    for key in parts:
        if (part := folder / f"{key}.sdf").exists():
            counts["molecules"] += 1
            counts["conformers"] += part.read_text().count("$$$$")
        else:
            counts[json.loads((folder / f"{key}.json").read_text())["reason"]] += 1
    _merge([folder / f"{key}.sdf" for key in parts], path)
    return {reason: n for reason, n in counts.items() if n}


def _read(
    source: molecules.Given, column: str | None, unreadable: str
) -> tuple[list[Chem.Mol], Counter[str]]:
    found, counts = [], Counter({"molecules": 0, "conformers": 0})
    for record in molecules.items(source, column):
        try:
            found.append(molecules.molecule(record))
        except UnnoiseError as error:
            if unreadable == "stop":
                raise
            _LOG.warning("left out: %s", error)
            counts["unreadable"] += 1
    if not found:
        raise InputError("there is no molecule to build", value=str(source))
    return found, counts


def _key(mol: Chem.Mol, recipe: Recipe, engine: str) -> str:
    """The name of a molecule's part: what it depends on."""
    said = json.dumps([mol.GetProp("input"), asdict(recipe), engine])
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _finished(folder: Path, key: str) -> bool:
    return (folder / f"{key}.sdf").exists() or (folder / f"{key}.json").exists()


def _built(
    missing: dict[str, Chem.Mol], folder: Path, recipe: Recipe, engine: xtb.Engine, processes: int
) -> Iterator[str]:
    """Build what is missing, yielding keys as they are finished, in any order."""
    jobs = ((mol.ToBinary(_ALL), folder / key, recipe, engine) for key, mol in missing.items())
    if processes == 1:
        for job in jobs:
            yield _part(*job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_single) as pool:
        waiting: set[Future[str]] = set()
        for job in jobs:
            waiting.add(pool.submit(_part, *job))
            if len(waiting) >= 4 * processes:  # not millions of molecules in the queue
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        done, _ = wait(waiting)
        yield from (future.result() for future in done)


def _single() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"


def _part(binary: bytes, path: Path, recipe: Recipe, engine: xtb.Engine) -> str:
    """One molecule: its SDF file, or a JSON file with the reason why there is none."""
    mol = Chem.Mol(binary)
    try:
        made = build_ensemble(mol, recipe, engine)
    except UnnoiseError as error:
        said = {"reason": error.message, "input": mol.GetProp("input")}
        replace_file(path.with_suffix(".json"), json.dumps(said).encode())
    else:
        write_sdf(made, path.with_suffix(".sdf"))
    return path.name


def _minima(mol: Chem.Mol, recipe: Recipe, size: int) -> Chem.Mol:
    """Distinct minima of MMFF94s, lowest first, as many as are candidates."""
    rough, options = Chem.Mol(mol), rdDistGeom.ETKDGv3()
    options.randomSeed = recipe.seed
    for options.useRandomCoords in (False, True):
        if rdDistGeom.EmbedMultipleConfs(rough, recipe.embeddings[size], options):
            break
    if rough.GetNumConformers() == 0:
        raise InputError("ETKDG embeds no conformer", value=mol.GetProp("input"))
    results = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
        rough, maxIters=MOST_STEPS, mmffVariant="MMFF94s"
    )
    energies = np.array([energy for _, energy in results])
    order = [int(i) for i in np.argsort(energies) if energies[i] - energies.min() <= recipe.reach]
    kept = _distinct(rough, recipe.pruned, order)[: recipe.candidates[size]]
    return _with(mol, [positions(rough, i) for i in kept])


def _distinct(mol: Chem.Mol, distance: float, order: Sequence[int]) -> list[int]:
    """Those of the conformers `order` that are farther than `distance` from all kept before."""
    d, kept = rmsd(mol, mol), list[int]()
    for i in order:
        if all(d[i, k] > distance for k in kept):
            kept.append(i)
    return kept


def _with(mol: Chem.Mol, places: Iterable[Any]) -> Chem.Mol:
    made = Chem.Mol(mol)
    made.RemoveAllConformers()
    for each in places:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(each))
        conformer.Set3D(True)
        made.AddConformer(conformer, assignId=True)
    return made


def _merge(parts: Iterable[Path], path: Path) -> None:
    """One file of many; a gzip file may have many members, so nothing is held in memory."""
    temporary = path.with_name(f".tmp-{path.name}")
    with disk_errors(f"writing {str(path)!r}"):
        with (gzip.open if path.suffix == ".gz" else open)(temporary, "wb") as file:
            for part in parts:
                if part.exists():
                    file.write(part.read_bytes())
        temporary.replace(path)


_ALL: Final = int(Chem.PropertyPickleOptions.AllProps)


def main(words: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m unnoise_molecules.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="SMILES, or a .smi, .csv or .sdf file")
    parser.add_argument("out", type=Path, help=".sdf or .sdf.gz")
    parser.add_argument("--column", help="of a .csv file")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop")
    parser.add_argument("--cache", type=Path, help="default: OUT.parts")
    parser.add_argument("--window", type=float, default=Recipe.window, help="kcal/mol")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    chosen = parser.parse_args(words)
    recipe = Recipe(window=chosen.window, seed=chosen.seed)
    try:
        counts = build(
            chosen.source,
            chosen.out,
            column=chosen.column,
            recipe=recipe,
            processes=chosen.processes,
            unreadable=chosen.unreadable,
            cache=chosen.cache,
        )
    except UnnoiseError as error:
        print(f"unnoise: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(", ".join(f"{n} {reason}" for reason, n in counts.items()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
