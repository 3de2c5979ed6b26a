"""The functions that check one thing each, and the decorator that makes tests of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, final

from unnoise.codecs import Codec
from unnoise.denoise import Condition, Denoiser
from unnoise.discovery import registry
from unnoise.discovery.domains import domain_named
from unnoise.domain import Domain
from unnoise.errors import ConfigError, PluginError
from unnoise.kernels import Schedule, TransitionKernel
from unnoise.model import Model
from unnoise.samplers import Sampler
from unnoise.spaces import DataSpace, Euclidean, Layout, State
from unnoise.specs import Kind, PluginInfo
from unnoise.testing import (
    checks_codec,
    checks_denoiser,
    checks_domain,
    checks_kernel,
    checks_plugin,
    checks_sampler,
    checks_schedule,
    checks_space,
)
from unnoise.testing.checks_denoiser import DenoiserCase
from unnoise.testing.checks_plugin import PluginCase
from unnoise.testing.checks_schedule import ScheduleCase
from unnoise.testing.checks_space import SpaceCase
from unnoise.testing.codec_case import CodecCase
from unnoise.testing.domain_case import DomainCase
from unnoise.testing.examples import Example
from unnoise.testing.kernel_case import KernelCase
from unnoise.testing.report import (
    Check,
    CheckFailed,
    OnFail,
    Report,
    bind,
    expecting,
    outcome,
    run_all,
)
from unnoise.testing.sampler_case import SamplerCase

Expected: TypeAlias = Mapping[str, str]
"""Names of checks that fail by design, with the reason of each."""


def check_space(
    space: DataSpace,
    *,
    layout: Layout | None = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check a space on a small batch: `layout`, or a dense one that fits."""
    example = Example(space, {"layout": layout, "seed": seed})
    return _report(example, expected_failed_checks, on_fail)


