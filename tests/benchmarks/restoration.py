"""Digits that were seen blurred, small or with a hole: how good are the answers, and do they know?

    python tests/benchmarks/restoration.py --data mnist

Held-out digits, each seen through an operator with noise, and several draws of what it was, by the
shipped model without labels, for each method as `unnoise generate images --measure` runs it. PSNR
is of single draws and of their mean; "label" is how often the plugin's classifier sees in a draw
what it should; p is that of `unnoise.calibration`'s rank test, of the truth among the draws: below
.05 the uncertainty is not true. Evaluations are calls of the network for each draw (MMPS also goes
back through it, 2 x 6 times).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import unnoise
from unnoise.calibration import ranks_of, verdict
from unnoise.conditioning import operator_named
from unnoise.model import Model
from unnoise.spaces import Euclidean
from unnoise_images.domain import Images
from unnoise_images.features import FeatureNet, features_of, read

NOISE = 0.05
OPERATORS = ("blur(2)", "downsample(4)", "hole")


def hole() -> Tensor:
    """True where a digit of 28 x 28 is hidden."""
    where = torch.zeros(28, 28, dtype=torch.bool)
    where[8:20, 8:20] = True
    return where


def seen(x: Tensor, operator: str, generator: torch.Generator) -> Tensor:
    """(n, 1, h, w) levels of 0 to 255 that were measured; those that a mask hides are black."""
    y = x if operator == "hole" else operator_named(operator)(x, Euclidean().layout(x))
    y = y + 255 * NOISE * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    if operator == "hole":
        y = y.masked_fill(hole(), 0.0)
    return y.round().clamp(0, 255)


def drawn(model: Model, y: Tensor, operator: str, method: str, asked: argparse.Namespace) -> Tensor:
    """(draws, 1, 28, 28) levels."""
    given: dict[str, object] = {"measure": y[0].byte().numpy(), "noise": NOISE, "method": method}
    if operator == "hole":
        given["mask"] = hole().numpy()
    else:
        given["operator"] = operator
    if method == "particles":
        given["particles"] = asked.particles
    out = model.generate(
        num_samples=asked.draws, steps=asked.steps, seed=asked.seed, device="cpu", **given
    )
    return torch.stack([torch.from_numpy(np.array(one)) for one in out.samples])[:, None].double()


def psnr(found: Tensor, truth: Tensor) -> Tensor:
    return 10 * torch.log10(255**2 / (found - truth).square().mean((-3, -2, -1)))


def row(
    model: Model,
    judge: FeatureNet,
    truths: Tensor,
    labels: Tensor,
    operator: str,
    method: str,
    asked: argparse.Namespace,
) -> str:
    generator = torch.Generator().manual_seed(asked.seed)
    y = seen(truths, operator, generator)
    begun = time.process_time()
    draws = torch.stack([drawn(model, one, operator, method, asked) for one in y])
    seconds = (time.process_time() - begun) / draws[:, :, 0, 0, 0].numel()
    with torch.no_grad():
        logits = features_of(judge, (draws.flatten(0, 1) / 255).float())
    right = (logits.argmax(1).view(len(truths), -1) == labels[:, None]).double().mean()
    if asked.pictures:
        asked.pictures.mkdir(parents=True, exist_ok=True)
        rows = [torch.cat([t, *d], -1) for t, d in zip(truths[:8], draws[:8], strict=True)]
        sheet = torch.cat(rows, -2)[0].byte().numpy()
        name = f"{operator.partition('(')[0]}-{method}.png"
        Image.fromarray(sheet).save(asked.pictures / name)
    told = ranks_of(truths.flatten(1).numpy(), draws.flatten(2).numpy(), seed=asked.seed)
    cells = [
        operator,
        method,
        asked.steps * (asked.particles if method == "particles" else 1),
        f"{float(psnr(draws, truths[:, None]).mean()):.2f}",
        f"{float(psnr(draws.mean(1), truths).mean()):.2f}",
        f"{float(right):.1%}",
        f"{verdict(told).p_value:.3f}",
        f"{seconds:.2f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of prepare_mnist.py")
    parser.add_argument("--digits", type=int, default=60)
    parser.add_argument("--draws", type=int, default=9)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--particles", type=int, default=32)
    parser.add_argument("--methods", nargs="+", default=["diffpir", "mmps", "particles"])
    parser.add_argument("--operators", nargs="+", default=list(OPERATORS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for a sheet of each row")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = unnoise.load("images")
    held_out = Images().dataset(asked.data, model.configuration, "validation")
    some = torch.linspace(0, len(held_out) - 1, asked.digits).round().long()
    truths, labels = held_out.pixels[some].double(), torch.as_tensor(held_out.labels)[some]
    judge = read(Path(__file__).parents[2] / "plugins/images/unnoise_images/judge")
    with torch.no_grad():
        logits = features_of(judge, (truths / 255).float())
    share = float((logits.argmax(1) == labels).double().mean())
    print(f"{len(truths)} digits, of which the classifier knows {share:.1%}\n")
    print("| seen | method | evaluations | PSNR | of the mean | label | p | s per draw |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for operator in asked.operators:
        for method in asked.methods:
            print(row(model, judge, truths, labels, operator, method, asked), flush=True)


if __name__ == "__main__":
    main()
