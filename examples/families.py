"""python examples/families.py --seconds 20 --out families-out

Six families of generative models on the same points, with about the same number of parameters and
the same processor seconds of training: diffusion, a variational autoencoder, a denoising diffusion
GAN, an autoregressive model, a flow (DiffFlow) and an energy-based model. Prints a table and writes
a picture of the samples. families_digits.py trains them on digits.

nll is in nats of held-out points, exact for diffusion (its ODE) and an upper bound for the
autoencoder, the autoregressive model (in any order, of cells) and the flow. The Frechet distance is
that of the moments. A mode is covered when a quarter of its share of the samples is within three of
its standard deviations.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor, nn

from unnoise.denoise import Energy, Generator, Masked, NetworkDenoiser, V
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    LearnedDrift,
    Linear,
    VPCosine,
    coarse,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Adversarial,
    Batch,
    Elapsed,
    Networks,
    Objective,
    OrderAgnosticLoss,
    RecoveryLikelihood,
    Simple,
    log_likelihood,
    path_bound,
)
from unnoise.samplers import DDIM, Ancestral, Diffusion, FirstHitting, Recovery, Sampler, grids
from unnoise.spaces import Euclidean, Layout, Tokens

STD = 0.05
CENTRES = torch.cartesian_prod(*[torch.linspace(-1.6, 1.6, 5)] * 2)
BATCH, CELLS, REACH = 128, 128, 3.2

Loss = Callable[[Tensor, NoiseSource, Elapsed], Tensor]
"""(points, noise, progress) -> (B,)."""
Build = Callable[[int, int, int], nn.Module]  # inputs, outputs, width -> a network of (x, t)


def gaussians(n: int, g: torch.Generator) -> Tensor:
    """25 of them on a grid."""
    place = torch.randint(25, (n,), generator=g)
    return CENTRES[place] + STD * torch.randn(n, 2, generator=g)


def moons(n: int, g: torch.Generator) -> Tensor:
    """Two half circles that hold each other, with noise."""
    angle = math.pi * torch.rand(n, generator=g)
    upper = torch.rand(n, generator=g) < 0.5
    side = torch.where(upper, 1.0, -1.0)
    points = torch.stack([side * (angle.cos() - 0.5), side * (angle.sin() - 0.25)], 1)
    return 1.2 * points + STD * torch.randn(n, 2, generator=g)


def dense(n: int, dim: int = 2) -> Layout:
    return Layout.dense(n, (dim,))


class Network(nn.Module):
    """Of numbers and a time; sines of both, or of the time alone."""

    def __init__(self, inputs: int, outputs: int, width: int, sines: bool = True) -> None:
        super().__init__()
        self.seen = waves if sines else nn.Identity()
        self.enter = nn.Linear(7 * inputs if sines else inputs, width)
        self.time = nn.Linear(7, width)
        self.middle = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.enter(self.seen(x)) + self.time(waves(t.to(x.dtype)[:, None]))
        for layer in self.middle:
            h = h + layer(nn.functional.silu(h))
        return self.leave(nn.functional.silu(h))


def waves(x: Tensor) -> Tensor:
    return torch.cat([x, *[f(k * x) for k in (1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)]], 1)


@dataclass(frozen=True, eq=False)
class Family:
    """What is trained, and what it can do then.

    `turns` are (loss, parameters, rate); `evaluations` those of a network for each sample.
    """

    name: str
    turns: Sequence[tuple[Loss, list[nn.Parameter], float]]
    sample: Callable[[int], Tensor]
    evaluations: int
    nll: Callable[[Tensor], float] | None = None
    betas: tuple[float, float] = (0.9, 0.999)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for _, own, _ in self.turns for p in own)

    def fit(self, data: Callable[[int, torch.Generator], Tensor], seconds: float) -> None:
        """AdamW, its rate falling by the clock."""
        optimizers = [
            torch.optim.AdamW(own, lr=0.0, betas=self.betas, weight_decay=0.0)
            for _, own, _ in self.turns
        ]
        begun, step, done = time.process_time(), 0, 0.0
        while done < 1:
            x0 = data(BATCH, torch.Generator().manual_seed(step + 1))
            for number, (loss, own, rate) in enumerate(self.turns):
                noise = NoiseSource(number, range(BATCH * step, BATCH * (step + 1)))
                value = loss(x0, noise, Elapsed(step, step + 1, done)).mean()
                found = torch.autograd.grad(value, own, allow_unused=True)
                for p, grad in zip(own, found, strict=True):
                    p.grad = grad
                nn.utils.clip_grad_norm_(own, 10.0)
                falling = 0.5 * (1 + math.cos(math.pi * done))
                optimizers[number].param_groups[0]["lr"] = rate * falling
                optimizers[number].step()
            step, done = step + 1, (time.process_time() - begun) / seconds


def turns(networks: Networks, objective: Objective, rate: float = 1e-3) -> list:
    """Those of an objective of the library."""

    def loss_of(turn) -> Loss:
        return lambda x0, noise, progress: turn.loss(
            networks, Batch(x0, dense(*x0.shape)), noise, progress
        )

    return [
        (loss_of(t), list(t.parameters(networks).values()), rate * max([1.0, *t.rates.values()]))
        for t in objective.turns(networks)
    ]


def walked(denoiser, sampler: Sampler, steps: int, n: int, dim: int) -> Tensor:
    """n samples of a denoiser."""
    kernel = denoiser.kernel
    tokens = isinstance(kernel, CategoricalKernel)
    layout = Layout.dense(n, (dim,), dtype=torch.int64 if tokens else torch.float32)
    run = Diffusion(denoiser, layout, NoiseSource(11, range(n)))
    with torch.no_grad():
        x = kernel.prior(layout).sample(run.noise)
        for step in sampler(run, x, grids.uniform(kernel, steps)):
            x = step.x
    return x


class Told(nn.Module):
    """A network as denoisers call theirs; z beside the state, if any."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x, label, layout, condition=None):
        z = (condition or {}).get("z")
        return self.network(x if z is None else torch.cat([x, z], 1), label)


