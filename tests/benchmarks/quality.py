"""Distance to the data at few evaluations, beside diffusers: python tests/benchmarks/quality.py

prints a Markdown table. Both sides sample the same mixtures of Gaussians with the same exact
denoiser on the process of 1000 steps with linear beta, from the same noise: a scrambled Sobol
sequence, whose own error lies far below that of random numbers and does not hide that of the
samplers (--random for random numbers).

Ours is one choice for every line: `UniPC(3)` on the grid that `unnoise.samplers.optimised` fits to
this denoiser and number of evaluations, from 256 states of other noise and the trajectories of the
probability-flow ODE; it sees neither the data nor the distance. A user passes it as
`generate(sampler=UniPC(3), steps=grid)`, or stores it in a bundle as the default "steps". "named
grid" is the best of UniPC and DPM-Solver++ on the grids that need no fit, whose name is all a
request has to give. The ratio is that of the optimised grid, and of the named one at 50.

Theirs is the best of all their schedulers of deterministic kind with all of their spacings of
timesteps and sigmas: all run on --screen samples, and the best three of these on as many as ours,
for each mixture and number of evaluations, which is counted, not assumed: a scheduler takes as many
steps as fit.

W2 is exact in one dimension (sorted samples against the quantile function of the mixture); in two
it is the sliced distance, the root mean square of the exact W2 along 32 directions. The floor is
that of an accurate solution of the ODE with 200 evaluations.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import diffusers
import numpy as np
import torch
from scipy.stats import norm, qmc
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.kernels import BetaTable, GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, DPMSolverPP, Sampler, Solver, UniPC, grids, optimised
from unnoise.spaces import Euclidean, Layout

F = torch.float64
EVALUATIONS = (5, 10, 20, 50)
KERNEL = GaussianKernel(Euclidean(), BetaTable.linear(1000))
BETAS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
DIRECTIONS = 32


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians: weights (K,), means (K, d), stds (K,)."""

    name: str
    weights: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    stds: tuple[float, ...]

    def predict(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x_0 | x_t]; x is (B, d). Beside the oracle of the tests, without the variance."""
        means, stds = torch.tensor(self.means, dtype=F), torch.tensor(self.stds, dtype=F)
        total = alpha**2 * stds**2 + sigma**2
        parts = [x - alpha * m for m in means]
        logs = torch.stack([(y * y).sum(1) / (-2 * v) for y, v in zip(parts, total, strict=True)])
        offset = torch.tensor(self.weights, dtype=F).log() - 0.5 * x.shape[1] * total.log()
        posterior = (logs + offset[:, None]).softmax(0)
        result = torch.zeros_like(x)
        for p, m, s, v, y in zip(posterior, means, stds, total, parts, strict=True):
            result += p[:, None] * torch.add(m, y, alpha=float(alpha * s**2 / v))
        return result

    def distance(self, x: Tensor) -> float:
        """W2 to the mixture, sliced above one dimension."""
        d = x.shape[1]
        angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
        lines = np.array([[1.0]]) if d == 1 else np.stack([np.cos(angles), np.sin(angles)], 1)
        points = x.numpy()
        u = (np.arange(len(points)) + 0.5) / len(points)
        squares = []
        for line in lines:
            means, stds = np.array(self.means) @ line, np.array(self.stds)
            z = np.linspace((means - 6 * stds).min(), (means + 6 * stds).max(), 40_001)
            cdf = (np.array(self.weights) * norm.cdf((z[:, None] - means) / stds)).sum(1)
            squares.append(((np.sort(points @ line) - np.interp(u, cdf, z)) ** 2).mean())
        return float(np.sqrt(np.mean(squares)))


RING = tuple((float(np.cos(a)), float(np.sin(a))) for a in np.arange(6) * np.pi / 3)
MIXTURES = (
    Mixture("1-D: 0.3 N(-1, .2^2) + 0.7 N(.8, .4^2)", (0.3, 0.7), ((-1,), (0.8,)), (0.2, 0.4)),
    Mixture("1-D: three of std .1", (0.25, 0.5, 0.25), ((-1,), (0,), (1.2,)), (0.1, 0.1, 0.1)),
    Mixture("2-D: two of stds .15 and .5", (0.4, 0.6), ((-0.8, 0.5), (0.6, -0.4)), (0.15, 0.5)),
    Mixture("2-D: a ring of six, std .15", (1 / 6,) * 6, RING, (0.15,) * 6),
)


class Exact(Denoiser):
    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.kernel, self.mixture = KERNEL, mixture

    def forward(self, x_t, t, layout, condition=None):  # type: ignore[no-untyped-def]
        schedule = KERNEL.schedule
        return Dirac(self.mixture.predict(x_t, schedule.alpha(t), schedule.sigma(t)), layout)


FITTED = 20  # beyond, a named grid is as good
SAMPLER = UniPC(3)
NAMED = {
    "UniPC(2)": UniPC(),
    "UniPC(3)": UniPC(3),
    "DPM-Solver++ 2M": DPMSolverPP(),
    "DPM-Solver++ 3M": DPMSolverPP(Solver.M3),
}


def theirs() -> Iterator[tuple[str, Callable[[], object]]]:
    spacings = ("leading", "linspace", "trailing")
    flow = {**BETAS, "beta_schedule": "linear"}
    for spacing in spacings:
        own = {**flow, "timestep_spacing": spacing}
        yield (
            f"DDIM {spacing}",
            lambda own=own: diffusers.DDIMScheduler(
                **own, clip_sample=False, set_alpha_to_one=True
            ),
        )
        for skip in (True, False):
            yield (
                f"PNDM {spacing} {'PLMS' if skip else 'RK'}",
                lambda own=own, skip=skip: diffusers.PNDMScheduler(
                    **own, skip_prk_steps=skip, set_alpha_to_one=True
                ),
            )
        for extra in ({}, *({f"use_{k}": True} for k in SIGMAS)):
            for name in ("DPMSolverMultistep", "UniPCMultistep", "DEISMultistep", "HeunDiscrete"):
                if name == "HeunDiscrete" and "use_lu_lambdas" in extra:
                    continue
                if name in ("UniPCMultistep", "DEISMultistep") and "use_lu_lambdas" in extra:
                    continue
                kind = getattr(diffusers, name + "Scheduler")
                label = " ".join([name, spacing, *(k[4:] for k in extra)])
                yield label, lambda kind=kind, own=own, extra=extra: kind(**own, **extra)


SIGMAS = ("karras_sigmas", "lu_lambdas", "exponential_sigmas")


def run_theirs(make: Callable[[], object], mixture: Mixture, z: Tensor, budget: int):  # type: ignore[no-untyped-def]
    """The end of the longest run within the budget of evaluations, or None."""
    for steps in range(budget, 0, -1):
        scheduler = make()
        try:
            scheduler.set_timesteps(steps)
        except (ValueError, IndexError):
            return None
        times = list(scheduler.timesteps)
        if len(times) > budget:
            continue
        x = z * float(scheduler.init_noise_sigma)
        table = scheduler.alphas_cumprod.double()
        kept = np.sqrt(((1 - table) / table).numpy())
        for t in times:
            seen = scheduler.scale_model_input(x, t)
            # a time between two steps stands for the interpolated level, as it does for them
            level = float(np.interp(float(t), np.arange(1000), np.log(kept)))
            rho = float(np.exp(level))
            alpha = 1 / np.sqrt(1 + rho**2)
            sigma = rho * alpha
            eps = (seen - alpha * mixture.predict(seen, alpha, sigma)) / sigma
            x = scheduler.step(eps, t, x).prev_sample
        return x
    return None


def run_ours(sampler: Sampler, mixture: Mixture, z: Tensor, grid: Tensor) -> Tensor:
    layout = Layout.dense(len(z), tuple(z.shape[1:]), dtype=F)
    x = z * KERNEL.schedule.sigma(1.0)
    *_, last = sampler(Diffusion(Exact(mixture), layout, NoiseSource(0, [])), x, grid)
    return last.x


def fit(sampler: Sampler, mixture: Mixture, steps: int) -> Tensor:
    layout = Layout.dense(256, (len(mixture.means[0]),), dtype=F)
    run = Diffusion(Exact(mixture), layout, NoiseSource(12345, range(256)))
    return optimised(run, steps, sampler=sampler).times(run.kernel)


def noises(asked: argparse.Namespace, dimensions: int) -> Tensor:
    """Standard normal numbers, (samples, dimensions); any number from the front will do."""
    shape = (asked.samples, dimensions)
    if asked.random:
        return torch.from_numpy(np.random.default_rng(1).standard_normal(shape))
    sobol = qmc.Sobol(dimensions, seed=1).random(shape[0])
    return torch.from_numpy(norm.ppf(sobol.clip(1e-12, 1 - 1e-12)))


def best_of(
    runs: dict[str, Callable[[Tensor], Tensor | None]],
    mixture: Mixture,
    z: Tensor,
    screen: int,
    keep: int = 3,
) -> tuple[float, str]:
    """The least W2, with its name: the `keep` best of a screening run again on all of `z`."""

    def distances(names: Iterable[str], x: Tensor) -> dict[str, float]:
        ends = ((name, runs[name](x)) for name in names)
        return {
            name: mixture.distance(end)
            for name, end in ends
            if end is not None and bool(torch.isfinite(end).all())
        }

    first = distances(runs, z[:screen])
    final = distances(sorted(first, key=first.__getitem__)[:keep], z)
    name = min(final, key=final.__getitem__)
    return final[name], name


def row(mixture: Mixture, z: Tensor, n: int, screen: int) -> tuple[str, ...]:
    def their(make: Callable[[], object]) -> Callable[[Tensor], Tensor | None]:
        return lambda x: run_theirs(make, mixture, x, n)

    def our(sampler: Sampler, grid: Tensor) -> Callable[[Tensor], Tensor | None]:
        return lambda x: run_ours(sampler, mixture, x, grid)

    theirs_, name = best_of({k: their(make) for k, make in theirs()}, mixture, z, screen)
    plain = {
        f"{label}, {grid}": our(sampler, make(KERNEL, n, 1.0))
        for label, sampler in NAMED.items()
        for grid, make in grids.NAMED.items()
    }
    named, which = best_of(plain, mixture, z, screen, keep=1)
    cells = (f"{theirs_:.4f} ({name})", f"{named:.4f} ({which})")
    if n > FITTED:
        return (*cells, "", f"{named / theirs_:.2f}")
    fitted = mixture.distance(run_ours(SAMPLER, mixture, z, fit(SAMPLER, mixture, n)))
    return (*cells, f"{fitted:.4f}", f"{fitted / theirs_:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--screen", type=int, default=8192)
    parser.add_argument("--evaluations", type=int, nargs="+", default=EVALUATIONS)
    parser.add_argument("--mixtures", type=int, nargs="+", default=range(len(MIXTURES)))
    parser.add_argument("--random", action="store_true", help="random numbers for the noise")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| mixture | evaluations | floor | diffusers' best | unnoise, named grid "
          "| unnoise, optimised grid | ratio |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for mixture in (MIXTURES[i] for i in asked.mixtures):
        z = noises(asked, len(mixture.means[0]))
        accurate = grids.quadratic(KERNEL, 200, 1.0)
        floor = mixture.distance(run_ours(SAMPLER, mixture, z, accurate))
        for n in asked.evaluations:
            cells = row(mixture, z, n, min(asked.screen, asked.samples))
            print(f"| {mixture.name} | {n} | {floor:.4f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
