"""Training data: ensembles of reference conformers, split by scaffold."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias

import torch
from rdkit import Chem, rdBase
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data

from unnoise.errors import InputError, NonFiniteError, left_out
from unnoise.storage.tensors import digest
from unnoise_molecules.couplings import errors
from unnoise_molecules.ensembles import Ensemble
from unnoise_molecules.graph import ELEMENTS, graph
from unnoise_molecules.split import Part, part, scaffold

_LOG: Final = logging.getLogger(__name__)
SUFFIXES: Final = (".sdf", ".sdf.gz")
MOST_ERRORS: Final = 4
"""Embeddings of a conformer that are trained on."""


Item: TypeAlias = tuple[Data, Tensor, Tensor]


class Conformers(Dataset[Item]):
    """Triples (graph, centred positions (n, 3), error of an embedding (n, 3)).

    Without `embeddings` one for each conformer, its error zero; with them one for each embedding
    that belongs to it (`couplings.errors`, up to `MOST_ERRORS`), and one with the error zero where
    none does. Conformers of a molecule share a graph.
    """

    def __init__(self, ensembles: list[Ensemble], embeddings: int = 0) -> None:
        self.ensembles, self.embeddings = ensembles, embeddings
        self._graphs = [graph(ensemble.mol) for ensemble in ensembles]
        found = errors(ensembles, embeddings) if embeddings else None
        self._items: list[tuple[int, int, Tensor]] = []
        for k, ensemble in enumerate(ensembles):
            for row, x in enumerate(ensemble.positions):
                own = found[k][row][:MOST_ERRORS] if found else x.new_empty(0)
                self._items += [(k, row, e) for e in (own if len(own) else [torch.zeros_like(x)])]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        k, row, error = self._items[index]
        x = self.ensembles[k].positions[row]
        return self._graphs[k], x - x.mean(0), error

    @property
    def fingerprint(self) -> str:
        """A hash of all molecules and coordinates."""
        return digest(self.embeddings, *((one.name, one.positions) for one in self.ensembles))


def read_ensembles(source: str | Path) -> list[Ensemble]:
    """The ensembles of an SDF file (also .gz): records of one molecule follow one another, and have
    its name.

    Raises
    ------
    InputError : no such file, another format, a record that cannot be read, has no 3D coordinates
        or is another molecule than the records before it; no record. NonFiniteError : coordinates.
    """
    path = Path(source)
    if not path.is_file():
        raise InputError("no such file of conformers", value=str(path), limit=", ".join(SUFFIXES))
    if not path.name.endswith(SUFFIXES):
        raise InputError("conformers are read from SDF", value=path.name, limit=", ".join(SUFFIXES))
    groups: list[tuple[Chem.Mol, list[Tensor]]] = []
    for number, mol in enumerate(_records(path), 1):
        where = f"record {number} of {path.name}"
        if mol is None:
            raise InputError(f"{where} cannot be read", fix="repair it or take it out")
        if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
            raise InputError(f"{where} has no 3D coordinates", value=_name(mol))
        x = torch.tensor(mol.GetConformer().GetPositions(), dtype=torch.float32)
        if not torch.isfinite(x).all():
            raise NonFiniteError(f"{where} has coordinates that are not finite", value=_name(mol))
        if groups and _name(groups[-1][0]) == _name(mol):
            if not _same(groups[-1][0], mol):
                raise InputError(
                    f"{where} has the name of the record before, but other atoms or another order",
                    value=_name(mol),
                )
            groups[-1][1].append(x)
        else:
            Chem.AssignStereochemistryFrom3D(mol)
            groups.append((mol, [x]))
    if not groups:
        raise InputError("the file has no records", value=path.name)
    return [Ensemble(mol, torch.stack(x)) for mol, x in groups]


def dataset(
    source: str | Path, role: Literal["train", "validation"], embeddings: int = 0
) -> Conformers:
    """The conformers of one part; the statistics of the split are logged with the training part,
    at INFO by the logger of this module."""
    found = read_ensembles(source)
    ensembles = usable(found)
    parts: dict[Part, list[Ensemble]] = {"train": [], "validation": [], "held out": []}
    for ensemble in ensembles:
        parts[part(ensemble.mol)].append(ensemble)
    if role == "train":
        kept = {id(ensemble) for ensemble in ensembles}
        left_out(
            [one.name for one in found if id(one) not in kept],
            f"of {len(found)} molecules have other elements, several fragments or a single atom,"
            " and were left out",
        )
        for line in report(parts):
            _LOG.info(line)
    return Conformers(parts[role], embeddings)


def usable(ensembles: list[Ensemble]) -> list[Ensemble]:
    """Those with the elements of `ELEMENTS`, in one fragment, with two atoms or more."""
    return [
        e
        for e in ensembles
        if e.mol.GetNumAtoms() > 1
        and len(Chem.GetMolFrags(e.mol)) == 1
        and all(atom.GetSymbol() in ELEMENTS for atom in e.mol.GetAtoms())
    ]


def report(parts: dict[Part, list[Ensemble]]) -> list[str]:
    """Statistics of a split, and the check that no scaffold and no molecule is in two parts.

    Raises InputError when one is.
    """
    lines = []
    for name, ensembles in parts.items():
        heavy = Counter("to 9" if e.mol.GetNumHeavyAtoms() < 10 else "from 10" for e in ensembles)
        conformers = sum(len(e.positions) for e in ensembles)
        sizes = ", ".join(f"{n} of {size} heavy atoms" for size, n in sorted(heavy.items()))
        lines.append(f"{name}: {len(ensembles)} molecules ({sizes}), {conformers} conformers")
    names = list(parts)
    for what, key in (("scaffolds", lambda e: scaffold(e.mol)), ("molecules", _flat)):
        found = {name: {key(e) for e in parts[name]} for name in names}
        shared = {
            value
            for k, name in enumerate(names)
            for other in names[k + 1 :]
            for value in found[name] & found[other]
        }
        if shared:
            raise InputError(f"{what} in more than one part", value=sorted(shared)[:3])
        lines.append(f"leakage check: no {what} shared by two parts")
    return lines


def _flat(ensemble: Ensemble) -> str:
    return str(Chem.MolToSmiles(Chem.RemoveHs(ensemble.mol), isomericSmiles=False))


def _records(path: Path) -> Iterator[Chem.Mol | None]:
    packed = path.suffix == ".gz"
    with rdBase.BlockLogs(), gzip.open(path) if packed else path.open("rb") as stream:
        try:
            yield from Chem.ForwardSDMolSupplier(stream, removeHs=False)
        except (EOFError, OSError) as error:
            raise InputError(f"{path.name} is truncated", value=str(error)) from error


def _name(mol: Chem.Mol) -> str:
    return str(mol.GetProp("_Name")) if mol.HasProp("_Name") else ""


def _same(one: Chem.Mol, other: Chem.Mol) -> bool:
    def atoms(mol: Chem.Mol) -> list[int]:
        return [atom.GetAtomicNum() for atom in mol.GetAtoms()]

    def bonds(mol: Chem.Mol) -> set[tuple[int, int]]:
        return {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in mol.GetBonds()}

    return atoms(one) == atoms(other) and bonds(one) == bonds(other)
