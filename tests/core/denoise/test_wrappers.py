"""What is around a denoiser is named in a bundle, and made again from that."""

from __future__ import annotations

import json

import pytest
import torch

from unnoise.denoise import AnalyticVariance, ClassifierFree, Denoiser, UnitVariance
from unnoise.denoise.wrappers import WRAPPERS, described, wrapped
from unnoise.errors import BundleError
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.spaces import Euclidean, Layout
from unnoise.testing.oracles import GaussianOracle


def oracle() -> Denoiser:
    return GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 0.25)


def analytic(denoiser: Denoiser) -> AnalyticVariance:
    times = torch.linspace(0.1, 1, 7, dtype=torch.float64)
    return AnalyticVariance(denoiser, times, times**2, largest=0.9)


@pytest.mark.parametrize(
    "around",
    [lambda x: x, analytic, UnitVariance, lambda x: UnitVariance(analytic(x))],
    ids=["nothing", "analytic", "unit", "both"],
)
def test_a_denoiser_comes_back_from_its_description_and_its_weights(around) -> None:
    law = around(oracle())
    said = json.loads(json.dumps(described(law)))
    again = wrapped(oracle(), said)
    again.load_state_dict(law.state_dict())
    assert type(again) is type(law)
    x, layout = torch.randn(5, 3), Layout.dense(5, (3,))
    for t in (0.03, 0.5, 1.0):
        one, two = law(x, t, layout), again(x, t, layout)
        assert torch.equal(one.mean, two.mean)
        assert torch.equal(torch.as_tensor(one.std), torch.as_tensor(two.std))
    assert described(again) == said


def test_the_innermost_comes_first() -> None:
    said = described(UnitVariance(analytic(oracle())))
    assert [one["name"] for one in said] == ["analytic-variance", "unit-variance"]
    assert said[0]["fields"] == {"times": 7}


def test_every_wrapper_that_can_be_described_has_a_name() -> None:
    assert {AnalyticVariance, UnitVariance} == set(WRAPPERS.values())
    assert described(ClassifierFree(oracle(), 2.0, {})) == []  # guidance belongs to a request


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"name": "halo", "fields": {}}, "halo"),
        ({"name": "analytic-variance", "fields": {}}, "times"),
        ({"name": "analytic-variance", "fields": {"times": "many"}}, "many"),
        ({"name": "analytic-variance", "fields": {"times": -3}}, "-3"),
    ],
)
def test_what_cannot_be_made_is_a_damaged_bundle(said: dict, named: str) -> None:
    with pytest.raises(BundleError, match=named):
        wrapped(oracle(), [said])
