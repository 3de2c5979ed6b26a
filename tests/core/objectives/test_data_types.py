"""What numbers are: the discretised decoder, bits per dimension, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import BetaTable, GaussianKernel, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import Continuous, Dequantised, Quantised, bits_per_dimension, bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, PointEstimate

F64 = torch.float64
LN2 = math.log(2)


def gaussian(schedule):
    return GaussianKernel(Euclidean(), schedule)


def dense(x):
    return Layout.dense(len(x), x.shape[1:], dtype=x.dtype)


@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.2), (0.9, 0.01), (-3.0, 0.05), (0.0, 30.0)])
def test_the_discretised_decoder_is_a_distribution(mean, std):
    data = Quantised()
    levels = (torch.arange(256, dtype=F64) / 127.5 - 1)[:, None]
    law = Gaussian(torch.full_like(levels, mean).requires_grad_(), std)
    logs = data.log_prob(law, levels, dense(levels))
    assert logs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    (gradient,) = torch.autograd.grad(logs.sum(), law.mean)
    assert bool(torch.isfinite(logs).all())
    assert bool(torch.isfinite(gradient).all())
    # half a bin is 1/255, and the edge bins take the tails
    cdf = torch.distributions.Normal(*torch.tensor([mean, std], dtype=F64)).cdf
    low, high = cdf(levels - 1 / 255), cdf(levels + 1 / 255)
    low[0], high[-1] = 0.0, 1.0
    near = (high - low)[:, 0] > 1e-8
    torch.testing.assert_close(logs.exp()[near], (high - low)[near, 0], rtol=1e-6, atol=0)


def test_the_discretised_decoder_of_the_bound():
    """A point prediction gets betatilde of the second step, DDPM's first entry."""
    levels = torch.tensor([100, 101, 0, 255]).repeat(500)
    x = (levels / 127.5 - 1).double()[:, None]
    kernel, data = gaussian(BetaTable.linear()), Quantised()
    oracle = PointEstimate(GaussianOracle(kernel, 0.0, 0.25))
    noise = NoiseSource(0, range(len(x)))
    found = bound(Diffusion(oracle, dense(x), noise), x, evaluations=1, data=data)
    a, s = kernel.schedule.alpha(0.001), kernel.schedule.sigma(0.001)
    z = torch.randn(200_000, dtype=F64, generator=torch.Generator().manual_seed(0))
    for k, level in enumerate(x[:4, 0].tolist()):
        mean = 0.25 * a / (0.25 * a**2 + s**2) * (a * level + s * z)
        law = Gaussian(mean[:, None], 5.4532e-5**0.5)
        exact = -data.log_prob(law, torch.full((len(z), 1), level, dtype=F64), dense(z[:, None]))
        rows = found.reconstruction[k::4]
        error = rows.std().item() / len(rows) ** 0.5
        assert rows.mean().item() == pytest.approx(exact.mean().item(), abs=4 * error + 1e-3)


def test_bits_per_dimension_needs_the_type():
    """Uniform on the 256 levels: 8 bits, whichever way it is said."""
    space = Euclidean()
    levels = torch.arange(256, dtype=F64).repeat(8).view(4, 512)
    data = Quantised()
    x = levels / 127.5 - 1
    layout = dense(x)
    noisy, change = data.prepare(x, space, layout, NoiseSource(0, range(4)))
    density = torch.full((4,), 512 * math.log(256 * data.step), dtype=F64)
    torch.testing.assert_close(change, torch.full((4,), 512 * math.log(data.step), dtype=F64))
    eight = torch.full((4,), 8.0, dtype=F64)
    found = bits_per_dimension(density, Dequantised(), noisy, space, layout)
    torch.testing.assert_close(found, eight)
    found = bits_per_dimension(torch.full((4,), 512 * 8 * LN2), data, x, space, layout)
    torch.testing.assert_close(found, eight)
    in_levels = Continuous(unit=data.step)
    torch.testing.assert_close(bits_per_dimension(density, in_levels, noisy, space, layout), eight)
    for kind in (Dequantised(), Continuous()):
        with pytest.raises(InputError, match="Quantised"):
            bits_per_dimension(density, kind, x, space, layout)
    with pytest.raises(InputError, match="levels"):
        bits_per_dimension(density, data, noisy, space, layout)
    with pytest.raises(InputError, match="levels"):
        bits_per_dimension(density, data, x + 2, space, layout)
    with pytest.raises(ConfigError, match="levels"):
        Quantised(1)
    with pytest.raises(ConfigError, match="unit"):
        Continuous(0.0)


def test_the_bound_refuses_rounded_values_as_a_density():
    x = (torch.randint(0, 256, (4, 512)) / 127.5 - 1).double()
    oracle = GaussianOracle(gaussian(VPLinear()), 0.0, 0.25)
    with pytest.raises(InputError, match="rounded"):
        bound(Diffusion(oracle, dense(x), NoiseSource(0, range(4))), x, data=Continuous())


def test_padding_does_not_make_data_look_rounded():
    mask = torch.arange(200) < torch.tensor([[20]] * 12)
    layout = Layout.dense(12, (200,), mask=mask)
    x = layout.zero_padding(torch.arange(12 * 200.0).view(12, 200).sqrt())
    Continuous().check(x, layout)  # 240 numbers and 2160 zeros of padding
    with pytest.raises(InputError, match="rounded"):
        Continuous().check(x, Layout.dense(12, (200,)))
