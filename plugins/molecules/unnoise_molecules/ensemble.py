"""Many samples of one molecule as one: an ensemble, and files of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdkit import Chem
from rdkit.Chem.PropertyMol import PropertyMol

from unnoise.errors import InputError
from unnoise.storage.files import TEMPORARY, disk_errors, replace_file
from unnoise_molecules.molecules import positions, set_property


def ensemble(samples: Sequence[Chem.Mol]) -> PropertyMol:
    """One Mol with a conformer per sample, in order, that is not aligned.

    Its properties are those that all samples share; what is a sample's own (number, seed, energy)
    is a property of its conformer. Stereoisomers are different molecules.

    Raises InputError for no samples, or samples of different molecules.
    """
    if not samples:
        raise InputError("an ensemble needs at least one sample")
    first = identity(samples[0])
    for i, each in enumerate(samples):
        if each.GetNumConformers() == 0:
            raise InputError(f"sample {i} has no conformer")
        if (found := identity(each)) != first or not _same_order(each, samples[0]):
            raise InputError(
                f"sample {i} is another molecule, or its atoms stand in another order",
                value=found,
                limit=first,
                fix="ensembles(samples) makes one of each",
            )
    rows = [
        each.GetPropsAsDict(includePrivate=True, includeComputed=False, autoConvertStrings=False)
        for each in samples
    ]
    shared = {n: v for n, v in rows[0].items() if all(row.get(n) == v for row in rows)}
    bare = Chem.Mol(samples[0])
    bare.RemoveAllConformers()
    for name in list(bare.GetPropNames(includePrivate=True, includeComputed=False)):
        bare.ClearProp(name)
    for each, row in zip(samples, rows, strict=True):
        conformer = Chem.Conformer(each.GetConformer())
        for name, value in row.items():
            if name not in shared:
                set_property(conformer, name, value)
        bare.AddConformer(conformer, assignId=True)
    whole = PropertyMol(bare)
    for name, value in shared.items():
        set_property(whole, name, value)
    return whole


def ensembles(samples: Sequence[Chem.Mol]) -> list[PropertyMol]:
    """Ensembles of samples: those of one molecule, and of one stereoisomer where the input leaves
    that open, as one Mol each, in order of appearance.

    Samples without coordinates, those that were dropped, are left out.
    """
    return [ensemble(group) for group in grouped(samples)]


def grouped(samples: Sequence[Chem.Mol]) -> list[list[Chem.Mol]]:
    """The samples of which `ensembles` makes one Mol each."""
    groups: dict[tuple[str, str], list[Chem.Mol]] = {}
    for each in samples:
        if each.GetNumConformers():
            name = each.GetProp("_Name") if each.HasProp("_Name") else ""
            groups.setdefault((name, identity(each)), []).append(each)
    return list(groups.values())


def identity(mol: Chem.Mol) -> str:
    """What molecule a sample is of: the property `stereoisomer`, or its SMILES."""
    return str(mol.GetProp("stereoisomer")) if mol.HasProp("stereoisomer") else _smiles(mol)


def write_sdf(mol: Chem.Mol, path: str | Path) -> Path:
    """All conformers of `mol` as an SDF file, see `sdf`."""
    return _write(path, sdf(mol))


def sdf(mol: Chem.Mol) -> str:
    """All conformers of `mol`, one SDF record each, with the properties of both."""
    blocks = []
    for conformer in mol.GetConformers():
        record = Chem.Mol(mol)
        for holder in (mol, conformer):
            found = holder.GetPropsAsDict(
                includePrivate=True, includeComputed=False, autoConvertStrings=False
            )
            for name, value in found.items():  # RDKit would write .1 as 0.10000000000000001
                shown = f"{value:.10g}" if isinstance(value, float) else value
                if isinstance(shown, str):  # a line end would end the title, or the value
                    shown = " ".join(shown.splitlines())
                set_property(record, name, shown)
        blocks.append(Chem.SDWriter.GetText(record, conformer.GetId()))
    return "".join(blocks)


def write_xyz(mol: Chem.Mol, path: str | Path) -> Path:
    """All conformers of `mol` as XYZ frames; the second line of each is its name."""
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    name = mol.GetProp("_Name") if mol.HasProp("_Name") else _smiles(mol)
    lines: list[str] = []
    for conformer in mol.GetConformers():
        lines += [str(len(symbols)), " ".join(name.split())]
        for symbol, (x, y, z) in zip(symbols, positions(mol, conformer.GetId()), strict=True):
            lines.append(f"{symbol:<2} {x:14.8f} {y:14.8f} {z:14.8f}")
    return _write(path, "\n".join(lines) + "\n")


def gather(groups: Sequence[Sequence[Path]], folder: Path) -> list[Path]:
    """One SDF file for each input, of the SDF files of its samples, which it replaces.

    They are called conformers.sdf, or conformers-0.sdf and so on where there are several inputs.
    """
    width = len(str(len(groups) - 1))
    found = []
    for number, paths in enumerate(groups):
        stem = "conformers" if len(groups) == 1 else f"conformers-{number:0{width}d}"
        with disk_errors(f"writing {stem}.sdf"):
            temporary = folder / f"{TEMPORARY}{stem}.sdf"
            with temporary.open("wb") as file:
                for path in paths:
                    file.write(path.read_bytes())
            temporary.replace(folder / f"{stem}.sdf")
            for path in paths:
                path.unlink()
        found.append(folder / f"{stem}.sdf")
    return found


def _write(path: str | Path, text: str) -> Path:
    with disk_errors(f"writing {str(path)!r}"):
        replace_file(Path(path), text.encode())
    return Path(path)


def _smiles(mol: Chem.Mol) -> str:
    return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))


def _same_order(a: Chem.Mol, b: Chem.Mol) -> bool:
    return [x.GetAtomicNum() for x in a.GetAtoms()] == [
        y.GetAtomicNum() for y in b.GetAtoms()
    ] and [(x.GetBeginAtomIdx(), x.GetEndAtomIdx()) for x in a.GetBonds()] == [
        (y.GetBeginAtomIdx(), y.GetEndAtomIdx()) for y in b.GetBonds()
    ]
