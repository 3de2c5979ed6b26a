"""Students of 1, 2 and 4 evaluations with the same steps of training: progressive distillation
beside flow maps, which learn the whole way to the end of a segment at once.

    python tests/benchmarks/flow_map.py [--steps 1200]
    python tests/benchmarks/flow_map.py --gaussian [--steps 1200]

A flow map is trained as a multistep consistency model (Heek 2024): of t in a segment that ends at
tau, with x_s the teacher's short DDIM step from x_t, the student's step from x_t to tau shall end
where its own step from x_s to tau ends. The short steps become eight times shorter in training.

Against a teacher of 256 steps on eight Gaussians around a circle: the root mean square distance of
where the same noise ends, and the sliced distance (W2) of 4,000 samples from the data.

With `--gaussian` the data are N(0, v), of which the flow is known: with s_t^2 = alpha_t^2 v +
sigma_t^2, x_t goes to x_tau = x_t s_tau / s_t. Flow maps are trained with the exact denoiser as the
teacher, and where they end is compared with that, beside DDIM with the exact denoiser.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Sequence

import torch
from adversarial import Network, Together
from torch import Tensor, nn

from unnoise.denoise import Condition, Denoiser, NetworkDenoiser, V
from unnoise.distributions import Dirac
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Distillation, Objective, Simple
from unnoise.objectives.weighted import TruncatedSNR
from unnoise.samplers import DDIM, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, State, Time, tensor
from unnoise.testing.oracles import GaussianOracle, PointEstimate

KERNEL = GaussianKernel(Euclidean(), VPCosine(-10, 10))
BATCH, SAMPLES, FIRST = 256, 4000, 32
VARIANCE = 0.25
ANGLES = torch.arange(8) * math.pi / 4
CENTRES = 1.4 * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)

Loss = Callable[[Denoiser, Batch, NoiseSource, float], Tensor]


def data(n: int, seed: int) -> Tensor:
    """n points, (n, 2)."""
    g = torch.Generator().manual_seed(seed)
    return CENTRES[torch.randint(8, (n,), generator=g)] + 0.15 * torch.randn(n, 2, generator=g)


def gaussian(n: int, seed: int) -> Tensor:
    """n points of N(0, VARIANCE), (n, 2)."""
    return VARIANCE**0.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def spread(t: Time) -> Tensor:
    """s_t of data N(0, VARIANCE)."""
    schedule = KERNEL.schedule
    alpha, sigma = torch.as_tensor(schedule.alpha(t)), torch.as_tensor(schedule.sigma(t))
    return (alpha**2 * VARIANCE + sigma**2).sqrt()


class Exact(Denoiser):
    """The flow map of data N(0, VARIANCE): the x_0 with which DDIM's step from t goes where the
    flow goes, to the end of the segment of t."""

    def __init__(self, segments: int) -> None:
        super().__init__()
        self.kernel, self.segments = KERNEL, segments

    def forward(self, x_t: State, t: Time, layout: Layout, condition: Condition = None) -> Dirac:
        t = torch.as_tensor(t, dtype=torch.float64)
        tau = ((t * self.segments - 1e-9).ceil() - 1) / self.segments
        x0 = leading(tensor(x_t), t, tau, spread(tau) / spread(t), layout)
        return Dirac(x0, layout)


def leading(x_t: Tensor, t: Tensor, tau: Tensor, gain: Tensor, layout: Layout) -> Tensor:
    """The x_0 with which DDIM's step goes from x_t to gain x_t at tau."""
    schedule = KERNEL.schedule
    f = torch.as_tensor(schedule.sigma(tau) / schedule.sigma(t))
    over = torch.as_tensor(schedule.alpha(tau)) - f * torch.as_tensor(schedule.alpha(t))
    return layout.expand((gain - f) / over, x_t) * x_t


