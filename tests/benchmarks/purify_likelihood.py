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
from purify_short import right, words

import unnoise
from unnoise_purify.evaluation import Robustness
from unnoise_purify.likelihood import LikelihoodClassifier
from unnoise_purify.pixels import pixels_of


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
    for name, defence in defences.items():
        begun = time.perf_counter()
        for what, count in right(defence, x, y, told):
            took = time.perf_counter() - begun
            print(f"{name}, {what}: {count} of {len(y)} right, {took:.0f} s", flush=True)
            begun = time.perf_counter()


if __name__ == "__main__":
    parser = words(__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=20.0)
    with torch.random.fork_rng(devices=[]):
        main(parser.parse_args())
