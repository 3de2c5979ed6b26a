"""What a `Schedule` is checked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from unnoise.kernels import Schedule
from unnoise.testing.report import CheckFailed, Skip, require, within

_POINTS = 41
_FEW = 4  # numbers that may be round by themselves
_STEP = 1e-6  # of finite differences


@final
@dataclass(frozen=True, eq=False)
class ScheduleCase:
    """A schedule to check."""

    schedule: Schedule

    @property
    def times(self) -> Tensor:
        """Times in [0, 1], its own where it has steps."""
        n = self.schedule.steps
        if n is None:
            return torch.linspace(0, 1, _POINTS, dtype=torch.float64)
        numbers = torch.linspace(0, n, min(n + 1, 1001), dtype=torch.float64).round()
        return numbers / n


def clean_at_zero(case: ScheduleCase) -> str | None:
    """alpha(0) = 1 and sigma(0) = 0 exactly: time 0 is the data."""
    alpha, sigma = _float(case, "alpha", 0.0), _float(case, "sigma", 0.0)
    require(alpha == 1 and sigma == 0, f"alpha(0) = {alpha!r}, sigma(0) = {sigma!r}, not 1 and 0")
    return None


def finite_and_not_negative(case: ScheduleCase) -> str | None:
    """alpha and sigma are finite and >= 0 on [0, 1], and sigma > 0 after 0."""
    for name in ("alpha", "sigma"):
        values = _many(case, name)
        require(bool(torch.isfinite(values).all()), f"{name} is not finite on [0, 1]")
        require(bool((values >= 0).all()), f"{name} is {float(values.min()):.3g} somewhere")
    require(bool((_many(case, "sigma")[1:] > 0).all()), "sigma is 0 after time 0")
    return None


def noise_grows(case: ScheduleCase) -> str | None:
    """alpha / sigma falls strictly, from step to step where there are steps."""
    times = case.times[1:]  # at 0 it is infinite
    ratio = (_many(case, "alpha") / _many(case, "sigma"))[1:]
    for k in (ratio.diff() >= 0).nonzero().flatten().tolist():
        a, b = float(times[k]), float(times[k + 1])
        levels = f"{float(ratio[k]):.6g}, then {float(ratio[k + 1]):.6g}"
        raise CheckFailed(f"alpha / sigma does not fall from t = {a:.6g} to {b:.6g}: {levels}")
    return None


def floats_are_tensors(case: ScheduleCase) -> str:
    """A float gives a float, a float64 tensor one of its shape, and both the same number."""
    worst = 0.0
    for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
        function = getattr(case.schedule, name)
        times = case.times[1:]
        many = function(times)
        require(isinstance(many, Tensor), f"{name} of a tensor is a {type(many).__name__}")
        require(many.dtype == torch.float64, f"{name} of a float64 tensor is {many.dtype}")
        require(many.shape == times.shape, f"{name} has shape {tuple(many.shape)}")
        single = [function(float(t)) for t in times]
        require(
            all(isinstance(v, float) for v in single),
            f"{name} of a float is a {type(single[0]).__name__}",
        )
        difference = (many.detach() - torch.tensor(single, dtype=many.dtype)).abs() / (
            1 + many.detach().abs()
        )
        worst = max(worst, float(difference.max()))
    return within(worst, 1e-9, "difference of float and tensor, relative")


def derivatives(case: ScheduleCase) -> str:
    """d_alpha and d_sigma are the derivatives, by central differences between the steps."""
    n = case.schedule.steps
    inner = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    if n is not None:  # a table has corners at its own times
        inner = (torch.floor(inner * n) + 0.37) / n
    worst = 0.0
    h = _STEP if n is None else min(_STEP, 0.01 / n)
    for name in ("alpha", "sigma"):
        function = getattr(case.schedule, name)
        slope = (function(inner + h) - function(inner - h)).detach() / (2 * h)
        own = getattr(case.schedule, f"d_{name}")(inner).detach()
        error = (slope - own).abs() / (1e-2 + own.abs())
        worst = max(worst, float(error.max()))
    return within(worst, 1e-3, "difference to finite differences, relative")


def log_signal_to_noise_ratio(case: ScheduleCase) -> str:
    """log_snr = log(alpha^2 / sigma^2)."""
    times = case.times[1:-1] if len(case.times) > 2 else case.times[1:]
    own = torch.as_tensor(case.schedule.log_snr(times)).detach()
    alpha, sigma = (torch.as_tensor(f(times)).detach() for f in _levels(case))
    exact = 2 * (alpha.log() - sigma.log())
    return within(float((own - exact).abs().max()), 1e-6, "difference to log(alpha^2 / sigma^2)")


def in_double_precision(case: ScheduleCase) -> str:
    """The numbers are float64 throughout, not a float32 table read out: near t = 0, 1 - alpha is
    smaller than float32 can say."""
    for name in ("alpha", "sigma"):
        values = _many(case, name)[1:-1].double()
        several = len(torch.unique(values)) > _FEW
        coarse = bool((values == values.float().double()).all())
        require(not (several and coarse), f"every value of {name} is a float32 number")
    return "float64"


def claims_hold(case: ScheduleCase) -> str:
    """A schedule whose name says VP keeps alpha^2 + sigma^2 = 1, one that says VE keeps alpha = 1,
    and one that says SubVP has less variance than VP."""
    name = type(case.schedule).__name__
    alpha, sigma = _many(case, "alpha").double(), _many(case, "sigma").double()
    if re.search("sub-?_?VP", name, re.IGNORECASE):
        excess = float((alpha**2 + sigma**2 - 1).max())
        return within(excess, 1e-9, "alpha^2 + sigma^2 - 1 of a SubVP")
    if re.search("VP(?![a-z])", name) or re.search("variance_?preserving", name, re.IGNORECASE):
        error = float((alpha**2 + sigma**2 - 1).abs().max())
        return within(error, 1e-9, "|alpha^2 + sigma^2 - 1| of a VP")
    if re.search("VE(?![a-z])", name) or re.search("variance_?exploding", name, re.IGNORECASE):
        return within(float((alpha - 1).abs().max()), 1e-9, "|alpha - 1| of a VE")
    raise Skip("its name makes no claim")


def levels_do_not_rise_and_fall(case: ScheduleCase) -> str:
    """alpha does not rise, so that nothing of the data comes back: times in order have levels in
    order, in a tensor of any order and shape, and by themselves."""
    alpha, times = _many(case, "alpha"), case.times
    rise = float(alpha.diff().max())
    mixed = torch.as_tensor(case.schedule.sigma(times.flip(0))).detach().flip(0)
    error = float((mixed - _many(case, "sigma")).abs().max())
    require(error <= 1e-12, f"sigma of times in another order differs by {error:.3g}")
    return within(rise, 1e-9, "rise of alpha between two times")


def steps_are_a_number(case: ScheduleCase) -> str:
    """`steps` is None or T >= 1."""
    steps = case.schedule.steps
    good = steps is None or (isinstance(steps, int) and steps >= 1)
    require(good, f"steps is {steps!r}, not None or a number >= 1")
    return f"steps {steps}"


CHECKS: Final[tuple[Callable[[ScheduleCase], str | None], ...]] = (
    clean_at_zero,
    finite_and_not_negative,
    noise_grows,
    floats_are_tensors,
    derivatives,
    log_signal_to_noise_ratio,
    in_double_precision,
    claims_hold,
    levels_do_not_rise_and_fall,
    steps_are_a_number,
)


def _levels(case: ScheduleCase) -> tuple[Callable[..., object], Callable[..., object]]:
    return case.schedule.alpha, case.schedule.sigma


def _many(case: ScheduleCase, name: str) -> Tensor:
    return torch.as_tensor(getattr(case.schedule, name)(case.times)).detach()


def _float(case: ScheduleCase, name: str, t: float) -> float:
    value = float(getattr(case.schedule, name)(t))
    require(math.isfinite(value), f"{name}({t}) is {value}")
    return value
