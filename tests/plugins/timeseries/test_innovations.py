"""The codec of the classical law."""

from __future__ import annotations

import math

import pytest
import torch
from dense_law import F64, dense, random_law

from unnoise.codecs import Affine
from unnoise.distributions import Gaussian
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import Example, parametrize_with_checks
from unnoise_timeseries.innovations import Innovations
from unnoise_timeseries.law import expected

ROWS, COLUMNS, BATCH = 9, 2, 3
MEAN, SCALE = (1000.0, -2.0), (40.0, 0.01)


def told(batch: int = BATCH):
    """The codec, measurements, layout of the hidden cells, condition, and the exact law."""
    generator = torch.Generator().manual_seed(0)
    numbers = random_law(2, COLUMNS, 1)
    z = torch.randn(batch, ROWS, COLUMNS, generator=generator, dtype=F64)
    given = (torch.rand(ROWS, COLUMNS, generator=generator) < 0.5).expand(batch, -1, -1)
    features = torch.ones(ROWS, 1, dtype=F64)
    x = z * torch.tensor(SCALE, dtype=F64) + torch.tensor(MEAN, dtype=F64)
    layout = Layout.dense(batch, (ROWS, COLUMNS), mask=~given, dtype=F64)
    condition = expected(numbers, z, given, features.expand(batch, -1, -1))
    codec = Innovations(Affine(MEAN, SCALE, data=F64, state=torch.float32))
    return codec, x, layout, condition, dense(numbers, features), z, given


def example() -> Example:
    codec, x, layout, condition, *_ = told()
    of = {"layout": layout, "data": x, "condition": condition}
    return Example(codec, of, {"padding_is_ignored": "cells that are given have no state"})


@parametrize_with_checks([example()])
def test_conformance(check):
    check()


def test_there_and_back():
    codec, x, layout, condition, *_ = told()
    found = codec.encode(x, layout, condition)
    assert found.state.dtype == torch.float32
    back = codec.decode(found.state, found.layout, condition).mode
    assert back.dtype == F64
    torch.testing.assert_close(back, layout.zero_padding(x), rtol=1e-6, atol=1e-6)


def test_states_that_are_standard_normal_are_measurements_of_the_law():
    """log p(x) = log N(u; 0, I) + log |det du / dx| is that of the dense conditional law."""
    codec, x, layout, condition, (mean, covariance), z, given = told()
    pushed = codec.push(
        Gaussian(torch.zeros(BATCH, ROWS, COLUMNS), 1.0, Euclidean(), codec.state_layout(layout)),
        codec.state_layout(layout),
        condition,
    )
    a, b = ~given[0].flatten(), given[0].flatten()
    gain = torch.linalg.solve(covariance[b][:, b], covariance[b][:, a]).mT
    rest = covariance[a][:, a] - gain @ covariance[b][:, a]
    units = math.fsum(math.log(SCALE[k]) * int((~given[0, :, k]).sum()) for k in range(COLUMNS))
    for k in range(BATCH):
        centre = mean[a] + gain @ (z[k].flatten()[b] - mean[b])
        law = torch.distributions.MultivariateNormal(centre, rest)
        truth = float(law.log_prob(z[k].flatten()[a])) - units
        assert float(pushed.log_prob(x)[k]) == pytest.approx(truth, rel=1e-4)


def test_one_law_for_all_samples_is_the_same():
    codec, _, layout, condition, *_ = told()
    u = layout.zero_padding(NoiseSource(0, range(BATCH)).normal(layout)).float()
    state = codec.state_layout(layout)
    one = {name: value[:1].expand(value.shape) for name, value in condition.items()}
    many = {name: value.contiguous() for name, value in one.items()}
    first, second = (codec.decode(u, state, own).mode for own in (one, many))
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def test_a_condition_that_says_nothing_is_refused():
    codec, x, layout, condition, *_ = told()
    with pytest.raises(InputError, match="bands"):
        codec.encode(x, layout, {"guess": condition["guess"]})
