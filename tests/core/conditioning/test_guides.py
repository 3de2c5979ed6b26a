"""Ways with one state for each sample, against linear algebra."""

from __future__ import annotations

import pytest
import torch

from unnoise.conditioning import Measurement, Property, Renoised, Total, diffpir, dps, mmps
from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical, Dirac
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, CategoricalKernel, GaussianKernel, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Diffusion
from unnoise.samplers.grids import Uniform
from unnoise.spaces import Euclidean, Layout, Tokens, tensor

D = torch.float64
KERNEL = GaussianKernel(Euclidean(), VPCosine())
C = torch.tensor([[1.0, 0.6, 0.2], [0.6, 1.0, 0.6], [0.2, 0.6, 1.0]], dtype=D)
A = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], dtype=D)
Y = torch.tensor([[1.0, -0.5]], dtype=D)


class Correlated(Denoiser):
    """The mean given x_t of N(0, C)."""

    kernel = KERNEL

    def forward(self, x_t, t, layout, condition=None):
        a, s = KERNEL.schedule.alpha(t), KERNEL.schedule.sigma(t)
        gain = a * C @ torch.linalg.inv(a * a * C + s * s * torch.eye(3, dtype=D))
        return Dirac(x_t @ gain.T, layout)


def exact(x_t: torch.Tensor, t: float, matrix: torch.Tensor, y: torch.Tensor, noise: float):
    """E[x_0 | x_t, y] by linear algebra."""
    a, s = KERNEL.schedule.alpha(t), KERNEL.schedule.sigma(t)
    seen = torch.cat([a * torch.eye(3, dtype=D), matrix])
    noises = torch.diag(torch.tensor([s * s] * 3 + [noise**2] * len(matrix), dtype=D))
    gain = C @ seen.T @ torch.linalg.inv(seen @ C @ seen.T + noises)
    return torch.cat([x_t, y.expand(len(x_t), -1)], 1) @ gain.T


@pytest.mark.parametrize("t", [0.05, 0.4, 0.95])
def test_mmps_has_the_exact_mean_of_a_normal_law(t):
    x_t = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    layout = Layout.dense(4, (3,), dtype=D)
    for operator in (A, lambda x, layout: x @ A.T):
        found = mmps(Correlated(), Measurement(Y, 0.3, operator))(x_t, t, layout)
        torch.testing.assert_close(found.mean, exact(x_t, t, A, Y, 0.3), atol=1e-8, rtol=0)
    where = torch.tensor([True, False, True])
    y = torch.tensor([[1.0, 77.0, -0.5]], dtype=D)
    found = mmps(Correlated(), Measurement(y, 0.3, where))(x_t, t, layout).mean
    picked = torch.eye(3, dtype=D)[where]
    torch.testing.assert_close(found, exact(x_t, t, picked, y[:, where], 0.3), atol=1e-8, rtol=0)


def test_mmps_is_closer_to_the_posterior_than_dps():
    """In 100 steps: the exact mean at each state, and so nearly the posterior's."""
    n = 1500
    layout = Layout.dense(n, (3,), dtype=D)
    gain = C @ A.T @ torch.linalg.inv(A @ C @ A.T + 0.09 * torch.eye(2, dtype=D))
    mean, spread = Y[0] @ gain.T, C - gain @ A @ C
    errors = []
    for make in (mmps, dps):
        run = Diffusion(
            make(Correlated(), Measurement(Y, 0.3, A)), layout, NoiseSource(0, range(n))
        )
        x = KERNEL.prior(layout).sample(run.noise)
        for step in Ancestral()(run, x, Uniform().times(KERNEL, 100)):
            x = tensor(step.x).detach()
        errors.append(float((torch.cov(x.T) - spread).abs().max()))
        if make is mmps:
            torch.testing.assert_close(x.mean(0), mean, atol=0.1, rtol=0)
    assert errors[0] < 0.06 < errors[1]


def test_diffpir_is_its_proximal_step():
    """argmin |y - A x|^2 / noise^2 + strength alpha_t^2 / sigma_t^2 |x - m|^2."""
    t, strength, noise = 0.4, 3.0, 0.3
    x_t = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    layout = Layout.dense(4, (3,), dtype=D)
    m = Correlated()(x_t, t, layout).mean
    rho = strength * (KERNEL.schedule.alpha(t) / KERNEL.schedule.sigma(t)) ** 2
    left = A.T @ A / noise**2 + rho * torch.eye(3, dtype=D)
    expected = torch.linalg.solve(left, (Y @ A / noise**2 + rho * m).T).T
    found = diffpir(Correlated(), Measurement(Y, noise, A), strength)(x_t, t, layout).mean
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_diffpirs_walk_renews_its_share_of_the_noise():
    """zeta 0 is DDIM; of a known x_0 every zeta keeps the marginals."""

    class Known(Denoiser):
        kernel = KERNEL

        def forward(self, x_t, t, layout, condition=None):
            return Dirac(torch.ones_like(x_t), layout)

    layout, grid = Layout.dense(4000, (1,), dtype=D), torch.tensor([1.0, 0.6, 0.3], dtype=D)
    found = {}
    for sampler in (Renoised(0.0), DDIM(), Renoised(0.4), Renoised(1.0)):
        run = Diffusion(Known(), layout, NoiseSource(0, range(4000)))
        x = KERNEL.prior(layout).sample(run.noise)
        *_, last = sampler(run, x, grid)
        found[repr(sampler)] = tensor(last.x)
        sigma = KERNEL.schedule.sigma(0.3)
        assert float(tensor(last.x).mean()) == pytest.approx(KERNEL.schedule.alpha(0.3), abs=0.03)
        assert float(tensor(last.x).std()) == pytest.approx(sigma, rel=0.05)
    torch.testing.assert_close(found[repr(Renoised(0.0))], found[repr(DDIM())])
    with pytest.raises(ConfigError, match="zeta is a share"):
        Renoised(1.5)


def test_what_cannot_be_done_is_said():
    class Words(Denoiser):
        kernel = CategoricalKernel(Tokens(3), Absorbing(2))

        def forward(self, x_t, t, layout, condition=None):
            return Categorical.from_logits(torch.zeros(*x_t.shape, 3), layout)

    measured = Measurement(Y, 0.3, A)
    with pytest.raises(ConfigError, match="GaussianKernel"):
        mmps(Words(), measured)
    with pytest.raises(InputError, match="by a Measurement"):
        mmps(Correlated(), Total(1.0, 0.1))
    with pytest.raises(InputError, match="in steps"):
        mmps(Correlated(), measured, iterations=0)
    with pytest.raises(InputError, match="strength"):
        diffpir(Correlated(), measured, strength=0.0)
    layout, x = Layout.dense(2, (3,), dtype=D), torch.zeros(2, 3, dtype=D)
    blind = Property(lambda x, layout: x[:, 0].round().detach(), 1.0, 1.0)
    with pytest.raises(ConfigError, match="no gradient to follow"):
        dps(Correlated(), blind)(x, 0.5, layout)
    with pytest.raises(InputError, match="another shape"):
        mmps(Correlated(), Measurement(torch.zeros(1, 3), 0.3, A))(x, 0.5, layout)
