"""The likelihood classifier beside the purifier: clean, and under PGD through the full gradient.

    python tests/benchmarks/purify_likelihood.py --data mnist [--pictures 32] [--device cuda]

`mnist` is the folder that plugins/images/prepare_mnist.py writes; the pictures are evenly spaced
over the validation part. Both defences are attacked in the same ball, by the cross-entropy of
tempered logits and by the margin, and answer once.
"""

from __future__ import annotations

import argparse
import time

import torch

import unnoise
from unnoise_purify.attacks import PGD, Margin, norm_named
from unnoise_purify.attacks.losses import CrossEntropy
from unnoise_purify.evaluation import Robustness
from unnoise_purify.gradients import Full
from unnoise_purify.likelihood import LikelihoodClassifier
from unnoise_purify.pixels import pixels_of
from unnoise_purify.robustness import measured
from unnoise_purify.scoring import OneShot


def main(told: argparse.Namespace) -> None:
    setting = Robustness(num_samples=told.pictures, device=told.device, batch_size=told.batch)
    model = unnoise.load("images")
    x, y = setting.pictures(model, told.data)
    classes = [pixels_of(model, label=k) for k in range(10)]
    defences = {"purifier": setting.defence(model)}
    for strengths in ((0.2, 0.95), (0.45, 0.95), (0.7, 0.98)):
        own = {"times": told.times, "strengths": strengths, "temperature": told.temperature}
        made = LikelihoodClassifier(model, classes, **own)
        defences[f"likelihood, strengths {strengths}"] = made.to(x.device)
    losses = {"clean": None, "cross-entropy": CrossEntropy(), "margin": Margin()}
    for name, defence in defences.items():
        for what, loss in losses.items():
            attack = None
            if loss is not None:
                norm = norm_named("l_inf")
                attack = PGD(norm, told.eps, Full(), told.steps, told.eot, loss=loss)
            begun = time.perf_counter()
            row = measured(defence, x, y, attack, scoring=OneShot(), batch_size=told.batch)
            took = time.perf_counter() - begun
            right = f"{row.once.right} of {row.once.total} right"
            print(f"{name}, {what}: {right}, {took:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--device", default=None)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=20.0)
    parser.add_argument("--eps", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--eot", type=int, default=2)
    with torch.random.fork_rng(devices=[]):
        main(parser.parse_args())
