"""The torus: angles in radians, from -pi to pi, and noise that turns them.

WN(m, s^2) is the law of a normal number N(m, s^2) wrapped onto the circle (Mardia & Jupp 2000,
Directional Statistics, 3.5.7). Diffusion adds normal noise and wraps, so that

    q(x_t | x_s) = WN(x_s, sigma_t^2 - sigma_s^2)

and, by Bayes' rule, q(x_s | x_t, x_0) is a mixture over the number k of turns on the way from x_0
to x_t. With d = x_t - x_0, wrapped, and r = sigma_s^2 / sigma_t^2, the part of k is

    WN(x_0 + r (d + 2 pi k), sigma_s^2 (1 - r)),   weight ~ exp(-(d + 2 pi k)^2 / 2 sigma_t^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from unnoise.distributions import Categorical, Dirac, Distribution, Implicit
from unnoise.errors import InputError
from unnoise.kernels import TransitionKernel, check_time, check_times
from unnoise.spaces import DataSpace, Euclidean, Layout

TURNS = torch.arange(-6, 7) * 2 * math.pi  # to six standard deviations of the widest law
NODES = 64  # of a quadrature


def wrap(x):
    """The same angles in [-pi, pi)."""
    return torch.remainder(x + math.pi, 2 * math.pi) - math.pi


def log_density(d, std):
    """log WN(d; 0, std^2), for std up to 2 pi; `d` in [-pi, pi]."""
    lifted = ((d[..., None] + TURNS.to(d)) / torch.as_tensor(std)[..., None]) ** 2 / 2
    return (-lifted).logsumexp(-1) - torch.as_tensor(std * math.sqrt(2 * math.pi)).log()


@final
@dataclass(frozen=True)
class Torus(DataSpace):
    """Independent angles; project wraps them."""

    def layout(self, x):
        return Euclidean().layout(x)

    def validate(self, x, layout):
        Euclidean().validate(x, layout)
        largest = float(layout.zero_padding(x).abs().max()) if x.numel() else 0.0
        if largest > math.pi * (1 + 1e-6):
            raise InputError(
                "an angle is out of range",
                value=largest,
                limit="-pi to pi",
                fix="radians, wrapped by space.project(x, layout)",
            )

    def project(self, x, layout):
        return layout.zero_padding(wrap(x))

    def dim(self, layout):
        return layout.sizes


@final
@dataclass(frozen=True, eq=False)
class Wrapped(Distribution):
    """Independent angles, each of the law sum_j w_j WN(centre_j, std^2).

    Attributes
    ----------
    centres, log_weights : (rows, ..., K), the weights normalised over K.
    std : a float, or (B,) one value per sample; 0 for atoms, which have no density.
    layout : of the angles (rows, ...).
    """

    centres: torch.Tensor
    log_weights: torch.Tensor
    std: float | torch.Tensor
    layout: Layout

    @property
    def scale(self):
        """std as a tensor that broadcasts over the centres."""
        std = torch.as_tensor(self.layout.expand(self.std, self.centres)).to(self.centres)
        return std if std.ndim else std.view((1,) * self.centres.ndim)

    @property
    def mean(self):
        """The direction of the mean of exp(i x)."""
        weights = self.log_weights.exp()
        return torch.atan2(*((weights * f(self.centres)).sum(-1) for f in (torch.sin, torch.cos)))

    @property
    def mode(self):
        best = self.log_weights.argmax(-1, keepdim=True)
        return self.centres.gather(-1, best)[..., 0]

    def sample(self, noise):
        j = Categorical(self.log_weights, self.layout).sample(noise)
        centre = self.centres.gather(-1, j[..., None])[..., 0]
        z = noise.normal(self.layout).to(centre.dtype)
        return self.layout.zero_padding(wrap(centre + self.scale[..., 0] * z)).to(centre.dtype)

    def log_prob(self, x):
        return self.layout.sum(self.log_density(x[..., None])[..., 0])

    def kl(self, other):
        """By quadrature: NODES of them for each component."""
        if not isinstance(other, Wrapped):
            raise InputError("no divergence between angles and", value=type(other).__name__)
        at = self.nodes()
        terms = self.log_density(at.centres) - other.log_density(at.centres)
        return self.layout.sum((at.log_weights.exp() * terms).sum(-1))

    def log_density(self, x):
        """(rows, ..., N) log density of each angle at N points of its own, x (rows, ..., N)."""
        if not bool((self.scale > 0).all()):
            raise InputError("atoms have no density", value=0, limit="std > 0")
        parts = [
            log_density(wrap(x - c[..., None]), self.scale[..., :1]) + w[..., None]
            for c, w in zip(self.centres.unbind(-1), self.log_weights.unbind(-1), strict=True)
        ]
        return torch.stack(parts).logsumexp(0)

    def nodes(self):
        """The same law by atoms, a trapezoidal rule: it ends 6 std away or goes round the circle,
        and converges exponentially either way."""
        if not bool((self.scale > 0).any()):
            return self
        half = (6 * self.scale[..., :1]).clamp(max=math.pi)
        offsets = half * ((2 * torch.arange(NODES) + 1 - NODES) / NODES).to(half)
        weights = log_density(offsets, self.scale[..., :1]).log_softmax(-1)
        centres = wrap(self.centres[..., None] + offsets[..., None, :])
        log_weights = self.log_weights[..., None] + weights[..., None, :]
        return Wrapped(centres.flatten(-2), log_weights.flatten(-2), 0.0, self.layout)


@final
@dataclass(frozen=True)
class WrappedNormal(TransitionKernel):
    """x_t = x_0 + sigma_t eps on the torus, sigma geometric from about `least` to 2 pi: x_1 is
    uniform to 1e-8.

        sigma_t^2 = (2 pi)^2 (g^(2 t) - 1) / (g^2 - 1),   g = 2 pi / least
    """

    least: float = 0.02
    space = Torus()
    steps = None  # continuous time

    def sigma(self, t):
        check_time(t)
        growth = 2 * math.log(2 * math.pi / self.least)
        if not isinstance(t, torch.Tensor):
            return 2 * math.pi * math.sqrt(math.expm1(growth * t) / math.expm1(growth))
        return 2 * math.pi * (torch.expm1(growth * t) / math.expm1(growth)).sqrt()

    def marginal(self, x0, t, layout):
        return _around(x0, self.sigma(t), layout)

    def transition(self, x_s, s, t, layout):
        check_times(s, t)
        return _around(x_s, (self.sigma(t) ** 2 - self.sigma(s) ** 2) ** 0.5, layout)

    def reverse(self, x_t, x0, t, s, layout):
        """The posterior, averaged over the atoms or the nodes of the law of x_0."""
        check_times(s, t)
        if isinstance(x0, Implicit):
            return x0.then(lambda point: self.reverse(x_t, point, t, s, layout))
        if not isinstance(x0, Dirac | Wrapped):
            raise InputError("a law of angles is needed", value=type(x0).__name__)
        atoms = x0.nodes() if isinstance(x0, Wrapped) else _around(x0.value, 0.0, layout)
        sigma_s, sigma_t = self.sigma(s), self.sigma(t)
        r = (sigma_s / sigma_t) ** 2
        way = wrap(x_t[..., None] - atoms.centres)[..., None] + TURNS.to(x_t)
        turns = (-((way / layout.expand(sigma_t, way)) ** 2) / 2).log_softmax(-1)
        centres = wrap(atoms.centres[..., None] + layout.expand(r, way) * way)
        log_weights = atoms.log_weights[..., None] + turns
        std = sigma_s * (1 - r) ** 0.5
        return Wrapped(centres.flatten(-2), log_weights.flatten(-2), std, layout)

    def prior(self, layout):
        zero = torch.zeros(layout.shape, dtype=layout.dtype, device=layout.device)
        return _around(zero, self.sigma(1.0), layout)

    def reconstruction(self, x_t, x0, t, layout):
        """The law of x_0 itself; of atoms, with sigma_t around each."""
        if isinstance(x0, Dirac):
            return _around(x0.value, self.sigma(t), layout)
        if bool((x0.scale > 0).all()):
            return x0
        return Wrapped(x0.centres, x0.log_weights, self.sigma(t), layout)


def _around(x, std, layout):
    return Wrapped(x[..., None], torch.zeros_like(x)[..., None], std, layout)
