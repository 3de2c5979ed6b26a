"""Seconds of CPU of the shipped text model, beside a plain PyTorch loop over the same network.

    python tests/benchmarks/text_speed.py [--old CHECKOUT] [--batches 1 4] [--repeats 3]

The plain loop hides a text and fills in one random place of it per call: the network's logits
everywhere, softmax at the model's temperature at that place, a draw. `first-hitting` does the same
through the library. Each contestant lives in a process of its own with one thread, and they take
turns, so that a busy machine is as busy for each of them; the median of the repeats is printed, and
its ratio to the plain loop. CHECKOUT is another working tree of this repository, for instance
`git worktree add /tmp/old REVISION`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve()
LENGTH = 128


def plain(batch: int, seed: int) -> None:
    import torch

    from unnoise import load

    model = load("text")
    known, temperature = model.configuration.known, model.configuration.temperature
    network = model.denoiser.network.model
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((batch, LENGTH), known.mask)
    order = torch.stack([torch.randperm(LENGTH, generator=generator) for _ in range(batch)])
    rows = torch.arange(batch)
    with torch.inference_mode():
        for place in order.T:
            logits = network(input_ids=x).logits[rows, place]
            logits[:, [known.mask, known.unknown]] = -torch.inf
            p = (logits / temperature).softmax(-1)
            x[rows, place] = torch.multinomial(p, 1, generator=generator)[:, 0]


def library(**options: float) -> Callable[[int, int], None]:
    def run(batch: int, seed: int) -> None:
        from unnoise import generate

        generate("text", num_samples=batch, seed=seed, length=LENGTH, steps=LENGTH, **options)

    return run


CONTESTANTS = {"plain": plain, "first-hitting": library(), "top_p": library(top_p=0.9)}


def serve() -> None:
    """Answer lines "name batch seed" with the seconds that it took."""
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        name, batch, seed = line.split()
        begun = time.process_time()
        CONTESTANTS[name](int(batch), int(seed))
        print(time.process_time() - begun, flush=True)


class Process:
    """A checkout that answers."""

    def __init__(self, checkout: Path) -> None:
        path = [checkout / "core", *(p for p in (checkout / "plugins").iterdir() if p.is_dir())]
        own = {"PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
        own["UNNOISE_PLUGINS"] = "text"
        self.process = subprocess.Popen(
            [sys.executable, str(HERE), "--serve"],
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, name: str, batch: int, seed: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, batch, seed, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    new = Process(HERE.parents[2])
    rows = [("plain loop", new, "plain"), ("first-hitting", new, "first-hitting")]
    rows.append(("first-hitting, top_p 0.9", new, "top_p"))
    if options.old:
        old = Process(options.old)
        rows.append(("first-hitting, old", old, "first-hitting"))
    for batch in options.batches:
        found: dict[str, list[float]] = {label: [] for label, *_ in rows}
        for _, process, name in rows:
            process.seconds(name, batch, 0)  # warm
        for seed in range(options.repeats):
            for label, process, name in rows:
                found[label].append(process.seconds(name, batch, seed))
        base = median(found["plain loop"])
        for label, seconds in found.items():
            print(
                f"batch {batch}, {label}: {median(seconds):.2f} s, {median(seconds) / base:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
