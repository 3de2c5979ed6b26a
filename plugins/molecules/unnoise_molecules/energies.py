"""Energies of conformers, and the way down to the next minimum, at two levels of theory.

`mmff94s` is the force field of RDKit, milliseconds a conformer; `gfn2` is GFN2-xTB, the level of
the reference ensembles, by tblite or the program xtb (`pip install 'unnoise-molecules[xtb]'`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from rdkit import Chem
from rdkit.Chem.PropertyMol import PropertyMol

from unnoise.errors import InputError
from unnoise_molecules import relax as mmff
from unnoise_molecules import xtb
from unnoise_molecules.molecules import sample, set_property

Level: TypeAlias = Literal["mmff94s", "gfn2"]
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

NAMES: Final[dict[Level, str]] = {"mmff94s": "MMFF94s", "gfn2": "GFN2-xTB"}


def energies(mol: Chem.Mol, level: Level) -> Floats:
    """Energy of each conformer in kcal/mol, as it is; NaN where the electrons do not converge.

    Raises InputError where MMFF94s has no parameters, PluginError without tblite.
    """
    if level == "gfn2":
        return xtb.energies(mol)
    return np.array([mmff.energy(mol, c.GetId()) for c in mol.GetConformers()])


def require(mol: Chem.Mol, level: Level, where: str) -> None:
    """Raise InputError or PluginError unless energies of `mol` can be computed."""
    if level == "gfn2":
        xtb.require_tblite()
    elif not mmff.parametrised(mol):
        raise InputError(
            f"MMFF94s has no parameters for {where}",
            value=mol.GetProp("_Name") if mol.HasProp("_Name") else Chem.MolToSmiles(mol),
            fix="leave relax and energy out, or pass energy='gfn2'",
        )


def with_energy(mol: Chem.Mol, level: Level) -> PropertyMol:
    """A copy of a sample with the properties `energy_by` and `energy_kcal`; the latter is missing
    where the electrons do not converge. Errors: see `energies`."""
    found = float(energies(mol, level)[0])
    made = PropertyMol(mol)
    made.SetProp("energy_by", NAMES[level])
    if np.isfinite(found):
        made.SetDoubleProp("energy_kcal", found)
    return made


def relaxed(mol: Chem.Mol, level: Level, fixed: Sequence[int] = ()) -> PropertyMol:
    """A copy of a sample in the nearest minimum of this level, in which the atoms `fixed` have not
    moved.

    `relaxed` says the level (and "not converged" where the minimum was not reached: of GFN2-xTB,
    the geometry is then as it was), `mmff_kcal` and `mmff_before_kcal`, or `gfn2_kcal` and
    `gfn2_before_kcal`, the energies after and before. Errors: see `energies`.
    """
    if level == "mmff94s":
        return mmff.relax(mol, fixed=fixed)
    before = float(xtb.energies(mol)[0])
    properties = mol.GetPropsAsDict(
        includePrivate=True, includeComputed=False, autoConvertStrings=False
    )
    try:
        places, after = xtb.optimised(mol, fixed=fixed)
    except InputError:
        made = PropertyMol(mol)
        made.SetProp("relaxed", "GFN2-xTB, not converged")
        return made
    made = sample(mol, places, {**properties, "relaxed": "GFN2-xTB", "gfn2_kcal": after})
    if np.isfinite(before):
        set_property(made, "gfn2_before_kcal", before)
    return made
