"""Reading what people write: JSON, and tables of separated values."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from unnoise.errors import InputError


def json_of(text: str | bytes, *, once: bool = False) -> Any:
    """The value that `text` writes in JSON.

    With `once`, an object that names an entry twice is refused, of which json keeps the last.

    Raises ValueError for what is no JSON, and for what Python's parser gives up on: brackets
    within brackets without end, numbers of thousands of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_once if once else None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a number has too many digits") from error
        raise


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is named twice")
    return found


def separated(
    lines: Iterable[str], what: str, delimiter: str = ","
) -> tuple[list[str], Iterator[tuple[int, Mapping[str, str]]]]:
    """The columns that the first line names, and the number of the last line of each row with its
    cells by column; `what` is called so in errors. Lines without a cell are no rows.

    Raises InputError: two columns of one name, a row of more or fewer cells (a text that holds the
    separator, and no quotes around it, would lose its end), or what is no table.
    """
    csv.field_size_limit(min(sys.maxsize, 1 << 31))
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    columns = _next(table, what) or []
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise InputError(f"two columns of {what} have one name", value=twice[0], fix="rename one")

    def rows() -> Iterator[tuple[int, Mapping[str, str]]]:
        while (cells := _next(table, what)) is not None:
            if cells and len(cells) != len(columns):
                raise InputError(
                    f"{what}, line {table.line_num} has another number of cells",
                    value=len(cells),
                    limit=f"{len(columns)}, as its first line",
                    fix="put a text that holds the separator in quotes",
                )
            if cells:
                yield table.line_num, dict(zip(columns, cells, strict=True))

    return columns, rows()


def _next(table: Iterator[list[str]], what: str) -> list[str] | None:
    try:
        return next(table, None)
    except csv.Error as error:
        raise InputError(f"{what} is no table: {error}") from error


def whole(text: str, where: str) -> str:
    """`text`. InputError where it holds half of a character, a lone surrogate, which no file can
    say: what "\\ud83d" without its other half makes of a JSON file."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} holds half of a character",
            value=f"{text[error.start]!a} at place {error.start}",
            limit="text that can be written as UTF-8",
            fix="write it again, as a whole character or without it",
        ) from error
    return text
