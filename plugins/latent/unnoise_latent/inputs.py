"""A request for pictures, read and checked: what each of its inputs asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from unnoise.domain import Trained, inputs_of
from unnoise.engine.options import Options
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.strength import time_of_strength
from unnoise_images.domain import checked_label
from unnoise_latent.configuration import Configuration
from unnoise_latent.pictures import latents_of, levels_of
from unnoise_latent.request import NONE, Picture, Request

What: TypeAlias = Literal["sample", "reconstruction", "interpolation", "edit"]


@final
@dataclass(frozen=True, eq=False)
class Source:
    """A picture to start from: (1, C, H, W) data, and (1, C, h, w) the mean of its latents."""

    x: Tensor
    z: Tensor


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """An input.

    Attributes
    ----------
    label : of the class; the number after the last one for any.
    guidance_scale : how strongly it is followed.
    source, source_b : what it starts and ends with.
    start : time at which the prior starts from the latents; None where it does not.
    samples : how many are made of this input.
    seed : of the request.
    """

    label: int
    guidance_scale: float
    source: Source | None
    source_b: Source | None
    start: float | None
    samples: int
    seed: int

    @property
    def what(self) -> What:
        if self.source is None:
            return "sample"
        if self.source_b is not None:
            return "interpolation"
        return "reconstruction" if self.start is None else "edit"

    @property
    def needs_prior(self) -> bool:
        """Whether there is a diffusion to run."""
        return self.source is None or self.start is not None

    def weight(self, repeat: int) -> float:
        """Of source_b in one of the pictures from source to it; one alone is half-way."""
        return 0.5 if self.samples == 1 else repeat / (self.samples - 1)


def prepared(request: Request, model: Trained, options: Options) -> list[Prepared]:
    """The inputs of a request. Raises InputError for what the model cannot do."""
    configuration: Configuration = model.configuration
    classes = configuration.classes or ()
    scale = request.guidance_scale
    if scale is not None and scale != 1 and not classes:
        raise InputError(
            "guidance needs a model with classes", value=scale, fix="leave guidance_scale out"
        )
    labels = request.label if isinstance(request.label, list) else [request.label]
    if scale is not None and scale != 1 and all(label in (None, NONE) for label in labels):
        raise InputError(
            "guidance_scale says how strongly a label is followed, and there is none",
            value=scale,
            fix="pass label= too, or leave guidance_scale out",
        )
    start = None if request.strength is None else _time(request.strength, model)
    found = []
    for one in inputs_of(label=request.label, source=request.source, source_b=request.source_b):
        told = None if one["label"] == NONE else one["label"]
        source = _source(one["source"], model, "source")
        end = _source(one["source_b"], model, "source_b")
        if end is not None and source is None:
            raise InputError("source_b was given without source", fix="pass source= too")
        if source is not None and told is not None and start is None:
            raise InputError(
                "a label tells the prior, which a reconstruction does without",
                value=told,
                fix="leave label out, or pass strength=",
            )
        found.append(
            Prepared(
                checked_label(told, classes),
                configuration.guidance_scale if scale is None else scale,
                source,
                end,
                None if source is None else start,
                options.each,
                options.seed,
            )
        )
    return found


def _source(picture: Picture | None, model: Trained, name: str) -> Source | None:
    if picture is None or (isinstance(picture, str) and picture == NONE):
        return None
    x = levels_of(picture, model.configuration, name)
    return Source(x, latents_of(x, model.codec))


def _time(strength: float, model: Trained) -> float:
    kernel = model.denoiser.kernel
    if not isinstance(kernel, GaussianKernel):
        raise InputError("a strength is one of Gaussian noise", value=type(kernel).__name__)
    return time_of_strength(kernel, strength)


def labels(own: Sequence[Prepared]) -> dict[str, Tensor]:
    """The condition of a batch."""
    return {"label": torch.tensor([one.label for one in own])}
