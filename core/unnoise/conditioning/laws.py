"""Laws of some samples of a batch: what particles are drawn anew with, and put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int64
from torch import Tensor

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian, Mixture, Product
from unnoise.errors import ConfigError
from unnoise.spaces import Layout, State, parts


def taken(law: Distribution, layout: Layout, samples: Int64[Tensor, " taken"]) -> Distribution:
    """The law of some samples of a batch, in the order and as often as they are named."""
    if isinstance(law, Product):
        named = law.parts.items()
        return Product({name: taken(one, layout[name], samples) for name, one in named})
    chosen = layout.chosen(samples)
    if isinstance(law, Mixture):
        laws = [taken(one, layout, samples) for one in law.laws]
        return Mixture(law.log_weights[samples], laws, chosen)
    if isinstance(law, Dirac):
        return Dirac(layout.pick(law.value, samples), chosen)
    rows = samples if layout.index is None else layout.take(samples)[1]
    if isinstance(law, Gaussian):
        std = law.std
        if isinstance(std, Tensor) and std.ndim:
            std = std[rows if law.elementwise else samples]
        return Gaussian(law.mean[rows], std, law.space, chosen)
    if isinstance(law, Categorical):
        return Categorical(law.log_probs[rows], chosen)
    raise _unknown(law)


def joined(laws: Sequence[Distribution], layout: Layout) -> Distribution:
    """One law from those of pieces of a batch, one after the other."""
    first = laws[0]
    if len(laws) == 1:
        return first
    if isinstance(first, Product):
        every = [law.parts for law in laws if isinstance(law, Product)]
        return Product(
            {name: joined([one[name] for one in every], layout[name]) for name in first.parts}
        )
    if isinstance(first, Mixture):
        mixtures = [law for law in laws if isinstance(law, Mixture)]
        weights = torch.cat([law.log_weights for law in mixtures])
        of_each = zip(*(law.laws for law in mixtures), strict=True)
        return Mixture(weights, [joined(each, layout) for each in of_each], layout)
    if isinstance(first, Dirac):
        return Dirac(_together([law.value for law in laws if isinstance(law, Dirac)]), layout)
    if isinstance(first, Categorical):
        tables = [law.log_probs for law in laws if isinstance(law, Categorical)]
        return Categorical(torch.cat(tables), layout)
    if isinstance(first, Gaussian):
        pieces = [law for law in laws if isinstance(law, Gaussian)]
        stds = [law.std for law in pieces if isinstance(law.std, Tensor) and law.std.ndim]
        std = torch.cat(stds) if stds else first.std
        return Gaussian(torch.cat([law.mean for law in pieces]), std, first.space, layout)
    raise _unknown(first)


def detached(law: Distribution) -> Distribution:
    """The law without the graph that it was computed by."""
    if isinstance(law, Product):
        return Product({name: detached(one) for name, one in law.parts.items()})
    if isinstance(law, Mixture):
        return replace(law.each(detached), log_weights=law.log_weights.detach())
    if isinstance(law, Dirac):
        value = law.value
        of_parts = {n: v.detach() for n, v in value.items()} if isinstance(value, dict) else None
        return Dirac(of_parts or torch.as_tensor(value).detach(), law.layout)
    if isinstance(law, Gaussian):
        std = law.std.detach() if isinstance(law.std, Tensor) else law.std
        return replace(law, mean=law.mean.detach(), std=std)
    if isinstance(law, Categorical):
        return replace(law, log_probs=law.log_probs.detach())
    raise _unknown(law)


def _together(values: Sequence[State]) -> State:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat([torch.as_tensor(value) for value in values])
    every = [parts(value, first) for value in values]
    return {name: torch.cat([value[name] for value in every]) for name in first}


def _unknown(law: Distribution) -> ConfigError:
    return ConfigError("particles cannot follow this law", value=type(law).__name__)
