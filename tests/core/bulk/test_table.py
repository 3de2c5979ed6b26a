"""Tables of requests: what a row says, and the same rows with results beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from unnoise.bulk.table import RESULTS, table
from unnoise.errors import InputError

ROWS = [{"label": 3, "text": "a, b"}, {"text": "ü\n2"}, {"label": -1}]
FOUND = [
    [{"row": 0, "sample": 0, "file": "a", "sha256": "x"}, {"row": 0, "sample": 1, "file": "b"}],
    [{"row": 1, "error": "no such thing"}],
    [{"row": 2, "sample": 0, "file": "c"}],
]


def written(path: Path) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"label": None, **row}) for row in ROWS) + "\n\n")
    else:
        sign = "," if path.suffix == ".csv" else "\t"
        text = f'label{sign}text\n3{sign}"a, b"\n{sign}"ü\n2"\n\n-1{sign}\n'
        path.write_text(text, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_and_results(tmp_path, ending):
    found = table(written(tmp_path / f"requests{ending}"))
    assert sorted(found.columns) == ["label", "text"]
    words = [{name: str(value) for name, value in row.items()} for row in ROWS]
    assert list(found.rows()) == (words if found.words else ROWS)
    target = tmp_path / f"results{ending}"
    found.write(target, iter(FOUND))
    if ending == ".jsonl":
        back = [json.loads(line) for line in target.read_text().splitlines()]
        assert back == [
            {"label": None, **row, **one} for row, n in zip(ROWS, FOUND, strict=True) for one in n
        ]
        return
    if ending == ".parquet":
        again = parquet.read_table(target)
        assert again.column_names == [*found.columns, *RESULTS]
        assert again["label"].to_pylist() == [3, 3, None, -1]
        assert again["sample"].to_pylist() == [0, 1, None, 0]
        assert again["error"].to_pylist() == [None, None, "no such thing", None]
        assert again.schema.field("label").type == pa.int64()
        return
    lines = target.read_text("utf-8").replace("\t", ",").split("\n")
    assert lines[0] == ",".join(["label", "text", *RESULTS])
    assert lines[1].replace('"', "") == "3,a, b,0,0,a,x,"
    assert lines[2].replace('"', "") == "3,a, b,0,1,b,,"
    assert lines[-2] == "-1,,2,0,c,,"


def test_nothing_is_said_by_nan(tmp_path):
    path = tmp_path / "r.parquet"
    parquet.write_table(pa.table({"a": [1.5, float("nan"), None]}), path)
    assert list(table(path).rows()) == [{"a": 1.5}, {}, {}]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.xlsx", b"", "known by its ending"),
        ("a.csv", b"", "names the columns"),
        ("a.csv", b"a,,b\n1,2,3\n", "names the columns"),
        ("a.csv", b"a,a\n1,2\n", "two columns have one name"),
        ("a.csv", b"a,sha256\n1,2\n", "the results have columns of this name"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "line 3 of .* another number of cells; got 3"),
        ("a.csv", b'a,b\n1,"2\n', "damaged"),
        ("a.csv", b"a,b\n1,\xff\n", "not UTF-8"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2 of .* no object"),
        ("a.jsonl", b'{"a": 1}\n{"a"', "damaged"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
    ],
)
def test_tables_that_are_none(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        list(table(path).rows())


def test_a_table_that_is_not_there(tmp_path):
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(InputError, match="cannot be read; got"):
            table(tmp_path / name)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[" * 100_000, "too deeply"),
        ('{"a": 1, "a": 2}', "'a' is named twice"),
        ("9" * 5000, "digits"),
    ],
)
def test_lines_that_are_no_plain_object(tmp_path, line, why):
    path = tmp_path / "r.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=why):
        table(path)


def test_half_a_character_is_written_as_it_was(tmp_path):
    path, target = tmp_path / "r.jsonl", tmp_path / "t.jsonl"
    path.write_text('{"text": "a\\ud83d"}\n')
    table(path).write(target, iter([[{"row": 0, "error": "half"}]]))
    assert json.loads(target.read_text("utf-8")) == {"text": "a\ud83d", "row": 0, "error": "half"}
