"""What does noise per sample cost, beside one `torch.randn` for the whole batch?

    python tests/benchmarks/noise.py

prints a Markdown table: medians over interleaved rounds, and the ratio, which is meant to stay
below 2 for 64x3x32x32. Drawing alone is measured; the streams of a run are made once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from unnoise.noise import NoiseSource
from unnoise.spaces import Layout

SHAPES = [(64, 3, 32, 32), (16, 3, 32, 32), (1, 3, 32, 32), (64, 1, 28, 28), (1024, 8)]


def medians(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """Median seconds of each call; the calls take turns, so that a busy machine favours nobody."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + rounds // 10):
        for call, record in zip(calls, times, strict=True):
            begun = time.perf_counter()
            call()
            if number >= rounds // 10:  # the first ones warm up
                record.append(time.perf_counter() - begun)
    return [float(torch.tensor(record).median()) for record in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    print("| shape | threads | `torch.randn` | `NoiseSource.normal` | ratio | making the streams |")
    print("|---|---|---|---|---|---|")
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        for shape in SHAPES:
            layout = Layout.dense(shape[0], shape[1:])
            source = NoiseSource(0, range(shape[0]))
            plain, ours, make = medians(
                rounds,
                lambda shape=shape: torch.randn(shape),
                lambda source=source, layout=layout: source.normal(layout),
                lambda shape=shape: NoiseSource(0, range(shape[0])),
            )
            print(
                f"| {'x'.join(map(str, shape))} | {threads} | {plain * 1e6:.0f} us "
                f"| {ours * 1e6:.0f} us | {ours / plain:.2f} | {make * 1e6:.0f} us |"
            )


if __name__ == "__main__":
    main()
