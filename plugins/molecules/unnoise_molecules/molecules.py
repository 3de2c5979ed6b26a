"""Molecules in and out: whatever a chemist has becomes RDKit Mols with explicit hydrogens.

A molecule is what is generated, not where it was drawn: coordinates of an input are used only to
read its stereochemistry. Every complaint says which molecule it is about, and where it stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeGuard

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem.PropertyMol import PropertyMol
from rdkit.Geometry import Point3D

from unnoise.errors import InputError, LimitExceeded, NonFiniteError
from unnoise_molecules.files import SUFFIXES, Record, records

Given: TypeAlias = "str | Path | Chem.Mol | Sequence[str | Chem.Mol]"

Salts: TypeAlias = Literal["refuse", "largest"]

OURS: Final = frozenset(
    [
        *("input", "stereoisomer", "stripped_from", "sample", "seed", "begin", "attempts", "check"),
        *("relaxed", "mmff_kcal", "mmff_before_kcal", "gfn2_kcal", "gfn2_before_kcal"),
        *("energy_by", "energy_kcal", "window_kcal", "apart_angstrom", "temperature_kelvin"),
        *("rank", "rel_energy_kcal", "boltzmann_weight", "effective_conformers", "left_out"),
    ]
)
"""Properties that a sample has from here; those of an input with these names are of another run."""
_FLAT: Final = 1e-3  # angstrom


def read(
    source: Given,
    *,
    column: str | None = None,
    elements: Iterable[str] | None = None,
    most_atoms: int | None = None,
    salts: Salts = "refuse",
) -> list[Chem.Mol]:
    """Molecules with explicit hydrogens and without coordinates, in the order given.

    Parameters
    ----------
    source : a SMILES or InChI; a file (.smi, .smiles, .txt, .csv, .tsv, .sdf, .mol, each also as
        .gz); an RDKit Mol; or a sequence of SMILES, InChI and Mols.
    column : of a .csv or .tsv file; default: one that is called smiles or inchi.
    elements : symbols that are allowed, hydrogen among them; all by default.
    most_atoms : allowed in one molecule, hydrogens included.
    salts : what is done with several fragments: refused, or "largest": that one is taken.

    Atoms keep their order; hydrogens that were missing come last. Stereochemistry is that of the
    SMILES, of the wedges of a 2D record or of the coordinates of a 3D record. `_Name` is the name
    in the file, else the SMILES; the property `input` is the canonical SMILES, and other columns
    of a table and properties of a record or Mol stay.

    Raises
    ------
    InputError : no molecule; not a molecule; several fragments; a single atom; radicals; an element
        that is not allowed. LimitExceeded : too many atoms. Each says where.
    """
    allowed = None if elements is None else frozenset(elements)
    found = [
        molecule(record, elements=allowed, most_atoms=most_atoms, salts=salts)
        for record in items(source, column)
    ]
    if not found:
        raise InputError("there is no molecule", value=_short(source))
    return found


def molecule(
    record: Record,
    *,
    elements: frozenset[str] | None = None,
    most_atoms: int | None = None,
    salts: Salts = "refuse",
) -> Chem.Mol:
    """The molecule of a record, with its name and its columns. Errors: see `read`."""
    if isinstance(record.item, InputError):
        raise record.item
    made = prepared(sanitized(record.item, record.where), record.where, elements, most_atoms, salts)
    for name, value in record.columns.items():
        if name not in OURS:
            made.SetProp(name, value)
    if record.name:
        made.SetProp("_Name", record.name)
    return made


def prepared(
    mol: Chem.Mol,
    where: str,
    elements: frozenset[str] | None = None,
    most_atoms: int | None = None,
    salts: Salts = "refuse",
) -> Chem.Mol:
    """A checked copy of `mol` with explicit hydrogens, without coordinates. Errors: see `read`."""
    if mol.GetNumAtoms() == 0:
        raise InputError(f"{where} has no atoms", fix="leave it out")
    given = mol
    fragments = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)
    if len(fragments) > 1:
        largest = max(fragments, key=lambda part: (part.GetNumHeavyAtoms(), part.GetNumAtoms()))
        if salts == "refuse":
            raise InputError(
                f"{where} has several fragments",
                value=_short(Chem.MolToSmiles(mol)),
                limit="one molecule",
                fix=f"pass salts='largest', or give one of them, e.g."
                f" {_short(Chem.MolToSmiles(largest))}",
            )
        Chem.SanitizeMol(largest)
        mol = largest
    for atom in mol.GetAtoms():
        what = f"atom {atom.GetIdx()} ({atom.GetSymbol()}) of {where}"
        if atom.GetAtomicNum() == 0:
            raise InputError(f"{what} is a placeholder", fix="replace it by an element")
        if atom.GetNumRadicalElectrons():
            raise InputError(
                f"{what} is a radical",
                value=_short(Chem.MolToSmiles(mol)),
                limit="closed shells",
                fix="complete its valence with hydrogens or a charge",
            )
    copy = Chem.Mol(mol)
    if in_space(copy):
        Chem.AssignStereochemistryFrom3D(copy)
    whole = Chem.AddHs(copy)
    whole.RemoveAllConformers()
    Chem.AssignStereochemistry(whole, cleanIt=True, force=True)
    symbols = sorted({atom.GetSymbol() for atom in whole.GetAtoms()})
    if elements is not None and (foreign := [s for s in symbols if s not in elements]):
        raise InputError(
            f"{where} has elements that the model was not trained on",
            value=", ".join(foreign),
            limit=", ".join(sorted(elements)),
        )
    if whole.GetNumAtoms() == 1:
        raise InputError(
            f"{where} is a single atom",
            value=_short(Chem.MolToSmiles(whole)),
            limit="at least two atoms: one has no shape",
        )
    if most_atoms is not None and whole.GetNumAtoms() > most_atoms:
        raise LimitExceeded(
            f"{where} is too large",
            value=f"{whole.GetNumAtoms()} atoms, hydrogens included",
            limit=most_atoms,
        )
    smiles = Chem.MolToSmiles(Chem.RemoveHs(whole))
    for name in list(whole.GetPropNames(includePrivate=True, includeComputed=False)):
        whole.ClearProp(name)
    for name, value in given.GetPropsAsDict(
        includeComputed=False, autoConvertStrings=False
    ).items():
        if name not in OURS:
            set_property(whole, name, value)
    name = " ".join(given.GetProp("_Name").split()) if given.HasProp("_Name") else ""
    whole.SetProp("_Name", name or smiles)
    whole.SetProp("input", smiles)
    if given is not mol:
        whole.SetProp("stripped_from", Chem.MolToSmiles(Chem.RemoveHs(given)))
    return whole


def in_space(mol: Chem.Mol) -> bool:
    """Whether a molecule has coordinates in space: not a drawing, and not all zero."""
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        return False
    return bool(np.ptp(positions(mol), axis=0).max() > _FLAT) or mol.GetNumAtoms() == 1


def sample(mol: Chem.Mol, positions: Any, properties: Mapping[str, Any]) -> PropertyMol:
    """One conformer of `mol` as a native sample.

    Parameters
    ----------
    positions : (atoms, 3) in angstrom, in the order of the atoms.
    properties : numbers, truths and text, written into SDF files. They survive pickling, which of
        a plain Mol they do not.

    Raises NonFiniteError, InputError for another number of atoms.
    """
    places = np.asarray(positions, dtype=np.float64)
    if places.shape != (mol.GetNumAtoms(), 3):
        raise InputError(
            "positions do not fit the molecule", value=places.shape, limit=(mol.GetNumAtoms(), 3)
        )
    if not np.isfinite(places).all():
        raise NonFiniteError("NaN or infinity in the positions of a molecule")
    bare = Chem.Mol(mol)
    bare.RemoveAllConformers()
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.Set3D(True)
    for i, (x, y, z) in enumerate(places.tolist()):
        conformer.SetAtomPosition(i, Point3D(x, y, z))
    bare.AddConformer(conformer, assignId=True)
    made = PropertyMol(bare)
    for name, value in properties.items():
        set_property(made, name, value)
    return made


def set_property(mol: Chem.Mol | Chem.Conformer, name: str, value: Any) -> None:
    """Set a property of a Mol or a conformer, by the type of its value."""
    if isinstance(value, bool):
        mol.SetBoolProp(name, value)
    elif isinstance(value, int):
        mol.SetIntProp(name, value)
    elif isinstance(value, float):
        mol.SetDoubleProp(name, value)
    else:
        mol.SetProp(name, str(value))


def positions(mol: Chem.Mol, conformer: int = -1) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(atoms, 3) in angstrom."""
    return np.asarray(mol.GetConformer(conformer).GetPositions(), dtype=np.float64)


