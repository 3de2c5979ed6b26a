"""Bounds and likelihoods of data through a codec, against the laws of linear-Gaussian models.

The states have the law N(0, I), which is also the prior of a variance-preserving kernel, and the
denoiser is exact: the bound of the states is exact at any number of steps, so that whatever is left
is the codec's.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from unnoise.codecs import Affine, Autoencoder, Chain, Codec, Features, Identity, Point, Whitening
from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.kernels import GaussianKernel, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    Categories,
    Continuous,
    Dequantised,
    Quantised,
    data_bound,
    data_likelihood,
    of_states,
)
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle
from unnoise.testing.linear_codec import LinearMap, linear_codec

F64 = torch.float64
DENOISER = GaussianOracle(GaussianKernel(Euclidean(), VPCosine()), 0.0, 1.0)
WEIGHT = torch.tensor([[1.0, 0.5], [0.5, -1.0], [0.0, 0.0]], dtype=F64)
OFFSET = torch.tensor([0.3, 0.0, -0.2], dtype=F64)
MEAN, SCALE = torch.tensor([5.0, -2.0, 0.1], dtype=F64), torch.tensor([3.0, 0.2, 1.0], dtype=F64)
COPIES = 400


def batch_of(kind: str, copies: int = 1) -> Batch:
    """Three samples, `copies` of each side by side."""
    counts = [1, 3, 2]
    generator = torch.Generator().manual_seed(0)
    points = [torch.randn(n, 3, generator=generator, dtype=F64) * 2 for n in counts]
    # not quite copies: equal values would be taken for rounded ones
    points = [
        p + 1e-9 * torch.randn(p.shape, generator=generator, dtype=F64)
        for p in points
        for _ in range(copies)
    ]
    n = len(points)
    if kind == "ragged":
        layout = Layout.ragged([len(p) for p in points], (3,), dtype=F64)
        return Batch(torch.cat(points), layout)
    if kind == "dense":
        x = torch.stack([p[0] for p in points])
        return Batch(x, Layout.dense(n, (3,), dtype=F64))
    x = torch.zeros(n, 3, 3, dtype=F64)
    mask = torch.zeros(n, 3, dtype=torch.bool)
    for k, p in enumerate(points):
        x[k, : len(p)], mask[k, : len(p)] = p, True
    return Batch(x, Layout.dense(n, (3, 3), mask=mask, dtype=F64))


def told(batch: Batch) -> Batch:
    """With mean and scale of each row as a condition; nothing is said of padding."""
    layout = batch.layout
    shift = (torch.arange(layout.batch) * 3 // layout.batch).double() / 2  # the same for copies
    owner = shift if layout.index is None else shift[layout.index]
    owner = owner.view(-1, *(1,) * (batch.x0.ndim - 1))
    mean = (MEAN + owner).expand(layout.shape)
    scale = layout.zero_padding((SCALE * (1 + owner)).expand(layout.shape).contiguous())
    return replace(batch, condition={"mean": mean, "scale": scale})


def bounded(codec: Codec, batch: Batch, data=None, steps: int = 12, evaluations=None):
    noise = NoiseSource(3, range(batch.layout.batch))
    with torch.no_grad():
        return data_bound(
            DENOISER,
            codec,
            batch,
            noise,
            data=data or Continuous(),
            steps=steps,
            evaluations=evaluations,
        )


def agrees(totals: torch.Tensor, truth: torch.Tensor, sigmas: float = 5.0) -> None:
    """Means over the copies of each of three samples are the truth, within standard errors."""
    rows = totals.view(3, -1)
    error = rows.std(1) / math.sqrt(rows.shape[1])
    assert ((rows.mean(1) - truth.view(3, -1)[:, 0]).abs() < sigmas * error + 1e-9).all()


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("conditional", [False, True])
def test_of_an_invertible_codec_the_bound_is_that_of_the_data(kind, conditional):
    batch = batch_of(kind, COPIES)
    mean, scale, codec = MEAN, SCALE, Affine(MEAN, SCALE)
    if conditional:
        batch = told(batch)
        mean, scale = batch.condition["mean"], batch.condition["scale"]
        scale = torch.where(scale > 0, scale, 1.0)
        codec = Whitening("mean", "scale")
    shape = batch.layout.shape
    law = Gaussian(mean.expand(shape), scale.expand(shape), layout=batch.layout)
    agrees(bounded(codec, batch).total, -law.log_prob(batch.x0))


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
def test_with_the_exact_posterior_the_bound_is_the_evidence(kind):
    batch = batch_of(kind, COPIES)
    covariance = WEIGHT @ WEIGHT.mT + 0.16 * torch.eye(3, dtype=F64)
    law = torch.distributions.MultivariateNormal(OFFSET, covariance)
    truth = batch.layout.sum(law.log_prob(batch.x0)[..., None])
    agrees(bounded(linear_codec(WEIGHT, OFFSET, 0.4), batch).total, -truth)


@pytest.mark.parametrize(("widen", "move"), [(1.0, 0.8), (0.5, 0.0), (1.6, -0.4)])
@pytest.mark.parametrize("scaled", [False, True])
def test_with_another_encoder_it_is_off_by_the_divergence(widen, move, scaled):
    """Two codes, each N(own mean, own variance) with both wrong by as much."""
    batch = batch_of("dense", 4 * COPIES)
    covariance = WEIGHT @ WEIGHT.mT + 0.16 * torch.eye(3, dtype=F64)
    truth = torch.distributions.MultivariateNormal(OFFSET, covariance).log_prob(batch.x0)
    gap = widen**2 + move**2 - 1 - 2 * math.log(widen)
    codec: Codec = linear_codec(WEIGHT, OFFSET, 0.4, widen=widen, move=move)
    if scaled:  # there and back: terms that cancel
        codec = Chain(codec, Affine(1.0, 0.25), Affine(-4.0, 4.0))
    agrees(bounded(codec, batch).total, gap - truth)


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
def test_likelihoods_change_their_units(kind):
    batch = told(batch_of(kind))
    scale = torch.where(batch.condition["scale"] > 0, batch.condition["scale"], 1.0)
    law = Gaussian(batch.condition["mean"], scale, layout=batch.layout)
    noise = NoiseSource(0, range(3))
    found = data_likelihood(
        DENOISER, Whitening("mean", "scale"), batch, noise, data=Continuous(), tolerance=1e-8
    )
    torch.testing.assert_close(found.nats, law.log_prob(batch.x0), rtol=0, atol=1e-4)
    larger = Continuous(unit=10.0)
    other = data_likelihood(
        DENOISER, Whitening("mean", "scale"), batch, noise, data=larger, tolerance=1e-8
    )
    more = math.log(10.0) * batch.layout.sizes
    torch.testing.assert_close(other.nats, found.nats + more, rtol=0, atol=1e-4)


def test_likelihood_of_a_stochastic_codec_is_a_bound_that_is_exact_here():
    batch = batch_of("dense", 3)
    covariance = WEIGHT @ WEIGHT.mT + 0.16 * torch.eye(3, dtype=F64)
    truth = torch.distributions.MultivariateNormal(OFFSET, covariance).log_prob(batch.x0)
    noise = NoiseSource(0, range(9))
    codec = linear_codec(WEIGHT, OFFSET, 0.4)
    found = data_likelihood(DENOISER, codec, batch, noise, data=Continuous(), tolerance=1e-8)
    torch.testing.assert_close(found.nats.detach(), truth, rtol=0, atol=1e-4)


# ---- levels


LEVELS = torch.randint(0, 256, (4, 20), generator=torch.Generator().manual_seed(2)).float()
PIXELS = Quantised(256, 0.0, 255.0)


def test_levels_have_the_same_probability_in_either_unit():
    layout = Layout.dense(4, (20,))
    scaled = LEVELS / 127.5 - 1
    one = bounded(Affine.onto(0.0, 255.0), Batch(LEVELS, layout), PIXELS, 40)
    two = bounded(Identity(), Batch(scaled, layout), Quantised(), 40)
    torch.testing.assert_close(one.prior, two.prior)
    torch.testing.assert_close(one.steps, two.steps)
    torch.testing.assert_close(one.reconstruction, two.reconstruction, rtol=1e-5, atol=1e-5)
    noise = NoiseSource(0, range(4))
    one = data_likelihood(
        DENOISER, Affine.onto(0.0, 255.0), Batch(LEVELS, layout), noise, data=PIXELS
    )
    noise = NoiseSource(0, range(4))
    two = data_likelihood(DENOISER, Identity(), Batch(scaled, layout), noise, data=Quantised())
    assert one.eps == pytest.approx(two.eps, rel=1e-9)
    torch.testing.assert_close(one.nats, two.nats, rtol=1e-5, atol=1e-3)


def test_levels_through_a_codec_of_many_scales():
    """At one step, the last state of which knows nothing, they are the masses of the prior."""
    codec = Affine(mean=(1.5, 3.0), scale=(0.9, 2.0))
    data = Quantised(5, 0.0, 4.0)
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)).double()
    total = bounded(codec, Batch(grid, Layout.dense(25, (2,), dtype=F64)), data, 1).total
    edges = torch.tensor([-math.inf, 0.5, 1.5, 2.5, 3.5, math.inf], dtype=F64)[:, None]
    below = torch.special.ndtr((edges - codec.mean) / codec.scale)
    masses = (below[1:] - below[:-1]).T
    truth = (masses[0][:, None] * masses[1]).flatten()
    # a little of x_0 is left in the last state: alpha(1) is 5e-5
    torch.testing.assert_close(torch.exp(-total), truth, rtol=1e-3, atol=1e-5)


def test_levels_behind_a_stochastic_codec():
    """Of fine levels the probability is the density times the step."""
    step = 0.001
    data = Quantised(20_001, -10.0, 10.0)
    batch = batch_of("dense", 100)
    x = (batch.x0 / step).round() * step
    batch = replace(batch, x0=x)
    codec = linear_codec(WEIGHT, OFFSET, 0.4)
    fine, density = bounded(codec, batch, data).total, bounded(codec, batch).total
    torch.testing.assert_close(fine, density - 3 * math.log(step), rtol=0, atol=1e-3)
    noise = NoiseSource(0, range(batch.layout.batch))
    fine = data_likelihood(DENOISER, codec, batch, noise, data=data).nats
    noise = NoiseSource(0, range(batch.layout.batch))
    density = data_likelihood(DENOISER, codec, batch, noise, data=Continuous()).nats
    torch.testing.assert_close(fine, density + 3 * math.log(step), rtol=0, atol=1e-3)


def test_noise_of_a_step_is_added_in_the_units_of_the_data():
    layout = Layout.dense(4, (20,))
    noise = NoiseSource(0, range(4))
    data = Dequantised(256, 0.0, 255.0)
    x = LEVELS + 0.37
    found = data_likelihood(DENOISER, Affine.onto(0.0, 255.0), Batch(x, layout), noise, data=data)
    assert found.change.tolist() == pytest.approx([20 * math.log(1 / 127.5)] * 4)


def test_the_limit_of_many_steps_has_the_same_units():
    batch = batch_of("dense", COPIES)
    truth = Gaussian(MEAN.expand(batch.x0.shape), SCALE.expand(batch.x0.shape)).log_prob(batch.x0)
    denoiser = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 1.0)
    noise = NoiseSource(3, range(batch.layout.batch))
    found = data_bound(
        denoiser, Affine(MEAN, SCALE), batch, noise, data=Continuous(), steps=None, evaluations=20
    )
    agrees(found.total, -truth)


# ---- what objectives are told


def test_types_of_states():
    assert of_states(PIXELS, Affine.onto(0.0, 255.0)) == Quantised(256, -1.0, 1.0)
    assert of_states(PIXELS, Identity()) == PIXELS
    assert of_states(Dequantised(11, 0.0, 10.0), Affine(5.0, 2.0)) == Dequantised(11, -2.5, 2.5)
    assert of_states(Continuous(3.0), Affine(5.0, 2.0)) == Continuous(1.5)
    for data, codec in ((PIXELS, Affine(scale=(1.0, 2.0))), (Categories(), Affine())):
        with pytest.raises(ConfigError, match="no data type"):
            of_states(data, codec)


def test_what_cannot_be_measured_is_refused():
    batch = batch_of("dense")
    with pytest.raises(InputError, match="levels"):
        bounded(Affine.onto(0.0, 255.0), batch, PIXELS)
    with pytest.raises(NonFiniteError):
        bounded(Affine(), replace(batch, x0=batch.x0 * math.nan))
    point = Autoencoder(
        LinearMap(torch.eye(3, dtype=F64)), LinearMap(torch.eye(3, dtype=F64)),
        Features((3,), (3,)), Point(), Point(),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="decoder is Gaussian"):
        bounded(point, replace(batch, x0=batch.x0.round()), Quantised(101, -50.0, 50.0))
