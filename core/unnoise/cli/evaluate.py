"""`unnoise evaluate DOMAIN`: how good a model is on held-out data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from inspect import Parameter
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from unnoise.api import model_for
from unnoise.cli.choose import chosen
from unnoise.cli.own import own_model
from unnoise.cli.parser import flag, flags, tidy
from unnoise.cli.progress import told
from unnoise.cli.text import as_json
from unnoise.discovery.domains import collated, domain_named
from unnoise.domain import Domain, Trainable
from unnoise.errors import InputError, nearest
from unnoise.fields import requested
from unnoise.kernels import ProductKernel
from unnoise.model import Metric, Model
from unnoise.objectives import data_of_parts
from unnoise.spaces import DataSpace, Layout, ProductSpace
from unnoise.training.data import held_out_of

_FLAGS = [
    flag("data", Path, "the data; their validation part is used", Parameter.empty),
    flag(
        "metric",
        str,
        "of -log p(x): bound (the variational one), limit (that of infinitely many steps) or"
        " likelihood (of the probability-flow ODE); or one of the domain's own; default: bound,"
        " of a domain without models of its own the first that it has",
    ),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("num_samples", int, "items of the validation part, evenly spaced over it", 64),
    flag("steps", int, "length of the chain of the bound", 1000),
    flag("evaluations", int, "times at which the bound is evaluated", 100),
    flag("tolerance", float, "of the ODE, absolute and relative", 1e-5),
    flag("batch_size", int, "items that run at once", 64),
    flag("seed", int, "of the noise", 0),
    flag("json", bool, "print JSON", False),
]
_COMMON: Final = tuple(parameter.name for parameter in _FLAGS)


def evaluate(words: list[str]) -> int:
    """Run one command line."""
    about = "Evaluate a model on held-out data."
    found = chosen("evaluate", about, words, _FLAGS, _own, domain_named)
    if found is None:
        return 0
    domain, given = found
    likelihoods = _LIKELIHOODS if isinstance(domain, Trainable) else {}
    known = [*likelihoods, *domain.metrics]
    if not known:
        raise InputError(f"nothing can be measured of the domain {domain.name!r}")
    metric, as_words = given.pop("metric", known[0]), not given.pop("json", False)
    if metric in domain.metrics:
        result, shown = _measured(domain, metric, given)
    elif metric in likelihoods and isinstance(domain, Trainable):
        result = _mean(domain, {**_defaults(), **_of(metric, _COMMON, given), "metric": metric})
        shown = _likelihood_text(result)
    else:
        raise InputError(
            f"the domain {domain.name!r} has no such metric",
            value=metric,
            limit=", ".join(known),
            fix=nearest(metric, known),
        )
    print(shown if as_words else as_json(result))
    return 0


def _own(domain: Domain) -> list[Parameter]:
    """A flag for every field of the domain's metrics, in a section for each."""
    found: list[Parameter] = []
    for name, kind in domain.metrics.items():
        known = {*_COMMON, *(parameter.name for parameter in found)}
        found += flags(kind, f"--metric {name}", skip=known)
    return found


