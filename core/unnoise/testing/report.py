"""Checks and their reports: what ran, what it found, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias, final

from unnoise.errors import ConfigError, nearest

VERSION: Final = 2
"""Of the kit: raised when a check becomes stricter or is added, see the CHANGELOG."""

FALSE_ALARM: Final = 1e-10
"""Probability that one statistic of one check fails by chance. A run over everything that a plugin
provides computes fewer than 10,000 of them, so that the sum over all stays below 1e-6."""

Status: TypeAlias = Literal["passed", "failed", "skipped", "expected"]
OnFail: TypeAlias = Literal["raise", "report"]


class CheckFailed(AssertionError):
    """An object does not do what it declares. The text has the numbers."""


class Skip(Exception):  # it is no error
    """A check does not apply, for this reason."""


@final
@dataclass(frozen=True)
class Result:
    """What one check found.

    Attributes
    ----------
    check : name of the check.
    subject : what was checked.
    status : "passed", "failed", "skipped", or "expected": failed as declared.
    detail : the numbers, the error, or the reason.
    """

    check: str
    subject: str
    status: Status
    detail: str = ""


@final
@dataclass(frozen=True)
class Report:
    """The results of all checks of something."""

    subject: str
    results: tuple[Result, ...]

    def of(self, status: Status) -> tuple[Result, ...]:
        """The results with this status."""
        return tuple(result for result in self.results if result.status == status)

    @property
    def passed(self) -> tuple[Result, ...]:
        return self.of("passed")

    @property
    def failed(self) -> tuple[Result, ...]:
        return self.of("failed")

    @property
    def skipped(self) -> tuple[Result, ...]:
        return self.of("skipped")

    @property
    def ok(self) -> bool:
        """No check failed, and at least one ran."""
        return not self.failed and bool(self.passed)

    @property
    def counts(self) -> str:
        """How many of each, in words."""
        words = [f"{len(self.passed)} passed", f"{len(self.failed)} failed"]
        words.append(f"{len(self.skipped)} skipped")
        if expected := self.of("expected"):
            words.append(f"{len(expected)} failed as declared")
        nothing = "" if self.passed or self.failed else "; nothing ran, which is a failure"
        return f"{len(self.results)} checks: {', '.join(words)}{nothing}"

    def require(self) -> Report:
        """This report, or CheckFailed with all that is wrong."""
        if self.ok:
            return self
        lines = [f"{r.subject}: {r.check}: {r.detail}" for r in self.failed]
        raise CheckFailed("\n".join([f"{self.subject} does not conform; {self.counts}", *lines]))

    def __str__(self) -> str:
        lines = [
            f"{r.status:<8}  {r.subject}  {r.check}  {r.detail}".rstrip() for r in self.results
        ]
        return "\n".join([*lines, self.counts])


@final
@dataclass(frozen=True)
class Check:
    """One check of one subject: `run` returns the numbers, or raises CheckFailed or Skip.
    `reason` says why it is expected to fail, and is empty when it is not."""

    name: str
    subject: str
    run: Callable[[], str | None] = field(repr=False)
    reason: str = ""


def bind(
    checks: Iterable[Callable[[Any], str | None]], case: Any, subject: str
) -> tuple[Check, ...]:
    """Each function of a noun as a check of one case; its name is that of the function."""
    return tuple(Check(f.__name__, subject, partial(f, case)) for f in checks)


def outcome(check: Check) -> Result:
    """Run one check. An expected failure that passes is a failure."""
    try:
        detail = check.run() or ""
    except Skip as skip:
        return Result(check.name, check.subject, "skipped", str(skip))
    except Exception as error:  # whatever an object raises is its failure, not ours
        kind = "" if isinstance(error, CheckFailed) else f"{type(error).__name__}: "
        detail = " ".join(f"{kind}{error}".split())[:500]
        if check.reason:
            return Result(check.name, check.subject, "expected", f"{check.reason} ({detail})")
        return Result(check.name, check.subject, "failed", detail)
    if check.reason:
        detail = f"it passes, but was declared to fail: {check.reason}"
        return Result(check.name, check.subject, "failed", detail)
    return Result(check.name, check.subject, "passed", detail)


def expecting(checks: Iterable[Check], expected: Mapping[str, str] | None) -> tuple[Check, ...]:
    """The checks, those named in `expected` with the reason for which they fail by design.

    Raises ConfigError for a name that no check has, or a reason that says nothing.
    """
    found = tuple(checks)
    names = sorted({check.name for check in found})
    for name, reason in (expected or {}).items():
        if name not in names:
            raise ConfigError(
                "no check has this name",
                value=name,
                limit=", ".join(names),
                fix=nearest(name, names),
            )
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError("an expected failure needs its reason", value=(name, reason))
    return tuple(replace(c, reason=(expected or {}).get(c.name, c.reason)) for c in found)


def run_all(subject: str, checks: Sequence[Check], on_fail: OnFail) -> Report:
    """Run checks one after the other.

    Raises CheckFailed when something failed, or nothing ran, unless `on_fail` is "report".
    """
    report = Report(subject, tuple(map(outcome, checks)))
    return report.require() if on_fail == "raise" else report


def require(condition: bool, text: str) -> None:
    """CheckFailed with `text` unless `condition`."""
    if not condition:
        raise CheckFailed(text)


def within(value: float, limit: float, what: str) -> str:
    """`what` with both numbers; CheckFailed when `value` is above `limit` or NaN."""
    require(value <= limit, f"{what} is {value:.3g}, allowed: {limit:.3g}")
    return f"{what} {value:.2g} <= {limit:.2g}"