class Told(nn.Module):
    """A network as denoisers call theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(2, 2)

    def forward(self, x, label, layout, condition=None):
        return self.network(x, label)


def fit(
    denoiser: Denoiser,
    loss: Loss,
    steps: int,
    rate: float,
    first: int = 0,
    source: Callable[[int, int], Tensor] = data,
) -> Denoiser:
    """The running average of what Adam finds from `denoiser` on."""
    denoiser = copy.deepcopy(denoiser).requires_grad_(True)
    optimizer, average = torch.optim.Adam(denoiser.parameters()), copy.deepcopy(denoiser)
    for k in range(steps):
        shape = min(1, (k + 1) / 20) * (1 + math.cos(math.pi * k / steps)) / 2
        optimizer.param_groups[0]["lr"] = rate * shape
        batch = Batch(source(BATCH, first + k), Layout.dense(BATCH, (2,)))
        value = loss(denoiser, batch, Together(first + k, BATCH), k / steps).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), denoiser.parameters(), strict=True):
                mine.lerp_(theirs, 1 - min(0.99, (1 + k) / (10 + k)))
    return average.requires_grad_(False)


def of(objective: Objective) -> Loss:
    return lambda denoiser, batch, noise, done: objective(denoiser, batch, noise)


def progressive(teacher: Denoiser, steps: int, budget: int) -> Denoiser:
    """From 32 steps down, an equal share of the budget for each halving."""
    students = [steps]
    while 2 * students[0] < FIRST:
        students.insert(0, 2 * students[0])
    for number, own in enumerate(students):
        loss = of(Distillation(teacher, own))
        teacher = fit(teacher, loss, budget // len(students), 5e-4, 10**5 * (number + 1))
    return teacher


def to(x: Tensor, denoiser: Denoiser, t: Tensor, s: Tensor, layout: Layout) -> Tensor:
    """A DDIM step."""
    law = Dirac(denoiser(x, t, layout).mean, layout)
    return KERNEL.bridge(x, law, t, s, layout, eta=0.0).mean


def flow_map(teacher: Denoiser, segments: int, budget: int) -> Denoiser:
    """A student of the whole way through each of the segments."""
    return fit(teacher, consistency(teacher, segments), budget, 5e-4, 10**5)


def consistency(teacher: Denoiser, segments: int) -> Loss:
    """The loss of a flow map."""

    def loss(denoiser: Denoiser, batch: Batch, noise: NoiseSource, done: float) -> Tensor:
        layout, schedule = batch.layout, KERNEL.schedule
        u, cuts = noise.times() * segments, round(8 * 8**done)
        segment = u.long()
        place = ((u - segment) * cuts).long()
        tau = segment.double() / segments
        s, t = (tau + (place + k).double() / (cuts * segments) for k in (0, 1))
        x_t = KERNEL.noisy(batch.x0, t, layout, noise)
        with torch.no_grad():
            x_s = to(x_t, teacher, t, s, layout)
            last = place == 0  # x_s is at tau already
            start, end = torch.where(last, t, s), torch.where(last, s, tau)
            z = torch.where(last[:, None], x_s, to(x_s, denoiser, start, end, layout))
            f = torch.as_tensor(schedule.sigma(tau) / schedule.sigma(t))
            gain = torch.as_tensor(schedule.alpha(tau)) - f * torch.as_tensor(schedule.alpha(t))
            target = (z - f[:, None] * x_t) / gain[:, None]
        snr = torch.as_tensor(schedule.alpha(t) / schedule.sigma(t)) ** 2
        miss = (target - denoiser(x_t, t, layout).mean).double()
        return TruncatedSNR()(snr) * miss.square().sum(1) / 2

    return loss


@torch.no_grad()
def drawn(denoiser: Denoiser, steps: int) -> Tensor:
    """Where the same noise ends."""
    run = Diffusion(denoiser, Layout.dense(SAMPLES, (2,)), Together(5, SAMPLES))
    x = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(9))
    for step in DDIM()(run, x, grids.uniform(KERNEL, steps)):
        x = step.x
    return x


def sliced(a: Tensor, b: Tensor) -> float:
    """W2 over 32 directions."""
    angle = torch.arange(32) * math.pi / 32
    along = torch.stack([angle.cos(), angle.sin()])
    gap = (a @ along).sort(0).values - (b @ along).sort(0).values
    return gap.square().mean().sqrt().item()


def closed_form(budget: int) -> None:
    """Flow maps of a Gaussian, and where they should end."""
    teacher = PointEstimate(GaussianOracle(KERNEL, 0.0, VARIANCE))
    noise = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(9))
    end = noise * spread(0.0) / spread(1.0)
    print("| evaluations | DDIM | trained flow map | its variance | the flow map in closed form |")
    print("|---|---|---|---|---|")
    for segments in (4, 2, 1):
        torch.manual_seed(0)
        fresh = NetworkDenoiser(Told(), KERNEL, V())
        loss = consistency(teacher, segments)
        student = fit(fresh, loss, budget, 1e-3, source=gaussian)
        cells = [f"{segments}"]
        for denoiser in (teacher, student, Exact(segments)):
            x = drawn(denoiser, segments)
            cells.append(f"{(x - end).square().sum(1).mean().sqrt().item():.4f}")
            if denoiser is student:
                cells.append(f"{x.var().item():.4f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200, help="of training, each student")
    parser.add_argument("--gaussian", action="store_true", help="flow maps and their closed form")
    chosen = parser.parse_args(arguments)
    budget = chosen.steps
    if chosen.gaussian:
        closed_form(budget)
        return
    torch.manual_seed(0)
    fresh = NetworkDenoiser(Told(), KERNEL, V())
    teacher = fit(fresh, of(Simple()), 2000, 1e-3)
    truth, reference = data(SAMPLES, 10**6), drawn(teacher, 256)
    print(f"the teacher at 256 evaluations: W2 {sliced(reference, truth):.3f}\n")
    print(
        "| evaluations | student | from the teacher's ends | W2 | seconds |\n|---|---|---|---|---|"
    )
    for steps in (4, 2, 1):
        for make in (progressive, flow_map):
            begun = time.process_time()
            x = drawn(make(teacher, steps, budget), steps)
            spent = time.process_time() - begun
            away = (x - reference).square().sum(1).mean().sqrt().item()
            name = make.__name__.replace("_", " ")
            print(
                f"| {steps} | {name} | {away:.3f} | {sliced(x, truth):.3f} | {spent:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