def diffusion(dim: int = 2, width: int = 80, network: Build = Network) -> Family:
    kernel = GaussianKernel(Euclidean(), VPCosine())
    denoiser = NetworkDenoiser(Told(network(dim, dim, width)), kernel, V())

    def nll(x: Tensor) -> float:
        run = Diffusion(denoiser, dense(*x.shape), NoiseSource(0, range(len(x))))
        return -log_likelihood(run, x, eps=1e-3, tolerance=1e-3).nats.mean().item()

    sample = lambda n: walked(denoiser, DDIM(), 30, n, dim)  # noqa: E731
    return Family("diffusion, DDIM", turns(Networks(denoiser), Simple()), sample, 30, nll)


def autoencoder(dim: int = 2, width: int = 52, network: Build = Network, code: int = 2) -> Family:
    """q(z | x) and p(x | z) Gaussian, z of `code` numbers."""
    encoder, decoder = network(dim, 2 * code, width), network(code, 2 * dim, width)
    nought = lambda x: torch.zeros(len(x))  # noqa: E731

    def laws(x: Tensor, z: Tensor) -> Tensor:
        mean, log = decoder(z, nought(z)).chunk(2, 1)
        log = log.clamp(-4, 2)
        return (0.5 * ((x - mean) / log.exp()) ** 2 + log + 0.5 * math.log(2 * math.pi)).sum(1)

    def loss(x0: Tensor, noise: NoiseSource, progress: Elapsed) -> Tensor:
        mean, log = encoder(x0, nought(x0)).chunk(2, 1)
        log = log.clamp(-6, 2)
        z = mean + log.exp() * noise.normal(dense(*mean.shape))
        divergence = 0.5 * (mean**2 + (2 * log).exp() - 1) - log
        return laws(x0, z) + progress.ramp(0.3) * divergence.sum(1)

    def nll(x: Tensor) -> float:
        with torch.no_grad():
            return loss(x, NoiseSource(0, range(len(x))), Elapsed(1, 1)).mean().item()

    def sample(n: int) -> Tensor:
        noise = NoiseSource(11, range(n))
        with torch.no_grad():
            mean, log = decoder(z := noise.normal(dense(n, code)), nought(z)).chunk(2, 1)
            return mean + log.clamp(-4, 2).exp() * noise.normal(dense(n, dim))

    own = [*encoder.parameters(), *decoder.parameters()]
    return Family("variational autoencoder", [(loss, own, 1e-3)], sample, 1, nll)


