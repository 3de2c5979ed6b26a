"""Autoencoders: a codec's term against linear-Gaussian models, of which all laws are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unnoise.codecs import (
    Autoencoder,
    DiagonalGaussian,
    Downsampled,
    Features,
    FixedGaussian,
    Logits,
    Point,
)
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise.testing import core_examples, parametrize_with_checks
from unnoise.testing.linear_codec import LinearMap, linear_codec

F64 = torch.float64
WEIGHT = torch.tensor([[1.0, 0.5], [0.5, -1.0], [0.0, 0.0]], dtype=F64)
OFFSET = torch.tensor([0.3, 0.0, -0.2], dtype=F64)


@parametrize_with_checks(core_examples.autoencoder_codecs())
def test_conformance(check):
    check()


def evidence(x, std):
    """log N(x; b, W W^T + std^2 I) of each row (.., 3)."""
    covariance = WEIGHT @ WEIGHT.mT + std**2 * torch.eye(3, dtype=F64)
    return torch.distributions.MultivariateNormal(OFFSET, covariance).log_prob(x)


def layouts():
    mask = torch.arange(4) < torch.tensor([4, 1, 3])[:, None]
    return {
        "dense": Layout.dense(3, (3,), dtype=F64),
        "padded": Layout.dense(3, (4, 3), mask=mask, dtype=F64),
        "ragged": Layout.ragged([1, 4, 2], (3,), dtype=F64),
    }


def standard(found):
    """log N(z; 0, I), (B,)."""
    logs = -0.5 * found.state**2 - 0.5 * math.log(2 * math.pi)
    return found.layout.sum(found.layout.zero_padding(logs))


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("std", [0.1, 0.7])
def test_with_the_exact_posterior_every_draw_gives_the_evidence(kind, std):
    layout = layouts()[kind]
    x = NoiseSource(0, range(3)).normal(layout) * 1.5
    codec = linear_codec(WEIGHT, OFFSET, std)
    truth = layout.sum(layout.zero_padding(evidence(x, std)[..., None]))
    for seed in range(3):
        found = codec.encode(x, layout, None, NoiseSource(seed, range(3)))
        torch.testing.assert_close(standard(found) + found.log_density, truth)


@pytest.mark.parametrize(("widen", "move"), [(1.0, 0.8), (0.5, 0.0), (1.6, -0.4)])
def test_with_another_encoder_the_bound_is_off_by_its_divergence(widen, move):
    n, std = 20_000, 0.4
    layout = Layout.dense(n, (3,), dtype=F64)
    x = torch.tensor([[0.2, -1.0, 0.4]], dtype=F64).expand(n, 3)
    codec = linear_codec(WEIGHT, OFFSET, std, widen=widen, move=move)
    with torch.no_grad():
        found = codec.encode(x, layout, None, NoiseSource(1, range(n)))
    gap = evidence(x, std) - (standard(found) + found.log_density)
    divergence = 2 * 0.5 * (widen**2 + move**2 - 1 - 2 * math.log(widen))
    error = float(gap.std()) / math.sqrt(n)
    assert abs(float(gap.mean()) - divergence) < 5 * error


def test_without_noise_the_code_is_the_mean():
    codec = linear_codec(WEIGHT, OFFSET, 0.4)
    layout = layouts()["dense"]
    x = NoiseSource(0, range(3)).normal(layout)
    found = codec.encode(x, layout)
    torch.testing.assert_close(found.state, codec.law(x, layout).mean)


class Shift(nn.Module):
    """Half-sized sums of 2 x 2 blocks, or each number four times."""

    def __init__(self, up: bool) -> None:
        super().__init__()
        self.up = up

    def forward(self, x, layout, condition=None):
        if self.up:
            return x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        mean = nn.functional.avg_pool2d(x, 2)
        return torch.cat([mean, torch.full_like(mean, -4.0)], 1)


def test_codes_of_another_shape_than_the_data():
    codec = Autoencoder(Shift(False), Shift(True), Downsampled(2, 1, 1), DiagonalGaussian(axis=1))
    layout = Layout.dense(2, (1, 4, 6))
    x = torch.arange(48.0).view(2, 1, 4, 6)
    found = codec.encode(x, layout)
    assert found.layout.shape == (2, 1, 2, 3)
    assert codec.decode(found.state, found.layout).mode.shape == (2, 1, 4, 6)
    assert found.log_density.tolist() == [-math.inf] * 2  # a point has no density of data
    with pytest.raises(InputError, match="multiples of 2"):
        codec.encode(torch.zeros(2, 1, 3, 4), Layout.dense(2, (1, 3, 4)))
    with pytest.raises(InputError, match="1 channels"):
        codec.encode(torch.zeros(2, 2, 4, 4), Layout.dense(2, (2, 4, 4)))
    mask = torch.ones(2, 1, dtype=torch.bool)
    with pytest.raises(InputError, match="without padding"):
        codec.encode(torch.zeros(2, 1, 4, 4), Layout.dense(2, (1, 4, 4), mask=mask))


class Embed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, x, layout, condition=None):
        return self.table(x)


def test_tokens_have_codes_and_probabilities():
    torch.manual_seed(0)
    codec = Autoencoder(
        Embed(),
        LinearMap(torch.randn(5, 2)),
        Features((), (2,), data_dtype=torch.int64),
        DiagonalGaussian(),
        Logits(),
    )
    mask = torch.tensor([[True, True, True], [True, False, False]])
    layout = Layout.dense(2, (3,), mask=mask, dtype=torch.int64)
    found = codec.encode(torch.tensor([[0, 4, 2], [3, 0, 0]]), layout, None, NoiseSource(0, [0, 1]))
    assert found.layout.shape == (2, 3, 2)
    assert found.layout.dtype == torch.float32
    law = codec.decode(found.state, found.layout)
    assert isinstance(law, Categorical)
    assert law.mode.shape == (2, 3)
    assert torch.isfinite(found.log_density).all()


def test_a_code_without_a_law_bounds_nothing():
    codec = Autoencoder(
        LinearMap(torch.eye(2)), LinearMap(torch.eye(2)), Features((2,), (2,)), Point(),
        FixedGaussian(0.1),
    )  # fmt: skip
    found = codec.encode(torch.zeros(1, 2), Layout.dense(1, (2,)))
    assert found.log_density.tolist() == [-math.inf]


def test_networks_of_another_shape_are_refused():
    same = Features((2,), (2,))
    layout, x = Layout.dense(1, (2,)), torch.zeros(1, 2)
    wrong = Autoencoder(LinearMap(torch.zeros(3, 2)), LinearMap(torch.eye(2)), same, Point())
    with pytest.raises(InputError, match="another shape"):
        wrong.encode(x, layout)
    odd = Autoencoder(LinearMap(torch.zeros(3, 2)), LinearMap(torch.eye(2)), same)
    with pytest.raises(InputError, match="two halves"):
        odd.encode(x, layout)
    with pytest.raises(InputError, match="rows of"):
        odd.encode(torch.zeros(1, 5), Layout.dense(1, (5,)))
    with pytest.raises(InputError, match="shape of the codes"):
        odd.decode(torch.zeros(1, 5), layout)
    with pytest.raises(ConfigError, match="positive"):
        FixedGaussian(0.0)
    with pytest.raises(ConfigError, match="at least 1"):
        Downsampled(0, 1, 1)
