"""How unusual data items are to a model: the terms of their bound, beside those of held-out items.

    nats(x) = prior + sum over bands of noise levels + reconstruction        (`objectives.bound`)

each divided by the degrees of freedom of x, part by part of a product. Every item meets the same
noise at the same levels, so that its terms are a function of the item alone: items and held-out
ones that come from one law stay exchangeable, and the p-values of `unnoise.calibration` are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from unnoise.calibration import conformal, flagged, typicality
from unnoise.domain import Batch, Trained
from unnoise.engine.evaluate import evaluate_bound
from unnoise.errors import ConfigError, InputError
from unnoise.objectives import Bound
from unnoise.spaces import ProductSpace
from unnoise.storage.kept import keeping
from unnoise.storage.tensors import digest

TOTAL: Final = "nats"
"""The name of the bound itself among its terms: their sum, which is not one more of them."""


Collate = Callable[[Sequence[Any]], Batch]
"""Items to a batch of clean data, checked."""


@final
@dataclass(frozen=True)
class Measuring:
    """How the terms are estimated: the bound of a chain of `steps`, `evaluations` of them drawn and
    said in `bands` of neighbouring noise levels, with the noise of `seed`."""

    seed: int = 0
    steps: int = 1000
    evaluations: int = 24
    bands: int = 4

    def __post_init__(self) -> None:
        for name in ("steps", "evaluations", "bands"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1", value=getattr(self, name))
        if self.bands > min(self.evaluations, self.steps - 1):
            raise InputError(
                "each band needs an evaluation",
                value=self.bands,
                limit=f"<= {min(self.evaluations, self.steps - 1)}",
            )


Terms = Mapping[str, Float64[Tensor, " items"]]
"""(B,) nats per degree of freedom by name, `TOTAL` among them."""


@final
@dataclass(frozen=True, eq=False)
class Reference:
    """What is usual: the terms of held-out items, and how they and all others are measured.

    Attributes
    ----------
    terms : (n,) by name. model : the hash of the model.
    """

    terms: Terms
    measuring: Measuring
    model: str

    def __len__(self) -> int:
        return len(self.terms[TOTAL])


@final
@dataclass(frozen=True, eq=False)
class Unusual:
    """How unusual items are, (B,) each. Under the law of the held-out items each p-value is at most
    a with probability at most a.

    Attributes
    ----------
    p_value : of all terms together, two-sided: too simple is as unusual as too surprising, and so
        are terms that do not go with each other.
    p_likelihood : of the bound alone, one-sided, as a likelihood is used: how many held-out items
        are at least as improbable. A picture that is too simple passes.
    score : the mean square of the terms in standard deviations from the held-out ones: near 1 of
        usual items. No bound, for comparing items whose p-values are equally small.
    terms : nats per degree of freedom, by name.
    by_term : the two-sided p-values of each term alone: at which noise level an item is unusual.
    held_out : n; no p-value is below 1 / (n + 1).
    """

    p_value: Float64[Tensor, " items"]
    p_likelihood: Float64[Tensor, " items"]
    score: Float64[Tensor, " items"]
    terms: Terms
    by_term: Mapping[str, Float64[Tensor, " items"]]
    held_out: int

    def at(self, level: float) -> Bool[Tensor, " items"]:
        """(B,) which items are unusual, where the part `level` of usual ones may be called so.

        Raises InputError where too few items were held out for this level.
        """
        return flagged(self.p_value, self.held_out, level)


def reference(
    model: Trained,
    collate: Collate,
    held_out: Sequence[Any],
    measuring: Measuring,
    batch_size: int,
    kept: Path | None,
    report: Callable[[float], None],
) -> Reference:
    """The terms of held-out items; those that are kept in the file are not measured again."""
    if len(held_out) == 0:
        raise InputError("nothing is unusual beside no held-out items", fix="pass some")
    if kept is not None and not model.hash:
        raise ConfigError(
            "what is kept belongs to a model that was saved, and this one was not",
            fix="save it and load it, or pass kept=None",
        )
    _check(batch_size)
    of = {"rows": "terms of the bound", "model": model.hash, **vars(measuring)}
    keys = [_key(collate([item])) for item in held_out]
    with keeping(kept, of) as rows:
        missing = [i for i, key in enumerate(keys) if rows.get(key) is None]
        for begin in range(0, len(missing), batch_size):
            places = missing[begin : begin + batch_size]
            found = measured(model, collate, [held_out[i] for i in places], measuring, batch_size)
            for k, i in enumerate(places):
                rows.add(keys[i], {name: float(values[k]) for name, values in found.items()})
            report((begin + len(places)) / len(missing))
        every = [rows.get(key) or {} for key in keys]
    terms = {
        name: torch.tensor([row[name] for row in every], dtype=torch.float64) for name in every[0]
    }
    return Reference(terms, measuring, model.hash)


def unusual(
    model: Trained, collate: Collate, x: Sequence[Any], usual: Reference, batch_size: int
) -> Unusual:
    """How unusual items are beside the held-out ones of `usual`."""
    if usual.model != model.hash:
        raise ConfigError(
            "what is usual was measured with another model",
            value=usual.model[:12] or "one that was not saved",
            limit=model.hash[:12] or "this one was not saved",
        )
    if len(x) == 0:
        raise InputError("nothing can be said of no items")
    _check(batch_size)
    terms = measured(model, collate, x, usual.measuring, batch_size)
    if foreign := sorted({*terms} ^ {*usual.terms}):
        raise InputError("the items have other terms than the held-out ones", value=foreign)
    names = [name for name in terms if name != TOTAL]
    own, others = (torch.stack([t[n] for n in names], 1) for t in (terms, usual.terms))
    p, score = typicality(own, others)
    alone = {n: typicality(terms[n][:, None], usual.terms[n][:, None])[0] for n in names}
    likely = conformal(terms[TOTAL], usual.terms[TOTAL])
    return Unusual(p, likely, score, terms, alone, len(usual))


def measured(
    model: Trained,
    collate: Collate,
    items: Sequence[Any],
    measuring: Measuring,
    batch_size: int,
) -> Terms:
    """(B,) the terms of the bound of items, each of which meets the same noise."""
    found = []
    data = model.domain.data_type(model.configuration)
    for begin in range(0, len(items), batch_size):
        batch = collate(items[begin : begin + batch_size])
        bound = evaluate_bound(
            model,
            batch,
            measuring.seed,
            measuring.steps,
            measuring.evaluations,
            data,
            numbers=[0] * batch.layout.batch,
        )
        space = model.denoiser.kernel.space
        size = space.dim(batch.layout).double()
        rows = {TOTAL: bound.total.double() / size}
        if bound.parts and isinstance(space, ProductSpace):
            for name, part in bound.parts.items():
                own = space.parts[name].dim(batch.layout[name]).double()
                rows |= {f"{name} {k}": v for k, v in _terms(part, own, measuring.bands).items()}
        else:
            rows |= _terms(bound, size, measuring.bands)
        found.append({name: values.cpu() for name, values in rows.items()})
    return {name: torch.cat([rows[name] for rows in found]) for name in found[0]}


def _terms(bound: Bound, size: Tensor, bands: int) -> dict[str, Tensor]:
    """The terms of one bound, from noise to data, for items of `size` degrees of freedom."""
    levels = bound.levels
    count = 0 if levels is None else min(bands, len(levels))
    rows = {"prior": bound.prior.double() / size}
    if levels is not None and count:
        cuts = [round(k * len(levels) / count) for k in range(count + 1)]
        for low, high in reversed(list(pairwise(cuts))):
            name = f"t {bound.times[low]:.3g} to {bound.times[high]:.3g}"
            rows[name] = levels[low:high].sum(0) / size
    return {**rows, "reconstruction": bound.reconstruction.double() / size}


def _key(batch: Batch) -> str:
    """What the item of a batch of one is kept under: its content."""
    return digest(batch.x0, batch.condition or {})[:32]


def _check(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError("batch_size is at least 1", value=batch_size)