def check_kernel(
    kernel: TransitionKernel,
    *,
    layout: Layout | None = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check the laws that follow from a kernel's four lines, on a small dense batch."""
    example = Example(kernel, {"layout": layout, "seed": seed})
    return _report(example, expected_failed_checks, on_fail)


def check_schedule(
    schedule: Schedule,
    *,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check alpha, sigma and their derivatives on [0, 1]."""
    return _report(Example(schedule), expected_failed_checks, on_fail)


def check_sampler(
    sampler: Sampler,
    *,
    denoiser: Denoiser | None = None,
    layout: Layout | None = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check a sampler on exact denoisers; one of a kernel that the kit does not know, on
    `denoiser`, with states as in `layout` (5 samples or more)."""
    example = Example(sampler, {"denoiser": denoiser, "layout": layout, "seed": seed})
    return _report(example, expected_failed_checks, on_fail)


def check_denoiser(
    denoiser: Denoiser,
    *,
    layout: Layout | None = None,
    condition: Condition = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check a denoiser on noisy states of random data, of `layout` and with `condition`."""
    example = Example(denoiser, {"layout": layout, "condition": condition, "seed": seed})
    return _report(example, expected_failed_checks, on_fail)


def check_codec(
    codec: Codec,
    *,
    layout: Layout | None = None,
    condition: Condition = None,
    data: State | None = None,
    space: DataSpace | None = None,
    seed: int = 0,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check a codec on `data` of `layout` and with `condition`, by default normal numbers of shape
    (3, 4, 3); `space` is the data's, Euclidean by default."""
    told = {"layout": layout, "condition": condition, "data": data, "space": space, "seed": seed}
    return _report(Example(codec, told), expected_failed_checks, on_fail)


def check_domain(
    domain: str | Domain,
    *,
    model: Model | None = None,
    data: Any = None,
    requests: Sequence[Mapping[str, Any]] = (),
    holds: Callable[[Mapping[str, Any], int, Any], object] | None = None,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check a domain, by its name or itself, and the denoiser of its model.

    Parameters
    ----------
    model : by default the one that ships with it, else fresh weights of a default configuration.
    data : anything that its `dataset` takes; without it training is not checked.
    requests : arguments of `generate`, beside the domain's `demo`: one with several inputs, where
        it takes such, and one with known data.
    holds : holds(request, input, sample), whether a sample of one of `requests` is what was asked
        for: that its prompt begins it.
    """
    told = {"model": model, "data": data, "requests": requests, "holds": holds}
    example = Example(domain, told)
    return _report(example, expected_failed_checks, on_fail)


def check_plugin(
    name: str,
    *,
    data: Any = None,
    expected_failed_checks: Expected | None = None,
    on_fail: OnFail = "raise",
) -> Report:
    """Check an installed plugin, by its name or its distribution's: the distribution, and all that
    it provides."""
    checks = expecting(plugin_checks(name, data), expected_failed_checks)
    return run_all(name, checks, on_fail)


def plugin_checks(name: str, data: Any = None) -> list[Check]:
    """The checks of a plugin and of its examples."""
    checks: list[Check] = []
    subjects = Counter[str]()
    for info in registry.named(name):
        checks += bind(checks_plugin.CHECKS, PluginCase(info), info.name)
        for what, example in _examples(info, data):
            found = checks_of(example, what)
            subjects[found[0].subject] += 1
            number = subjects[found[0].subject]
            again = f" ({number})" if number > 1 else ""
            checks += [replace(check, subject=check.subject + again) for check in found]
    return checks


def checks_of(subject: object, name: str = "") -> tuple[Check, ...]:
    """The checks of anything that can be checked, with the failures that an Example declares.

    Raises ConfigError for what cannot be checked, and for expectations of checks that do not exist.
    """
    example = subject if isinstance(subject, Example) else Example(subject)
    thing, given = example.subject, example.arguments
    seed = given.get("seed", 0)
    called = " ".join(
        filter(None, [name, "" if isinstance(thing, (str, _Broken)) else _name(thing)])
    )
    checks: tuple[Check, ...]
    if isinstance(thing, DataSpace):
        checks = bind(checks_space.CHECKS, SpaceCase(thing, given.get("layout"), seed), called)
    elif isinstance(thing, TransitionKernel):
        checks = bind(checks_kernel.CHECKS, KernelCase(thing, given.get("layout"), seed), called)
    elif isinstance(thing, Schedule):
        checks = bind(checks_schedule.CHECKS, ScheduleCase(thing), called)
    elif isinstance(thing, Sampler):
        own = SamplerCase(thing, given.get("denoiser"), given.get("layout"), seed)
        checks = bind(checks_sampler.CHECKS, own, called)
    elif isinstance(thing, Denoiser):
        told = DenoiserCase(thing, given.get("layout"), given.get("condition"), seed)
        checks = bind(checks_denoiser.CHECKS, told, called)
    elif isinstance(thing, Codec):
        layout, condition, space = (given.get(n) for n in ("layout", "condition", "space"))
        coded = CodecCase(thing, layout, condition, given.get("data"), space or Euclidean(), seed)
        checks = bind(checks_codec.CHECKS, coded, called)
    elif isinstance(thing, (Domain, str)):
        checks = _domain_checks(thing, given, called)
    elif isinstance(thing, _Broken):
        checks = (Check("can_be_made", name, thing.complain),)
    else:
        raise ConfigError(
            "nothing that can be checked",
            value=type(thing).__name__,
            limit="a space, kernel, schedule, sampler, denoiser, codec or domain, or an Example",
        )
    return expecting(checks, example.expected_failed_checks)


def _domain_checks(
    domain: Domain | str, given: Mapping[str, Any], called: str
) -> tuple[Check, ...]:
    kind = domain_named(domain) if isinstance(domain, str) else domain
    requests, holds = given.get("requests") or (), given.get("holds")
    case = DomainCase(kind, given.get("model"), given.get("data"), requests, holds)
    checks = bind(checks_domain.CHECKS, case, called or kind.name)

    def late(function: Callable[[DenoiserCase], str | None]) -> Callable[[DomainCase], str | None]:
        def run(case: DomainCase) -> str | None:
            layout, condition = case.first_call
            return function(DenoiserCase(case.model.denoiser, layout, condition, 0))

        run.__name__ = f"denoiser_{function.__name__}"
        return run

    return checks + bind(map(late, checks_denoiser.CHECKS), case, called or kind.name)


@final
@dataclass(frozen=True)
class _Broken:
    """What could not be made to be checked."""

    reason: str

    def complain(self) -> None:
        raise CheckFailed(self.reason)


def _examples(info: PluginInfo, data: Any) -> Iterator[tuple[str, object]]:
    """All that a plugin provides, as things to check, each with its name in listings."""
    for kind, names in info.provides.items():
        for name in names:
            if kind == "domains" and not registry.find(kind, name).example:
                yield "", Example(name, {"data": data})
            elif kind == "domains":
                for example in _made(kind, name):
                    yield "", _with_data(example, data)
            else:
                for example in _made(kind, name):
                    yield f"{kind.removesuffix('s')} {name}:", example


def _with_data(example: object, data: Any) -> object:
    """An example of a domain, to be trained on `data` where some are given."""
    if isinstance(example, _Broken) or data is None:
        return example
    found = example if isinstance(example, Example) else Example(example)
    return replace(found, arguments={**found.arguments, "data": data})


def _made(kind: Kind, name: str) -> list[object]:
    spec = registry.find(kind, name)
    try:
        if spec.example:
            found: Any = registry.resolve(replace(spec, target=spec.example))()  # type: ignore[operator]
            return list(found) or [_Broken(f"{spec.example} returns no example")]
        made: Any = registry.resolve(spec)
        return [made()]
    except TypeError as error:
        fix = f"give its spec an `example`: {error}"
        return [_Broken(f"{spec.target} cannot be made without arguments; {fix}")]
    except PluginError as error:
        return [_Broken(str(error))]


def _report(example: Example, expected: Expected | None, on_fail: OnFail) -> Report:
    checks = expecting(checks_of(example), expected)
    return run_all(checks[0].subject, checks, on_fail)


def _name(subject: object) -> str:
    if isinstance(subject, Domain):
        return subject.name
    text = " ".join(repr(subject).split())
    return text if len(text) <= 90 else f"{text[:87]}..."


def parametrize_with_checks(
    subjects: Iterable[object], *, expected_failed_checks: Expected | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """A pytest decorator: the test is run once for each check of each subject.

        @parametrize_with_checks([MyKernel(), "weather"])
        def test_conformance(check):
            check()

    Parameters
    ----------
    subjects : spaces, kernels, schedules, samplers, denoisers, codecs, domains, `Example`s, or the
        names of installed domains.
    expected_failed_checks : names of checks that fail by design, with the reason of each. One that
        passes fails the test.
    """
    import pytest

    found = [check for subject in subjects for check in checks_of(subject)]
    if not found:
        raise ConfigError("there is nothing to check")
    rows = [
        pytest.param(partial(_test, check), id=f"{check.subject}-{check.name}")
        for check in expecting(found, expected_failed_checks)
    ]
    return pytest.mark.parametrize("check", rows)


def _test(check: Check) -> None:
    """Run a check in the way of pytest."""
    import pytest

    result = outcome(check)
    if result.status == "skipped":
        pytest.skip(result.detail)
    if result.status == "expected":
        pytest.xfail(result.detail)
    if result.status == "failed":
        raise CheckFailed(f"{result.subject}: {result.check}: {result.detail}")
