"""A molecule with its reference conformers."""

from __future__ import annotations

from dataclasses import dataclass

from rdkit import Chem
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A molecule with explicit hydrogens and all its reference conformers, (k, n, 3) angstrom."""

    mol: Chem.Mol
    positions: Tensor

    @property
    def name(self) -> str:
        return str(self.mol.GetProp("_Name"))
