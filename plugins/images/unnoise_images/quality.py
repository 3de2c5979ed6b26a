"""`unnoise evaluate images --metric quality`: how far generated pictures are from held-out ones.

The protocol, which decides such numbers as much as the model does (Parmar 2022, "clean" FID):
generated pictures are rounded to 8 bits as they are written; none is resized but for the network of
features, which makes large ones smaller with an antialiasing filter in floating point; every class
has as many of them as of the held-out part. Beside each distance stands the floor: that of the
training part, as many pictures of it, to the same held-out ones. A model below it repeats what it
has learned by heart, or the number is too small to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from unnoise.distributions import frechet, frechet_limit, kernel_distance
from unnoise.errors import InputError
from unnoise.model import Metric
from unnoise_images.data import Pictures
from unnoise_images.features import SHIPPED, FeatureNet, Network, features_of, learned, read

if TYPE_CHECKING:
    from unnoise.model import Model

_LEAST: Final = 130  # rows of 64 features for a covariance of full rank
_WORDS: Final = ("frechet", "limit", "kernel", "kernel_error", "accuracy")


@final
class Quality(Metric):
    """Frechet and kernel distance of features, and how often the class is the one asked for."""

    num_samples: int = Field(1000, ge=_LEAST, description="pictures that are made")
    batch_size: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)
    steps: int | None = Field(None, ge=1, description="of the sampler; default: the model's own")
    sampler: str | None = Field(None, description="default: the model's own")
    guidance_scale: float | None = Field(None, description="default: the model's own")
    features: Path | None = Field(
        None,
        description="folder of the network of features; where there is none, it is learned from the"
        " training part and written there; default: the shipped one for digits, else one that is"
        " learned for this run",
    )

    def measure(
        self, model: Model, source: Any, report: Callable[[str, float], None]
    ) -> Mapping[str, Any]:
        parts = {part: model.domain.dataset(source, model.configuration, part) for part in _PARTS}
        _check(parts)
        network, origin = self._network(model, parts["train"], report)
        return {**self.compare(model, parts, network.seen, report, network), "features": origin}

    def compare(
        self,
        model: Model,
        parts: Mapping[str, Pictures],
        network: Network,
        report: Callable[[str, float], None] = lambda what, part: None,
        judge: FeatureNet | None = None,
    ) -> dict[str, Any]:
        """The rows of the table with any network of features.

        Parameters
        ----------
        parts : "train" and "validation" as the domain's `dataset` gives them.
        network : from pictures (B, channels, h, w) in [0, 1] to rows (B, d), any module of torch
            (in eval mode), with its own resizing and normalisation.
        judge : whose classes are counted, if it knows the model's.
        """
        _check(parts)
        held_out = parts["validation"]
        made, labels = self._made(model, held_out, report)
        report("comparing", 0.0)
        floor = _spaced(len(parts["train"]), len(made))
        target = features_of(network, _unit(held_out.pixels))
        known = (
            judge if judge is not None and judge.classes == model.configuration.classes else None
        )
        rows = {
            "generated": self._row(network, made, labels, target, known),
            "training part": self._row(
                network,
                parts["train"].pixels[floor],
                parts["train"].labels[floor],
                target,
                known,
            ),
        }
        return {"generated": len(made), "held_out": len(held_out), "rows": rows}

    def text(self, result: Mapping[str, Any]) -> str:
        """The distances as a table, and what they are of."""
        lines = [
            f"{result['generated']} pictures against {result['held_out']} held-out ones",
            f"features: {result['features']}",
            "",
            "| | Frechet | its limit | kernel x 1000 | class |",
            "|---|---|---|---|---|",
        ]
        for name, row in result["rows"].items():
            limit = "" if row["limit"] is None else f"{row['limit']:.3f}"
            right = "" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
            kernel = f"{1e3 * row['kernel']:.3f} ± {1e3 * row['kernel_error']:.3f}"
            lines.append(f"| {name} | {row['frechet']:.3f} | {limit} | {kernel} | {right} |")
        lines += [
            "",
            "Frechet distances of finite samples are too large, the more so the fewer there are.",
            "Compare at one number of pictures, or by the limit of infinitely many generated ones.",
        ]
        return "\n".join(lines)

    def _network(
        self, model: Model, train: Pictures, report: Callable[[str, float], None]
    ) -> tuple[FeatureNet, str]:
        configuration = model.configuration
        if self.features is not None and self.features.exists():
            network, origin = read(self.features), str(self.features)
        elif self.features is None and configuration.classes == read(SHIPPED).classes:
            network, origin = read(SHIPPED), "shipped, of the digits"
        else:
            network = learned(
                _unit(train.pixels),
                train.labels,
                configuration.classes or (),
                report=lambda part: report("learning features", part),
            )
            origin = f"learned from the {len(train)} pictures of the training part"
            if self.features is not None:
                network.save(self.features)
        if network.channels != configuration.size[0]:
            raise InputError(
                "the network of features sees pictures with other channels",
                value=network.channels,
                limit=configuration.size[0],
                fix="name a folder that does not exist, to have one learned",
            )
        return network, origin

    def _made(
        self, model: Model, held_out: Pictures, report: Callable[[str, float], None]
    ) -> tuple[Tensor, Tensor]:
        """Pictures (n, c, h, w) uint8, as many of a class as its share of the held-out part."""
        asked = {name: getattr(self, name) for name in ("steps", "sampler", "guidance_scale")}
        asked = {name: value for name, value in asked.items() if value is not None}
        classes = model.configuration.classes or ()
        places = held_out.labels[_spaced(len(held_out), self.num_samples)]
        if classes:
            asked["label"] = [classes[k] for k in places]
        else:
            asked["num_samples"] = self.num_samples
        found: list[np.ndarray] = []
        for out in model.generate_iter(seed=self.seed, batch_size=self.batch_size, **asked):
            found += [np.asarray(sample) for sample in out.samples]
            report("generating", len(found) / self.num_samples)
        pixels = torch.from_numpy(np.stack(found))
        return (pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)), places

    def _row(
        self,
        network: Network,
        pixels: Tensor,
        labels: Tensor,
        target: Tensor,
        judge: FeatureNet | None,
    ) -> dict[str, float | None]:
        rows = features_of(network, _unit(pixels))
        enough = len(rows) >= 4 * rows.shape[1]
        kernel = kernel_distance(rows, target, seed=self.seed)
        right = None
        if judge is not None:
            told = features_of(judge, _unit(pixels)).argmax(1)
            right = (told == labels).double().mean().item()
        limit = frechet_limit(rows, target, seed=self.seed).value if enough else None
        values = (frechet(rows, target), limit, kernel.value, kernel.error, right)
        return dict(zip(_WORDS, values, strict=True))


_PARTS: Final = ("train", "validation")


def _check(parts: Mapping[str, Pictures]) -> None:
    for part, found in parts.items():
        if len(found) < _LEAST:
            raise InputError(
                f"the {part} part is too small for a distance between laws",
                value=len(found),
                limit=f">= {_LEAST} pictures",
                fix="hold out more with held_out=" if part == "validation" else None,
            )


def _spaced(length: int, count: int) -> list[int]:
    return [k * length // count for k in range(count)]


def _unit(pixels: Tensor) -> Tensor:
    return pixels.float() / 255
