"""The reverse-diffusion discretisation and its corrector: METHODS, section 2."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, IncompatibleSampler
from unnoise.kernels import VE, BetaTable, GaussianKernel, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, PredictorCorrector, ReverseDiffusion, grids
from unnoise.samplers.algebra import levels
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import GaussianOracle, PointEstimate

F = torch.float64


class Impulses(NoiseSource):
    """Sample j gets the number 1 at draw j, all else 0: a linear run's response to its noise."""

    def __init__(self):
        super().__init__(0, [])
        self.draws = 0

    def normal(self, layout):
        z = torch.zeros(layout.shape, dtype=F)
        self.draws += 1
        z[self.draws] = 1
        return z


def final_variance(sampler, model, grid) -> float:
    """Of a sampler that is linear in state and noise, exactly."""
    layout = Layout.dense(len(grid) + 1, (), dtype=F)
    x = torch.zeros(len(grid) + 1, dtype=F)
    x[0] = model.kernel.schedule.sigma(1.0)
    *_, last = sampler(Diffusion(model, layout, Impulses()), x, grid)
    return float((last.x**2).sum())


def oracle(schedule, variance=0.25):
    return PointEstimate(GaussianOracle(GaussianKernel(Euclidean(), schedule), 0.0, variance))


@pytest.mark.parametrize(("n", "variance"), [(100, 0.27272), (1000, 0.25206)])
def test_reverse_diffusion_ve(n, variance):
    # N levels from sigma_max to sigma_min, the last step denoises to 0
    grid = torch.cat([torch.linspace(1, 1e-5, n, dtype=F), torch.zeros(1, dtype=F)])
    assert final_variance(ReverseDiffusion(), oracle(VE()), grid) == pytest.approx(
        variance, abs=5e-5
    )


class Continuous(Denoiser):
    """The exact score of the continuous VP process at N times down to 0.001, for steps of betas
    (beta_min + i (beta_max - beta_min) / (N - 1)) / N: the usual discretisation, whose steps and
    scores differ slightly. `large` makes beta the variance of Bayes' posterior."""

    def __init__(self, n, large=False):
        super().__init__()
        self.n, self.large, self.exact = n, large, VPLinear()
        self.table = BetaTable(tuple(np.linspace(0.1, 20, n) / n))
        self.kernel = GaussianKernel(Euclidean(), self.table)

    def forward(self, x_t, t, layout, condition=None):
        i = round(t * self.n)
        a, s = levels(self.exact, np.linspace(1e-3, 1, self.n)[i - 1].item())
        alpha, sigma = levels(self.table, t)
        x0 = (x_t - sigma**2 * x_t / (0.25 * a**2 + s**2)) / alpha
        std = 0.0
        if self.large and i > 1:
            beta = self.table.betas[i - 1]
            alpha_s, sigma_s = levels(self.table, (i - 1) / self.n)
            std = math.sqrt(beta - beta * sigma_s**2 / sigma**2) / (alpha_s * beta / sigma**2)
        return Gaussian(x0, std, Euclidean(), layout)


@pytest.mark.parametrize(
    ("sampler", "n", "variance"),
    [
        (ReverseDiffusion(), 100, 0.25616),
        (ReverseDiffusion(), 1000, 0.25189),
        (Ancestral(), 100, 0.24983),
        (Ancestral(), 1000, 0.25126),
    ],
    ids=repr,
)
def test_vp(sampler, n, variance):
    model = Continuous(n, large=isinstance(sampler, Ancestral))
    grid = grids.uniform(model.kernel, n)
    assert final_variance(sampler, model, grid) == pytest.approx(variance, abs=1e-5)


@pytest.mark.parametrize("schedule", [VE(0.05, 10.0), VPLinear(0.2, 8.0)], ids=repr)
def test_own_setting_reverse_diffusion_by_hand(schedule):
    times = np.linspace(1, 0, 41)
    v = schedule.sigma(1.0) ** 2
    for t, s in itertools.pairwise(times):
        (a, b), (c, d) = levels(schedule, float(t)), levels(schedule, float(s))
        g2 = b**2 - (a / c * d) ** 2
        v = (2 - a / c - g2 / (0.7 * a**2 + b**2)) ** 2 * v + (g2 if s > 0 else 0)
    model = oracle(schedule, 0.7)
    found = final_variance(ReverseDiffusion(), model, grids.custom(times.tolist()))
    assert found == pytest.approx(v, rel=1e-10)


def test_a_corrector_step_by_hand():
    model = oracle(VE(0.05, 10.0))
    layout = Layout.dense(3, (4,), dtype=F)
    x = 3 * NoiseSource(1, range(3)).normal(layout)
    noise, own = NoiseSource(2, range(3)), NoiseSource(2, range(3))
    step = next(
        PredictorCorrector(0.2)(Diffusion(model, layout, noise), x, grids.custom([0.7, 0.4]))
    )
    schedule = model.kernel.schedule
    sigma, later = schedule.sigma(0.7), schedule.sigma(0.4)
    score, z = -x / (0.25 + sigma**2), own.normal(layout)
    for i in range(3):  # with the norms of each sample
        d = 2 * (0.2 * z[i].norm() / score[i].norm()) ** 2
        x[i] = x[i] + d * score[i] + (2 * d).sqrt() * z[i]
    g2 = sigma**2 - later**2
    # the grid ends here, so the step returns its mean
    torch.testing.assert_close(step.x, x - g2 * x / (0.25 + sigma**2))


def test_correction_brings_the_variance_nearer():
    grid = torch.cat([torch.linspace(1, 1e-5, 60, dtype=F), torch.zeros(1, dtype=F)])
    layout, model = Layout.dense(400, (64,), dtype=F), oracle(VE())
    gaps = []
    for corrections in (0, 1):
        noise = NoiseSource(0, range(400))
        x = model.kernel.prior(layout).sample(noise)
        sampler = PredictorCorrector(0.16, corrections)
        *_, last = sampler(Diffusion(model, layout, noise), x, grid)
        gaps.append(abs(float(last.x.var()) - 0.25))
    assert gaps[1] < 0.6 * gaps[0]


@pytest.mark.parametrize("schedule", [VPCosine(), VPLinear(), VE(0.05, 10.0)], ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 10])
def test_a_last_step_that_leaves_noise_is_refused(schedule, steps):
    """Of data that are a point everything else than 0 is noise that is left; the refusal says how
    much, within what the steps before it have changed."""
    model = oracle(schedule, 1e-8)
    grid = grids.uniform(model.kernel, steps)
    left = final_variance(ReverseDiffusion(), model, grid) ** 0.5
    try:
        for sampler in (ReverseDiffusion(), PredictorCorrector()):
            sampler.check_grid(model.kernel, grid)
        assert left < 0.08
    except IncompatibleSampler:
        assert left > 0.03


def test_a_corrector_that_has_no_law_to_come_to_is_refused():
    """x <- (1 - d) x + sqrt(2 d) z with d = 2 snr^2 has the variance 1 / (1 - snr^2)."""
    v, d = 1.0, 2 * 0.9**2
    for _ in range(2000):
        v = (1 - d) ** 2 * v + 2 * d
    assert v == pytest.approx(1 / (1 - 0.9**2))
    PredictorCorrector(snr=0.9)
    for snr in (0.0, 1.0, 5.0):
        with pytest.raises(ConfigError, match="0 < snr < 1"):
            PredictorCorrector(snr=snr)
