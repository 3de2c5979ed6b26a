"""How fast every sampler converges on problems with a known answer:

    python tests/benchmarks/order.py

Three tables, against evaluations of the denoiser (counted, not assumed):

- deterministic samplers of Gaussian kernels: the largest distance of nine end points from the
  solution of the probability-flow ODE of a mixture (DOP853 at 1e-12), on times even in log SNR;
- stochastic ones: W2 between the same mixture and 20,000 numbers, 1,250 samples of 16 entries,
  from the kernel's prior with the exact law of each entry, on the uniform grid. The floor is the
  distance of as many true numbers, about 0.01;
- samplers of tokens: total variation between the joint law of 4,000 rows of four tokens and the
  chain that they are from, with exact laws of single tokens. The floor is again that of true rows,
  about 0.02.

A row per sampler as `unnoise samplers` names it, a column per number of steps; a cell is `error
(evaluations)`, and empty where the sampler takes no such number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.stats import norm
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.distributions import Distribution, Gaussian
from unnoise.engine.named import named_sampler
from unnoise.errors import UnnoiseError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Sampler, grids
from unnoise.spaces import Layout, Tokens
from unnoise.testing import MixtureOracle, PmfOracle
from unnoise.testing.ode_problem import VP, even_grid, ode_problem, start_points

F = torch.float64
STEPS = (5, 10, 20, 40, 80, 160)
SAMPLES, ENTRIES, ROWS = 20_000, 16, 4_000
FLIP = torch.tensor([[0.85, 0.15], [0.15, 0.85]], dtype=F)
CHAIN = (FLIP[:, :, None, None] * FLIP[None, :, :, None] * FLIP[None, None, :, :]) / 2
TOKEN_STEPS = (1, 2, 3, 4, 8, 32)


class Counted(Denoiser):
    """Counts evaluations of samples; `calls` are those of an average sample."""

    def __init__(self, denoiser: Denoiser, batch: int) -> None:
        super().__init__()
        self.denoiser, self.kernel, self.batch, self.rows = denoiser, denoiser.kernel, batch, 0

    @property
    def calls(self) -> float:
        return self.rows / self.batch

    def forward(self, x_t, t, layout, condition=None) -> Distribution:  # type: ignore[no-untyped-def]
        self.rows += layout.batch
        return self.denoiser(x_t, t, layout, condition)


class Apart(Denoiser):
    """An oracle of one number, for each entry of (B, n) by itself."""

    def __init__(self, oracle: Denoiser) -> None:
        super().__init__()
        self.oracle, self.kernel = oracle, oracle.kernel

    def forward(self, x_t, t, layout, condition=None) -> Gaussian:  # type: ignore[no-untyped-def]
        x = x_t.reshape(-1, 1)
        if isinstance(t, Tensor) and t.ndim:
            t = t.repeat_interleave(x_t.shape[1])
        one = self.oracle(x, t, Layout.dense(len(x), (1,), dtype=x.dtype))
        return Gaussian(one.mean.view_as(x_t), one.std.view_as(x_t), self.kernel.space, layout)


def ends(sampler: Sampler, model: Denoiser, x: Tensor, grid: Tensor) -> tuple[Tensor, float]:
    """Where a run from x ends, and evaluations of a sample."""
    counted = Counted(model, len(x))
    layout = Layout.dense(len(x), tuple(x.shape[1:]), dtype=x.dtype)
    run = Diffusion(counted, layout, NoiseSource(0, range(len(x))))
    with torch.no_grad():
        *_, last = sampler(run, x, grid)
    return last.x, counted.calls


def along_ode(sampler: Sampler, steps: int) -> tuple[float, float]:
    model, exact = ode_problem()
    x, calls = ends(sampler, model, start_points(), even_grid(steps))
    return float((x - exact).abs().max()), calls


def law(sampler: Sampler, steps: int) -> tuple[float, float]:
    two = [torch.tensor(v, dtype=F) for v in ([0.5, 0.5], [-1.0, 1.0], [0.5, 0.5])]
    layout = Layout.dense(SAMPLES // ENTRIES, (ENTRIES,), dtype=F)
    x = VP.prior(layout).sample(NoiseSource(1, range(layout.batch)))
    x, calls = ends(sampler, Apart(MixtureOracle(VP, *two)), x, grids.uniform(VP, steps))
    return float((x.flatten().sort().values - quantiles()).square().mean().sqrt()), calls


def quantiles() -> Tensor:
    """Of the mixture, at the middle of SAMPLES equal parts."""
    z = torch.linspace(-5, 5, 200_001, dtype=F)
    cdf = torch.from_numpy((norm.cdf(z, -1, 0.5) + norm.cdf(z, 1, 0.5)) / 2)
    u = (torch.arange(SAMPLES, dtype=F) + 0.5) / SAMPLES
    return z[torch.searchsorted(cdf, u)]


def tokens(sampler: Sampler, steps: int) -> tuple[float, float]:
    kernel = CategoricalKernel(Tokens(3), Absorbing(2))
    x = torch.full((ROWS, 4), 2)
    x, calls = ends(sampler, PmfOracle(kernel, CHAIN), x, grids.uniform(kernel, steps))
    places = (x * torch.tensor([8, 4, 2, 1])).sum(1)
    found = torch.bincount(places, minlength=16).double() / ROWS
    return float((found - CHAIN.flatten()).abs().sum() / 2), calls


def table(
    names: Sequence[str], steps: Sequence[int], of: Callable[..., tuple[float, float]]
) -> None:
    print("| sampler | " + " | ".join(f"{n} steps" for n in steps) + " |")
    print("|---" * (len(steps) + 1) + "|")
    for name in names:
        cells = []
        for n in steps:
            try:
                error, calls = of(named_sampler(name), n)
                cells.append(f"{error:.2e} ({calls:.4g})")
            except UnnoiseError:
                cells.append("")
        print(f"| `{name}` | " + " | ".join(cells) + " |", flush=True)
    print()


ODE = [
    *("euler", "ddim", "heun", "edm", "dpmpp", "dpmpp(solver='2S')"),
    *("dpmpp(solver='3M', warmup='full')", "pndm", "pndm(method='S')", "unipc", "deis"),
    *("unipc(p=3, warmup='full')", "deis(order=4, warmup='full')", "sa-solver(tau=0.0)"),
]
LAW = ["ancestral", "ddim(eta=1.0)", "reverse-diffusion", "predictor-corrector", "sa-solver"]
LAW += ["edm(churn=10.0)"]
TOKENS = ["ancestral", "cached", "first-hitting", "order-agnostic", "confidence"]
TOKENS += ["entropy-bound", "threshold", "remdm"]


def main() -> None:
    table(ODE, STEPS, along_ode)
    table(LAW, STEPS, law)
    table(TOKENS, TOKEN_STEPS, tokens)


if __name__ == "__main__":
    main()
