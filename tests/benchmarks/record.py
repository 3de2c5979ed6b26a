"""Run a benchmark and keep its tables: python tests/benchmarks/record.py NAME[.py ARGUMENTS ...]

runs `tests/benchmarks/NAME.py ARGUMENTS`, shows what it prints, and writes each table of it to
`docs/results/NAME.json`, the second to NAME-2.json and so on: with the command, the date, and the
versions and the processor it ran on. The pages of the site show these files and no number that is
typed in. `--as OTHER` names the files; `--title TITLE` once for each table. `--all` runs those that
take less than two minutes each, of which the site shows the tables.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "docs"))

from builder.results import Result, save, tables  # noqa: E402

QUICK = {
    "order": (
        "order.py",
        [
            "Deterministic samplers: distance from the exact end",
            "Stochastic samplers: W2 to the data",
            "Samplers of tokens: total variation from the data",
        ],
    ),
    "flow-map-gaussian": ("flow_map.py --gaussian", ["Flow maps of a Gaussian"]),
    "noise": ("noise.py", ["Noise by sample beside one `torch.randn`"]),
}  # fmt: skip
"""What `--all` runs: the names of its files, its words, the titles of its tables."""


def record(name: str, words: list[str], titles: list[str]) -> list[Path]:
    """Run a script and write its tables; its exit code is the caller's where it fails."""
    done = subprocess.run(
        [sys.executable, str(HERE / words[0]), *words[1:]], stdout=subprocess.PIPE, text=True
    )
    print(done.stdout)
    if done.returncode:
        sys.exit(done.returncode)
    found = list(tables(done.stdout))
    if not found:
        sys.exit(f"{words[0]} printed no Markdown table")
    command = [f"python tests/benchmarks/record.py {shlex.join(words)}"]
    where = f"by its command on {date.today()}, torch {version('torch')}, {processor()}"
    paths = []
    for number, (columns, rows) in enumerate(found, 1):
        title = titles[number - 1] if number <= len(titles) else f"{name} {number}"
        key = name if number == 1 else f"{name}-{number}"
        paths.append(save(Result(key, title, command, where, columns, rows)))
    return paths


def processor() -> str:
    """The name of the processor, as far as it is known."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or "a processor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--as", dest="name")
    parser.add_argument("--title", action="append", default=[])
    parser.add_argument("--all", action="store_true")
    given, words = parser.parse_known_args()
    if given.all:
        for name, (line, titles) in QUICK.items():
            record(name, shlex.split(line), titles)
    elif not words:
        parser.error("which benchmark?")
    else:
        script = words[0] if words[0].endswith(".py") else f"{words[0]}.py"
        name = given.name or Path(script).stem.replace("_", "-")
        for path in record(name, [script, *words[1:]], given.title):
            print(path)


if __name__ == "__main__":
    main()
