"""Folders of the field as the one format that training reads:

    python -m unnoise_molecules.folders rdkit_folder/drugs drugs.sdf.gz --allow-pickle --most 20
    python -m unnoise_molecules.folders dsgdb9nsd.xyz qm9.sdf.gz

GEOM is a folder of pickles, one molecule each, with RDKit Mols in them. They are opened only when
that is asked for, and read as data (`pickled`): no code of theirs is run. QM9 is a folder of .xyz
files with the SMILES in their last lines but one; bonds are perceived from the coordinates, and a
molecule whose bonds do not give its SMILES is left out. (QM9 as `gdb9.sdf` needs no conversion.)
What is left out is counted by reason.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds
from tqdm import tqdm

from unnoise.cli import spoken
from unnoise.errors import InputError, UnnoiseError
from unnoise.storage.files import disk_errors, removed_unused, writable_folder
from unnoise_molecules.check import check, connected
from unnoise_molecules.ensemble import sdf
from unnoise_molecules.molecules import require_3d, set_property
from unnoise_molecules.pickled import read

SUFFIXES: Final = (".pickle", ".pkl", ".xyz")


def convert(
    folder: str | Path,
    out: str | Path,
    *,
    allow_pickle: bool = False,
    most_conformers: int | None = None,
    most: int | None = None,
) -> dict[str, int]:
    """Every molecule of a GEOM- or QM9-style folder into the SDF file `out` (.sdf or .sdf.gz).

    Parameters
    ----------
    allow_pickle : open the pickles of GEOM, of which no code is run.
    most_conformers : of each molecule, those of the largest Boltzmann weight.
    most : molecules, in order of the files' names.

    Returns how many molecules and conformers there are, and how many were left out by reason.
    Raises InputError for a folder without such files, and for pickles that are not allowed.
    """
    path = Path(out)
    if not path.name.endswith((".sdf", ".sdf.gz")):
        raise InputError("the result is an SDF file", value=path.name, limit=".sdf, .sdf.gz")
    files = _files(Path(folder))
    if not allow_pickle and (found := [f for f in files if f.suffix != ".xyz"]):
        raise InputError(
            "this folder holds pickles, with which other programs run any code",
            value=str(found[0]),
            fix="to read their molecules, of which no code is run here, pass allow_pickle=True",
        )
    counts = Counter({"molecules": 0, "conformers": 0})
    temporary = path.with_name(f".tmp-{path.name}")
    with removed_unused(path.parent), disk_errors(f"writing {str(path)!r}"):
        writable_folder(path.parent)
        try:
            with (gzip.open if path.suffix == ".gz" else open)(temporary, "wb") as file:
                for source in tqdm(files[:most], unit="file", disable=None):
                    try:
                        mol = _geom(source) if source.suffix != ".xyz" else _qm9(source)
                        mol = _strongest(mol, most_conformers)
                    except UnnoiseError as error:
                        counts[error.message] += 1
                        continue
                    counts["molecules"] += 1
                    counts["conformers"] += mol.GetNumConformers()
                    file.write(sdf(mol).encode())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return dict(counts)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}")
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise InputError(f"{str(folder)!r} has no such files", limit=", ".join(SUFFIXES))
    return found


def _geom(path: Path) -> Chem.Mol:
    """The ensemble of one pickle of GEOM, with weights and energies of its conformers."""
    try:
        record = read(path.read_bytes())
        rows = [
            (row["rd_mol"], float(row["boltzmannweight"]), float(row["relativeenergy"]))
            for row in record["conformers"]
        ]
        smiles = str(record["smiles"])
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise InputError("a pickle is damaged, or not one of GEOM", value=path.name) from error
    if not rows:
        raise InputError("a molecule has no conformers", value=path.name)
    whole = Chem.Mol(rows[0][0])
    whole.RemoveAllConformers()
    for mol, weight, energy in sorted(rows, key=lambda row: -row[1]):
        _same(mol, whole, path)
        require_3d(mol, path.name)
        conformer = Chem.Conformer(mol.GetConformer())
        conformer.SetDoubleProp("boltzmann_298K", weight)
        conformer.SetDoubleProp("rel_energy_kcal", energy)
        whole.AddConformer(conformer, assignId=True)
    return _named(whole, smiles)


def _qm9(path: Path) -> Chem.Mol:
    """One molecule of QM9: count, properties, atoms with charges, frequencies, SMILES, InChI."""
    try:
        lines = path.read_text().splitlines()
        count = int(lines[0])
        rows = [line.replace("*^", "e").split()[:4] for line in lines[2 : 2 + count]]
        block = "\n".join([str(count), "", *(" ".join(row) for row in rows), ""])
        smiles = lines[3 + count].split()[0]
        with rdBase.BlockLogs():
            mol = Chem.MolFromXYZBlock(block)
            rdDetermineBonds.DetermineBonds(mol, charge=0)
        flat = Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)
    except (ValueError, IndexError, OSError, UnicodeDecodeError, RuntimeError, AttributeError) as e:
        raise InputError("an .xyz file is damaged, or not one of QM9", value=path.name) from e
    given = Chem.MolFromSmiles(smiles)
    if given is None or Chem.MolToSmiles(given, isomericSmiles=False) != flat:
        raise InputError("bonds do not give the SMILES", value=path.name)
    return _named(mol, "")


def _same(mol: Chem.Mol, first: Chem.Mol, path: Path) -> None:
    numbers = [[a.GetAtomicNum() for a in each.GetAtoms()] for each in (mol, first)]
    if numbers[0] != numbers[1]:
        raise InputError("conformers of one molecule differ in their atoms", value=path.name)


def _named(mol: Chem.Mol, smiles: str) -> Chem.Mol:
    """Checked against itself, with stereochemistry from 3D and its SMILES as name."""
    if len(Chem.GetMolFrags(mol)) > 1:
        raise InputError("a molecule has several fragments", value=smiles)
    Chem.AssignStereochemistryFrom3D(mol, mol.GetConformers()[0].GetId())
    good = [
        c.GetId()
        for c in mol.GetConformers()
        if connected(mol, c.GetId()) and not check(mol, c.GetId()).stereo
    ]
    for conformer in list(mol.GetConformers()):
        if conformer.GetId() not in good:  # it reacted, or turned over, on the way
            mol.RemoveConformer(conformer.GetId())
    if not good:
        raise InputError("no conformer has the bonds of its molecule", value=smiles)
    set_property(mol, "_Name", Chem.MolToSmiles(Chem.RemoveHs(mol)))
    return mol


def _strongest(mol: Chem.Mol, most: int | None) -> Chem.Mol:
    for conformer in list(mol.GetConformers())[most:] if most is not None else []:
        mol.RemoveConformer(conformer.GetId())
    return mol


def main(words: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m unnoise_molecules.folders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, help=".sdf or .sdf.gz")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="open pickles; no code of theirs is run"
    )
    parser.add_argument("--most-conformers", type=int, help="of each molecule, by weight")
    parser.add_argument("--most", type=int, help="molecules")
    chosen = parser.parse_args(words)
    try:
        counts = convert(
            chosen.folder,
            chosen.out,
            allow_pickle=chosen.allow_pickle,
            most_conformers=chosen.most_conformers,
            most=chosen.most,
        )
    except UnnoiseError as error:
        print(f"unnoise: {spoken(str(error))}", file=sys.stderr)  # noqa: T201
        return 2
    print(", ".join(f"{n} {reason}" for reason, n in counts.items()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
