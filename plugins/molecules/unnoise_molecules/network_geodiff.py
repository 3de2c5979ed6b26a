"""GeoDiff's dual encoder (Xu 2022): scores of distances, and by the chain rule of positions.

Pairs up to three bonds apart are local, all others within the radius are global. Each kind has an
encoder of its own, GIN over local pairs and SchNet over all, and puts out one number per pair,
s_ij, from h_i * h_j and the pair's attribute MLP(d_ij) * Emb(type). Positions move by

    F_i = sum over directed pairs of s_ij (r_i - r_j) / d_ij = 2 sum_j s_ij (r_i - r_j) / d_ij,

the gradient by r_i of an energy in the distances whose derivative is s. F is to be
(d(x_0) - d(x_t)) / rho in the place of s, rho = sigma / alpha. The sum counts the displacement of
an atom once for each of its pairs, so it is a direction rather than an estimate of x_0: annealed
Langevin dynamics only follows it, other samplers overshoot. There is no label: the network sees
nothing of the noise level, except that the global part counts only where rho < .5 angstrom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.denoise import Condition
from unnoise.denoise.parametrizations import Coefficients, GaussianParametrization
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_molecules.graph import ELEMENTS, THREE_HOPS, TWO_HOPS

GLOBAL_BELOW: Final = 0.5
"""rho in angstrom below which the global part counts."""
TYPES: Final = 7
"""No bond up to three hops, four bond orders, two hops, three hops."""


@final
class DualEncoder(nn.Module):
    """F(positions, rho), see the module's text.

    Parameters
    ----------
    hidden : channels.
    radius : of the global pairs, angstrom; no pair within it is left out.
    local_layers, global_layers : of GIN and SchNet.
    """

    def __init__(
        self,
        hidden: int = 128,
        radius: float = 10.0,
        local_layers: int = 4,
        global_layers: int = 6,
    ) -> None:
        super().__init__()
        self.radius = radius
        self.local_pairs, self.global_pairs = _Pairs(hidden), _Pairs(hidden)
        self.local_encoder = _GIN(hidden, local_layers)
        self.global_encoder = _SchNet(hidden, global_layers)
        self.local_score, self.global_score = (_mlp(2 * hidden, hidden) for _ in range(2))

    def forward(
        self, inputs: Float[Tensor, "rows 3"], label: Tensor, layout: Layout, condition: Condition
    ) -> Float[Tensor, "rows 3"]:
        near, far = self.scores(inputs, layout, condition)
        gate = layout.expand((label < GLOBAL_BELOW).to(inputs.dtype), inputs)
        return near.moves(inputs) + gate * far.moves(inputs)

    def scores(
        self, x: Float[Tensor, "rows 3"], layout: Layout, condition: Condition
    ) -> tuple[Scores, Scores]:
        """The local and the global pairs with their scores."""
        if condition is None:
            raise InputError("a molecule's graph is needed")
        index, kind = condition["pair_index"], condition["pair_codes"][:, 0]
        d = distances(x, index)
        local = kind > 0
        keep = local | (d[:, 0] <= self.radius)
        index, kind, d, local = index[:, keep], _types(kind[keep]), d[keep], local[keep]
        elements = condition["atoms"][:, 0]

        edge = self.local_pairs(d[local], kind[local])
        h = self.local_encoder(elements, index[:, local], edge)
        near = _scored(self.local_score, h, edge, index[:, local])
        edge = self.global_pairs(d, kind)
        h = self.global_encoder(elements, index, edge)
        far = _scored(self.global_score, h, edge[~local], index[:, ~local])
        return near, far


def _scored(score: nn.Module, h: Tensor, edge: Tensor, index: Tensor) -> Scores:
    i, j = index
    return Scores(index, score(torch.cat([h[i] * h[j], edge], 1)))


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """One number s (pairs, 1) for each pair of `index`, i < j once."""

    index: Int64[Tensor, "2 pairs"]
    s: Float[Tensor, "pairs 1"]

    def moves(self, x: Float[Tensor, "rows 3"]) -> Float[Tensor, "rows 3"]:
        """2 sum_j s_ij (r_i - r_j) / d_ij, see `chain_rule`."""
        return chain_rule(self.s, x, self.index)


def chain_rule(
    s: Float[Tensor, "pairs 1"], x: Float[Tensor, "rows 3"], index: Int64[Tensor, "2 pairs"]
) -> Float[Tensor, "rows 3"]:
    """The gradient by positions of an energy that is a sum over directed pairs, with derivative s
    by each distance. Pairs are given once."""
    i, j = index
    step = 2 * s * (x[i] - x[j]) / distances(x, index)
    return torch.zeros_like(x).index_add(0, i, step).index_add(0, j, -step)


def distances(
    x: Float[Tensor, "rows 3"], index: Int64[Tensor, "2 pairs"]
) -> Float[Tensor, "pairs 1"]:
    """Distances of pairs, with a gradient where two atoms meet."""
    return torch.sqrt(((x[index[0]] - x[index[1]]) ** 2).sum(-1, keepdim=True) + 1e-12)


@final
@dataclass(frozen=True)
class Displacement(GaussianParametrization):
    """x_0 = (x_t + sigma F(x_t / alpha, rho)) / alpha, with rho = sigma / alpha: F is a
    displacement in units of the noise."""

    def check(self, kernel: TransitionKernel) -> None:
        if not isinstance(kernel, GaussianKernel) or not kernel.schedule.alpha(1.0) > 0:
            raise ConfigError("Displacement needs a GaussianKernel with alpha > 0", value=kernel)

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha = schedule.alpha(t)
        rho = schedule.sigma(t) / alpha
        return Coefficients(1 / alpha, rho, 1 / alpha, rho)

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        assert isinstance(kernel, GaussianKernel)
        x_t = tensor(x_t)
        return layout.expand(self.affine(kernel.schedule, t).scale, x_t) * x_t

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        assert isinstance(kernel, GaussianKernel)
        return self.affine(kernel.schedule, t).label


@final
class _Pairs(nn.Module):
    """MLP(d) * Emb(type)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.length = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.types = nn.Embedding(TYPES, hidden)

    def forward(self, d: Tensor, kind: Tensor) -> Tensor:
        return self.length(d) * self.types(kind)


