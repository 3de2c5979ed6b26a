"""`unnoise variance DOMAIN`: a model with its optimal reverse variance."""

from __future__ import annotations

from inspect import Parameter
from pathlib import Path
from typing import Literal

from unnoise.api import load
from unnoise.cli.choose import chosen
from unnoise.cli.own import made
from unnoise.cli.parser import flag
from unnoise.discovery.domains import trainable_named
from unnoise.errors import InputError
from unnoise.storage.bundle import CONFIG
from unnoise.storage.files import as_path, removed_unused, writable_folder
from unnoise.training.variance import with_variance

_FLAGS = [
    flag("data", Path, "what the model was trained on: a folder or file", Parameter.empty),
    flag("out", Path, "folder of the new bundle", Parameter.empty),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("num_samples", int, "items of the training part, evenly spaced over it", 256),
    flag(
        "statistic",
        Literal["error", "noise"],
        "estimate it from the error of x_0, right for any network, or as published from the norm"
        " of the predicted noise, right for a perfect one",
        "error",
    ),
    flag("batch_size", int, "items that run at once", 64),
    flag("seed", int, "of the noise", 0),
]


def variance(words: list[str]) -> int:
    """Run one command line."""
    about = (
        "Give a model the reverse variance that is optimal for its data (Analytic-DPM): for"
        " stochastic samplers with few steps, and for its bound. The network does not change."
    )
    found = chosen("variance", about, words, _FLAGS, lambda _: [], trainable_named)
    if found is None:
        return 0
    domain, given = found
    data, out = given.pop("data"), as_path(given.pop("out"), "out")
    if (out / CONFIG).exists():
        raise InputError(f"{str(out)!r} already contains a bundle", fix="choose another folder")
    with removed_unused(out):
        writable_folder(out)
        model = load(given.pop("model", None) or domain.name)
        if model.domain.name != domain.name:
            raise InputError(
                "this model belongs to another domain", value=model.domain.name, limit=domain.name
            )
        with_variance(model, data, **given).save(out)
    print(made(domain, out))
    return 0
