"""What latent.py measures of a model of digits, latent or of pixels."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from digits import CLASSES, accuracy, classifier, features, states
from PIL import Image
from torch import Tensor

import unnoise
from unnoise.distributions import frechet
from unnoise.domain import Batch
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Hutchinson
from unnoise.spaces import Layout, tensor
from unnoise.training.data import read
from unnoise_images.domain import Images
from unnoise_images.features import FeatureNet
from unnoise_latent.likelihood import importance_weighted, parts_of_nelbo
from unnoise_latent.pictures import pictures_of

BATCH = 100


@dataclass(frozen=True)
class Judge:
    """The classifier, and the held-out digits in its eyes."""

    network: FeatureNet
    held_out: Tensor
    binary: bool

    def measure(self, pixels: Tensor, labels: Tensor | None) -> dict[str, float]:
        """Of pixels (B, 1, height, width) from 0 to 255."""
        x = self.seen(pixels)
        target = features(self.network, self.seen(self.held_out))
        found = {"frechet": frechet(features(self.network, x), target)}
        return found if labels is None else found | {"right": accuracy(self.network, x, labels)}

    def seen(self, pixels: Tensor) -> Tensor:
        return states(torch.where(pixels > 127, 255, 0) if self.binary else pixels)


def judge_of(args: argparse.Namespace, binary: bool) -> tuple[Judge, dict[str, float]]:
    """The judge, and what it says of the training part."""
    configuration = unnoise.load("images").configuration
    configuration = configuration.model_copy(update={"held_out": args.held_out})
    parts = [Images().dataset(args.data, configuration, part) for part in ("train", "validation")]
    judge = Judge(classifier(*parts, args.judge), parts[1].pixels, binary)
    return judge, judge.measure(parts[0].pixels, parts[0].labels)


def stacked(pictures: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures])[:, None]


def drawn(model: Model, number: int, scale: float | None, steps: int | None = None, seed: int = 0):  # type: ignore[no-untyped-def]
    """Digits of each label, their labels, evaluations for a digit, processor seconds of all."""
    begun = time.process_time()
    out = model.generate(
        label=list(range(CLASSES)),
        num_samples=number // CLASSES,
        guidance_scale=scale,
        batch_size=BATCH,
        threads=1,
        device="cpu",
        seed=seed,
        **({} if steps is None else {"steps": steps}),
    )
    spent = time.process_time() - begun
    labels = torch.arange(CLASSES).repeat_interleave(number // CLASSES)
    return list(out.samples), labels, out.provenance["evaluations"], spent


@torch.no_grad()
def normal_pictures(model: Model, number: int) -> tuple[list[Image.Image], float]:
    """Digits of codes from N(0, I), and the processor seconds of all."""
    begun, found = time.process_time(), []
    for first in range(0, number, BATCH):
        size = min(BATCH, number - first)
        layout = Layout.dense(size, model.configuration.latent_size)
        z = NoiseSource(0, range(first, first + size)).normal(layout)
        found += pictures_of(z, model.codec, model.configuration)
    return found, time.process_time() - begun


def quality(args: argparse.Namespace, model: Model, judge: Judge, normal: bool) -> dict[str, Any]:
    """What is measured of generated digits."""
    if normal:
        pictures, spent = normal_pictures(model, args.samples)
        told = judge.measure(stacked(pictures), None) | {
            "evaluations": 0,
            "rate": len(pictures) / spent,
        }
        return {"plain": told}
    row = {}
    for name, scale in (("plain", 1.0), ("guided", args.guidance)):
        pictures, labels, evaluations, spent = drawn(model, args.samples, scale, args.steps)
        told = {"evaluations": evaluations, "rate": len(pictures) / spent}
        row[name] = judge.measure(stacked(pictures), labels) | told
    return row


@torch.no_grad()
def likelihoods(args: argparse.Namespace, model: Model, normal: bool) -> dict[str, Any]:
    """NELBO of all held-out digits by parts, and the importance-weighted bound of some of them."""
    device = Accelerator(cpu=args.device == "cpu").device
    model.denoiser.to(device)
    model.codec.to(device)
    held_out = model.domain.dataset(args.data, model.configuration, "validation")
    kind = model.domain.data_type(model.configuration)
    items = [read(held_out, k, 0, k) for k in range(len(held_out))]  # the same for all models
    rows = []
    for first in range(0, len(items), BATCH):
        batch = model.domain.collate(items[first : first + BATCH]).to(device)
        noise = NoiseSource(args.seed, range(first, first + batch.layout.batch))
        if normal:
            gain, z = _drawn(model, batch, noise)
            rows.append(torch.stack([-gain - z, -gain]).cpu())
            continue
        found = parts_of_nelbo(
            model.denoiser, model.codec, batch, noise, data=kind, evaluations=args.times
        )
        rows.append(torch.stack([found.nats, found.reconstruction]).cpu())
    nelbo, missed = torch.cat(rows, 1)
    # some of each class, in order of which they come
    chosen = torch.linspace(0, len(items) - 1, args.digits).round().long().tolist()
    batch = model.domain.collate([items[k] for k in chosen]).to(device)
    noise = NoiseSource(args.seed, chosen)
    if normal:
        logs = torch.stack([sum(_drawn(model, batch, noise)) for _ in range(args.draws)])
        weighted = math.log(args.draws) - logs.logsumexp(0)
    else:
        weighted = importance_weighted(
            model.denoiser,
            model.codec,
            batch,
            noise,
            data=kind,
            draws=args.draws,
            trace=Hutchinson(args.probes),
            tolerance=1e-3,
        ).nats()
    model.denoiser.to("cpu")
    model.codec.to("cpu")
    return {
        "digits": len(items),
        "nelbo": float(nelbo.mean()),
        "nelbo_error": float(nelbo.std()) / len(nelbo) ** 0.5,
        "reconstruction": float(missed.mean()),
        "latents": float((nelbo - missed).mean()),
        "weighted_digits": len(chosen),
        "draws": args.draws,
        "probes": args.probes,
        "weighted": float(weighted.mean()),
        "weighted_error": float(weighted.std()) / len(weighted) ** 0.5,
        "nelbo_of_those": float(nelbo[chosen].mean()),
        "each": [round(float(one), 4) for one in nelbo],
    }


def _drawn(model: Model, batch: Batch, noise: NoiseSource) -> tuple[Tensor, Tensor]:
    """(B,) log p(x|z), and log N(z; 0, I) - log q(z|x), at one draw."""
    found = model.codec.encode(batch.x0, batch.layout, batch.condition, noise)
    z = tensor(found.state).double().flatten(1)
    assert found.log_posterior is not None
    normal = -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
    return found.log_density + found.log_posterior, normal - found.log_posterior
