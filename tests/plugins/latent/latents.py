"""Latents, codecs and priors of which every law is known."""

from __future__ import annotations

import math

import torch
from torch import nn

from unnoise.denoise import NetworkDenoiser, Noise
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.objectives import Batch, Networks
from unnoise.spaces import Euclidean, Layout
from unnoise.testing.linear_codec import linear_codec
from unnoise_latent.mixed import Mixed

F64 = torch.float64
WEIGHT = torch.tensor([[1.0, 0.5], [0.5, -1.0], [0.3, 0.0], [0.0, 0.3]], dtype=F64)
WEIGHT = WEIGHT / WEIGHT.norm(dim=0) * torch.tensor([1.2, 0.7], dtype=F64)
OFFSET = torch.tensor([0.3, 0.0, -0.2, 1.0], dtype=F64)


class Nothing(nn.Module):
    def forward(self, z_t, label, layout, condition=None):
        return torch.zeros_like(z_t)


class Bend(nn.Module):
    """A small network that is told time and label."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels + 2, 16, dtype=F64)
        self.last = nn.Linear(16, channels, dtype=F64)

    def forward(self, z_t, label, layout, condition=None):
        told = (condition or {}).get("label", torch.zeros_like(label, dtype=F64)).to(z_t)
        both = torch.cat([z_t, label[:, None].to(z_t), told[:, None]], -1)
        return self.last(torch.tanh(self.first(both)))


def off(schedule=None, channels=1, axis=1):
    """The prior N(0, I): a mixed score without its network."""
    schedule = schedule or VPLinear()
    network = Mixed(Nothing(), schedule, channels, axis, logit=-math.inf)
    return NetworkDenoiser(network, GaussianKernel(Euclidean(), schedule), Noise())


def networks(schedule=None, logit=-1.0, std=0.4, **wrong):
    """A linear codec of four numbers with two latents, and a small prior."""
    torch.manual_seed(0)
    schedule = schedule or VPLinear()
    network = Mixed(Bend(2), schedule, 2, logit=logit).double()
    denoiser = NetworkDenoiser(network, GaussianKernel(Euclidean(), schedule), Noise())
    return Networks(denoiser, linear_codec(WEIGHT.clone(), OFFSET.clone(), std, **wrong))


def data(n, std=0.4, seed=0):
    """n draws of the model's own data, N(offset, W W^T + std^2)."""
    own = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 2, generator=own, dtype=F64)
    x = z @ WEIGHT.mT + OFFSET + std * torch.randn(n, 4, generator=own, dtype=F64)
    return Batch(x, Layout.dense(n, (4,), dtype=F64))


def entropy(std=0.4):
    """Of those data, nats."""
    covariance = WEIGHT @ WEIGHT.mT + std**2 * torch.eye(4, dtype=F64)
    return 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
