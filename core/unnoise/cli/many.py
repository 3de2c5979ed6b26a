"""`unnoise generate DOMAIN --input TABLE`: the samples of every row of a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from unnoise.api import model_for
from unnoise.bulk import Bulk, Engine, Found, Here, Job, Processes, Ray
from unnoise.bulk.table import Row, table
from unnoise.cli.parser import flag, flags, reader, tidy
from unnoise.cli.progress import bar
from unnoise.domain import Domain
from unnoise.engine.options import OPTIONS, SPOKEN, Options
from unnoise.errors import InputError

FLAGS = [
    flag("input", Path, "a table of requests: .csv, .tsv, .jsonl or .parquet; a row is one", None),
    flag("engine", Literal["local", "ray"], "who makes the samples of a table", "local"),
    flag("workers", int, "processes that make them; with one, this one does", 1),
    flag("carry", list[str], "columns of the table that are no fields, and only carried along"),
    flag("shard", int, "rows of a table that are finished together", 32),
]
"""Of tables; those but `input` belong to it."""
_NOT_OF_A_ROW = frozenset({"device", "dtype"})


def many(domain: Domain, given: dict[str, Any], folder: Path) -> int:
    """Samples of all rows of the table `given["input"]` into `folder`."""
    begun = time.monotonic()
    told = {one.name: given.pop(one.name, one.default) for one in FLAGS}
    for name in ("workers", "shard"):
        if told[name] < 1:
            raise InputError(f"{name} is at least 1", value=told[name])
    rows, model = table(told["input"]), given.pop("model", None)
    loaded = model_for(domain, model)
    common = tidy(domain.Request, tidy(Options, given))
    names = frozenset({*SPOKEN, *domain.Request.model_fields} - _NOT_OF_A_ROW)
    bulk = Bulk(
        rows,
        Job(domain.name, model, folder.resolve(), common),
        {"model": loaded.hash},
        _worded(domain) if rows.words else dict,
        names,
        frozenset(told["carry"] or ()),
        told["shard"],
    )
    with bar() as show:
        for part in bulk.run(_engine(told["engine"], told["workers"])):
            show(f"generating {domain.name}", part)
    _report(bulk.finish(), time.monotonic() - begun)
    return 0


def _engine(name: str, workers: int) -> Engine:
    if name == "ray":
        return Ray(workers)
    return Here() if workers == 1 else Processes(workers)


def _worded(domain: Domain) -> Callable[[Row], Row]:
    """Reads the words of a row as a command line would."""
    shared = flags(Options, "Common", skip=set(OPTIONS) - set(SPOKEN))
    own = flags(domain.Request, domain.name, required=False)
    return partial(_row, domain, reader(f"unnoise generate {domain.name}", "", [*shared, *own]))


def _row(
    domain: Domain, read: Callable[[Sequence[str]], dict[str, Any]], row: Mapping[str, str]
) -> Row:
    words = [f"--{name.replace('_', '-')}={cell}" for name, cell in row.items()]
    return tidy(domain.Request, tidy(Options, read(words)))


def _report(found: Found, seconds: float) -> None:
    if found.failed or found.first:
        print(f"left out: {found.failed} rows; the first: {found.first}", file=sys.stderr)
    print(f"{found.samples} samples of {found.rows} rows, {seconds:.1f} s: {found.table}")
