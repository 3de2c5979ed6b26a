"""JSON and tables as people write them."""

from __future__ import annotations

import pytest

from unnoise.errors import InputError
from unnoise.storage.reading import json_of, separated, whole


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "too many digits"),
        ("{", "Expecting"),
        ("", "Expecting"),
    ],
)
def test_what_the_parser_gives_up_on_is_no_json(text, why):
    with pytest.raises(ValueError, match=why):
        json_of(text)


def test_names_that_come_twice():
    text = '{"a": 1, "b": {"c": 1, "c": 2}}'
    assert json_of(text) == {"a": 1, "b": {"c": 2}}
    with pytest.raises(ValueError, match="'c' is named twice"):
        json_of(text, once=True)
    assert json_of('{"a": 1}', once=True) == {"a": 1}


def test_rows_by_the_names_of_their_columns():
    columns, rows = separated(['a,"b, c"\n', "\n", '1,"2\n', '3"\n', ",\n"], "it")
    assert columns == ["a", "b, c"]
    assert list(rows) == [(4, {"a": "1", "b, c": "2\n3"}), (5, {"a": "", "b, c": ""})]
    columns, rows = separated([], "it")
    assert (columns, list(rows)) == ([], [])


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["a,b,a\n", "1,2,3\n"], "two columns of it have one name; got 'a'"),
        (["a,b\n", "1,2\n", "3,4,5\n"], "it, line 3 has another number of cells; got 3"),
        (["a,b\n", "1\n"], "it, line 2 has another number of cells; got 1"),
        (["a,b\n", '1,"2" 3\n'], "it is no table"),
    ],
)
def test_tables_that_would_lose_something(lines, why):
    def read():
        return list(separated(lines, "it")[1])

    with pytest.raises(InputError, match=why):
        read()


def test_half_a_character():
    assert whole("😀 é", "it") == "😀 é"
    with pytest.raises(InputError, match="it holds half of a character"):
        whole("a\ud83d", "it")
