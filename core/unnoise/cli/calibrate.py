"""`unnoise calibrate DOMAIN`: is a conditional generator's uncertainty true?"""

from __future__ import annotations

from inspect import Parameter
from pathlib import Path
from typing import Any

from unnoise.calibration import Coverage, Verdict, coverage, power, ranks_of, verdict
from unnoise.calibration.plot import svg
from unnoise.cli.choose import chosen
from unnoise.cli.own import own_model
from unnoise.cli.parser import flag
from unnoise.cli.progress import bar
from unnoise.cli.text import as_json, table
from unnoise.discovery.domains import trainable_named
from unnoise.errors import InputError
from unnoise.storage.files import write_file
from unnoise.training.data import held_out_of

_FLAGS = [
    flag("data", Path, "the data; their validation part is used", Parameter.empty),
    flag("model", str, "a bundle folder or a hub id; default: the domain's shipped model"),
    flag("num_samples", int, "items of the validation part, evenly spaced over it", 200),
    flag("draws", int, "of each item", 25),
    flag("level", float, "the part of right generators that may be called wrong", 0.05),
    flag("trials", int, "of each planted error, for the power; 0 for none", 40),
    flag("steps", int, "of the sampler; default: the model's"),
    flag("sampler", str, "by name, see `unnoise samplers`; default: the model's"),
    flag("batch_size", int, "draws that run at once", 64),
    flag("seed", int, "of the noise", 0),
    flag("plot", Path, "an SVG file of what intervals cover"),
    flag("json", bool, "print JSON", False),
]


def calibrate(words: list[str]) -> int:
    """Run one command line."""
    about = (
        "Say whether a model's uncertainty is true: rank tests of held-out items among the model's"
        " own draws of them, what intervals cover, and which errors such a test would have found."
    )
    found = chosen("calibrate", about, words, _FLAGS, lambda _: [], trainable_named)
    if found is None:
        return 0
    domain, given = found
    asked = {one.name: one.default for one in _FLAGS} | given
    _check(asked)
    model = own_model(domain, asked["model"])
    items = held_out_of(domain, model, asked["data"], asked["num_samples"], asked["seed"])
    options = {n: asked[n] for n in ("steps", "sampler") if asked[n] is not None}
    options |= {"batch_size": asked["batch_size"], "seed": asked["seed"]}
    with bar() as show:
        truths, draws = model.again(
            items, asked["draws"], report=lambda part: show("draws", part), **options
        )
        show("power", 0.0)
        level = asked["level"]
        ranks = ranks_of(truths, draws)
        known = power(draws, level=level, trials=asked["trials"]) if asked["trials"] else {}
        result = verdict(ranks, level=level, power=known)
        covered = {name: coverage(ranks, name, level=level) for name in ranks.names}
    if asked["plot"] is not None:
        write_file(asked["plot"], svg(covered).encode())
    print(as_json(_record(result, covered)) if asked["json"] else _text(result, covered))
    return 0


def _check(asked: dict[str, Any]) -> None:
    """Refuse what would fail after the draws were made."""
    for name, least in (("draws", 4), ("trials", 0), ("num_samples", 2)):
        if asked[name] < least:
            raise InputError(f"{name} is at least {least}", value=asked[name])
    if not 0.001 <= asked["level"] < 1:  # 999 simulations
        raise InputError("a level is a probability", value=asked["level"], limit="0.001 to 1")


def _record(result: Verdict, covered: dict[str, Coverage]) -> dict[str, Any]:
    return {
        "passed": result.passed,
        **vars(result),
        "coverage": {
            name: {k: [round(float(v), 6) for v in values] for k, values in vars(one).items()}
            for name, one in covered.items()
        },
    }


def _text(result: Verdict, covered: dict[str, Coverage]) -> str:
    rows = []
    for name, one in covered.items():
        k = int(abs(one.nominal - 0.8).argmin())
        rows.append(
            (
                name,
                f"{result.by_name[name]:.3f}",
                f"{one.nominal[k]:.3f}",
                f"{one.found[k]:.3f}",
                f"{one.low[k]:.3f} to {one.high[k]:.3f}",
            )
        )
    columns = ("number", "p alone", "should cover", "covers", "band")
    said = "no error was found" if result.passed else "the uncertainty is not true"
    whole = (
        f"{said}: p {result.p_value:.3f}, level {result.level:g} (of right generators that part is"
        f" called wrong), {result.items} items, {result.draws} ranked draws each"
    )
    lines = [table(columns, rows, ""), whole]
    if result.power:
        of = ", ".join(f"{name} {value:.2f}" for name, value in result.power.items())
        lines.append(f"power of this test, by planted error: {of}")
    return "\n".join(lines)
