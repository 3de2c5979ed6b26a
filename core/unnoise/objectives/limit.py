"""The variational bound of infinitely many steps, for every kernel that has one."""

from __future__ import annotations

from unnoise.kernels import CategoricalKernel
from unnoise.objectives.bound import Bound
from unnoise.objectives.categorical import continuous_bound
from unnoise.objectives.data_types import Reading
from unnoise.objectives.sde_bound import sde_bound
from unnoise.samplers import Diffusion
from unnoise.spaces import State


def limit_bound(
    run: Diffusion,
    x0: State,
    *,
    evaluations: int | None = None,
    data: Reading | None = None,
) -> Bound:
    """`continuous_bound` of tokens, `sde_bound` of Gaussian kernels; 100 evaluations by default.

    Raises
    ------
    InputError, ConfigError : a kernel without a continuous clock, or without such a bound.
    """
    n = 100 if evaluations is None else evaluations
    if isinstance(run.kernel, CategoricalKernel):
        return continuous_bound(run, x0, evaluations=n)
    return sde_bound(run, x0, evaluations=n, data=data)
