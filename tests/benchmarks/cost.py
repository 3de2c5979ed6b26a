"""What a request costs as it grows: processor time and peak memory, by domain.

    python tests/benchmarks/cost.py [DOMAIN ...] [--plot cost.svg]
    python tests/benchmarks/record.py cost.py

Each point is a process of its own on one thread, which generates once to warm up (weights, caches)
and then once more: the time is that of the second, the memory the most that the process ever held,
above what it held before its first. One column grows, the others stay as the first row of a domain
says. Picture sides are those of fresh networks, whose cost does not depend on what they know.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CURVES: dict[str, dict[str, list[Any]]] = {
    "images": {"samples": [1, 4, 16, 64], "batch": [1, 4, 16, 64], "side": [16, 32, 64]},
    "latent": {"samples": [1, 16, 64]},
    "text": {"samples": [1, 4, 16], "length": [32, 64, 128]},
    "molecules": {"samples": [1, 4, 16], "atoms": [6, 12, 24, 48]},
    "timeseries": {"samples": [1, 10, 40], "rows": [100, 1000, 4000]},
    "audio": {"samples": [1, 4], "seconds": [1, 4, 16]},
    "text2image": {"samples": [1, 4, 16]},
}
UNITS = {
    "samples": "samples of a request",
    "batch": "at once, of 64 samples",
    "side": "pixels a side, 4 samples",
    "length": "tokens",
    "atoms": "heavy atoms of a chain",
    "rows": "rows of seven columns, 10 samples",
    "seconds": "seconds of sound",
}


def request(domain: str, what: str, size: int) -> dict[str, Any]:
    """The arguments of `generate` for a point."""
    count = size if what == "samples" else 1
    if domain in ("images", "latent"):
        found: dict[str, Any] = {"num_samples": count, "steps": 20}
        if what == "batch":
            found |= {"num_samples": 64, "batch_size": size}
        if what == "side":
            found |= {"num_samples": 4, "model": fresh(size)}
        return found
    if domain == "text":
        return {"num_samples": count, "length": size if what == "length" else 64}
    if domain == "molecules":
        return {"num_samples": count, "smiles": "C" * (size if what == "atoms" else 12)}
    if domain == "timeseries":
        rows = size if what == "rows" else 500
        return {"num_samples": count if what == "samples" else 10, "data": frame(rows)}
    if domain == "audio":
        return {"num_samples": count, "source": sound(size if what == "seconds" else 2)}
    return {"num_samples": count, "prompt": "red apple"}


def fresh(side: int) -> Any:
    """An untrained model of pictures of `side` pixels, else like the shipped one."""
    import unnoise
    from unnoise.model import Model

    shipped = unnoise.load("images")
    configuration = shipped.configuration.model_copy(update={"height": side, "width": side})
    return Model(shipped.domain, shipped.domain.build(configuration).eval(), configuration)


def frame(rows: int) -> Any:
    """Hourly walks with the columns of the shipped model, a fifth of each hidden."""
    import numpy as np
    import pandas as pd

    columns = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
    draw = np.random.default_rng(0)
    values = draw.normal(size=(rows, len(columns))).cumsum(0)
    values[draw.random(values.shape) < 0.2] = np.nan
    hours = pd.date_range("2024-01-01", periods=rows, freq="h")
    return pd.DataFrame(values, index=hours, columns=columns)


def sound(seconds: int) -> Any:
    """A falling tone with overtones, and its sample rate."""
    import numpy as np

    rate = 16000
    t = np.arange(rate * seconds) / rate
    phase = 2 * np.pi * (180 * t - 2 * t**2)
    return 0.2 * (np.sin(phase) + 0.5 * np.sin(2 * phase)).astype("float32"), rate


def peak() -> float:
    """MiB that this process has held at most."""
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def point(domain: str, what: str, size: int) -> dict[str, float]:
    import unnoise

    asked = request(domain, what, size)
    asked.setdefault("model", unnoise.load(domain))
    before = peak()
    for _ in range(2):
        begun = time.process_time()
        unnoise.generate(domain, threads=1, **asked)
        spent = time.process_time() - begun
    return {"seconds": spent, "mib": peak() - before}


def plot(found: dict[str, dict[str, list[tuple[int, float, float]]]], target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = [(domain, what) for domain, curves in found.items() for what in curves]
    columns = 4
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3 * columns, 2.4 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (domain, what) in zip(axes.flat, panels, strict=False):
        sizes, seconds, memory = zip(*found[domain][what], strict=True)
        axis.loglog(sizes, seconds, "o-", color="tab:blue")
        axis.set_title(domain, fontsize=9)
        axis.set_xlabel(UNITS[what], fontsize=8)
        axis.set_ylabel("CPU seconds", color="tab:blue", fontsize=8)
        other = axis.twinx()
        other.loglog(sizes, [max(one, 0.1) for one in memory], "s--", color="tab:orange")
        other.set_ylabel("MiB", color="tab:orange", fontsize=8)
        for one in (axis, other):
            one.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("domains", nargs="*", default=list(CURVES))
    words.add_argument("--plot", type=Path, help="a file for the figure, .svg or .png")
    words.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    told = words.parse_args()
    if told.point:
        domain, what, size = told.point
        print(json.dumps(point(domain, what, int(size))))
        return
    found: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    print("| domain | what grows | size | CPU seconds | MiB more |\n|---|---|---|---|---|")
    for domain in told.domains:
        for what, sizes in CURVES[domain].items():
            for size in sizes:
                call = [sys.executable, __file__, "--point", domain, what, str(size)]
                done = subprocess.run(call, capture_output=True, text=True, check=True)
                one = json.loads(done.stdout.splitlines()[-1])
                row = (size, one["seconds"], one["mib"])
                found.setdefault(domain, {}).setdefault(what, []).append(row)
                cost = f"{one['seconds']:.3g} | {one['mib']:.0f}"
                print(f"| {domain} | {UNITS[what]} | {size} | {cost} |", flush=True)
    if told.plot:
        plot(found, told.plot)


if __name__ == "__main__":
    main()
