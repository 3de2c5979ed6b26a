"""`unnoise evaluate DOMAIN`: how good a model is on held-out data."""

from __future__ import annotations

import math
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

import torch

from unnoise.api import load
from unnoise.cli.choose import chosen
from unnoise.cli.parser import flag
from unnoise.cli.text import as_json
from unnoise.domain import Domain
from unnoise.errors import InputError

_FLAGS = [
    flag("data", Path, "the data; their validation part is used", Parameter.empty),
    flag("metric", Literal["bound"], "bound: the variational bound of -log p(x)", "bound"),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("num_samples", int, "items of the validation part, evenly spaced over it", 64),
    flag("steps", int, "length of the chain", 1000),
    flag("evaluations", int, "times at which the bound is evaluated", 100),
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
    result = _bound(domain, {**defaults, **given})
    if given.get("json"):
        print(as_json(result))
    else:
        spread = result["standard_error"]
        error = "" if spread is None else f" +- {spread:.4f}"
        print(
            f"bound: {result['nats']:.4f}{error} nats a sample,"
            f" {result['bits_per_dimension']:.4f} bits per dimension, {result['items']} samples"
        )
    return 0


def _bound(domain: Domain, asked: dict[str, Any]) -> dict[str, Any]:
    """Means over items of the validation part, in nats a sample."""
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
    rows, size = [], 0
    for begin in range(0, count, asked["batch_size"]):
        part = items[begin : begin + asked["batch_size"]]
        found = model.bound(
            part,
            seed=asked["seed"] + begin,  # other noise for each batch
            steps=asked["steps"],
            evaluations=asked["evaluations"],
        )
        rows.append(torch.stack([found.prior, found.steps, found.reconstruction]))
        size += int(model.denoiser.kernel.space.dim(domain.collate(part).layout).sum())
    parts = torch.cat(rows, dim=1).double()
    total = parts.sum(dim=0)
    return {
        "domain": domain.name,
        "model": model.hash,
        "items": count,
        "nats": total.mean().item(),
        "standard_error": total.std(correction=1).item() / math.sqrt(count) if count > 1 else None,
        "bits_per_dimension": total.sum().item() / size / math.log(2),
        **dict(zip(("prior", "steps", "reconstruction"), parts.mean(dim=1).tolist(), strict=True)),
    }