def gan(dim: int = 2, width: int = 52, network: Build = Network, z: int = 2) -> Family:
    class Judge(Told):
        def forward(self, x_s, x_t, label, layout, condition=None):
            return self.network(torch.cat([x_s, x_t], 1), label)[:, 0]

    kernel = GaussianKernel(Euclidean(), coarse(4))
    objective = Adversarial(Judge(network(2 * dim, 1, width)), 4, weight=0.05, every=1, rate=1.0)
    denoiser = Generator(Told(network(dim + z, dim, width)), kernel, z)
    own = turns(Networks(denoiser, None, objective.others()), objective)
    sample = lambda n: walked(denoiser, Ancestral(), 4, n, dim)  # noqa: E731
    return Family("denoising diffusion GAN", own, sample, 4, betas=objective.betas)


def autoregressive(dim: int = 2, width: int = 66, cells=CELLS, reach=REACH) -> Family:
    """Cells of a grid as tokens, in any order."""
    side = 2 * reach / cells

    class Cells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.out = nn.Linear(2 * dim, width), nn.Linear(width, dim * (cells + 1))
            self.middle = nn.Linear(width, width)

        def forward(self, x, label, layout, condition=None):
            hidden = x == cells
            place = torch.where(hidden, 0.0, (x + 0.5) * side - reach)
            h = self.seen(torch.cat([place, hidden.float()], 1))
            h = h + self.middle(nn.functional.silu(h))
            return self.out(nn.functional.silu(h)).view(-1, dim, cells + 1)

    kernel = CategoricalKernel(Tokens(cells + 1), Absorbing(cells, Linear()))
    denoiser = NetworkDenoiser(Cells(), kernel, Masked(cells))

    def loss(x0: Tensor, noise: NoiseSource, progress: Elapsed) -> Tensor:
        tokens = ((x0 + reach) / side).long().clamp(0, cells - 1)
        layout = Layout.dense(len(x0), (dim,), dtype=torch.int64)
        return dim * OrderAgnosticLoss()(denoiser, Batch(tokens, layout), noise)

    def nll(x: Tensor) -> float:
        with torch.no_grad():
            found = loss(x, NoiseSource(0, range(len(x))), Elapsed(1, 1)).mean().item()
        return found + dim * math.log(side)

    def sample(n: int) -> Tensor:
        u = NoiseSource(12, range(n)).uniform(dense(n, dim)).float()
        return (walked(denoiser, FirstHitting(), dim, n, dim) + u) * side - reach

    own = list(denoiser.parameters())
    return Family("autoregressive, any order", [(loss, own, 2e-3)], sample, dim, nll)


def flow(
    dim: int = 2, width: int = 52, network: Build = Network, steps: int = 16, least: float = 0.05
) -> Family:
    """`least` is the square of the noise's strength at the data."""

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network(dim, dim, width)

        def forward(self, x, t, layout):
            return self.network(x, t) - x

    class Drift(Field):
        def forward(self, x, t, layout):
            return 0.1 * self.network(x, t) - 0.5 * layout.expand(rate(t), x).to(x.dtype) * x

    rate = lambda t: least + 12 * t**2  # noqa: E731
    drift, score = Drift(), Field()
    process = LearnedDrift(drift, lambda t: rate(t) ** 0.5)
    times = [i / steps for i in range(steps + 1)]

    def loss(x0: Tensor, noise: NoiseSource, progress: Elapsed) -> Tensor:
        return path_bound(process, score, x0, times, dense(*x0.shape), noise)

    def nll(x: Tensor) -> float:
        with torch.no_grad():
            return loss(x, NoiseSource(0, range(len(x))), Elapsed(1, 1)).mean().item()

    def sample(n: int) -> Tensor:
        noise = NoiseSource(11, range(n))
        x = process.prior(dense(n, dim)).sample(noise)
        with torch.no_grad():
            *_, x = process.restore(x, score, times[::-1], dense(n, dim), noise)
        return x

    own = [*drift.parameters(), *score.parameters()]
    return Family("flow, DiffFlow", [(loss, own, 1e-3)], sample, 2 * steps, nll)


