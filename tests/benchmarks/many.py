"""A table of requests by several workers: throughput beside a plain loop, and kills.

    python tests/benchmarks/many.py [--rows 200] [--workers 2] [--steps 20] [--engine local ray]
    python tests/benchmarks/many.py --kills 5 --rows 2000 --engine ray

Rows are digits of the shipped images model, one sample each, on one thread. The first form prints
wall seconds of `unnoise.generate` called row by row and its files written, and of
`unnoise generate --input` with its start, in one run. With `--kills` a worker and the process that
leads them are killed so many times each; then every sample must be there once, with the bytes of
the plain loop.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import unnoise

CALL = "import sys, unnoise.cli as c\nif __name__ == '__main__': sys.exit(c.main())\n"


def plain(rows: int, steps: int, folder: Path) -> list[str]:
    """What the files of a loop over `unnoise.generate` hash to."""
    found = []
    for k in range(rows):
        out = unnoise.generate("images", label=k % 10, steps=steps, seed=k, threads=1)
        path = out.save(folder / f"{k}")[0]
        found.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def command(told: argparse.Namespace, engine: str, folder: Path) -> list[str]:
    (folder / "begin.py").write_text(CALL)
    words = ["generate", "images", "--input", "requests.csv", "--out", f"by-{engine}"]
    words += ["--engine", engine, "--workers", str(told.workers), "--shard", str(told.shard)]
    return [sys.executable, "begin.py", *words]


def hashes(folder: Path) -> list[str]:
    """What the table of results says, which must be what the files are."""
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(len(rows))), "not every row once"
    files = [hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() for row in rows]
    assert files == [row["sha256"] for row in rows]
    return files


def killed(words: list[str], folder: Path, out: Path, kills: int, draw: random.Random) -> int:
    """Run to the end; before, a worker and the leader are killed `kills` times each. The number of
    times that the leader was started."""
    starts = 0
    for k in range(kills + 1):
        leader = subprocess.Popen(words, cwd=folder)
        starts += 1
        if k == kills:
            assert leader.wait() == 0
            return starts
        have = len(list((out / "samples").glob("0*")))
        while leader.poll() is None and len(list((out / "samples").glob("0*"))) < have + 2:
            time.sleep(0.1)
        workers = [p for p in psutil.Process(leader.pid).children(recursive=True) if works(p)]
        if workers:
            draw.choice(workers).kill()
        have = len(list((out / "samples").glob("0*")))
        while leader.poll() is None and len(list((out / "samples").glob("0*"))) < have + 2:
            time.sleep(0.1)
        if leader.poll() is None:
            leader.kill()
        leader.wait()
        psutil.wait_procs(workers, timeout=60)
    return starts


def works(process: psutil.Process) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "spawn_main" in words or "ray::MapWorker" in words


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--rows", type=int, default=200)
    words.add_argument("--steps", type=int, default=20)
    words.add_argument("--workers", type=int, default=2)
    words.add_argument("--shard", type=int, default=16)
    words.add_argument("--kills", type=int, default=0)
    words.add_argument("--engine", nargs="+", choices=["local", "ray"], default=["local"])
    told = words.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"{k % 10},{told.steps},{k}" for k in range(told.rows)]
        (folder / "requests.csv").write_text("\n".join(["label,steps,seed", *lines]) + "\n")
        unnoise.generate("images", steps=told.steps)  # weights are read
        begun = time.monotonic()
        expected = plain(told.rows, told.steps, folder / "plain")
        loop = time.monotonic() - begun
        print("| who | wall seconds | times the loop | same bytes |\n|---|---|---|---|")
        print(f"| a loop over generate | {loop:.1f} | 1 | |", flush=True)
        for engine in told.engine:
            begun, call = time.monotonic(), command(told, engine, folder)
            out = folder / f"by-{engine}"
            starts = killed(call, folder, out, told.kills, random.Random(0))
            spent = time.monotonic() - begun
            same = hashes(out) == expected
            more = f", {told.kills} workers and {starts - 1} leaders killed" if told.kills else ""
            who = f"{engine}, {told.workers} workers{more}"
            print(f"| {who} | {spent:.1f} | {loop / spent:.2f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