def require_3d(mol: Chem.Mol, where: str) -> None:
    """Raise InputError unless `mol` has coordinates in space, with all its hydrogens."""
    if mol.GetNumConformers() == 0:
        raise InputError(f"{where} has no coordinates")
    if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        raise InputError(f"{where} lacks hydrogens", fix="write SDF files with explicit hydrogens")
    places = positions(mol)
    if not np.isfinite(places).all():
        raise NonFiniteError(f"{where} has coordinates that are not finite")
    flat = len(places) > 3 and np.ptp(places[:, 2]) < _FLAT
    bulky = any(
        atom.GetDegree() >= 4 or atom.GetHybridization() == Chem.HybridizationType.SP3
        for atom in mol.GetAtoms()
        if atom.GetDegree() > 2
    )
    if not in_space(mol) or (flat and bulky):
        raise InputError(
            f"{where} has 2D coordinates",
            limit="3D coordinates",
            fix="a drawing is no conformer: generate one from the SMILES",
        )


def items(source: Given, column: str | None = None) -> Iterator[Record]:
    """A record of everything in `source`, as it is. Errors: of files alone."""
    if isinstance(source, Chem.Mol):
        yield Record("the molecule", source)
    elif is_file(source):
        yield from records(Path(source), column)
    elif isinstance(source, str):
        yield Record("the SMILES", source)
    elif isinstance(source, Iterable):
        for i, item in enumerate(source):
            yield Record(f"molecule {i}", item)
    else:
        raise InputError("this is no molecule", value=type(source).__name__, limit=_LIMIT)


