"""Denoisers, each with one mistake planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser, Parametrization
from unnoise.distributions import Dirac
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import Example


class Network(nn.Module):
    """x_0 from x_t and the label, position by position."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x, label, layout, condition):
        told = label.view(-1, *(1,) * (x.ndim - 1)).expand(x.shape)
        return self.net(torch.stack((x, told), -1))[..., 0]


class OfTheBatch(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, condition) - x.mean(0)


class FirstTime(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label[:1].expand(len(x)), layout, condition)


class Dropping(Network):
    def forward(self, x, label, layout, condition):
        return nn.functional.dropout(super().forward(x, label, layout, condition), 0.2)


class Detached(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, condition).detach()


class PaddingSeen(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, condition) + x.mean(1, keepdim=True)


class Timeless(Network):
    def forward(self, x, label, layout, condition):
        return super().forward(x, 0 * label, layout, condition)


class Told(Network):
    """Moved by what it is told."""

    def forward(self, x, label, layout, condition):
        moved = condition["shift"] + condition["scale"]
        return super().forward(x, label, layout, condition) + moved.view(-1, *(1,) * (x.ndim - 1))


class Deaf(Told):
    def forward(self, x, label, layout, condition):
        return super().forward(x, label, layout, {**condition, "scale": 0 * condition["scale"]})


class Unsaved(Network):
    """A weight that is in no state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.ones(())

    def forward(self, x, label, layout, condition):
        self.hidden = self.hidden + 1
        return super().forward(x, label, layout, condition) * self.hidden


class Numpy(Network):
    def forward(self, x, label, layout, condition):
        np.random.rand()
        return super().forward(x, label, layout, condition)


class InPlace(Network):
    def forward(self, x, label, layout, condition):
        x.mul_(0.5)
        return super().forward(x, label, layout, condition)


@dataclass(frozen=True)
class OnlyFirst(Parametrization):
    """One number a sample, of which all entries become copies."""

    def check(self, kernel): ...

    def inputs(self, kernel, x_t, t, layout):
        return x_t

    def label(self, kernel, t):
        return t

    def law(self, kernel, output, x_t, t, layout):
        return Dirac(output[:, :1], layout)

    def loss(self, kernel, output, x0, x_t, t, layout):
        return layout.sum((output[:, :1] - x0) ** 2)


def denoiser(network: type[nn.Module]) -> NetworkDenoiser:
    """A network without training, under VP."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NetworkDenoiser(network(), GaussianKernel(Euclidean(), VPLinear()), Clean())


def padded() -> Layout:
    return Layout.dense(3, (5,), mask=torch.arange(5) < torch.tensor([[3], [5], [4]]))


CONDITION = {"shift": torch.tensor([0.3, -1.0, 2.0]), "scale": torch.tensor([1.0, 0.5, -0.2])}


def narrow() -> NetworkDenoiser:
    return NetworkDenoiser(Network(), GaussianKernel(Euclidean(), VPLinear()), OnlyFirst())


DENOISERS = [
    ("blind to the time", "time_matters", denoiser(Timeless)),
    (
        "blind to a part of the condition",
        "condition_matters",
        Example(denoiser(Deaf), {"condition": CONDITION}),
    ),
    ("state kept between calls", "calls_repeat", denoiser(Unsaved)),
    ("global numbers of numpy drawn", "calls_repeat", denoiser(Numpy)),
    ("the state overwritten", "calls_repeat", denoiser(InPlace)),
    ("one number for all entries", "laws_are_of_the_space", narrow()),
    ("mean of the batch", "samples_do_not_see_each_other", denoiser(OfTheBatch)),
    ("the first sample's time for all, in the network", "times_per_sample", denoiser(FirstTime)),
    ("dropout in evaluation", "calls_repeat", denoiser(Dropping)),
    ("output detached", "gradients_reach_the_weights", denoiser(Detached)),
    (
        "padding seen",
        "padding_does_not_matter",
        Example(denoiser(PaddingSeen), {"layout": padded()}),
    ),
]
