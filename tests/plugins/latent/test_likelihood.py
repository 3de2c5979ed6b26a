"""The evidence bound and the importance-weighted one, on linear-Gaussian models whose laws are
known."""

from __future__ import annotations

import math

import pytest
import torch
from latents import F64, OFFSET, WEIGHT, data, entropy, networks, off

from unnoise.codecs import Affine
from unnoise.distributions import Gaussian
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel, Geometric, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Continuous, ExactTrace, Hutchinson, Quantised, data_bound
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle
from unnoise.testing.linear_codec import linear_codec
from unnoise_latent.likelihood import Importance, Nelbo, importance_weighted, parts_of_nelbo

STD = 0.4


def truth(x):
    covariance = WEIGHT @ WEIGHT.mT + STD**2 * torch.eye(4, dtype=F64)
    return torch.distributions.MultivariateNormal(OFFSET, covariance).log_prob(x)


def repeated(n):
    """One datum many times, not quite: equal values would be taken for rounded ones."""
    x = torch.tensor([[0.2, -1.0, 0.4, 0.7]], dtype=F64).repeat(n, 1)
    own = torch.Generator().manual_seed(0)
    x = x + 1e-9 * torch.randn(x.shape, generator=own, dtype=F64)
    return Batch(x, Layout.dense(n, (4,), dtype=F64))


def many(n=24, length=1600):
    """Draws of the model's own data, `length` in each sample, and log p of each sample."""
    x = data(n * length).x0
    exact = truth(x).view(n, length).sum(1)
    return Batch(x.view(n, length, 4), Layout.dense(n, (length, 4), dtype=F64)), exact


@pytest.mark.parametrize("schedule", [VPLinear(), Geometric()], ids=repr)
def test_the_bound_of_the_optimal_model_is_the_entropy(schedule):
    """By the core and by parts: within .01 nats for each number of the data, in their units."""
    batch, exact = many()
    codec, noise, numbers = networks().codec, NoiseSource(0, range(24)), 1600
    prior = off(schedule, 2, axis=2)
    found = parts_of_nelbo(prior, codec, batch, noise.copy(), data=Continuous(), evaluations=60)
    with torch.no_grad():
        whole = data_bound(
            prior, codec, batch, noise, data=Continuous(), steps=None, evaluations=60
        )
    torch.testing.assert_close(found.nats, whole.total)
    assert float(found.nats.mean()) / numbers / 4 == pytest.approx(entropy() / 4, abs=0.01)
    assert float((found.nats + exact).mean()) / numbers / 4 == pytest.approx(0, abs=0.005)

    # each part: E -log p(x | z) = d/2 (1 + log 2 pi s^2) at the model's own data, and so on
    reconstruction = 2 * (1 + math.log(2 * math.pi * STD**2))
    variance = STD**2 / (WEIGHT.square().sum(0) + STD**2)
    posterior = -0.5 * float((1 + torch.log(2 * math.pi * variance)).sum())
    parts = found.reconstruction, found.posterior, found.cross_entropy, found.divergence
    normal = 1 + math.log(2 * math.pi)
    expected = reconstruction, posterior, normal, posterior + normal
    assert [float(part.mean()) / numbers for part in parts] == pytest.approx(expected, abs=0.03)


def test_a_prior_of_other_latents_costs_its_divergence():
    """Of the aggregate N(0, I) from N(.5, .7): what a trained prior is to lower."""
    mean, variance = 0.5, 0.7
    prior = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), mean, variance)
    (batch, exact), codec = many(), networks().codec
    found = parts_of_nelbo(
        prior, codec, batch, NoiseSource(0, range(24)), data=Continuous(), evaluations=60
    )
    expected = 2 * 0.5 * (1 / variance - 1 + math.log(variance) + mean**2 / variance)
    assert float((found.nats + exact).mean()) / 1600 == pytest.approx(expected, abs=0.03)


