"""Reports of robustness: what they count, what they refuse, and how they go on."""

from __future__ import annotations

import json

import pytest
import torch
from scipy.stats import binom
from torch import nn

from unnoise.errors import ConfigError, InputError
from unnoise_purify.attacks import L2, PGD, Linf
from unnoise_purify.attacks.base import Trace
from unnoise_purify.check import check_defense, check_report
from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.digits import digits
from unnoise_purify.gradients import Full
from unnoise_purify.purifier import Purifier
from unnoise_purify.report import Report, Row
from unnoise_purify.robustness import evaluate_robustness
from unnoise_purify.scoring import OneShot, Repeated
from unnoise_purify.statistics import Share, lower

TOLD = {
    "norm": "l_inf",
    "eps": 0.1,
    "gradients": ["bpda"],
    "steps": 2,
    "eot": 1,
    "scoring": Repeated(3),
}


@pytest.fixture(scope="module")
def defence(digits_model):
    return PurifiedClassifier(Purifier(digits_model, 0.3, steps=1), digits())


def test_a_report_is_complete_and_repeats(defence, pictures, tmp_path):
    x, y = pictures
    record = tmp_path / "record.jsonl"
    asked = {**TOLD, "batch_size": 3, "seed": 1, "record": record}
    report = evaluate_robustness(defence, x, y, **asked)
    names = [row.name for row in report.attacks]
    assert names[0] == "random noise"
    assert names[1].startswith("transfer")
    assert "identity (BPDA)" in names[2]
    assert report.clean.once.total == 4
    assert report.robust.once.right == min(row.once.right for row in report.attacks)
    found = report.json()
    assert found["robust_accuracy"]["attack"] in names
    assert found["robust_accuracy_repeated"]["control"] == report.clean.always.json()
    assert all(row.always.right <= row.once.right for row in (report.clean, *report.attacks))
    assert report.robust.name in report.text()
    lines = record.read_text().splitlines()
    assert len(lines) == 1 + 2 * 4
    # cut off in the middle of a line, as a killed run leaves it: it goes on, and finds the same
    record.write_text("\n".join(lines[:4]) + "\n" + lines[4][:20])
    again = evaluate_robustness(defence, x, y, **asked)
    assert [r.once for r in again.attacks] == [r.once for r in report.attacks]
    assert [r.trace for r in again.attacks] == [r.trace for r in report.attacks]
    keys = {json.loads(line).get("key") for line in record.read_text().splitlines()}
    assert keys == {json.loads(line).get("key") for line in lines}
    with pytest.raises(ConfigError, match="something else"):
        evaluate_robustness(defence, x, y, **{**asked, "eps": 0.2})


def test_robust_accuracy_says_what_against(defence, pictures):
    x, y = pictures
    for name in TOLD:
        with pytest.raises(InputError, match=name):
            evaluate_robustness(defence, x, y, **{**TOLD, name: None})
    with pytest.raises(InputError, match="no norm, eps, gradients, steps, eot, scoring"):
        evaluate_robustness(defence, x, y)


def test_wrong_data_and_attacks_are_refused(defence, pictures):
    x, y = pictures
    for images, labels, message in (
        (x, y[:3], "one label"),
        (x * 255, y, "outside of"),
        (x[:0], y[:0], "one label"),
        (x, y.float(), "one label"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_robustness(defence, images, labels, **TOLD)
    extra = [PGD(L2(), 0.1, Full(), 1, 1)]
    with pytest.raises(InputError, match="another ball"):
        evaluate_robustness(defence, x, y, **TOLD, extra=extra)
    for wrong in ({"gradients": ["half"]}, {"scoring": "twice"}, {"norm": "l_1"}):
        with pytest.raises(InputError, match="no such"):
            evaluate_robustness(defence, x, y, **{**TOLD, **wrong})


def test_an_undefended_classifier_has_one_attack(pictures):
    x, y = pictures
    report = evaluate_robustness(digits(), x, y, **{**TOLD, "steps": 10, "eps": 0.3})
    assert [row.name for row in report.attacks] == ["random noise", "PGD-10, EOT-1, full"]
    assert report.robust.once.right < report.clean.once.right
    assert report.clean.always == report.clean.once


def test_intervals_are_those_of_clopper_and_pearson():
    share = Share(7, 10)
    assert binom.sf(6, 10, share.low) == pytest.approx(0.025, abs=1e-9)
    assert binom.cdf(7, 10, share.high) == pytest.approx(0.025, abs=1e-9)
    assert (Share(0, 5).low, Share(5, 5).high) == (0.0, 1.0)
    assert lower(1000, 1000, 0.001) == pytest.approx(0.001 ** (1 / 1000), rel=1e-9)


def row(name, right, loss=(), black=False):
    return Row(name, black, Share(right, 10), Share(right, 10), Trace(loss=tuple(loss)), 0.0)


def report_of(*attacks):
    return Report("l_inf", 0.1, OneShot(), "d", row("clean", 10), list(attacks))


RISEN = [k / 10 for k in range(10)] + [0.9] * 10
"""A loss that has stopped rising."""


def kinds(found):
    return {one.kind for one in found}


def test_suspicious_reports_are_found():
    fine = report_of(row("random noise", 9, black=True), row("PGD", 3, RISEN))
    assert check_report(fine) == []
    noisy = report_of(row("random noise", 2, black=True), row("PGD", 3, RISEN))
    assert kinds(check_report(noisy)) == {"weaker than noise"}
    beaten = report_of(
        row("random noise", 9, black=True), row("Square", 1, black=True), row("PGD", 3, RISEN)
    )
    assert kinds(check_report(beaten)) == {"black box beats white box"}
    rising = report_of(row("random noise", 9, black=True), row("PGD", 3, range(20)))
    assert kinds(check_report(rising)) == {"attack not converged"}
    falling = report_of(row("random noise", 9, black=True), row("PGD", 3, range(20, 0, -1)))
    assert kinds(check_report(falling)) == {"attack did not start"}


class Through(nn.Module):
    """A linear classifier, and something after it."""

    def __init__(self, after):
        super().__init__()
        self.after = after
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(49, 3))

    def forward(self, x):
        return self.after(self.layer(x))


def test_suspicious_defences_are_found(defence, pictures):
    torch.manual_seed(0)
    x, y = torch.rand(4, 1, 7, 7), torch.tensor([0, 1, 2, 0])
    assert check_defense(Through(lambda z: z), x, y) == []
    for after, kind in (
        (lambda z: z.softmax(1), "softmax outputs"),
        (lambda z: z * 1e-9, "vanishing gradients"),
        (lambda z: z * 1e9, "exploding gradients"),
        (lambda z: z.detach(), "no gradient"),
        (lambda z: z + torch.rand_like(z), "stochastic"),
        (lambda z: torch.where(z > 1e9, z.sqrt(), z), "broken gradients"),
    ):
        assert kind in kinds(check_defense(Through(after), x, y)), kind
    assert "stochastic" in kinds(check_defense(defence, *pictures))
    with pytest.raises(InputError, match="label"):
        check_defense(defence, pictures[0], pictures[1][:1])


def test_norms_have_names():
    assert {Linf().name, L2().name} == {"l_inf", "l_2"}
