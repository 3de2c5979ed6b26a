"""Guided purification beside the purifier: clean, and under PGD through the full gradient.

    python tests/benchmarks/purify_guided.py --data mnist [--pictures 32] [--device cuda]

The way back is told what it began with (Wang 2022, GDMP): the picture x is taken for x_0 with noise
of standard deviation tau, and the prediction m of x_0, of variance r^2 = v sigma^2 / (v alpha^2 +
sigma^2) with v that of the pictures, becomes the mean given both, m + r^2 / (r^2 + tau^2) (x - m).
More noise can then be added for the same picture, and more of the attack comes back with it.

`mnist` is the folder that plugins/images/prepare_mnist.py writes; the pictures are evenly spaced
over the validation part. All are attacked in the same ball, by the cross-entropy and by the margin,
and answer once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import torch
from purify_short import right, words
from torch import Tensor

import unnoise
from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Dirac, Distribution
from unnoise.domain import Trained
from unnoise.noise import NoiseSource
from unnoise.samplers.gradient import Memory, Plain
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_purify import PurifiedClassifier, Purifier, load_classifier
from unnoise_purify.evaluation import Robustness
from unnoise_purify.purifier import gaussian

SETTINGS = (
    *((strength, None) for strength in (0.5, 0.6, 0.7, 0.8)),
    *((strength, tau) for strength in (0.6, 0.7, 0.8) for tau in (1.0, 0.5)),
)
VARIANCE = 0.3  # of the digits' pixels, in [-1, 1]


class Towards(Denoiser):
    """A denoiser that is told "given", the states that it shall not go far from."""

    def __init__(self, denoiser: Denoiser, tau: float) -> None:
        super().__init__()
        self.denoiser, self.kernel, self.tau = denoiser, gaussian(denoiser.kernel), tau

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        told = dict(condition or {})
        given = told.pop("given")
        mean = tensor(self.denoiser(x_t, t, layout, told or None).mean)
        alpha, sigma = (torch.as_tensor(f(t)) for f in (self.schedule.alpha, self.schedule.sigma))
        left = VARIANCE * sigma**2 / (VARIANCE * alpha**2 + sigma**2)
        weight = (left / (left + self.tau**2)).to(mean)
        return Dirac(mean + weight.reshape(-1, *[1] * (mean.ndim - 1)) * (given - mean), layout)

    @property
    def schedule(self):  # type: ignore[no-untyped-def]
        return gaussian(self.kernel).schedule


@dataclass(frozen=True, eq=False)
class Guided(Purifier):  # type: ignore[misc]
    """A purifier over `Towards`, which it tells the picture."""

    def walked(
        self,
        z: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
        memory: Memory = Plain(),
    ) -> Tensor:
        return super().walked(z, layout, {**(condition or {}), "given": z}, noise, memory)


def purifier(model: Trained, strength: float, tau: float | None) -> Purifier:
    if tau is None:
        return Purifier(model, strength, steps=10)
    return Guided(replace(model, denoiser=Towards(model.denoiser, tau)), strength, steps=10)


def main(told: argparse.Namespace) -> None:
    setting = Robustness(num_samples=told.pictures, device=told.device, batch_size=told.batch)
    model = unnoise.load("images")
    x, y = setting.pictures(model, told.data)
    classifier = load_classifier("digits").to(x.device)
    print("| strength | tau | clean | cross-entropy | margin |\n|---|---|---|---|---|")
    for strength, tau in SETTINGS:
        defended = PurifiedClassifier(purifier(model, strength, tau), classifier).to(x.device)
        found = [str(count) for _, count in right(defended, x, y, told)]
        cells = (str(strength), "" if tau is None else str(tau), *found)
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    parser = words(__doc__.splitlines()[0])
    with torch.random.fork_rng(devices=[]):
        main(parser.parse_args())