@final
class _GIN(nn.Module):
    """h_i' = h_i + MLP((1 + eps) h_i + sum_j relu(h_j + e_ij)), eps = 0 as published."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.elements = nn.Embedding(len(ELEMENTS), hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
            for _ in range(layers)
        )

    def forward(self, elements: Tensor, index: Tensor, edge: Tensor) -> Tensor:
        i, j = index
        h = self.elements(elements)
        for number, layer in enumerate(self.layers):
            summed = h.index_add(0, i, torch.relu(h[j] + edge))
            summed = summed.index_add(0, j, torch.relu(h[i] + edge))
            new = layer(summed)
            h = h + (torch.relu(new) if number < len(self.layers) - 1 else new)
        return h


@final
class _SchNet(nn.Module):
    """h_i' = h_i + L(ssp(L(sum_j L(h_j) * W(e_ij)))): filters of the pair's attribute."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.elements = nn.Embedding(len(ELEMENTS), hidden)
        self.filters = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), _ShiftedSoftplus(), nn.Linear(hidden, hidden))
            for _ in range(layers)
        )
        self.first = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(layers))
        self.last = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), _ShiftedSoftplus(), nn.Linear(hidden, hidden))
            for _ in range(layers)
        )

    def forward(self, elements: Tensor, index: Tensor, edge: Tensor) -> Tensor:
        i, j = index
        h = self.elements(elements)
        for weight, first, last in zip(self.filters, self.first, self.last, strict=True):
            w, v = weight(edge), first(h)
            summed = torch.zeros_like(h).index_add(0, i, v[j] * w).index_add(0, j, v[i] * w)
            h = h + last(summed)
        return h


@final
class _ShiftedSoftplus(nn.Module):
    """log(1 + e^x) - log 2."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x) - 0.6931471805599453


def _mlp(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden // 2),
        nn.ReLU(),
        nn.Linear(hidden // 2, 1),
    )


def _types(kind: Tensor) -> Tensor:
    """GeoDiff's types of the codes of `graph`: 0 far, 1 to 4 bonds, 5 two hops, 6 three hops."""
    typed = torch.where(kind >= TWO_HOPS, 5, kind)
    return torch.where(kind >= THREE_HOPS, 6, typed)
