"""The conformance kit, and exact denoisers: what a space, kernel, schedule, sampler, denoiser,
domain or plugin of your own is tested against. README.md beside this file is its manual."""

from unnoise.testing.exact import all_states, exact_bound, expectation
from unnoise.testing.examples import Example
from unnoise.testing.finite import FiniteOracle
from unnoise.testing.kit import (
    check_codec,
    check_denoiser,
    check_domain,
    check_kernel,
    check_plugin,
    check_sampler,
    check_schedule,
    check_space,
    parametrize_with_checks,
)
from unnoise.testing.oracles import (
    GaussianOracle,
    MixtureOracle,
    PmfOracle,
    PointEstimate,
)
from unnoise.testing.report import VERSION, CheckFailed, Report, Result, Skip

__all__ = [
    "VERSION",
    "CheckFailed",
    "Example",
    "FiniteOracle",
    "GaussianOracle",
    "MixtureOracle",
    "PmfOracle",
    "PointEstimate",
    "Report",
    "Result",
    "Skip",
    "all_states",
    "check_codec",
    "check_denoiser",
    "check_domain",
    "check_kernel",
    "check_plugin",
    "check_sampler",
    "check_schedule",
    "check_space",
    "exact_bound",
    "expectation",
    "parametrize_with_checks",
]
