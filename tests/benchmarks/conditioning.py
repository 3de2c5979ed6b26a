"""Conditional sampling against closed forms, beside azula's TDS, DPS and MMPS.

    pip install --no-deps azula==0.11.1 einops
    python tests/benchmarks/conditioning.py

Data whose posterior is known exactly, exact denoisers, one schedule, the same steps. A run is
`--particles` states, `--runs` times, for SMC and azula's TDS alike: as many evaluations. Of the
denoiser azula asks for the mean of x_0; here it may be asked for its law, which is a mixture (of
one, for Gaussian data). A run of SMC returns one sample, as its users get it, and one of azula's
TDS all particles of its last step. Of methods with one state for each sample there are 16 samples a
run, and one of azula's DPS, whose step depends on the whole batch, so that it is walked one state
at a time: their errors are of the method, and more samples do not make them smaller.

W1 is the distance of all these samples from draws of the exact posterior, and beside it the error
of their mean, both in standard deviations of the posterior, of the worst entry. "exact draws" is
what as many exact draws as SMC has show: no less can be told. The last column is the error of the
mean evidence, log of mean Z / p(y), with its standard error.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from azula.denoise import Denoiser as TheirDenoiser
from azula.denoise import DiracPosterior
from azula.guidance.dps import DPSSampler
from azula.guidance.mmps import MMPSDenoiser
from azula.guidance.tds import TDSSampler
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import Schedule as TheirSchedule
from azula.sample import DDPMSampler
from torch import Tensor

from unnoise.conditioning import SMC, Exact, Measurement, mmps
from unnoise.denoise import Denoiser
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, Sampler
from unnoise.samplers.grids import Uniform
from unnoise.spaces import Euclidean, Layout, tensor
from unnoise.testing import MixtureOracle

D = torch.float64
KERNEL = GaussianKernel(Euclidean(), VPCosine())


@dataclass(frozen=True, eq=False)
class Problem:
    """x_0 ~ sum_k w_k N(m_k, v I), y = A x_0 + noise n."""

    name: str
    weights: Tensor
    means: Tensor
    variance: float
    matrix: Tensor
    y: Tensor
    noise: float

    def posterior(self, count: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """(count, d) draws, and log p(y)."""
        a, d = self.matrix, self.means.shape[1]
        spread = self.variance * a @ a.T + self.noise**2 * torch.eye(len(a), dtype=D)
        error = self.y - self.means @ a.T
        normal = torch.distributions.MultivariateNormal(torch.zeros(len(a), dtype=D), spread)
        logs = self.weights.log() + normal.log_prob(error)
        gain = self.variance * a.T @ torch.linalg.inv(spread)
        centres = self.means + error @ gain.T
        left = self.variance * (torch.eye(d, dtype=D) - gain @ a)
        factor = torch.linalg.cholesky(left + 1e-14 * torch.eye(d, dtype=D))
        which = torch.multinomial(logs.softmax(0), count, True, generator=generator)
        z = torch.randn(count, d, generator=generator, dtype=D)
        return centres[which] + z @ factor.T, float(logs.logsumexp(0))

    def law(self, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The mean of x_0 given x_t."""
        total = a * a * self.variance + s * s
        error = x_t[:, None] - a * self.means
        share = (self.weights.log() - error.square().sum(-1) / (2 * total)).softmax(-1)
        return (share[..., None] * (self.means + a * self.variance / total * error)).sum(1)

    def oracle(self) -> MixtureOracle:
        stds = torch.full((len(self.weights),), math.sqrt(self.variance), dtype=D)
        return MixtureOracle(KERNEL, self.weights, self.means, stds, whole=True)


