"""GFN2-xTB energies and geometries, by tblite (PyPI) or by the program `xtb`.

The method is that of Bannwarth, Ehlert and Grimme (J. Chem. Theory Comput. 2019): the level of the
reference ensembles. Nothing else in this plugin needs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from rdkit import Chem
from scipy.optimize import minimize

from unnoise.errors import InputError, PluginError
from unnoise_molecules.molecules import positions

Engine: TypeAlias = Literal["xtb", "tblite"]
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

HARTREE: Final = 627.5094740631
"""kcal/mol."""
BOHR: Final = 0.529177210903
"""Angstrom."""
GRADIENT: Final = 5e-4
"""Largest component of the gradient, hartree per bohr, at which a geometry is done."""
_MOST_STEPS: Final = 300
_SECONDS: Final = 600


def engine() -> Engine:
    """What computes: the program when it is on PATH, else tblite. PluginError without either."""
    if shutil.which("xtb"):
        return "xtb"
    _tblite()
    return "tblite"


def energies(mol: Chem.Mol) -> Floats:
    """GFN2-xTB energy of each conformer in kcal/mol, as it is. Needs tblite.

    NaN where the electrons do not converge: the geometry is far from that of a molecule. Raises
    InputError without a conformer, PluginError without tblite.
    """
    if mol.GetNumConformers() == 0:
        raise InputError("the molecule has no conformer to compute")
    calculator = _calculator(mol, mol.GetConformers()[0].GetId())
    found = []
    for conformer in mol.GetConformers():
        calculator.update(positions=positions(mol, conformer.GetId()) / BOHR)
        try:
            found.append(_single(calculator, None)["energy"] * HARTREE)
        except InputError:
            found.append(np.nan)
    return np.array(found)


def optimised(
    mol: Chem.Mol, conformer: int = -1, *, by: Engine | None = None, fixed: Sequence[int] = ()
) -> tuple[Floats, float]:
    """The nearest minimum of a conformer: positions (n, 3) in angstrom, energy in kcal/mol. Atoms
    `fixed` do not move; that needs tblite.

    By the program's own optimiser at its level `normal`, or by BFGS on tblite's gradients until the
    largest component is below `GRADIENT`. Raises InputError when it does not get there.
    """
    if not fixed and (by or engine()) == "xtb":
        return _by_program(mol, conformer)
    calculator, result = _calculator(mol, conformer), None

    def value(x: Floats) -> tuple[float, Floats]:
        nonlocal result
        calculator.update(positions=x.reshape(-1, 3))
        result = _single(calculator, result)
        gradient = np.array(result["gradient"])
        gradient[list(fixed)] = 0.0
        return result["energy"], gradient.ravel()

    begin = (positions(mol, conformer) / BOHR).ravel()
    options = {"gtol": GRADIENT, "maxiter": _MOST_STEPS}
    found = minimize(value, begin, jac=True, method="BFGS", options=options)
    worst = float(np.abs(found.jac).max())
    if not worst < 2 * GRADIENT:  # the line search may stop a little early
        raise InputError(
            "the geometry was not optimised", value=f"gradient {worst:.1e}", limit=GRADIENT
        )
    return found.x.reshape(-1, 3) * BOHR, float(found.fun) * HARTREE


def require_tblite() -> None:
    """Raise PluginError unless `energies` can be computed."""
    _tblite()


def _tblite() -> Any:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads cost more than these sizes give
    try:
        from tblite.interface import Calculator
    except ImportError as error:
        raise PluginError(
            "GFN2-xTB needs tblite or the program xtb", fix="pip install 'unnoise-molecules[xtb]'"
        ) from error
    return Calculator


def _calculator(mol: Chem.Mol, conformer: int) -> Any:
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    charge = float(Chem.GetFormalCharge(mol))
    made = _tblite()("GFN2-xTB", numbers, positions(mol, conformer) / BOHR, charge=charge)
    made.set("verbosity", 0)
    return made


def _single(calculator: Any, guess: Any) -> Any:
    from tblite.exceptions import TBLiteRuntimeError

    try:
        return calculator.singlepoint(guess) if guess is not None else calculator.singlepoint()
    except (TBLiteRuntimeError, RuntimeError) as error:
        raise InputError(f"GFN2-xTB has no solution for this geometry: {error}") from error


def _by_program(mol: Chem.Mol, conformer: int) -> tuple[Floats, float]:
    block = Chem.MolToXYZBlock(mol, confId=conformer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.xyz").write_text(block)
        charge = str(Chem.GetFormalCharge(mol))
        words = ["xtb", "in.xyz", "--opt", "normal", "--gfn", "2", "--chrg", charge, "--norestart"]
        one = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            subprocess.run(
                words, cwd=folder, env=one, capture_output=True, check=True, timeout=_SECONDS
            )
            lines = (folder / "xtbopt.xyz").read_text().splitlines()
        except (subprocess.SubprocessError, OSError) as error:
            raise InputError(f"xtb did not optimise the geometry: {error}") from error
    words = lines[1].split()  # " energy: -11.394 gnorm: ..."
    energy = float(words[words.index("energy:") + 1]) * HARTREE
    places = np.array([[float(x) for x in line.split()[1:4]] for line in lines[2:]])
    return places, energy
