"""Time per step outside the network, 16x3x32x32 on the CPU: python tests/benchmarks/steps.py

The network answers at once with tensors made before. Beside every sampler: the leanest loop that
we can write by hand for the same method, in x_t and with as few passes over memory as torch allows,
its coefficients computed before the clock starts; and the scheduler of diffusers of the same name.
The loops do what every caller needs: they make the time label (B,) that a network takes, and hand
out each state with the x_0 that was predicted, which previews, clipping and guidance read, and
which diffusers' steps compute as well. They check nothing. Loops with noise draw it from the same
`NoiseSource` as the samplers.

Times are those of the processor, per evaluation of the network, the least of several rounds that
are taken in turns: other work on the machine only adds to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import diffusers
import torch
from torch import Tensor, nn

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
    Diffusion,
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

STEPS, ROUNDS = 50, 40
SHAPE = (16, 3, 32, 32)
KERNEL = GaussianKernel(Euclidean(), BetaTable.linear(1000))
GRID = grids.uniform(KERNEL, STEPS)
TIMES = GRID.tolist()
LEVELS = [levels(KERNEL.schedule, t) for t in TIMES]
LAMBDAS = [lam(KERNEL.schedule, t) for t in TIMES]
X = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
EPS = torch.randn((8, *SHAPE), generator=torch.Generator().manual_seed(1)).unbind()
LAYOUT = Layout.dense(SHAPE[0], SHAPE[1:])
SILENT = NoiseSource(0, [])
Coefficients = list[list[float]]
Run = Callable[[], Iterator[object]]


class Instant(nn.Module):
    """A network that takes no time, and counts its calls. Its answers lie in memory of their own,
    as those of real networks do."""

    calls = 0

    def forward(self, x, label, layout, condition):  # type: ignore[no-untyped-def]
        Instant.calls += 1
        return EPS[Instant.calls % len(EPS)]


NETWORK = Instant()


def ours(sampler: Sampler) -> Run:
    model = NetworkDenoiser(NETWORK, KERNEL, Noise()).eval()

    return lambda: sampler(Diffusion(model, LAYOUT, source(sampler.stochastic)), X, GRID)


def source(needed: bool = True) -> NoiseSource:
    return NoiseSource(0, range(SHAPE[0])) if needed else SILENT


def theirs(name: str) -> Run:
    kind = getattr(diffusers, name + "Scheduler")
    scheduler = kind(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02)

    def run() -> Iterator[object]:
        scheduler.set_timesteps(STEPS)
        x = X
        for t in scheduler.timesteps:
            eps = NETWORK(x, t.expand(SHAPE[0]), None, None)
            step = scheduler.step(eps, t, scheduler.scale_model_input(x, t))
            x = step.prev_sample
            yield step

    return run


def asked(x: Tensor, t: float) -> Tensor:
    return NETWORK(x, torch.full((SHAPE[0],), t), None, None)


def clean(x: Tensor, eps: Tensor, a: float, s: float) -> Tensor:
    return (x * (1 / a)).add_(eps, alpha=-s / a)


def total(weights: list[float], values: list[Tensor]) -> Tensor:
    x = values[0] * weights[0]
    for w, value in zip(weights[1:], values[1:], strict=False):
        x.add_(value, alpha=w)
    return x


def in_x0(rows: Coefficients, noise: list[float] | None = None) -> Run:
    """x <- c_0 x + c_1 m_0 + c_2 m_1 + ... (+ g z), m the latest predictions of x_0."""
    table = list(zip(TIMES[:-1], LEVELS[:-1], rows, noise or [0.0] * STEPS, strict=True))

    def run() -> Iterator[object]:
        draws = source(noise is not None)
        x, known = X, []
        for t, (a, s), row, g in table:
            known = [clean(x, asked(x, t), a, s), *known[: len(row) - 2]]
            x = total(row, [x, *known])
            if g:
                x.add_(draws.normal(LAYOUT), alpha=g)
            yield t, x, known[0]

    return run


def in_eps(rows: Coefficients) -> Run:
    """x <- c_0 x + c_1 e_0 + c_2 e_1 + ..., e the latest predictions of eps."""
    table = list(zip(TIMES[:-1], LEVELS[:-1], rows, strict=True))

    def run() -> Iterator[object]:
        x, known = X, []
        for t, (a, s), row in table:
            known = [asked(x, t), *known[: len(row) - 2]]
            x0 = clean(x, known[0], a, s)
            x = total(row, [x, *known])
            yield t, x, x0

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


def corrected(terms: int, noisy: bool = False) -> Run:
    """A corrector from the state before with `terms` predictions, and a predictor.

    Any numbers serve as coefficients here: only time counts.
    """
    table = list(zip(TIMES[:-1], LEVELS[:-1], strict=True))
    row = [0.9, 0.1, 0.1, 0.1, 0.1]

    def run() -> Iterator[object]:
        draws = source(noisy)
        x, before, known, z = X, X, [], None
        for t, (a, s) in table:
            new = clean(x, asked(x, t), a, s)
            if known:
                x = total(row, [before, *known[: terms - 1], new])
                if noisy:
                    x.add_(z, alpha=0.1)
            known, before = [new, *known[: terms - 2]], x
            x = total(row, [x, *known])
            if noisy:
                z = draws.normal(LAYOUT)
                x.add_(z, alpha=0.1)
            yield t, x, new

    return run


def heun() -> Run:
    """In eps, which is the same in t and in rho up to its coefficients."""
    rows = classical((1.0,))
    table = list(zip(TIMES[:-1], TIMES[1:], LEVELS[:-1], LEVELS[1:], rows, strict=True))

    def run() -> Iterator[object]:
        x = X
        for t, u, (a, s), (b, r), (c, d) in table:
            first = asked(x, t)
            x0 = clean(x, first, a, s)
            ahead = (x * c).add_(first, alpha=d)
            if r > 0:
                second = asked(ahead, u)
                x0 = clean(ahead, second, b, r)
                ahead = (x * c).add_(first, alpha=0.5 * d).add_(second, alpha=0.5 * d)
            x = ahead
            yield t, x, x0

    return run


def midpoint() -> Run:
    """DPM-Solver++ 2S in x_0; any numbers serve as coefficients."""
    table = list(zip(TIMES[:-1], LEVELS[:-1], strict=True))

    def run() -> Iterator[object]:
        x = X
        for t, (a, s) in table[:-1]:
            first = clean(x, asked(x, t), a, s)
            half = total([0.9, 0.1], [x, first])
            second = clean(half, asked(half, t), a, s)
            x = total([0.9, 0.1, 0.1], [x, first, second])
            yield t, x, second
        t, (a, s) = table[-1]
        x = clean(x, asked(x, t), a, s)
        yield t, x, x

    return run


def langevin() -> Run:
    """A correction with the norms of each sample, then a step of the reverse SDE."""
    table = list(zip(TIMES[:-1], LEVELS[:-1], strict=True))

    def run() -> Iterator[object]:
        draws = source()
        x = X
        for t, (a, s) in table:
            score = (clean(x, asked(x, t), a, s) * a).sub_(x).mul_(1 / s**2)
            z = draws.normal(LAYOUT)
            ratio = z.flatten(1).square().sum(1) / score.flatten(1).square().sum(1)
            d = (2 * 0.16**2 * ratio).view(-1, 1, 1, 1)
            x = torch.addcmul(x, score, d).addcmul_(z, (2 * d).sqrt())
            x0 = clean(x, asked(x, t), a, s)
            x = total([0.9, 0.1], [x, x0]).add_(draws.normal(LAYOUT), alpha=0.1)
            yield t, x, x0

    return run


SPREAD = [0.1] * (STEPS - 1) + [0.0]
ROWS: list[tuple[Sampler, Run | None, str | None]] = [
    (DDIM(), in_x0(exponential(1)), "DDIM"),
    (DPMSolverPP(), in_x0(exponential(2)), "DPMSolverMultistep"),
    (DPMSolverPP(Solver.M3), in_x0(exponential(3)), None),
    (DPMSolverPP(Solver.S2), midpoint(), "DPMSolverSinglestep"),
    (UniPC(), corrected(3), "UniPCMultistep"),
    (UniPC(3), corrected(4), None),
    (DEIS(), in_eps(classical((0.4, 0.3, 0.3))), "DEISMultistep"),
    (PNDM(), in_eps(classical((55 / 24, -59 / 24, 37 / 24, -9 / 24))), "PNDM"),
    (PNDM(Pseudo.S), in_eps(classical((1.5, -0.5))), None),
    (EDM(), heun(), "HeunDiscrete"),
    (Heun(), heun(), None),
    (Euler(), in_x0(exponential(1)), "EulerDiscrete"),
    (Ancestral(), in_x0(exponential(1), SPREAD), "DDPM"),
    (SASolver(), corrected(4, noisy=True), None),
    (ReverseDiffusion(), in_x0(exponential(1), SPREAD), None),
    (PredictorCorrector(), langevin(), None),
    (AdaptiveODE(1e-2, 1e-2), None, None),
]


def least(runs: list[Run | None]) -> list[float | None]:
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


def timed(run: Run) -> float:
    Instant.calls = 0
    begun = time.process_time()
    for _ in run():
        pass
    return 1e6 * (time.process_time() - begun) / Instant.calls


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