def _measured(domain: Domain, name: str, given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """One of the domain's own metrics: its result, and that as text."""
    kind = domain.metrics[name]
    asked = tidy(kind, _of(name, {"data", "model", *kind.model_fields}, given))
    source, model = asked.pop("data"), asked.pop("model", None)
    metric = requested(kind, asked)
    assert isinstance(metric, Metric)
    with told() as show:
        found = metric.measure(model_for(domain, model), source, show)
    result = {"domain": domain.name, "metric": name, **found}
    return result, metric.text(found)


def _of(metric: str, known: Iterable[str], given: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, none of which belongs to another metric."""
    if foreign := [name for name in given if name not in set(known)]:
        raise InputError(
            f"--{foreign[0].replace('_', '-')} does not belong to this metric",
            value=metric,
            fix="leave it out",
        )
    return given


def _defaults() -> dict[str, Any]:
    return {parameter.name: parameter.default for parameter in _FLAGS}


def _likelihood_text(result: dict[str, Any]) -> str:
    """The whole, and under it the parts of a product, each with what its nats are of."""
    bits = result["bits_per_dimension"]
    per_dimension = "" if bits is None else f" {bits:.4f} bits per dimension,"
    whole = f"{_spread(result['nats'], result['standard_error'])} nats a sample,{per_dimension}"
    lines = [f"{result['metric']}: {whole} {result['items']} samples ({result['units']})"]
    for name, part in result["parts"].items():
        lines.append(
            f"{name}: {_spread(part['nats'], part['standard_error'])} nats of {part['measure']}"
            f" a sample, {part['bits_per_dimension']:.4f} bits per dimension ({part['units']})"
        )
    for unit, bits in result["bits_per_unit"].items():
        error = result["bits_per_unit_error"].get(unit)
        lines.append(f"{_spread(bits, error)} bits per {unit}")
    return "\n".join([*lines, f"estimator: {result['estimator']}"])


def _spread(value: float, error: float | None) -> str:
    return f"{value:.4f}" + ("" if error is None else f" +- {error:.4f}")


def _error(values: Tensor) -> float | None:
    """The standard error of the mean."""
    return values.std(correction=1).item() / math.sqrt(len(values)) if len(values) > 1 else None


def _mean(domain: Trainable, asked: dict[str, Any]) -> dict[str, Any]:
    """Means of -log p over items of the validation part, in nats a sample."""
    model = own_model(domain, asked["model"])
    if asked["batch_size"] < 1:
        raise InputError("batch_size is at least 1", value=asked["batch_size"])
    items = held_out_of(domain, model, asked["data"], asked["num_samples"], asked["seed"])
    count = len(items)
    measure = _LIKELIHOODS[asked["metric"]]
    found: list[dict[str, Tensor]] = []
    notes: dict[str, Any] = {}
    kernel, kind = model.denoiser.kernel, domain.data_type(model.configuration)
    sizes: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for begin in range(0, count, asked["batch_size"]):
        part = items[begin : begin + asked["batch_size"]]
        rows, notes = measure(model, part, asked, asked["seed"] + begin)  # noise of its own
        found.append(rows)
        units.update(domain.units(model.configuration, part))
        sizes.update(_sizes(kernel.space, collated(domain, part).layout))
    terms = {name: torch.cat([rows[name] for rows in found]).double() for name in found[0]}
    total = terms.pop("nats")
    error, size = _error(total), sum(sizes.values())
    parts = {}
    if isinstance(kernel, ProductKernel):
        for name, own in data_of_parts(kind, kernel.space).items():
            if (nats := terms.pop(f"part {name}", None)) is not None:
                parts[name] = {
                    "nats": nats.mean().item(),
                    "standard_error": _error(nats),
                    "measure": own.measure,
                    "units": repr(own),
                    "bits_per_dimension": nats.sum().item() / sizes[name] / math.log(2),
                }
    bits = {unit: math.log(2) * number for unit, number in units.items()}
    return {
        "domain": domain.name,
        "model": model.hash,
        "metric": asked["metric"],
        "units": repr(kind),
        "items": count,
        "nats": total.mean().item(),
        "standard_error": error,
        # densities and probabilities have no common unit
        "bits_per_dimension": None if parts else total.sum().item() / size / math.log(2),
        "parts": parts,
        "bits_per_unit": {unit: total.sum().item() / n for unit, n in bits.items()},
        "bits_per_unit_error": {}
        if error is None
        else {u: error * count / n for u, n in bits.items()},
        **{name: value.mean().item() for name, value in terms.items()},
        **notes,
    }


def _sizes(space: DataSpace, layout: Layout) -> dict[str, int]:
    """The degrees of freedom of a batch, by part of a product."""
    if isinstance(space, ProductSpace):
        return {name: int(part.dim(layout[name]).sum()) for name, part in space.parts.items()}
    return {"": int(space.dim(layout).sum())}


def _bound(
    model: Model, items: list[Any], asked: dict[str, Any], seed: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Rows (B,) by name, and what is to be said about them."""
    found = model.bound(items, seed=seed, steps=asked["steps"], evaluations=asked["evaluations"])
    rows = {"prior": found.prior, "steps": found.steps, "reconstruction": found.reconstruction}
    rows |= {f"part {name}": part.total for name, part in found.parts.items()}
    steps = model.denoiser.kernel.steps or asked["steps"]
    estimator = f"bound of {steps} steps, {found.evaluations} evaluations drawn from them"
    return {"nats": found.total, **rows}, {
        "estimator": estimator,
        "evaluations": found.evaluations,
    }


def _limit(
    model: Model, items: list[Any], asked: dict[str, Any], seed: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return _bound(model, items, {**asked, "steps": None}, seed)


def _likelihood(
    model: Model, items: list[Any], asked: dict[str, Any], seed: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    found = model.log_likelihood(items, seed=seed, tolerance=asked["tolerance"])
    rows = {"prior": -found.prior, "divergence": -found.divergence, "change": -found.change}
    notes = {"estimator": found.estimator, "eps": found.eps, "evaluations": found.evaluations}
    return {"nats": -found.nats, **rows}, notes


_LIKELIHOODS: Final = {"bound": _bound, "limit": _limit, "likelihood": _likelihood}
