"""Boltzmann weights of conformers, and how many conformers they are worth.

With beta = 1 / (k_B T) and energies E_i,

    w_i = exp(-beta E_i) / sum_j exp(-beta E_j)                    minima, each once: `boltzmann`
    w_i = exp(-beta E_i) / q(x_i) / sum_j exp(-beta E_j) / q(x_j)  draws x_i of q: `reweighted`

The first is the law over minima that have one depth and one width: duplicates are removed before,
and vibrations are left out, as is usual. The second is importance sampling with weights that are
divided by their sum: a mean over draws becomes that of the canonical ensemble, exactly as their
number grows, whatever q is, so long as q is positive where exp(-beta E) is. Where q misses much of
it, few draws carry all the weight. The effective sample size (Kish 1965)

    n_eff = (sum_i w_i)^2 / sum_i w_i^2

says so: n for equal weights, 1 where one draw has all. A difference of free energy of two states is

    F_a - F_b = -k_B T ln(sum_{i in a} w_i / sum_{i in b} w_i).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from unnoise.errors import InputError, NonFiniteError

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

GAS: Final = 0.001987204259
"""k_B in kcal/mol/K."""
ROOM: Final = 298.15
"""K."""


def boltzmann(energies: ArrayLike, temperature: float = ROOM) -> Floats:
    """(n,) weights of minima with these energies (n,) in kcal/mol at a temperature in K; sum 1.

    Raises InputError for no energy or a temperature that is not positive, NonFiniteError.
    """
    return reweighted(energies, np.zeros(np.shape(energies)), temperature)


def reweighted(energies: ArrayLike, log_densities: ArrayLike, temperature: float = ROOM) -> Floats:
    """(n,) weights of draws x_i with these energies in kcal/mol; `log_densities` are ln q(x_i), in
    nats, of the law that they were drawn from, up to a constant. Errors: see `boltzmann`."""
    energy = np.asarray(energies, dtype=np.float64)
    density = np.asarray(log_densities, dtype=np.float64)
    if energy.ndim != 1 or not energy.size or energy.shape != density.shape:
        raise InputError(
            "weights are of one energy or more, each with its log density",
            value=(energy.shape, density.shape),
        )
    if not temperature > 0:
        raise InputError("a temperature in kelvin is positive", value=temperature, limit="> 0")
    if not (np.isfinite(energy).all() and np.isfinite(density).all()):
        raise NonFiniteError("an energy or a log density is not finite")
    log = -energy / (GAS * temperature) - density
    weight = np.exp(log - log.max())
    return np.asarray(weight / weight.sum())


def effective(weights: ArrayLike) -> float:
    """The effective sample size of weights (n,), from 1 to n."""
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or not w.size or (w < 0).any() or not w.sum() > 0:
        raise InputError("weights are not negative, and not all zero", value=w.tolist()[:8])
    return float(w.sum() ** 2 / (w**2).sum())


def free_energy(weights: ArrayLike, first: ArrayLike, temperature: float = ROOM) -> float:
    """F of the draws where `first` (n,) is true above that of the others, kcal/mol.

    Raises InputError when all are on one side.
    """
    w, inside = np.asarray(weights, dtype=np.float64), np.asarray(first, dtype=bool)
    parts = w[inside].sum(), w[~inside].sum()
    if not min(parts) > 0:
        raise InputError("all weight is on one side", value=parts)
    return float(-GAS * temperature * np.log(parts[0] / parts[1]))
