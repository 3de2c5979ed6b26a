"""MMFF94s relaxation of a sample, on request and reported as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers
from rdkit.Chem.PropertyMol import PropertyMol

from unnoise.errors import InputError
from unnoise_molecules.molecules import positions, sample

MOST_STEPS: Final = 2000


def relax(mol: Chem.Mol, *, steps: int = MOST_STEPS, fixed: Sequence[int] = ()) -> PropertyMol:
    """A copy whose only conformer is in the nearest minimum of MMFF94s, in which the atoms `fixed`
    have not moved.

    The properties of `mol` are kept; `relaxed` says MMFF94s (or "MMFF94s, not converged"),
    `mmff_kcal` and `mmff_before_kcal` are the energies after and before.

    Raises InputError when MMFF94s has no parameters for the molecule.
    """
    moved = Chem.Mol(mol)
    field = _field(moved)
    before = field.CalcEnergy()
    for i in fixed:
        field.AddFixedPoint(i)
    more = field.Minimize(maxIts=steps)
    properties = {
        **mol.GetPropsAsDict(includePrivate=True, includeComputed=False, autoConvertStrings=False),
        "relaxed": "MMFF94s, not converged" if more else "MMFF94s",
        "mmff_before_kcal": before,
        "mmff_kcal": field.CalcEnergy(),
    }
    return sample(mol, positions(moved), properties)


def energy(mol: Chem.Mol, conformer: int = -1) -> float:
    """The MMFF94s energy of a conformer in kcal/mol. Raises InputError without parameters."""
    return float(_field(mol, conformer).CalcEnergy())


def parametrised(mol: Chem.Mol) -> bool:
    """Whether MMFF94s knows all atoms of a molecule."""
    return bool(rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol))


def _field(
    mol: Chem.Mol, conformer: int = -1
) -> rdForceFieldHelpers.ForceField.rdForceField.ForceField:
    known = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94s")
    if known is None:
        raise InputError(
            "MMFF94s has no parameters for this molecule",
            value=Chem.MolToSmiles(Chem.RemoveHs(mol)),
            fix="leave relax and energy out",
        )
    return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, known, confId=conformer)