def energy(dim: int = 2, width: int = 80, network: Build = Network, fine=STD) -> Family:
    """`fine` is the width of the finest structure."""
    kernel = GaussianKernel(Euclidean(), coarse(steps := 6))

    class Number(Told):
        """A correction of N(0, 1), beyond which nothing lies."""

        def forward(self, x, label, layout, condition=None):
            square = kernel.schedule.sigma(label.double()) ** 2 + fine**2
            return self.network(x, label)[:, 0] - 0.5 * square.to(x.dtype) * (x**2).sum(1)

    sampler = Recovery(20, 0.7)
    denoiser = Energy(Number(network(dim, 1, width)), kernel, fine)
    own = turns(Networks(denoiser), RecoveryLikelihood(steps, sampler))
    sample = lambda n: walked(denoiser, sampler, steps, n, dim)  # noqa: E731
    return Family("energy, recovery likelihood", own, sample, steps * sampler.evaluations)


FAMILIES = (diffusion, autoencoder, gan, autoregressive, flow, energy)


def frechet(a: Tensor, b: Tensor) -> float:
    """Between Gaussians with the moments of both."""
    one, two = (np.cov(x.double().numpy().T) for x in (a, b))
    shift = ((a.double().mean(0) - b.double().mean(0)) ** 2).sum().item()
    return shift + float(np.trace(one + two - 2 * np.real(sqrtm(one @ two))))


def modes(x: Tensor) -> tuple[int, float]:
    """Those covered, and the share of the samples near one."""
    distance, place = torch.cdist(x, CENTRES).min(1)
    near = torch.bincount(place[distance < 3 * STD], minlength=25)
    return int((near >= len(x) / 100).sum()), float((distance < 3 * STD).float().mean())


def drawn(x: Tensor, size: int = 160) -> np.ndarray:
    """A picture of points."""
    cells = torch.histogramdd(
        x.double().clamp(-1e6, 1e6), [size, size], range=[-2.4, 2.4, -2.4, 2.4]
    ).hist
    shade = 255 * (1 - (cells / cells.max().clamp(min=1) * 4).clamp(max=1))
    return np.pad(shade.numpy().astype(np.uint8).T[::-1], 2, constant_values=160)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of training, each family")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("families-out"))
    found = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for title, data in (("25 Gaussians", gaussians), ("two moons", moons)):
        held_out = data(min(1000, found.samples), torch.Generator().manual_seed(10**6))
        truth = data(20_000, torch.Generator().manual_seed(10**6 + 1))
        row = [drawn(truth[: found.samples])]
        print(f"\n{title}, {found.seconds:g} s of training each\n")
        print("| family | parameters | nll | Frechet | modes | near | evaluations | s / 1,000 |")
        print("|---|---|---|---|---|---|---|---|")
        for make in FAMILIES:
            torch.manual_seed(0)
            family = make()
            family.fit(data, found.seconds)
            begun = time.process_time()
            x = family.sample(found.samples)
            spent = (time.process_time() - begun) * 1000 / found.samples
            row.append(drawn(x))
            nll = "" if family.nll is None else f"{family.nll(held_out):.2f}"
            covered, near = modes(x)
            counted = f"{covered} | {near:.2f}" if data is gaussians else " | "
            print(
                f"| {family.name} | {family.parameters:,} | {nll} | {frechet(x, truth):.4f} |"
                f" {counted} | {family.evaluations} | {spent:.2f} |",
                flush=True,
            )
        rows.append(np.hstack(row))
    found.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(rows)).save(found.out / "families.png")
    print(f"\n{found.out / 'families.png'}: the data, then the families in their order")


if __name__ == "__main__":
    main()
