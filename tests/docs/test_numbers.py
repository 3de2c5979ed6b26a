"""Numbers in tables are from files that a command wrote, or say that they were copied by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder import blocks, results

ROOT = Path(__file__).parents[2]
TYPED = [
    *sorted((ROOT / "docs/pages").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "tests/benchmarks/README.md",
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted(ROOT.glob("examples/**/README.md")),
]
RESULTS = sorted(path.stem for path in results.RESULTS.glob("*.json"))
SHOWN = re.compile(r"^<!-- result: (\S+) -->$", re.MULTILINE)


@pytest.mark.parametrize("path", TYPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_number_is_typed_into_a_table(path):
    for columns, rows in results.tables(path.read_text(encoding="utf-8")):
        found = [cell for row in rows for cell in row if results.is_number(cell)]
        assert not found, f"{columns}: {found}; write docs/results with record.py"


def test_what_a_number_is():
    assert all(map(results.is_number, ("1.5", "12 %", "law 3.4", "**2.36**", "-0.3", "± 2")))
    assert not any(map(results.is_number, ("`12`", "MNIST 10,000", "Lu 2022", "", "a")))


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_a_table_with_its_origin(name):
    found = results.load(name)
    assert all(len(row) == len(found.columns) for row in found.rows)
    assert any(results.is_number(cell) for row in found.rows for cell in row)
    assert re.match(r"by its command on \d{4}-|by hand from \S+ at \d{4}-", found.recorded)
    assert found.by_hand or found.command
    for line in found.command:
        for script in re.findall(r"(?:tests|plugins|examples)/\S+\.py", line):
            assert (ROOT / script).is_file()


def test_each_result_is_shown_and_each_that_is_shown_is_there():
    shown = {name for page in blocks.names() for name in SHOWN.findall(blocks.text_of(page))}
    assert shown == set(RESULTS)


def test_a_result_is_kept_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    first = results.Result(
        "a", "A", ["b"], "by its command on 2026-01-01", ["x"], [["1 | 2"], ["3"]]
    )
    results.save(first)
    assert results.load("a") == first
    ((columns, rows),) = results.tables(first.markdown)
    assert (columns, rows) == (first.columns, first.rows)