def is_file(source: object) -> TypeGuard[str | Path]:
    """Whether a file is meant."""
    return isinstance(source, Path) or (isinstance(source, str) and source.endswith(SUFFIXES))


def sanitized(item: object, where: str) -> Chem.Mol:
    """A SMILES, InChI or Mol as a sane Mol; InputError says what is wrong with it."""
    if isinstance(item, str) and item.strip().startswith("InChI="):
        return _from_inchi(item, where)
    if isinstance(item, Chem.Mol):
        mol, shown = Chem.Mol(item), None
    elif isinstance(item, str):
        shown = _short(item)
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(item.strip(), sanitize=False)
        if mol is None:
            raise InputError(f"{where} is not a valid SMILES", value=shown)
    else:
        raise InputError(f"{where} is no molecule", value=type(item).__name__, limit=_LIMIT)
    with rdBase.BlockLogs():
        problems = [problem.Message() for problem in Chem.DetectChemistryProblems(mol)]
        if problems:
            raise InputError(f"{where} is not a possible molecule: {problems[0]}", value=shown)
        Chem.SanitizeMol(mol)
        if isinstance(item, str):
            mol = Chem.MolFromSmiles(item.strip())
    if mol is None:
        raise InputError(f"{where} is not a valid SMILES", value=shown)
    return mol


def _from_inchi(item: str, where: str) -> Chem.Mol:
    inchi, _, name = item.strip().partition(" ")
    with rdBase.BlockLogs():
        mol = Chem.MolFromInchi(inchi)
    if mol is None:
        raise InputError(f"{where} is not a valid InChI", value=_short(inchi))
    if name.strip():
        mol.SetProp("_Name", name.strip())
    return mol


def _short(text: object, length: int = 80) -> str:
    shown = str(text)
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


_LIMIT: Final = "SMILES, InChI, RDKit Mols, a list of them, or a file " + ", ".join(SUFFIXES[:7])
