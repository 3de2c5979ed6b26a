"""Every sampler on every grid for every shipped model, beside a fine solution.

    python tests/benchmarks/samplers.py [DOMAIN ...] [--evaluations 10 20 50] [--samples 4]
        [--samplers heun edm] [--request '{"label": "3"}']

For each shipped model with a Gaussian kernel: the root mean square distance of the final states to
those of the probability-flow ODE from the same noise (400 evaluations of Heun's method, equal steps
in log SNR; UniPC on all steps where a kernel has only so many), for as many steps as fit into the
evaluations, as a multiple of DDIM's on that grid.
The row of DDIM is the distance itself. Stochastic samplers do not follow the ODE; of them the table
says how far the mean and the spread of their states are from those of the solution, again as a
multiple of DDIM's. "refused" is an error of ours that says what would do.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
from typing import Any

import torch
from torch import Tensor

import unnoise
from unnoise.domain import Trainable
from unnoise.engine.named import named_sampler
from unnoise.errors import UnnoiseError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, grids
from unnoise.spaces import Layout
from unnoise.testing import GaussianOracle

SAMPLERS = [
    "ddim",
    "euler",
    "heun",
    "edm",
    "dpmpp",
    "dpmpp(solver='2S')",
    "dpmpp(solver='3M', warmup=full)",
    "unipc",
    "unipc(p=3)",
    "deis",
    "deis(variable=rho)",
    "deis(order=4, warmup=full)",
    "pndm",
    "pndm(method=S)",
    "sa-solver(tau=0.0)",
    "ancestral",
    "sa-solver",
    "reverse-diffusion",
    "predictor-corrector",
    "langevin",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("domains", nargs="*")
    parser.add_argument("--evaluations", nargs="+", type=int, default=[10, 20, 50])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--request", type=json.loads, help="JSON, in place of the demonstration")
    words = parser.parse_args()
    for name in words.domains or unnoise.domains():
        domain = unnoise.api.domain_named(name)
        if not isinstance(domain, Trainable) or domain.bundle is None:
            continue
        model = unnoise.load(name)
        if isinstance(model.denoiser.kernel, GaussianKernel):
            samplers = list(dict.fromkeys(["ddim", *words.samplers]))
            asked = domain.demo if words.request is None else words.request
            asked = {k: v for k, v in asked.items() if k not in ("steps", "sampler", "grid")}
            asked |= {"num_samples": words.samples}
            table(model, words.evaluations, asked, samplers)


def table(
    model: unnoise.Model, budgets: list[int], asked: dict[str, Any], samplers: list[str]
) -> None:
    schedule = type(model.denoiser.kernel.schedule).__name__
    print(f"\n{model.domain.name}, {schedule}\n\n| evaluations | sampler | steps |", end="")
    print(" | ".join(grids.NAMED), "|\n|---|---|---|" + "---|" * len(grids.NAMED))
    count = model.denoiser.kernel.steps
    if count is None:
        fine = ends(model, "heun", "log-snr", 200, asked)
    else:  # all steps that there are
        fine = ends(model, "unipc", "uniform", count, asked)
    for budget in budgets:
        own: dict[str, tuple[float, float]] = {}
        for sampler in samplers:
            cells, taken = [], set()
            for grid in grids.NAMED:
                try:
                    steps = steps_of(model.denoiser.kernel, sampler, grid, budget)
                    found = ends(model, sampler, grid, steps, asked)
                except UnnoiseError as error:
                    cells.append(f"refused ({type(error).__name__})")
                    continue
                taken.add(steps)
                path, law = distances(found, fine)
                if sampler == "ddim":
                    own[grid] = path, law
                    cells.append(f"{path:.4f}")
                elif named_sampler(sampler).stochastic:
                    cells.append(f"law {law / own[grid][1]:.2f}")
                else:
                    cells.append(f"{path / own[grid][0]:.2f}")
            steps = ", ".join(map(str, sorted(taken)))
            print(f"| {budget} | {sampler} | {steps} |", " | ".join(cells), "|", flush=True)


def ends(model: Any, sampler: str, grid: str, steps: int, asked: dict[str, Any]) -> list[Tensor]:
    """Final states of a request, in double precision, one for each batch."""
    out = model.generate(**asked, sampler=sampler, grid=grid, steps=steps, seed=1)
    return [state.double() for state in batches(out.states)]


def batches(states: Any) -> list[Tensor]:
    if isinstance(states, Tensor):
        return [states]
    parts = states.values() if isinstance(states, dict) else states
    return [tensor for part in parts for tensor in batches(part)]


def distances(found: list[Tensor], fine: list[Tensor]) -> tuple[float, float]:
    """Root mean square distance, and that of the mean and standard deviation of the entries."""
    a, b = (torch.cat([v.flatten() for v in states]) for states in (found, fine))
    law = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    return float((a - b).square().mean().sqrt()), float(law.sqrt()) + 1e-9


@cache
def steps_of(kernel: GaussianKernel, sampler: str, grid: str, budget: int) -> int:
    """The most steps that a sampler takes with so many evaluations, counted on a toy."""
    layout = Layout.dense(1, (3, 1))
    chosen = named_sampler(sampler)
    for steps in range(budget, 0, -1):
        run = Diffusion(GaussianOracle(kernel, 0.0, 1.0), layout, NoiseSource(0, [0]))
        x = kernel.space.project(torch.randn(3, 1)[None].reshape(layout.shape), layout)
        for _ in chosen(run, x, grids.named(grid).times(kernel, steps)):
            pass
        if run.evaluations <= budget:
            return steps
    return 1


if __name__ == "__main__":
    main()
