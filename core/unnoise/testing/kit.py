"""The functions that check one thing each, and the decorator that makes tests of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError
from unnoise.kernels import Schedule, TransitionKernel
from unnoise.samplers import Sampler
from unnoise.spaces import DataSpace, Layout
from unnoise.testing import checks_kernel, checks_schedule, checks_space
from unnoise.testing.checks_kernel import KernelCase
from unnoise.testing.checks_schedule import ScheduleCase
from unnoise.testing.checks_space import SpaceCase
from unnoise.testing.examples import Example
from unnoise.testing.report import (
    Check,
    CheckFailed,
    OnFail,
    Report,
    bind,
    known_expectations,
    outcome,
    run_all,
)

Expected = Mapping[str, str]


def check_space(
    space: DataSpace,
    *,
    layout: Layout | None = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check a space on a small batch: `layout`, or a dense one that fits."""
    checks = space_checks(space, layout=layout, seed=seed)
    return run_all(
        _name(space), checks, expected_failed_checks=expected_failed_checks, on_fail=on_fail
    )


def check_kernel(
    kernel: TransitionKernel,
    *,
    layout: Layout | None = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check the laws that follow from a kernel's four lines, on a small dense batch."""
    checks = kernel_checks(kernel, layout=layout, seed=seed)
    return run_all(
        _name(kernel), checks, expected_failed_checks=expected_failed_checks, on_fail=on_fail
    )


def check_schedule(
    schedule: Schedule,
    *,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check alpha, sigma and their derivatives on [0, 1]."""
    return run_all(
        _name(schedule),
        schedule_checks(schedule),
        expected_failed_checks=expected_failed_checks,
        on_fail=on_fail,
    )


def space_checks(space: DataSpace, **arguments: Any) -> tuple[Check, ...]:
    case = SpaceCase(space, arguments.get("layout"), arguments.get("seed", 0))
    return bind(checks_space.CHECKS, case, _name(space))


def kernel_checks(kernel: TransitionKernel, **arguments: Any) -> tuple[Check, ...]:
    case = KernelCase(kernel, arguments.get("layout"), arguments.get("seed", 0))
    return bind(checks_kernel.CHECKS, case, _name(kernel))


def schedule_checks(schedule: Schedule) -> tuple[Check, ...]:
    return bind(checks_schedule.CHECKS, ScheduleCase(schedule), _name(schedule))


def _name(subject: object) -> str:
    text = repr(subject)
    return text if len(text) <= 60 else type(subject).__name__


CHECKABLE = (DataSpace, TransitionKernel, Schedule, Sampler, Denoiser)


def checks_of(subject: object) -> tuple[tuple[Check, ...], Expected]:
    """The checks of anything that can be checked, and the failures that it declares."""
    example = subject if isinstance(subject, Example) else Example(subject)
    thing, arguments = example.subject, example.arguments
    if isinstance(thing, DataSpace):
        return space_checks(thing, **arguments), example.expected_failed_checks
    if isinstance(thing, TransitionKernel):
        return kernel_checks(thing, **arguments), example.expected_failed_checks
    if isinstance(thing, Schedule):
        return schedule_checks(thing), example.expected_failed_checks
    raise ConfigError(
        "nothing that can be checked",
        value=type(thing).__name__,
        limit="a space, kernel, schedule, sampler, denoiser, domain or Example",
    )


def parametrize_with_checks(
    subjects: Iterable[object], *, expected_failed_checks: Expected | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """A pytest decorator: the test is run once for each check of each subject.

        @parametrize_with_checks([MyKernel(), "weather"])
        def test_conformance(check):
            check()

    Parameters
    ----------
    subjects : spaces, kernels, schedules, samplers, denoisers, domains, `Example`s, or the names
        of installed domains.
    expected_failed_checks : names of checks that fail by design, with the reason of each. One that
        passes fails the test.
    """
    import pytest

    rows, found = [], []
    given = dict(expected_failed_checks or {})
    for subject in subjects:
        checks, declared = checks_of(subject)
        found += checks
        expected = {**declared, **given}
        rows += [
            pytest.param(_Run(check, expected.get(check.name)), id=f"{check.subject}-{check.name}")
            for check in checks
        ]
    known_expectations(given, found)
    if not rows:
        raise ConfigError("there is nothing to check", value=list(subjects))
    return pytest.mark.parametrize("check", rows)


@final
@dataclass(frozen=True)
class _Run:
    """What a test calls."""

    check: Check
    reason: str | None

    def __call__(self) -> None:
        import pytest

        expected = {} if self.reason is None else {self.check.name: self.reason}
        result = outcome(self.check, expected)
        if result.status == "skipped":
            pytest.skip(result.detail)
        if result.status == "expected":
            pytest.xfail(result.detail)
        if result.status == "failed":
            raise CheckFailed(f"{result.subject}: {result.check}: {result.detail}")
