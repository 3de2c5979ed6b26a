"""Denoisers, each with one mistake planted."""

from __future__ import annotations

import torch
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser
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


def denoiser(network: type[nn.Module]) -> NetworkDenoiser:
    """A network without training, under VP."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NetworkDenoiser(network(), GaussianKernel(Euclidean(), VPLinear()), Clean())


def padded() -> Layout:
    return Layout.dense(3, (5,), mask=torch.arange(5) < torch.tensor([[3], [5], [4]]))


DENOISERS = [
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
