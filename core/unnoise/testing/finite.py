"""The exact denoiser of data on finitely many states of any space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise import distributions
from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Categorical, Dirac, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import CategoricalKernel, ProductKernel, TransitionKernel
from unnoise.spaces import Layout, State, Time
from unnoise.testing.oracles import normalised


@final
class FiniteOracle(Denoiser):
    """Data on finitely many states, of any space: products, ragged, zero-centred.

    p(x_0 = state_j | x_t) is proportional to p_j q(x_t | state_j), with q the kernel's own
    marginal. Real parts of the law are Dirac(E[x_0 | x_t]), tokens the exact Categorical of each;
    the parts of a product are independent in the law although not in the data, an error of
    `reverse` that vanishes with the step. Behind an x_t that the process cannot reach (such a step
    may) the law is that of the data.

    Parameters
    ----------
    states : one state of one sample each, without a batch axis: (n, ...) in ragged layouts, with
        any n. For products dicts of such tensors.
    probabilities : of the states, normalised here; equal by default. A sample's number of points
        is not diffused: only states that have it can be behind the sample.

    Raises
    ------
    ConfigError : states and kernel do not fit.
    InputError : at a call, no state has the shape of a sample.
    """

    def __init__(
        self,
        kernel: TransitionKernel,
        states: Sequence[Tensor] | Sequence[dict[str, Tensor]],
        probabilities: Float[Tensor, " states"] | None = None,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        p = torch.ones(len(states)) if probabilities is None else torch.as_tensor(probabilities)
        if p.shape != (len(states),) or not states:
            raise ConfigError(
                "one probability for each state", value=tuple(p.shape), limit=(len(states),)
            )
        self.log_probabilities = normalised(p.double()).log()
        rows = [state if isinstance(state, dict) else {"": state} for state in states]
        names = sorted(kernel.parts) if isinstance(kernel, ProductKernel) else [""]
        if any(sorted(row) != names for row in rows):
            raise ConfigError("the states have other parts than the kernel", limit=names)
        self.shapes = [{name: tuple(row[name].shape) for name in names} for row in rows]
        # (states, points, ...), padded to the largest number of points
        self.tables = {name: _stack([row[name] for row in rows]) for name in names}

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        x = x_t if isinstance(x_t, dict) else {"": x_t}
        layouts = layout.fields if isinstance(x_t, dict) else {"": layout}
        behind, kind = self._behind(x, layouts)
        logs, priors, values = [], [], []
        for c in range(max(map(len, behind))):
            # the c-th state that may be behind each sample; where there is none, one at weight 0
            chosen = torch.tensor([found[c % len(found)] for found in behind])[kind]
            spare = torch.tensor([c >= len(found) for found in behind])[kind].to(layout.device)
            value = {name: self._batch(name, chosen, layouts[name], x[name]) for name in x}
            marginal = self.kernel.marginal(
                value if isinstance(x_t, dict) else value[""], t, layout
            )
            log_p = self.log_probabilities[chosen].to(layout.device).masked_fill(spare, -math.inf)
            logs.append(log_p + marginal.log_prob(x_t).double())
            priors.append(log_p)
            values.append(value)
        table = torch.stack(logs)
        impossible = torch.isneginf(table.logsumexp(0))
        weights = torch.where(impossible, torch.stack(priors), table).softmax(0)
        parts = {
            name: _average([v[name] for v in values], weights, layouts[name], self._vocab(name))
            for name in x
        }
        return distributions.Product(parts) if isinstance(x_t, dict) else parts[""]

    def _behind(
        self, x: Mapping[str, Tensor], layouts: Mapping[str, Layout]
    ) -> tuple[list[list[int]], Tensor]:
        """The states that fit each kind of sample, and the kind of each sample (B,)."""
        if any(layouts[name].mask is not None for name in x):
            raise InputError("padded samples are not supported", fix="use Layout.ragged")
        ragged = {name: layouts[name].index is not None for name in x}
        points = torch.stack([layouts[name].points.cpu() for name in x], 1)
        kinds, kind = torch.unique(points, dim=0, return_inverse=True)
        behind = []
        for row in kinds.tolist():
            shapes = {
                name: ((n,) if ragged[name] else ()) + tuple(x[name].shape[1:])
                for name, n in zip(x, row, strict=True)
            }
            behind.append([j for j, own in enumerate(self.shapes) if own == shapes])
            if not behind[-1]:
                raise InputError("no state has the shape of a sample", value=shapes)
        return behind, kind

    def _batch(self, name: str, chosen: Tensor, layout: Layout, like: Tensor) -> Tensor:
        """The chosen states (B,) of one part as a batch."""
        table = self.tables[name]
        if layout.index is None:
            rows = table[chosen]
            rows = rows[:, : like.shape[1]] if like.ndim > 1 else rows
        else:
            points, index = layout.points.cpu(), layout.index.cpu()
            position = torch.arange(len(index)) - (points.cumsum(0) - points)[index]
            rows = table[chosen[index], position]
        return rows.to(like)

    def _vocab(self, name: str) -> int | None:
        kernel = self.kernel.parts[name] if isinstance(self.kernel, ProductKernel) else self.kernel
        return kernel.space.vocab if isinstance(kernel, CategoricalKernel) else None


def _average(
    values: list[Tensor], weights: Tensor, layout: Layout, vocab: int | None
) -> Distribution:
    """The law of one part: `values` (candidate, rows, ...) with probabilities (candidate, B)."""
    if vocab is None:
        mean = torch.zeros_like(values[0])
        for value, w in zip(values, weights, strict=True):
            mean = mean + layout.expand(w, value) * value
        return Dirac(mean, layout)
    p = torch.zeros(*values[0].shape, vocab, dtype=torch.float64, device=weights.device)
    for value, w in zip(values, weights, strict=True):
        one = torch.as_tensor(layout.expand(w, p[..., 0]))
        p.scatter_add_(-1, value[..., None], one.expand(value.shape)[..., None])
    return Categorical.from_logits(p.log(), layout)


def _stack(states: list[Tensor]) -> Tensor:
    if len({value.shape[1:] for value in states}) > 1 or len({value.ndim for value in states}) > 1:
        raise ConfigError("states differ in their number of points only")
    if states[0].ndim == 0:
        return torch.stack(states)
    return torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
