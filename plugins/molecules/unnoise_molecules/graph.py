"""Molecules as graphs: what a network is told beside the positions.

A graph is a `torch_geometric.data.Data` of integers that depend on the bonds and the stereo tags
alone, so it is made once per molecule and shared by its conformers, by all steps of a run and by
all epochs of a training:

    atoms         (n, 7)   codes: element, degree, hydrogens, hybridisation, aromatic, ring, charge
    pair_index    (2, p)   every pair i < j once; radius and order are masks of it, so that no
                           neighbour search happens while sampling and no pair is ever cut off
    pair_codes    (p, 3)   kind (bond by order; 2 hops by the atom between; 3 hops by the bond
                           between, cis and trans apart), smallest common ring, hops
    stereo_index  (4, c)   corners of each tagged stereocentre (see `stereo`), whose
    stereo_sign   (c,)     signed volume (r1 - r0) . ((r2 - r0) x (r3 - r0)) has this sign

A mirror image has the same codes and the opposite `stereo_sign`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from rdkit import Chem
from torch import Tensor
from torch_geometric.data import Batch, Data

from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise_molecules.stereo import centres

ELEMENTS: Final = ("H", "C", "N", "O", "F", "S", "Cl", "Br")
"""Elements of the training set."""
ATOM_SIZES: Final = (len(ELEMENTS), 7, 5, 5, 2, 7, 3)
HOPS: Final = 10
"""Pairs farther apart than this share one code."""

_ELEMENT: Final = {symbol: k for k, symbol in enumerate(ELEMENTS)}
_HYBRIDISATION: Final = {
    Chem.HybridizationType.S: 1,
    Chem.HybridizationType.SP: 2,
    Chem.HybridizationType.SP2: 3,
    Chem.HybridizationType.SP3: 4,
}
_ORDER: Final = {
    Chem.BondType.SINGLE: 1,
    Chem.BondType.DOUBLE: 2,
    Chem.BondType.TRIPLE: 3,
    Chem.BondType.AROMATIC: 4,
}
FAR, TWO_HOPS, THREE_HOPS, CIS, TRANS = 0, 5, 10, 16, 17
"""Kinds of pairs: 0 is more than three hops, 1 to 4 bonds, 5 to 9 two hops, 10 to 17 three."""
PAIR_SIZES: Final = (18, 9, HOPS + 2)
_CIS = (Chem.BondStereo.STEREOCIS, Chem.BondStereo.STEREOZ)
_TRANS = (Chem.BondStereo.STEREOTRANS, Chem.BondStereo.STEREOE)


def graph(mol: Chem.Mol) -> Data:
    """The graph of a molecule with explicit hydrogens; its stereo tags count, not its conformers,
    nor whether its hydrogens were read or added.

    Raises
    ------
    InputError : a single atom, several fragments, or an element that is not in `ELEMENTS`.
    """
    mol = Chem.Mol(mol, quickCopy=True)  # without conformers
    Chem.SetHybridization(mol)  # RDKit leaves that of the hydrogens that it adds unspecified
    n = mol.GetNumAtoms()
    if n < 2:
        raise InputError("a conformer needs two atoms or more", value=n, limit=">= 2")
    hops = Chem.GetDistanceMatrix(mol)
    if hops.max() >= n:
        raise InputError("a molecule is one fragment", value=Chem.MolToSmiles(mol))
    kinds = _kinds(mol, hops)
    rings = np.zeros((n, n), dtype=np.int64)
    for ring in sorted(mol.GetRingInfo().AtomRings(), key=len, reverse=True):
        rings[np.ix_(ring, ring)] = min(len(ring), 8)
    i, j = np.triu_indices(n, k=1)
    codes = [kinds[i, j], rings[i, j], np.minimum(hops[i, j], HOPS + 1).astype(np.int64)]
    tagged = centres(mol)
    return Data(
        atoms=torch.tensor([_atom(atom) for atom in mol.GetAtoms()]),
        pair_index=torch.from_numpy(np.stack([i, j])),
        pair_codes=torch.from_numpy(np.stack(codes, 1)),
        stereo_index=torch.tensor([c.corners for c in tagged], dtype=torch.int64).view(-1, 4).T,
        stereo_sign=torch.tensor([c.sign for c in tagged], dtype=torch.float32),
        num_nodes=n,
    )


def batched(graphs: Sequence[Data]) -> tuple[Layout, dict[str, Tensor]]:
    """The ragged layout of positions (rows, 3) of these graphs, and a network's condition."""
    batch = Batch.from_data_list(list(graphs))
    layout = Layout.ragged(batch.ptr.diff().tolist(), (3,))
    names = ("atoms", "pair_index", "pair_codes", "stereo_index", "stereo_sign")
    return layout, {name: batch[name] for name in names}


