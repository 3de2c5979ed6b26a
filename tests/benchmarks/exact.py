"""What `exact` costs: CPU time of a sample computed by itself, beside one of a batch.

    python tests/benchmarks/exact.py [--samples 32] [DOMAIN ...]

Both in one run, in turns, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import unnoise

REQUESTS: dict[str, dict[str, Any]] = {
    "images": {"label": 3, "steps": 10},
    "latent": {"label": 3, "steps": 10},
    "molecules": {"smiles": "CC(=O)Oc1ccccc1C(=O)O"},
    "text": {"prompt": "the people ", "length": 64, "steps": 16},
    "text2image": {"prompt": "red heart", "steps": 10, "upsampler_steps": 4},
}


def seconds(name: str, samples: int, exact: bool) -> float:
    begun = time.process_time()
    unnoise.generate(name, num_samples=samples, exact=exact, threads=1, **REQUESTS[name])
    return (time.process_time() - begun) / samples


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("domains", nargs="*", default=list(REQUESTS))
    words.add_argument("--samples", type=int, default=32)
    words.add_argument("--rounds", type=int, default=3)
    told = words.parse_args()
    print(f"| domain | ms a sample, batch of {told.samples} | ms, exact | price |")
    print("|---|---|---|---|")
    for name in told.domains:
        seconds(name, 2, False)  # weights are read, caches filled
        rows = []
        for _ in range(told.rounds):
            rows.append([seconds(name, told.samples, exact) for exact in (False, True)])
        batch, alone = (statistics.median(row[k] for row in rows) * 1000 for k in (0, 1))
        print(f"| {name} | {batch:.1f} | {alone:.1f} | {alone / batch:.2f} |")


if __name__ == "__main__":
    main()
