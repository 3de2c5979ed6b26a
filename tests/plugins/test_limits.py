"""Every number of a request, of a configuration, of a sampler and of a grid, out of its range: the
error says what was given, what is allowed and what to do."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from unnoise.cli import spoken
from unnoise.discovery.domains import domain_named
from unnoise.discovery.registry import specs_of
from unnoise.domain import Trainable
from unnoise.engine.named import named_grid, named_sampler
from unnoise.engine.options import Options
from unnoise.errors import UnnoiseError
from unnoise.fields import configured, requested
from unnoise.samplers import grids
from unnoise.training.options import TrainingConfiguration

ALL = ["audio", "images", "latent", "molecules", "purify", "text", "text2image", "timeseries"]
NUMBERS = re.compile(r"\b(int|float)\b")
WRONG = (-(10**6), -1, 10**12, math.nan, math.inf, -math.inf, "much", [], {})
# Numbers that may be as large, or as small, as anybody likes; what the data allow is said later.
FREE = {
    "num_samples", "seed", "batch_size", "threads", "deadline", "clip_norm", "checkpoint_every",
    "log_every", "validate_every", "samples_every", "max_minutes", "level", "silence", "label",
    "held_out", "spectral", "guidance_scale", "block", "overlap", "horizon",
}  # fmt: skip


def kinds() -> Iterator[Any]:
    yield pytest.param(Options, requested, id="options")
    yield pytest.param(TrainingConfiguration, configured, id="training")
    for name in ALL:
        domain = domain_named(name)
        yield pytest.param(domain.Request, requested, id=f"{name} request")
        if isinstance(domain, Trainable):
            yield pytest.param(domain.Configuration, configured, id=f"{name} configuration")


@pytest.mark.parametrize(("kind", "make"), list(kinds()))
def test_fields(kind: type[BaseModel], make: Callable[..., Any]) -> None:
    needed = {name: "x" for name, field in kind.model_fields.items() if field.is_required()}
    for name, field in kind.model_fields.items():
        if not NUMBERS.search(repr(field.annotation)):
            continue
        for value in WRONG:
            try:
                make(kind, {**needed, name: value})
            except UnnoiseError as error:
                _helps(error, name, value)
            else:
                assert name in FREE or value in ([], {}), (name, value)


def _names(error: UnnoiseError) -> None:
    assert error.value is not None, str(error)
    assert error.limit or error.fix, str(error)


def _helps(error: UnnoiseError, name: str, value: object) -> None:
    assert error.message, (name, value)
    if repr(name) not in error.message:  # a rule about several fields, whose values it says
        assert error.fix or "=" in error.message, (name, value, str(error))
        return
    assert error.value is not None, (name, value)
    assert error.limit, (name, value, str(error))
    assert error.fix, (name, value, str(error))
    line = spoken(str(error), {name})
    assert f"--{name.replace('_', '-')}" in line
    assert "Value error" not in line


NAMES = [
    *((name, named_sampler) for name in specs_of("samplers") if name != "restart"),
    *((name, named_grid) for name in grids.NAMED),
]


@pytest.mark.parametrize(("name", "make"), NAMES)
def test_arguments_of_samplers_and_grids(name, make):
    kind = type(make(name))
    for argument, about in inspect.signature(kind).parameters.items():
        if not NUMBERS.search(str(about.annotation)):
            continue
        for value in ("-1000000", "-1", "float('nan')", "1e999", "-1e999", "much", "'much'"):
            try:
                make(f"{name}({argument}={value})")
            except UnnoiseError as error:
                _names(error)
            else:
                endless = about.default in (math.inf, -math.inf)
                least = argument == "churn_min"  # of a range of noise levels, which begin at 0
                assert (endless and "e999" in value) or least, (argument, value)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("images", {"widths": [8, 8], "blocks": [1]}, "--widths 8 8, --blocks 1"),
        ("text", {"heads": 7}, "--width 256, --heads 7"),
        ("timeseries", {"window": 4, "overlap": 4}, "--window 4, --overlap 4"),
    ],
)
def test_rules_about_several_fields_say_their_values(kind, wrong, said):
    with pytest.raises(UnnoiseError) as caught:
        configured(domain_named(kind).Configuration, wrong)
    assert said in spoken(str(caught.value))
