"""How long the quick commands take, beside an empty Python: python tests/benchmarks/startup.py"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = (
    ("unnoise", "--help"),
    ("unnoise", "domains"),
    ("unnoise", "plugins", "list"),
    (sys.executable, "-c", "pass"),
)


def seconds(command: tuple[str, ...]) -> tuple[float, float]:
    """(time on the clock, time of a processor: what a busy machine does not change much)"""
    begun, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    now = os.times()
    used = now.children_user + now.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, used


def main() -> None:
    if shutil.which("unnoise") is None:
        sys.exit("unnoise is not on the path: activate the environment it is installed in")
    print(f"{'command':<24}{'median s':>10}{'worst s':>10}{'processor s':>13}   of {RUNS}")
    for command in COMMANDS:
        times = [seconds(command) for _ in range(RUNS + 1)][1:]  # the first reads files anew
        clock, used = zip(*times, strict=True)
        name = " ".join(command).replace(sys.executable, "python")
        middle, worst = statistics.median(clock), max(clock)
        print(f"{name:<24}{middle:>10.3f}{worst:>10.3f}{statistics.median(used):>13.3f}")


if __name__ == "__main__":
    main()
