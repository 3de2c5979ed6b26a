"""25 Gaussians in four evaluations: a denoising diffusion GAN beside DDPM with the same network.

    python tests/benchmarks/adversarial.py [--steps 4000] [--chain 4]

A mode counts as covered when a quarter of its share of the samples lies within three standard
deviations of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unnoise.denoise import Clean, Denoiser, Generator, NetworkDenoiser
from unnoise.kernels import GaussianKernel, coarse
from unnoise.noise import NoiseSource
from unnoise.objectives import Adversarial, Batch, Elapsed, Networks, Objective, Simple
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Euclidean, Layout

STD = 0.1
CENTRES = torch.cartesian_prod(*[torch.linspace(-1.6, 1.6, 5)] * 2)
WIDTH = 4  # of z


def data(n: int, seed: int) -> Tensor:
    """n points, (n, 2)."""
    g = torch.Generator().manual_seed(seed)
    place = torch.randint(25, (n,), generator=g)
    return CENTRES[place] + STD * torch.randn(n, 2, generator=g)


class Together(NoiseSource):
    """The noise of a batch from one generator: nothing here asks which sample is which."""

    def __init__(self, seed: int, batch: int) -> None:
        super().__init__(seed, [])
        self.ids, self._all = list(range(batch)), torch.Generator().manual_seed(seed)

    def normal(self, layout: Layout) -> Tensor:
        return torch.randn(layout.shape, generator=self._all, dtype=layout.dtype)

    def times(self) -> Tensor:
        n = len(self.ids)
        u = torch.rand((), generator=self._all, dtype=torch.float64)
        return (u + torch.arange(n, dtype=torch.float64) / n) % 1


class Network(nn.Module):
    """Of numbers and the time; sines of both."""

    def __init__(self, inputs: int, outputs: int, width: int = 128) -> None:
        super().__init__()
        self.enter, self.time = nn.Linear(inputs * 7, width), nn.Linear(9, width)
        self.middle = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        waves = label[:, None] * torch.tensor([1.0, 2.0, 4.0, 8.0]) * torch.pi
        seen = [x, *[f(k * x) for k in (1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)]]
        told = torch.cat([label[:, None], waves.sin(), waves.cos()], 1)
        h = self.enter(torch.cat(seen, 1)) + self.time(told)
        for layer in self.middle:
            h = h + layer(nn.functional.leaky_relu(h, 0.2))
        return self.leave(nn.functional.leaky_relu(h, 0.2))


class Draws(nn.Module):
    """The network of both: z is 0 for the one that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(2 + WIDTH, 2)

    def forward(self, x, label, layout, condition=None):
        z = (condition or {}).get("z", torch.zeros(len(x), WIDTH))
        return self.network(torch.cat([x, z], 1), label)


class Judge(nn.Module):
    """The discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(4, 1)

    def forward(self, x_s, x_t, label, layout, condition=None):
        return self.network(torch.cat([x_s, x_t], 1), label)[:, 0]


def fit(
    networks: Networks, objective: Objective, steps: int, batch: int = 256, peak: float = 1e-3
) -> None:
    """AdamW, cosine decay; the turns of each step one after the other; a running average of the
    denoiser at the end."""
    turns = objective.turns(networks)
    own = [list(turn.parameters(networks).values()) for turn in turns]
    optimizers = [
        torch.optim.AdamW(p, lr=0.0, betas=t.options.get("betas", (0.9, 0.999)), weight_decay=0.0)
        for t, p in zip(turns, own, strict=True)
    ]
    average = {k: v.clone() for k, v in networks.denoiser.state_dict().items()}
    for step in range(steps):
        x0 = data(batch, 1 + step)
        sample = Batch(x0, Layout.dense(batch, (2,)))
        rate = peak * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())
        for number, (turn, mine, optimizer) in enumerate(zip(turns, own, optimizers, strict=True)):
            noise = Together(2 * step + number, batch)
            loss = turn.loss(networks, sample, noise, Elapsed(step, steps)).mean()
            optimizer.param_groups[0]["lr"] = rate * max(turn.rates.values(), default=1.0)
            for p, grad in zip(mine, torch.autograd.grad(loss, mine), strict=True):
                p.grad = grad
            optimizer.step()
        decay = min(0.995, (1 + step) / (10 + step))
        for name, value in networks.denoiser.state_dict().items():
            average[name].lerp_(value, 1 - decay)
    networks.denoiser.load_state_dict(average)


@torch.no_grad()
def drawn(denoiser: Denoiser, n: int, evaluations: int) -> Tensor:
    """n samples of ancestral sampling."""
    run = Diffusion(denoiser, Layout.dense(n, (2,)), NoiseSource(7, range(n)))
    x = denoiser.kernel.prior(run.layout).sample(run.noise)
    for step in Ancestral()(run, x, grids.uniform(denoiser.kernel, evaluations)):
        x = step.x
    assert run.evaluations == evaluations
    return x


def quality(x: Tensor) -> tuple[int, float]:
    """Modes covered, and the share of samples within three standard deviations of one."""
    distance, place = torch.cdist(x, CENTRES).min(1)
    near = torch.bincount(place[distance < 3 * STD], minlength=25)
    return int((near >= len(x) / 100).sum()), float((distance < 3 * STD).float().mean())


def gan(steps: int, chain: int = 4) -> Denoiser:
    """A trained generator of a chain."""
    torch.manual_seed(0)
    kernel = GaussianKernel(Euclidean(), coarse(chain))
    objective = Adversarial(Judge(), chain, weight=0.05, every=1, rate=1.0)
    networks = Networks(Generator(Draws(), kernel, WIDTH), None, objective.others())
    fit(networks, objective, steps)
    return networks.denoiser


def ddpm(steps: int, chain: int = 4) -> Denoiser:
    """The same network, trained to predict the mean."""
    torch.manual_seed(0)
    kernel = GaussianKernel(Euclidean(), coarse(chain))
    networks = Networks(NetworkDenoiser(Draws(), kernel, Clean()))
    fit(networks, Simple(), steps)
    return networks.denoiser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--chain", type=int, default=4)
    found = parser.parse_args(arguments)
    print("| | modes of 25 | within 3 std | evaluations | seconds of training |")
    print("|---|---|---|---|---|")
    for name, make in (("DDPM", ddpm), ("denoising diffusion GAN", gan)):
        begun = time.process_time()
        denoiser = make(found.steps, found.chain)
        spent = time.process_time() - begun
        modes, share = quality(drawn(denoiser, 5000, found.chain))
        print(f"| {name} | {modes} | {share:.3f} | {found.chain} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
