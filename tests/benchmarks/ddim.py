"""What does a DDIM step cost outside the network, beside a loop written by hand and diffusers?

    python tests/benchmarks/ddim.py

prints a Markdown table for 16x3x32x32: time per step, medians over interleaved rounds of whole
runs, and the ratio to the loop by hand, which is meant to stay below 1.3. The network returns a
fixed tensor, so that everything else is what is measured. "by hand" is the textbook step with its
coefficients taken from tables, and the time label that every network needs:

    x0 = (x - sigma_t eps) / alpha_t;  x = alpha_s x0 + sigma_s eps

"by hand, fused" does the same in as few passes over memory as torch allows. The last row is a whole
`generate` run of a toy domain: the sampler with the engine around it. What a batch costs once (its
streams of noise, the first state) is divided among its steps there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from pydantic import BaseModel
from torch import Tensor, nn

from unnoise.denoise import NetworkDenoiser, Noise
from unnoise.domain import Task, Trainable
from unnoise.kernels import BetaTable, GaussianKernel
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Diffusion, grids
from unnoise.spaces import Euclidean, Layout

SHAPE, STEPS = (16, 3, 32, 32), 50
EPS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
START = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def network(x: Tensor, label: Tensor) -> Tensor:
    return EPS


class Fixed(nn.Module):
    """A network that costs nothing."""

    def forward(self, x: Tensor, label: Tensor, layout: Layout, condition: object) -> Tensor:
        return EPS


SCHEDULE = BetaTable.linear(1000)
KERNEL = GaussianKernel(Euclidean(), SCHEDULE)
DENOISER = NetworkDenoiser(Fixed(), KERNEL, Noise()).eval()
GRID = grids.uniform(KERNEL, STEPS)
TIMES = GRID.tolist()
ALPHAS = [SCHEDULE.alpha(t) for t in TIMES]
SIGMAS = [SCHEDULE.sigma(t) for t in TIMES]
LAYOUT = Layout.dense(SHAPE[0], SHAPE[1:])
NOISE = NoiseSource(0, range(SHAPE[0]))


@torch.no_grad()
def ours() -> Tensor:
    x = START
    for step in DDIM()(Diffusion(DENOISER, LAYOUT, NOISE), x, GRID):
        x = step.x
    return x


@torch.no_grad()
def by_hand() -> Tensor:
    x = START
    for i in range(STEPS):
        eps = network(x, torch.full((SHAPE[0],), TIMES[i]))
        x0 = (x - SIGMAS[i] * eps) / ALPHAS[i]
        x = ALPHAS[i + 1] * x0 + SIGMAS[i + 1] * eps
    return x


@torch.no_grad()
def fused() -> Tensor:
    x = START
    for i in range(STEPS):
        eps = network(x, torch.full((SHAPE[0],), TIMES[i]))
        x0 = torch.add(x / ALPHAS[i], eps, alpha=-SIGMAS[i] / ALPHAS[i])
        x = torch.add(x0 * ALPHAS[i + 1], eps, alpha=SIGMAS[i + 1])
    return x


def peer() -> Callable[[], Tensor]:
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(STEPS)

    @torch.no_grad()
    def run() -> Tensor:
        x = START
        for t in scheduler.timesteps:
            eps = network(x, t.expand(SHAPE[0]))
            x = scheduler.step(eps, t, x).prev_sample
        return x

    return run


class Nothing(BaseModel):
    """A request that asks for nothing, a configuration that says nothing."""


class Toy(Trainable):
    name = "toy"
    Request = Configuration = Nothing

    def build(self, configuration):
        return DENOISER

    def plan(self, inputs, model, draws):
        state = yield Task(LAYOUT)
        return list(state)

    def dataset(self, source, configuration, part):
        raise NotImplementedError

    def collate(self, items):
        raise NotImplementedError

    def write(self, sample, folder, stem):
        raise NotImplementedError


MODEL = Model(Toy(), DENOISER, Nothing(), defaults={"steps": STEPS})


def engine() -> Tensor:
    (output,) = MODEL.generate_iter(num_samples=SHAPE[0], device="cpu")
    return output.states


def medians(rounds: int, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a busy machine favours nobody."""
    warm = max(1, rounds // 10)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm + rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if number >= warm:
                times[name].append(time.perf_counter() - begun)
    return {name: float(torch.tensor(record).median()) for name, record in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    same = {
        "by hand": by_hand,
        "by hand, fused": fused,
        "unnoise, DDIM": ours,
        "diffusers, DDIMScheduler": peer(),
    }
    exact = by_hand()
    for name, call in same.items():
        error = float((call() - exact).abs().max() / exact.abs().max())
        assert error < 1e-4, f"{name} computes something else: {error}"
    print("| 16x3x32x32, 50 steps | threads | per step | ratio to the loop by hand |")
    print("|---|---|---|---|")
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        found = medians(rounds, {**same, "unnoise, generate": engine})
        for name, seconds in found.items():
            print(
                f"| {name} | {threads} | {seconds / STEPS * 1e6:.1f} us "
                f"| {seconds / found['by hand']:.2f} |"
            )


if __name__ == "__main__":
    main()
