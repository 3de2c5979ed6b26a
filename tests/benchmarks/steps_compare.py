"""Time per step of this checkout over that of another one: python tests/benchmarks/steps_compare.py
OTHER [ROUNDS]

OTHER is the folder of a checkout, e.g. of `git worktree add --detach OTHER COMMIT`. Two processes
run the rows of their own checkout's steps.py in turns, one row at a time, so that other work on the
machine meets both alike. Times are those of the processor, per evaluation of the network, the least
of all rounds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
WORKER = """
import json, sys
import steps, torch

torch.set_num_threads(1)
runs = [steps.ours(sampler) for sampler, *_ in steps.ROWS]
print(json.dumps([repr(sampler)[:43] for sampler, *_ in steps.ROWS]), flush=True)
with torch.no_grad():
    for line in sys.stdin:
        run = runs[int(line)]
        print(min(steps.timed(run) for _ in range(3)), flush=True)
"""


class Worker:
    """A process that times the rows of one checkout."""

    def __init__(self, checkout: Path) -> None:
        paths = [str(checkout / "core"), str(checkout / "tests" / "benchmarks")]
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.names: list[str] = json.loads(self._answer())

    def timed(self, row: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def main(other: Path, rounds: int = 30) -> None:
    before, after = Worker(other), Worker(HERE)
    names = [name for name in after.names if name in before.names]
    best = {name: [math.inf, math.inf] for name in names}
    for number in range(rounds):
        for name in names:
            for k in (0, 1) if number % 2 else (1, 0):
                worker = (before, after)[k]
                best[name][k] = min(best[name][k], worker.timed(worker.names.index(name)))
    print(f"{'us per evaluation':<44}{'other':>8}{'this':>8}{'ratio':>8}")
    for name in names:
        old, new = best[name]
        print(f"{name:<44}{old:8.1f}{new:8.1f}{new / old:8.3f}")
    ratios = [new / old for old, new in best.values()]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"{'geometric mean, largest':<44}{mean:24.3f}{max(ratios):8.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