def drawable(condition: Mapping[str, Tensor], rows: range) -> Chem.Mol:
    """Elements and bonds of the molecule whose atoms are these rows of a network's condition: a
    Mol to draw, that was not sanitised and has no hydrogens besides."""
    mol = Chem.RWMol()
    for code in condition["atoms"][rows.start : rows.stop, 0].tolist():
        mol.AddAtom(Chem.Atom(ELEMENTS[code]))
    pairs, kinds = condition["pair_index"].T.tolist(), condition["pair_codes"][:, 0].tolist()
    orders = {number: order for order, number in _ORDER.items()}
    for (i, j), kind in zip(pairs, kinds, strict=True):
        if kind in orders and i in rows:
            mol.AddBond(i - rows.start, j - rows.start, orders[kind])
    return mol.GetMol()


def signed_volumes(
    x: Float[Tensor, "rows 3"], index: Int64[Tensor, "4 centres"]
) -> tuple[Float[Tensor, " centres"], Float[Tensor, "4 centres 3"]]:
    """(r1 - r0) . ((r2 - r0) x (r3 - r0)) of each centre, and its gradient by the four points."""
    r = x[index]
    a, b, c = (r[1:] - r[0]).unbind(0)
    by = torch.stack([b.cross(c, dim=-1), c.cross(a, dim=-1), a.cross(b, dim=-1)])
    return (a * by[0]).sum(-1), torch.cat([-by.sum(0, keepdim=True), by])


def _atom(atom: Chem.Atom) -> list[int]:
    if atom.GetSymbol() not in _ELEMENT:
        raise InputError(
            f"atom {atom.GetIdx()} is of an element that is not in the training set",
            value=atom.GetSymbol(),
            limit=", ".join(ELEMENTS),
        )
    ring = next((size for size in range(3, 8) if atom.IsInRingSize(size)), 0)
    codes = [
        _ELEMENT[atom.GetSymbol()],
        min(atom.GetDegree(), 6),
        min(atom.GetTotalNumHs(includeNeighbors=True), 4),
        _HYBRIDISATION.get(atom.GetHybridization(), 0),
        int(atom.GetIsAromatic()),
        ring - 2 if ring else (6 if atom.IsInRing() else 0),
        min(max(atom.GetFormalCharge(), -1), 1) + 1,
    ]
    return codes


def _kinds(mol: Chem.Mol, hops: np.ndarray) -> np.ndarray:
    """(n, n) kind of every pair."""
    kinds = np.full(hops.shape, FAR, dtype=np.int64)
    around = [[other.GetIdx() for other in atom.GetNeighbors()] for atom in mol.GetAtoms()]
    for bond in mol.GetBonds():
        j, k = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        for i in around[j]:
            for m in around[k]:
                if hops[i, m] == 3:
                    kind = max(kinds[i, m], _between(bond, i, m))
                    kinds[i, m] = kinds[m, i] = kind
    for atom, near in zip(mol.GetAtoms(), around, strict=True):
        kind = TWO_HOPS + _HYBRIDISATION.get(atom.GetHybridization(), 0)
        for i in near:
            for m in near:
                if hops[i, m] == 2:
                    kinds[i, m] = max(kinds[i, m], kind)
    for bond in mol.GetBonds():
        j, k = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        kinds[j, k] = kinds[k, j] = _ORDER.get(bond.GetBondType(), 1)
    return kinds


def _between(bond: Chem.Bond, i: int, m: int) -> int:
    """Kind of the pair (i, m) on the two sides of a bond."""
    stereo = bond.GetStereo()
    if stereo in _CIS or stereo in _TRANS:
        first, last = bond.GetStereoAtoms()
        same = stereo in _CIS
        same ^= i != first
        same ^= m != last
        return CIS if same else TRANS
    order = _ORDER.get(bond.GetBondType(), 1)
    if order > 1:
        return THREE_HOPS + order  # 12 to 14
    if bond.IsInRing():
        return THREE_HOPS + 5
    return THREE_HOPS + int(bond.GetIsConjugated())
