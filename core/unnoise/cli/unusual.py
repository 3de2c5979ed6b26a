"""`unnoise unusual DOMAIN`: how unusual things are beside held-out data."""

from __future__ import annotations

from inspect import Parameter
from pathlib import Path
from typing import Any

import torch

from unnoise.calibration import flagged
from unnoise.cli.choose import chosen
from unnoise.cli.own import own_model
from unnoise.cli.parser import flag
from unnoise.cli.progress import bar
from unnoise.cli.text import as_json, table
from unnoise.discovery.domains import things_of, trainable_named
from unnoise.domain import Trainable
from unnoise.engine.unusual import Reference, Unusual
from unnoise.errors import InputError
from unnoise.model import Model
from unnoise.training.data import held_out_of

_FLAGS = [
    flag("input", Path, "the things, in the form of the domain's data", Parameter.empty),
    flag("data", Path, "usual data; their validation part is held out", Parameter.empty),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("level", float, "the part of usual things that may be called unusual", 0.05),
    flag("num_samples", int, "items of the validation part, evenly spaced over it", 200),
    flag("steps", int, "length of the chain of the bound", 1000),
    flag("evaluations", int, "times at which the bound is evaluated", 24),
    flag("bands", int, "of noise levels that are compared", 4),
    flag("kept", Path, "a file that keeps what is usual, so that a second call is quick"),
    flag("batch_size", int, "items that run at once", 64),
    flag("seed", int, "of the noise", 0),
    flag("json", bool, "print JSON", False),
]


def unusual(words: list[str]) -> int:
    """Run one command line."""
    about = (
        "Say how unusual things are beside held-out data: conformal p-values of a model's bound, by"
        " noise level, which are small for what is too simple, too, and whose level is exact."
    )
    found = chosen("unusual", about, words, _FLAGS, lambda _: [], trainable_named)
    if found is None:
        return 0
    domain, given = found
    asked = {one.name: one.default for one in _FLAGS} | given
    model = own_model(domain, asked["model"])
    names, items = _things(domain, model, asked["input"])
    held_out = held_out_of(domain, model, asked["data"], asked["num_samples"], asked["seed"])
    flagged(torch.ones(1, dtype=torch.float64), len(held_out), asked["level"])  # before any work
    options = ("seed", "steps", "evaluations", "bands", "batch_size", "kept")
    with bar() as show:
        usual = model.reference(
            held_out,
            **{name: asked[name] for name in options},
            report=lambda part: show("held-out items", part),
        )
    result = model.unusual(items, usual, batch_size=asked["batch_size"])
    if asked["json"]:
        print(as_json(_rows(names, result, usual, asked["level"])))
    else:
        print(_text(names, result, asked["level"]))
    return 0


def _things(domain: Trainable, model: Model, source: Path) -> tuple[list[str], list[Any]]:
    """Names and items of all that is in `source`."""
    found = things_of(domain, source, model.configuration)
    if not found:
        raise InputError("there are no things to look at", value=str(source))
    return [name for name, _ in found], [item for _, item in found]


def _rows(names: list[str], result: Unusual, usual: Reference, level: float) -> dict[str, Any]:
    at = result.at(level)
    return {
        "level": level,
        "held_out": len(usual),
        "things": [
            {
                "name": name,
                "p_value": float(result.p_value[i]),
                "unusual": bool(at[i]),
                "p_likelihood": float(result.p_likelihood[i]),
                "score": float(result.score[i]),
                "terms": {term: float(values[i]) for term, values in result.terms.items()},
                "p_by_term": {term: float(p[i]) for term, p in result.by_term.items()},
            }
            for i, name in enumerate(names)
        ],
    }


def _text(names: list[str], result: Unusual, level: float) -> str:
    """The most unusual first, each with the term that is most so."""
    order = sorted(
        range(len(names)), key=lambda i: (float(result.p_value[i]), -float(result.score[i]))
    )
    at, rows = result.at(level), []
    for i in order:
        term = min(result.by_term, key=lambda name: float(result.by_term[name][i]))
        rows.append(
            (
                names[i],
                f"{float(result.p_value[i]):.4f}",
                f"{float(result.score[i]):.2f}",
                f"{float(result.p_likelihood[i]):.4f}",
                "unusual" if at[i] else "",
                f"{term} (p {float(result.by_term[term][i]):.4f})",
            )
        )
    columns = ("thing", "p", "score", "p of the likelihood alone", "", "most at")
    return (
        f"{table(columns, rows, '')}\n"
        f"{int(at.sum())} of {len(names)} are unusual at level {level:g}: of usual things that part"
        f" would be called so. {result.held_out} held-out items; no p is below"
        f" {1 / (result.held_out + 1):.2g}."
    )
