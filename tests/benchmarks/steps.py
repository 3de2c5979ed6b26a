"""Time per step outside the network, 16x3x32x32 on the CPU: python tests/benchmarks/steps.py

The network answers at once with a tensor made before. Beside every sampler: the leanest loop that
we can write by hand for the same method, with its coefficients computed before the clock starts,
and the scheduler of diffusers of the same name. Times are those of the processor, per evaluation of
the network, the least of several rounds that are taken in turns: other work on the machine only
adds to them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import diffusers
import torch
from torch import nn

from unnoise.denoise import NetworkDenoiser, Noise
from unnoise.kernels import BetaTable, GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    PNDM,
    AdaptiveODE,
    Ancestral,
    DPMSolverPP,
    Euler,
    Heun,
    PredictorCorrector,
    Pseudo,
    ReverseDiffusion,
    Sampler,
    SASolver,
    Solver,
    UniPC,
    grids,
)
from unnoise.samplers.algebra import adams, lam, levels
from unnoise.spaces import Euclidean, Layout

STEPS, ROUNDS = 50, 25
SHAPE = (16, 3, 32, 32)
KERNEL = GaussianKernel(Euclidean(), BetaTable.linear(1000))
GRID = grids.uniform(KERNEL, STEPS)
TIMES = GRID.tolist()
LEVELS = [levels(KERNEL.schedule, t) for t in TIMES]
LAMBDAS = [lam(KERNEL.schedule, t) for t in TIMES]
X = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
EPS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
Coefficients = list[list[float]]


class Instant(nn.Module):
    """A network that takes no time, and counts its calls."""

    calls = 0

    def forward(self, x, label, layout, condition):  # type: ignore[no-untyped-def]
        Instant.calls += 1
        return EPS


def ours(sampler: Sampler) -> Callable[[], int]:
    model = NetworkDenoiser(Instant(), KERNEL, Noise()).eval()
    layout = Layout.dense(SHAPE[0], SHAPE[1:])

    def run() -> int:
        Instant.calls = 0
        noise = NoiseSource(0, range(SHAPE[0])) if sampler.stochastic else SILENT
        for _ in sampler(model, X, GRID, layout, noise):
            pass
        return Instant.calls

    return run


SILENT = NoiseSource(0, [])


def theirs(name: str) -> Callable[[], int]:
    kind = getattr(diffusers, name + "Scheduler")
    scheduler = kind(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02)

    def run() -> int:
        scheduler.set_timesteps(STEPS)
        x = X
        for t in scheduler.timesteps:
            x = scheduler.step(EPS, t, scheduler.scale_model_input(x, t)).prev_sample
        return len(scheduler.timesteps)

    return run


def ddim() -> Callable[[], int]:
    table = list(itertools.pairwise(LEVELS))

    def run() -> int:
        x = X
        for (a, s), (b, r) in table:
            eps = EPS
            x0 = (x - s * eps) / a
            x = b * x0 + r * eps
        return STEPS

    return run


def in_x0(rows: Coefficients) -> Callable[[], int]:
    """x <- c_0 x + c_1 m_0 + c_2 m_1 + ..., m the latest predictions of x_0."""

    def run() -> int:
        x, known = X, []
        for (a, s), row in zip(LEVELS[:-1], rows, strict=True):
            known = [torch.sub(x, EPS, alpha=s) / a, *known[:2]]
            x = x * row[0]
            for c, m in zip(row[1:], known, strict=False):
                x.add_(m, alpha=c)
        return STEPS

    return run


def in_eps(rows: Coefficients) -> Callable[[], int]:
    """x <- c_0 x + c_1 e_0 + c_2 e_1 + ..., e the latest predictions of eps."""

    def run() -> int:
        x, known = X, []
        for row in rows:
            known = [EPS, *known[:3]]
            x = x * row[0]
            for c, e in zip(row[1:], known, strict=False):
                x.add_(e, alpha=c)
        return STEPS

    return run


def exponential(order: int) -> Coefficients:
    rows = []
    for i in range(STEPS):
        (_, s), (b, r) = LEVELS[i], LEVELS[i + 1]
        if i == STEPS - 1:
            rows.append([0.0, 1.0])
            continue
        nodes = [LAMBDAS[j] - LAMBDAS[i + 1] for j in range(i, max(i - order, -1), -1)]
        weights = adams(nodes, LAMBDAS[i + 1] - LAMBDAS[i])
        rows.append([r / s, *(b * w for w in weights)])
    return rows


def classical(weights: tuple[float, ...]) -> Coefficients:
    rows = []
    for i in range(STEPS):
        (a, s), (b, r) = LEVELS[i], LEVELS[i + 1]
        rows.append([b / a, *((r - b / a * s) * w for w in weights)])
    return rows


def unipc() -> Callable[[], int]:
    predictor = exponential(2)
    corrector = [[1.0, 0.3, 0.3, 0.3] for _ in range(STEPS)]  # any numbers: only time counts

    def run() -> int:
        x, before, known = X, X, []
        for i, ((a, s), row) in enumerate(zip(LEVELS[:-1], predictor, strict=True)):
            new = torch.sub(x, EPS, alpha=s) / a
            if i:
                x = before * corrector[i][0]
                for c, m in zip(corrector[i][1:], [new, *known], strict=False):
                    x.add_(m, alpha=c)
            known, before = [new, *known[:1]], x
            x = x * row[0]
            for c, m in zip(row[1:], known, strict=False):
                x.add_(m, alpha=c)
        return STEPS

    return run


def heun() -> Callable[[], int]:
    rows = classical((1.0,))

    def run() -> int:
        x = X
        for (c, d), (a, s), (b, r) in zip(rows, LEVELS[:-1], LEVELS[1:], strict=True):
            first = EPS
            x0 = (x - s * first) / a
            ahead = b * x0 + r * first
            if r > 0:
                second = EPS
                ahead = (x * c).add_(first, alpha=0.5 * d).add_(second, alpha=0.5 * d)
            x = ahead
        return 2 * STEPS - 1

    return run


ROWS: list[tuple[Sampler, Callable[[], int] | None, str | None]] = [
    (DDIM(), ddim(), "DDIM"),
    (DPMSolverPP(), in_x0(exponential(2)), "DPMSolverMultistep"),
    (DPMSolverPP(Solver.M3), in_x0(exponential(3)), None),
    (DPMSolverPP(Solver.S2), None, "DPMSolverSinglestep"),
    (UniPC(), unipc(), "UniPCMultistep"),
    (DEIS(), in_eps(classical((0.4, 0.3, 0.3))), "DEISMultistep"),
    (PNDM(), in_eps(classical((55 / 24, -59 / 24, 37 / 24, -9 / 24))), "PNDM"),
    (PNDM(Pseudo.S), in_eps(classical((1.5, -0.5))), None),
    (EDM(), heun(), "HeunDiscrete"),
    (Heun(), heun(), None),
    (Euler(), ddim(), "EulerDiscrete"),
    (Ancestral(), None, "DDPM"),
    (SASolver(), None, None),
    (ReverseDiffusion(), None, None),
    (PredictorCorrector(), None, None),
    (AdaptiveODE(1e-2, 1e-2), None, None),
]


def least(runs: list[Callable[[], int] | None]) -> list[float | None]:
    """Microseconds per evaluation of each, the least of all rounds."""
    best: list[float | None] = [None for _ in runs]
    for round_ in range(ROUNDS):
        for i, run in enumerate(runs):
            if run is None:
                continue
            value = timed(run)
            if round_:  # the first warms up
                best[i] = min(best[i] or value, value)
    return best


def timed(run: Callable[[], int]) -> float:
    begun = time.process_time()
    count = run()
    return 1e6 * (time.process_time() - begun) / count


def text(value: float | None) -> str:
    return f"{value:8.0f}" if value is not None else f"{'':>8}"


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    head = f"{'us per evaluation':<44}{'unnoise':>8}{'by hand':>8}{'ratio':>7}{'diffusers':>10}"
    print(head)
    for sampler, hand, name in ROWS:
        mine, lean, other = least([ours(sampler), hand, None if name is None else theirs(name)])
        label = repr(sampler)[:43]
        ratio = f"{mine / lean:7.2f}" if mine and lean else f"{'':>7}"
        print(f"{label:<44}{text(mine)}{text(lean)}{ratio}{'':>2}{text(other)}", flush=True)


if __name__ == "__main__":
    main()