class Same(TheirSchedule):
    """This library's schedule as azula asks for it."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        of = KERNEL.schedule
        return tuple(torch.as_tensor(f(float(t)), dtype=D) for f in (of.alpha, of.sigma))


class Theirs(TheirDenoiser):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem, self.schedule = problem, Same()

    def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> DiracPosterior:
        return DiracPosterior(self.problem.law(x_t, *self.schedule(t)))


def ours(
    problem: Problem, make: Callable[[Measurement, Denoiser], tuple[Sampler, Denoiser]]
) -> Callable[[int, int, int], tuple[Tensor, Tensor | None]]:
    def drawn(count: int, steps: int, seed: int) -> tuple[Tensor, Tensor | None]:
        measured = Measurement(problem.y[None], problem.noise, problem.matrix)
        sampler, denoiser = make(measured, problem.oracle())
        layout = Layout.dense(count, (problem.means.shape[1],), dtype=D)
        run = Diffusion(denoiser, layout, NoiseSource(seed, range(count)))
        x = KERNEL.prior(layout).sample(run.noise)
        with torch.no_grad():
            for step in sampler(run, x, Uniform().times(KERNEL, steps)):
                x = tensor(step.x)
        return x, step.notes.get("log_evidence")

    return drawn


def tds(problem: Problem, particles: int) -> Callable[[int, int, int], tuple[Tensor, None]]:
    """With the twist of its documentation: a Gaussian of the measurement's noise and of the width
    that is left at this time."""

    def twist(x_hat: Tensor, ratio: Tensor) -> Tensor:
        a = problem.matrix
        width = ratio**2 / (1 + ratio**2)
        spread = width * a @ a.T + problem.noise**2 * torch.eye(len(a), dtype=D)
        law = torch.distributions.MultivariateNormal(problem.y.new_zeros(len(a)), spread)
        return law.log_prob(problem.y - x_hat @ a.T)[:, None]

    def drawn(count: int, steps: int, seed: int) -> tuple[Tensor, None]:
        torch.manual_seed(seed)
        found = []
        for _ in range(count):
            sampler = TDSSampler(Theirs(problem), twist, steps=steps, silent=True, dtype=D)
            found.append(sampler(torch.randn(particles, problem.means.shape[1], dtype=D)))
        return torch.cat(found), None

    return drawn


def theirs(problem: Problem, kind: str) -> Callable[[int, int, int], tuple[Tensor, None]]:
    def seen(x: Tensor) -> Tensor:
        return x @ problem.matrix.T

    def drawn(count: int, steps: int, seed: int) -> tuple[Tensor, None]:
        torch.manual_seed(seed)
        x = torch.randn(count, problem.means.shape[1], dtype=D)
        if kind == "dps":
            # its norm is over the whole batch: one state at a time
            sampler = DPSSampler(
                Theirs(problem), problem.y, seen, zeta=1.0, steps=steps, silent=True, dtype=D
            )
            return torch.cat([sampler(row[None]) for row in x]), None
        cov = IsotropicCovariance(torch.tensor(problem.noise**2, dtype=D))
        guided = MMPSDenoiser(Theirs(problem), problem.y, seen, cov, iterations=len(problem.y))
        return DDPMSampler(guided, steps=steps, silent=True, dtype=D)(x), None

    return drawn


def distance(x: Tensor, exact: Tensor) -> float:
    """The largest W1 of an entry, in standard deviations of the exact draws."""
    at = (torch.arange(4000, dtype=D) + 0.5) / 4000
    one, two = (torch.quantile(v, at, dim=0) for v in (x, exact))
    return float(((one - two).abs().mean(0) / exact.std(0)).max())


def problems() -> list[Problem]:
    of = lambda *rows: torch.tensor(rows, dtype=D)  # noqa: E731
    return [
        Problem("Gaussian, y = x + n", of(1.0), of([0.0]), 1.0, of([1.0]), of(2.0), 0.5),
        Problem(
            "Gaussian, 3 entries, 2 sums",
            of(1.0),
            of([0.0, 0.0, 0.0]),
            1.0,
            of([0.5, 0.5, 0.0], [0.0, 0.5, 0.5]),
            of(1.0, -0.5),
            0.3,
        ),
        Problem(
            "mixture of 2, y = x + n",
            of(0.7, 0.3),
            of([-1.0], [2.0]),
            0.25,
            of([1.0]),
            of(0.8),
            1.0,
        ),
        Problem(
            "mixture of 4 in 2 D, their sum",
            of(0.4, 0.3, 0.2, 0.1),
            of([-1.5, 1.5], [1.5, -1.5], [1.5, 1.5], [-1.5, -1.5]),
            0.16,
            of([1.0, 1.0]),
            of(0.5),
            0.7,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--particles", type=int, default=64)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    runs, k = asked.runs, asked.particles
    print("| problem | steps | method | W1 | error of the mean | log p(y) |")
    print("|---|---|---|---|---|---|", flush=True)
    for problem in problems():
        exact, evidence = problem.posterior(400_000, torch.Generator().manual_seed(1))
        few, _ = problem.posterior(runs, torch.Generator().manual_seed(2))
        methods = {
            "unnoise SMC": (
                ours(problem, lambda m, d: (SMC(m, k, Exact(), at_once=1 << 16), d)),
                runs,
            ),
            "azula TDS": (tds(problem, k), runs),
            "azula DPS": (theirs(problem, "dps"), runs),
            "azula MMPS": (theirs(problem, "mmps"), runs * 16),
            "unnoise mmps": (ours(problem, lambda m, d: (Ancestral(), mmps(d, m))), runs * 16),
        }
        floor = [problem.name, "", "exact draws", f"{distance(few, exact):.4f}"]
        print("| " + " | ".join([*floor, f"{off(few, exact):.4f}"]) + " |  |", flush=True)
        for steps in asked.steps:
            for name, (drawn, count) in methods.items():
                x, found = drawn(count, steps, asked.seed)
                said = ""
                if found is not None:
                    ratio = (found - evidence).exp()
                    error = float(ratio.std()) / math.sqrt(len(ratio))
                    said = f"{float(ratio.mean().log()):+.4f} ({error:.4f})"
                cells = [
                    problem.name,
                    steps,
                    name,
                    f"{distance(x, exact):.4f}",
                    f"{off(x, exact):.4f}",
                ]
                print("| " + " | ".join(map(str, [*cells, said])) + " |", flush=True)


def off(x: Tensor, exact: Tensor) -> float:
    return float(((x.mean(0) - exact.mean(0)).abs() / exact.std(0)).max())


if __name__ == "__main__":
    main()