def test_more_draws_tighten_the_bound():
    """With a wrong encoder: between the evidence bound and the truth, and falling with k."""
    n, widen, move = 300, 1.5, 0.5
    codec = linear_codec(WEIGHT, OFFSET, STD, widen=widen, move=move)
    batch = repeated(n)
    found = importance_weighted(
        off(channels=2), codec, batch, NoiseSource(0, range(n)), data=Continuous(), draws=16
    )
    exact = -float(truth(batch.x0)[0])
    gaps = [float(found.nats(k).mean()) - exact for k in (1, 2, 4, 16)]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -0.01
    assert gaps[3] < 0.1
    divergence = 2 * 0.5 * (widen**2 + move**2 - 1 - 2 * math.log(widen))
    error = float(found.nats(1).std()) / math.sqrt(n)
    assert gaps[0] == pytest.approx(divergence, abs=5 * error)
    assert 1 < float(found.effective.mean()) < 16


@pytest.mark.parametrize("trace", [ExactTrace(), Hutchinson()], ids=repr)
def test_with_the_exact_posterior_every_weight_is_the_evidence(trace):
    batch, codec = data(8), networks().codec
    noise = NoiseSource(0, range(8))
    found = importance_weighted(
        off(channels=2), codec, batch, noise, data=Continuous(), draws=3, trace=trace
    )
    expected = truth(batch.x0).expand(3, 8)
    torch.testing.assert_close(found.log_weights, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.nats(), -truth(batch.x0), atol=1e-3, rtol=0)


def test_draws_share_the_noise_of_the_trace():
    """It would else be taken for weights, and flatter the bound."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
    mean = torch.zeros(2, dtype=F64)
    prior = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), mean, covariance)
    batch, codec, noise = data(16), networks().codec, NoiseSource(0, range(16))
    exact, guessed = (
        importance_weighted(
            prior, codec, batch, noise.copy(), data=Continuous(), draws=4, trace=trace
        ).log_weights
        for trace in (ExactTrace(), Hutchinson())
    )
    error = guessed - exact
    assert float(error[0].abs().min()) > 0.1  # one probe knows little of correlated latents
    torch.testing.assert_close(error, error[:1].expand(4, 16), atol=1e-3, rtol=0)


def test_levels_have_probabilities():
    """The mass of a Gaussian decoder within a step in the place of its density."""
    n, step = 200, 0.5
    codec = networks().codec
    x = (data(n).x0 / step).round() * step
    kind = Quantised(41, -10.0, 10.0)
    batch, noise = Batch(x, Layout.dense(n, (4,), dtype=F64)), NoiseSource(0, range(n))
    found = parts_of_nelbo(off(channels=2), codec, batch, noise.copy(), data=kind, evaluations=20)
    z = codec.encode(x, batch.layout, None, noise)
    law = codec.decode(z.state, z.layout)
    assert isinstance(law, Gaussian)
    torch.testing.assert_close(found.reconstruction, -kind.log_prob(law, x, batch.layout))
    assert bool((found.reconstruction > 0).all())


def test_what_has_no_bound():
    batch, noise = data(4), NoiseSource(0, range(4))
    with pytest.raises(InputError, match="draws no latents"):
        parts_of_nelbo(off(channels=4), Affine(), batch, noise, data=Continuous())
    with pytest.raises(InputError, match="needs a draw"):
        importance_weighted(
            off(channels=2), networks().codec, batch, noise, data=Continuous(), draws=0
        )
    found = importance_weighted(
        off(channels=2), networks().codec, batch, noise, data=Continuous(), draws=2
    )
    with pytest.raises(InputError, match="number of draws"):
        found.nats(3)


@pytest.mark.parametrize("method", ["lsgm", "unified"])
def test_the_metrics_of_a_model(method, make_model, folder):
    """Parts add up to the whole, per picture and per number, and several draws lower it."""
    model = make_model(method=method, held_out=6)
    known = []
    nelbo = Nelbo(num_samples=5, batch_size=3, evaluations=10)
    found = nelbo.measure(model, folder, lambda what, part: known.append(part))
    assert found["items"] == 5
    assert known[-1] == 1.0
    whole = found["reconstruction"] + found["divergence"]
    assert found["nats"] == pytest.approx(whole)
    assert found["divergence"] == pytest.approx(found["posterior"] + found["cross_entropy"])
    assert found["bits_per_dimension"] == pytest.approx(found["nats"] / 120 / math.log(2))
    assert "bits per dimension" in nelbo.text(found)
    tight = Importance(num_samples=2, draws=3, tolerance=1e-3)
    found = tight.measure(model, folder, lambda what, part: known.append(part))
    assert found["nats"] < found["nats_by_one"]
    assert "Hutchinson" in tight.text(found)
    assert 1 <= found["effective"] <= 3
