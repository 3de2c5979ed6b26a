"""Numbers on the site: each table of measurements is a file that a command wrote.

A result is `docs/results/NAME.json`: title, command (the lines that make it again), recorded (who
wrote the file, and when), columns, rows. `tests/benchmarks/record.py` runs a benchmark and writes
its tables here. Tables measured before there were such files were copied once by hand from the
READMEs that they stood in; `recorded` says so, and so does the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
_NUMBER = re.compile(r"^\W*(?:law )?[-+−±~≈]?\d")
_RULE = re.compile(r"^\|[-:| ]+\|$")


@dataclass(frozen=True)
class Result:
    """A table, its command, and who wrote it down."""

    name: str
    title: str
    command: list[str]
    recorded: str
    columns: list[str]
    rows: list[list[str]]

    @property
    def by_hand(self) -> bool:
        return self.recorded.startswith("by hand")

    @property
    def markdown(self) -> str:
        table = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table]
        return "\n".join([*lines, "", f"*{self.origin}*"])

    @property
    def origin(self) -> str:
        """Where the numbers are from, in a sentence or two."""
        file = f"`docs/results/{self.name}.json`"
        if self.by_hand:
            said = re.fullmatch(r"by hand from (\S+) at (\S+)", self.recorded)
            assert said, self.recorded
            own = f"Measured earlier; copied by hand from `{said[1]}` on {said[2]} into {file}."
            return own + (f" {_again(self.command)}" if self.command else "")
        return f"Written {self.recorded} into {file}. {_again(self.command)}"


def _again(command: list[str]) -> str:
    if len(command) == 1:
        return f"Again: `{command[0]}`."
    return "Again: the commands of this section."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def load(name: str) -> Result:
    """The result of that name.

    Raises
    ------
    FileNotFoundError : there is none.
    """
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return Result(name, **found)


def save(result: Result) -> Path:
    """Write a result to its file, one row of the table a line."""
    path = RESULTS / f"{result.name}.json"
    parts = {key: value for key, value in vars(result).items() if key not in ("name", "rows")}
    head = json.dumps(parts, indent=1, ensure_ascii=False)[:-2]
    rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in result.rows)
    path.write_text(f'{head},\n "rows": [\n{rows}\n ]\n}}\n', encoding="utf-8")
    return path


def tables(markdown: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Columns and rows of each table of a text that is not in a block of code."""
    text = re.sub(r"^(`{3,}).*?^\1`*$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    lines = text.splitlines()
    for at, line in enumerate(lines[1:], 1):
        if _RULE.match(line) and lines[at - 1].startswith("|"):
            rows = []
            for row in lines[at + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(cells(row))
            yield cells(lines[at - 1]), rows


def cells(row: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def is_number(cell: str) -> bool:
    """Whether a cell is a number (a year, a setting in code, or words about one are none)."""
    return bool(_NUMBER.match(cell)) and not cell.startswith("`")
