"""Codes with the noise of a schedule: laws, and bounds in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.codecs import Tied
from unnoise.denoise import NetworkDenoiser, WholeNoise
from unnoise.errors import ConfigError
from unnoise.kernels import Above, GaussianKernel, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Continuous, data_bound, data_likelihood
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import check_denoiser, core_examples, parametrize_with_checks
from unnoise.testing.linear_codec import LinearMap, linear_codec
from unnoise.testing.oracles import GaussianOracle

F64 = torch.float64
STD, SIZE = 0.4, 1.2
WEIGHT = SIZE * torch.tensor([[0.6, 0.8], [0.8, -0.6], [0.0, 0.0]], dtype=F64)
OFFSET = torch.tensor([0.3, 0.0, -0.2], dtype=F64)
# the posterior of a code is as wide as the least noise: SNR = size^2 / std^2
SCHEDULE = VPCosine(log_snr_min=-12, log_snr_max=2 * math.log(SIZE / STD))


@parametrize_with_checks(core_examples.tied_codecs())
def test_conformance(check):
    check()


def tied(move=0.0):
    """Means of the exact posterior, moved by as many of its standard deviations."""
    plain = linear_codec(WEIGHT, OFFSET, STD, move=move)
    codec = Tied(plain, SCHEDULE)
    encoder = plain.encoder
    assert isinstance(encoder, LinearMap)
    encoder.matrix.data /= codec.start.alpha
    encoder.offset.data /= codec.start.alpha
    return codec


def data(n):
    own = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=own, dtype=F64)
    x = z @ WEIGHT.mT + OFFSET + STD * torch.randn(n, 3, generator=own, dtype=F64)
    return Batch(x, Layout.dense(n, (3,), dtype=F64))


def truth(x):
    covariance = WEIGHT @ WEIGHT.mT + STD**2 * torch.eye(3, dtype=F64)
    return torch.distributions.MultivariateNormal(OFFSET, covariance).log_prob(x)


class Whole(torch.nn.Module):
    """sigma_t z_t, what E[eps | z_t] is for z_0 ~ N(0, I)."""

    def forward(self, z_t, label, layout, condition=None):
        return layout.expand(SCHEDULE.sigma(label.double()), z_t) * z_t


def normal():
    kernel = GaussianKernel(Euclidean(), Above(SCHEDULE))
    return NetworkDenoiser(Whole(), kernel, WholeNoise())


def test_the_network_of_the_whole_noise_is_the_exact_denoiser():
    kernel = GaussianKernel(Euclidean(), Above(SCHEDULE))
    layout = Layout.dense(4, (2,), dtype=F64)
    x, t = torch.randn(4, 2, dtype=F64), torch.tensor([1e-4, 0.1, 0.6, 1.0], dtype=F64)
    own = normal()(x, t, layout).mean
    torch.testing.assert_close(own, GaussianOracle(kernel, 0.0, 1.0)(x, t, layout).mean)
    check_denoiser(normal())
    with pytest.raises(ConfigError, match="some noise already"):
        NetworkDenoiser(Whole(), GaussianKernel(Euclidean(), VPCosine()), WholeNoise())
    with pytest.raises(ConfigError, match="no least noise"):
        Tied(core_examples.autoencoder_codecs()[0], VPLinear())


@pytest.mark.parametrize("move", [0.0, 0.6])
def test_the_bound_of_tied_codes(move):
    """Exact with the exact posterior, and off by the divergence, move^2 / 2 a code, without."""
    n = 4000
    batch = data(n)
    with torch.no_grad():
        found = data_bound(
            normal(),
            tied(move),
            batch,
            NoiseSource(0, range(n)),
            data=Continuous(),
            steps=None,
            evaluations=30,
        )
    gap = found.total + truth(batch.x0)
    assert float(gap.mean()) == pytest.approx(move**2, abs=5 * float(gap.std()) / math.sqrt(n))
    assert float(found.steps.mean() + found.prior.mean()) > 1
    assert float(found.standard_error.mean()) < 1


def test_chain_and_likelihood_say_the_same():
    """Through z_0 as any other code: the chain of many steps, and the probability-flow ODE."""
    n = 64
    batch, codec, noise = data(n), tied(), NoiseSource(0, range(n))
    with torch.no_grad():
        found = data_likelihood(normal(), codec, batch, noise.copy(), data=Continuous())
        chain = data_bound(
            normal(), codec, batch, noise, data=Continuous(), steps=2000, evaluations=400
        )
    torch.testing.assert_close(found.nats, truth(batch.x0), atol=1e-3, rtol=0)
    gap = chain.total + truth(batch.x0)
    assert float(gap.mean()) == pytest.approx(0, abs=5 * float(gap.std()) / math.sqrt(n) + 0.01)
