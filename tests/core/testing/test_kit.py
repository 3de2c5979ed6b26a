"""The conformance kit: it passes what is right, and catches each planted mistake."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from mutations import MUTATIONS, caught
from planted_denoisers import CONDITION, Network, Told, denoiser, padded
from planted_domains import ROWS, Points
from planted_kernels import TOKENS, VP, Bent
from planted_laws import heavy
from planted_requests import Augmented, Notes, asked, first_is_known
from planted_samplers import Euler
from planted_spaces import Curve, Space

from unnoise.errors import ConfigError
from unnoise.testing import (
    CheckFailed,
    Skip,
    check_denoiser,
    check_domain,
    check_kernel,
    check_sampler,
    check_schedule,
    check_space,
    parametrize_with_checks,
)
from unnoise.testing.kit import checks_of
from unnoise.testing.report import FALSE_ALARM, Check, run_all


@pytest.mark.parametrize(
    ("mistake", "meant", "subject"),
    [row[1:] for row in MUTATIONS],
    ids=[f"{noun}: {mistake}" for noun, mistake, *_ in MUTATIONS],
)
def test_a_planted_mistake_is_caught(mistake, meant, subject):
    result = caught(subject, meant)
    assert result.status == "failed", result
    assert result.detail


def test_without_the_mistake_every_check_passes():
    for report in (
        check_kernel(Bent(VP)),
        check_kernel(Bent(TOKENS)),
        check_space(Space()),
        check_schedule(Curve()),
        check_schedule(Curve((), 10)),
        check_sampler(Euler()),
        check_denoiser(denoiser(Network)),
        check_denoiser(denoiser(Network), layout=padded()),
        check_denoiser(denoiser(Told), condition=CONDITION),
        check_domain(Points(), data=ROWS),
        check_domain(Augmented(), data=ROWS),
        check_domain(Notes(), requests=asked(Notes()).arguments["requests"], holds=first_is_known),
    ):
        assert report.ok
        assert len(report.passed) > 2 * len(report.skipped)


def test_laws_that_the_kit_has_never_met_pass():
    """A Laplace law as the prior of VP is right in itself, and is not where VP ends."""
    report = check_kernel(heavy(), on_fail="report")
    assert [result.check for result in report.failed] == ["time_one_is_the_prior"]


def test_a_planted_mistake_is_in_the_report_of_its_noun():
    kernel = next(row[3] for row in MUTATIONS if row[1].startswith("prior N(0, I)"))
    with pytest.raises(CheckFailed, match=r"time_one_is_the_prior: KL.*allowed: 0.02"):
        check_kernel(kernel)
    report = check_kernel(kernel, on_fail="report")
    assert not report.ok
    assert [result.check for result in report.failed] == ["time_one_is_the_prior"]


def test_an_expected_failure_that_passes_fails():
    kernel = next(row[3] for row in MUTATIONS if row[1].startswith("prior N(0, I)"))
    declared = {"time_one_is_the_prior": "a prior of unit variance is what this test is about"}
    report = check_kernel(kernel, expected_failed_checks=declared)
    assert [result.check for result in report.of("expected")] == ["time_one_is_the_prior"]
    with pytest.raises(CheckFailed, match="it passes, but was declared to fail"):
        check_kernel(VP, expected_failed_checks=declared)


def test_expectations_need_a_check_and_a_reason():
    with pytest.raises(ConfigError, match="did you mean 'bayes'"):
        check_kernel(VP, expected_failed_checks={"bayess": "because"})
    with pytest.raises(ConfigError, match="needs its reason"):
        check_kernel(VP, expected_failed_checks={"bayes": " "})


def test_a_run_that_ran_nothing_fails():
    def skipped():
        raise Skip("nothing here")

    with pytest.raises(CheckFailed, match="nothing ran, which is a failure"):
        run_all("nothing", [Check("empty", "nothing", skipped)], "raise")
    with pytest.raises(CheckFailed, match="0 checks"):
        run_all("nothing", [], "raise")


def test_what_cannot_be_checked_is_an_error():
    with pytest.raises(ConfigError, match="nothing that can be checked"):
        checks_of(3)


def test_false_alarms():
    """At most 1e-6 for a run over everything: the core's has about 1,100 checks, most of them
    exact, and fewer than 10,000 statistics."""
    assert FALSE_ALARM * 10_000 <= 1e-6


CONFORMANCE = """
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.spaces import Euclidean, Tokens
from unnoise.testing import parametrize_with_checks

@parametrize_with_checks([Tokens(3), GaussianKernel(Euclidean(), VPLinear())]{expected})
def test_conformance(check):
    check()
"""


@pytest.mark.parametrize(
    ("expected", "outcomes", "code"),
    [
        ("", "27 passed, 4 skipped", 0),
        (", expected_failed_checks={'bayes': 'a test'}", "1 failed, 26 passed, 4 skipped", 1),
    ],
)
def test_decorator(python, tmp_path, expected, outcomes, code):
    (tmp_path / "test_own.py").write_text(CONFORMANCE.format(expected=expected))
    run = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_own.py"))
    assert outcomes in run.stdout, run.stdout + run.stderr
    assert run.returncode == code
    assert code == 0 or "it passes, but was declared to fail: a test" in run.stdout


def test_the_kit_needs_no_pytest(python):
    code = "import sys, unnoise.testing; assert 'pytest' not in sys.modules"
    assert python("-c", code).returncode == 0


def test_subjects_of_the_decorator():
    with pytest.raises(ConfigError, match="nothing to check"):
        parametrize_with_checks([])
