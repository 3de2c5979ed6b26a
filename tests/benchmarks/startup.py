"""How long the quick commands take, beside an empty Python: python tests/benchmarks/startup.py"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

RUNS = 15
COMMANDS = (
    ("unnoise", "--help"),
    ("unnoise", "domains"),
    ("unnoise", "plugins", "list"),
    (sys.executable, "-c", "pass"),
)


def seconds(command: tuple[str, ...], *, quiet: bool = False) -> tuple[float, float]:
    """(time on the clock, time of a processor: what a busy machine does not change much)"""
    errors = subprocess.DEVNULL if quiet else None
    begun, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=errors)
    now = os.times()
    used = now.children_user + now.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, used


def report(commands: Sequence[tuple[str, ...]], what: str, *, quiet: bool = False) -> None:
    """A line for each command: the first run, which reads files anew, does not count."""
    print(f"{what:<30}{'median s':>10}{'worst s':>10}{'processor s':>13}   of {RUNS}")
    for command in commands:
        times = [seconds(command, quiet=quiet) for _ in range(RUNS + 1)][1:]
        clock, used = zip(*times, strict=True)
        name = " ".join(command).replace(sys.executable, "python")
        middle, worst = statistics.median(clock), max(clock)
        print(f"{name:<30}{middle:>10.3f}{worst:>10.3f}{statistics.median(used):>13.3f}")


def main() -> None:
    if shutil.which("unnoise") is None:
        sys.exit("unnoise is not on the path: activate the environment it is installed in")
    report(COMMANDS, "command")


if __name__ == "__main__":
    main()
