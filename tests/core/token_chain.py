"""Small joint laws of tokens, for tests of absorbing kernels."""

from __future__ import annotations

import torch
from scipy import stats

from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, grids, walk
from unnoise.spaces import Layout, Tokens
from unnoise.testing import PmfOracle

F = torch.float64
FLIP = torch.tensor([[0.85, 0.15], [0.15, 0.85]], dtype=F)
CHAIN = FLIP[:, :, None] * FLIP / 2
ALARM = 1e-7  # of every test against a law
N = 6000


class Counted(Denoiser):
    """Counts calls, samples and the times that are asked for."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.kernel = denoiser, denoiser.kernel
        self.samples: list[int] = []
        self.times: list = []

    def forward(self, x_t, t, layout, condition=None):
        self.samples.append(layout.batch)
        self.times.append(t)
        return self.denoiser(x_t, t, layout, condition)


class Table(Denoiser):
    """Fixed laws of 12 tokens of a vocabulary of 3 and a mask, of rising certainty."""

    def __init__(self, schedule=None, length=12):
        super().__init__()
        corruption = Absorbing(3) if schedule is None else Absorbing(3, schedule)
        self.kernel = CategoricalKernel(Tokens(4), corruption)
        p = torch.linspace(0.4, 0.95, length, dtype=F)
        rest = (1 - p) / 2
        self.table = torch.stack([p, rest, rest, 0 * p], -1).log()

    def forward(self, x_t, t, layout, condition=None):
        return Categorical(self.table.expand(*x_t.shape, 4), layout)


def model(pmf, schedule=None) -> PmfOracle:
    k = pmf.shape[0]
    corruption = Absorbing(k) if schedule is None else Absorbing(k, schedule)
    return PmfOracle(CategoricalKernel(Tokens(k + 1), corruption), pmf)


def run(sampler, denoiser, batch, steps, seed=0, length=3, observation=None, ids=None):
    layout = Layout.dense(batch, (length,), dtype=torch.int64)
    noise = NoiseSource(seed, range(batch) if ids is None else ids)
    x = denoiser.kernel.prior(layout).sample(noise)
    grid = grids.uniform(denoiser.kernel, steps)
    return list(walk(sampler, Diffusion(denoiser, layout, noise), x, grid, observation))


def p_value(x: torch.Tensor, p: torch.Tensor) -> float:
    """Chi-square of sequences (B, L) against their joint pmf (k,) * L."""
    k = p.shape[0]
    weights = k ** torch.arange(p.ndim - 1, -1, -1)
    counted = torch.bincount((x * weights).sum(1), minlength=p.numel()).double()
    p = p.flatten()
    assert counted[p == 0].sum() == 0
    counted, p = counted[p > 0], p[p > 0]
    expected = len(x) * p
    return stats.chi2.sf(((counted - expected) ** 2 / expected).sum().item(), len(p) - 1)
