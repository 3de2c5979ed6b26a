"""`unnoise evaluate DOMAIN`: how good a model is on held-out data."""

from __future__ import annotations

import math
from collections import Counter
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unnoise.api import load
from unnoise.cli.choose import chosen
from unnoise.cli.parser import flag
from unnoise.cli.text import as_json
from unnoise.domain import Domain, Model
from unnoise.errors import InputError

_FLAGS = [
    flag("data", Path, "the data; their validation part is used", Parameter.empty),
    flag(
        "metric",
        Literal["bound", "limit", "likelihood"],
        "of -log p(x): the variational bound, that of infinitely many steps, or the likelihood of"
        " the probability-flow ODE",
        "bound",
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


def evaluate(words: list[str]) -> int:
    """Run one command line."""
    found = chosen("evaluate", "Evaluate a model on held-out data.", words, _FLAGS, lambda _: [])
    if found is None:
        return 0
    domain, given = found
    defaults = {parameter.name: parameter.default for parameter in _FLAGS}
    result = _mean(domain, {**defaults, **given})
    if given.get("json"):
        print(as_json(result))
    else:
        spread = result["standard_error"]
        error = "" if spread is None else f" +- {spread:.4f}"
        print(
            f"{result['metric']}: {result['nats']:.4f}{error} nats a sample,"
            f" {result['bits_per_dimension']:.4f} bits per dimension, {result['items']} samples"
            f" ({result['units']})"
        )
        for unit, bits in result["bits_per_unit"].items():
            part = result["bits_per_unit_error"].get(unit)
            error = "" if part is None else f" +- {part:.4f}"
            print(f"{bits:.4f}{error} bits per {unit}")
        print(f"estimator: {result['estimator']}")
    return 0


def _mean(domain: Domain, asked: dict[str, Any]) -> dict[str, Any]:
    """Means of -log p over items of the validation part, in nats a sample."""
    model = load(asked["model"] or domain.name)
    if model.domain.name != domain.name:
        raise InputError("this model belongs to another domain", value=model.domain.name)
    data: Any = domain.dataset(asked["data"], model.configuration, "validation")
    for name in ("num_samples", "batch_size"):
        if asked[name] < 1:
            raise InputError(f"{name} is at least 1", value=asked[name])
    count = min(asked["num_samples"], len(data))
    if count == 0:
        raise InputError("the data have no validation part", value=str(asked["data"]))
    items = [data[i * len(data) // count] for i in range(count)]
    measure = {"bound": _bound, "limit": _limit, "likelihood": _likelihood}[asked["metric"]]
    found: list[dict[str, Tensor]] = []
    notes: dict[str, Any] = {}
    size = 0
    units: Counter[str] = Counter()
    for begin in range(0, count, asked["batch_size"]):
        part = items[begin : begin + asked["batch_size"]]
        rows, notes = measure(model, part, asked, asked["seed"] + begin)  # noise of its own
        found.append(rows)
        units.update(domain.units(model.configuration, part))
        size += int(model.denoiser.kernel.space.dim(domain.collate(part).layout).sum())
    parts = {name: torch.cat([rows[name] for rows in found]).double() for name in found[0]}
    total = parts.pop("nats")
    spread = total.std(correction=1).item() * math.sqrt(count) if count > 1 else None
    bits = {unit: math.log(2) * number for unit, number in units.items()}
    return {
        "domain": domain.name,
        "model": model.hash,
        "metric": asked["metric"],
        "units": repr(domain.data_type(model.configuration)),
        "items": count,
        "nats": total.mean().item(),
        "standard_error": None if spread is None else spread / count,
        "bits_per_dimension": total.sum().item() / size / math.log(2),
        "bits_per_unit": {unit: total.sum().item() / n for unit, n in bits.items()},
        "bits_per_unit_error": {} if spread is None else {u: spread / n for u, n in bits.items()},
        **{name: value.mean().item() for name, value in parts.items()},
        **notes,
    }


def _bound(
    model: Model, items: list[Any], asked: dict[str, Any], seed: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Rows (B,) by name, and what is to be said about them."""
    found = model.bound(items, seed=seed, steps=asked["steps"], evaluations=asked["evaluations"])
    rows = {"prior": found.prior, "steps": found.steps, "reconstruction": found.reconstruction}
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
