"""The split of molecules into training, validation and held-out parts, by scaffold.

Conformers of one molecule, and molecules of one scaffold, are never on both sides. Which side a
scaffold falls on depends on nothing but its SMILES, so it does not change as data are added.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, TypeAlias

from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

Part: TypeAlias = Literal["train", "validation", "held out"]

HELD_OUT: Final = 0.15
"""Share of the scaffolds that no training and no choice ever sees."""
VALIDATION: Final = 0.02
"""Share of the scaffolds on which choices are made."""


def scaffold(mol: Chem.Mol) -> str:
    """The Bemis-Murcko scaffold as canonical SMILES without stereo; an acyclic molecule is its
    own."""
    flat = Chem.RemoveHs(mol)
    Chem.RemoveStereochemistry(flat)
    core = MurckoScaffold.GetScaffoldForMol(flat)
    return str(Chem.MolToSmiles(core if core.GetNumAtoms() else flat))


def part(mol: Chem.Mol) -> Part:
    """The part that a molecule belongs to."""
    digest = hashlib.sha256(b"unnoise-molecules" + scaffold(mol).encode()).digest()
    u = int.from_bytes(digest[:8], "big") / 2**64
    if u < HELD_OUT:
        return "held out"
    return "validation" if u < HELD_OUT + VALIDATION else "train"
