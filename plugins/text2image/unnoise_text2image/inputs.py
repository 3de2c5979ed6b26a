"""A request for pictures, read and checked: what each of its inputs asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from unnoise.domain import Trained, inputs_of
from unnoise.engine.options import Options
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel
from unnoise.samplers.strength import time_of_strength
from unnoise_images.files import as_picture, given_picture, to_mask, to_pixels
from unnoise_latent.pictures import latents_of
from unnoise_text2image.configuration import Configuration
from unnoise_text2image.guidance import Guidance
from unnoise_text2image.request import Request
from unnoise_text2image.text import Read, Reader


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """An input.

    Attributes
    ----------
    prompt, negative : as they were written.
    ids, negative_ids : (1, L) their tokens.
    notes : what is to be said of how they were read.
    picture : (1, C, h, w) the state of the image, of the size that the model's last stage makes; of
        an upsampler the small picture.
    known : (1, 1, side, side) True where the picture is kept; None without a mask.
    start : time at which the first stage starts from the picture.
    guidance, upsampling : of the two stages.
    steps : of the upsampler.
    level : strength of the noise on the small picture.
    seed : of the request.
    """

    prompt: str
    negative: str
    ids: Tensor
    negative_ids: Tensor
    notes: tuple[str, ...]
    picture: Tensor | None
    known: Tensor | None
    start: float | None
    guidance: Guidance
    upsampling: Guidance
    steps: int
    level: float
    seed: int


def prepared(request: Request, model: Trained, options: Options) -> list[Prepared]:
    """The inputs of a request. Raises InputError for what the model cannot do."""
    configuration: Configuration = model.configuration
    if configuration.stage == "cascade" and (options.start or options.observation):
        raise InputError(
            "a cascade has states of two sizes, so that no single one can be given",
            value="start" if options.start else "observation",
            fix="pass image= with strength= or mask=",
        )
    reader = Reader(configuration)
    scale = request.guidance_scale
    first = Guidance(
        configuration.guidance_scale if scale is None else scale,
        request.guidance_interval,
        request.guidance_rescale,
    )
    scale = request.upsampler_scale
    second = Guidance(configuration.upsampler_scale if scale is None else scale)
    fields = inputs_of(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        image=request.image,
        mask=request.mask,
    )
    _check_read(request, fields, configuration)
    found = []
    for one in fields:
        picture = _picture(one["image"], configuration, model)
        _check_use(request, one, configuration)
        texts = (one["prompt"], one["negative_prompt"])
        ids, negative_ids = reader.rows(texts).split(1)
        found.append(
            Prepared(
                *texts,
                ids,
                negative_ids,
                (*_said(reader, texts[0], "prompt"), *_said(reader, texts[1], "negative_prompt")),
                picture,
                _known(one, configuration),
                _time(request.strength, model),
                first,
                second,
                request.upsampler_steps,
                request.upsampler_noise,
                options.seed,
            )
        )
    return found


def _check_read(
    request: Request,
    fields: Sequence[Mapping[str, Any]],
    configuration: Configuration,
) -> None:
    """InputError for what was asked for and would be read by nothing."""
    asked = request.model_fields_set
    if request.guidance_scale not in (None, 1) and not any(
        one[name].strip() for one in fields for name in ("prompt", "negative_prompt")
    ):
        raise InputError(
            "guidance_scale says how strongly a prompt is followed, and there is none",
            value=request.guidance_scale,
            fix="pass prompt= too, or leave guidance_scale out",
        )
    if configuration.stage == "base":
        for name in ("upsampler_scale", "upsampler_steps", "upsampler_noise"):
            if name in asked:
                raise InputError(
                    "this model is a base alone, and enlarges nothing",
                    value=f"{name}={getattr(request, name)}",
                    fix=f"leave {name} out, or use a cascade",
                )


def _said(reader: Reader, text: str, what: str) -> list[str]:
    """What is to be said of how a text was read."""
    if not text.strip():
        return ["the prompt is empty: anything may be drawn"] if what == "prompt" else []
    read: Read = reader.read(text)
    notes = []
    if read.cut:
        notes.append(
            f"the model reads {reader.room} tokens; of the {what} it does not see {read.cut!r}"
        )
    if read.unknown:
        notes.append(f"the model has no token for {_listed(read.unknown)} in the {what}")
    if read.pieces:
        notes.append(
            f"the vocabulary of the model lacks {_listed(read.pieces)} in the {what}, which it"
            " reads in pieces"
        )
    return notes


def _listed(words: Sequence[str]) -> str:
    return ", ".join(repr(word) for word in dict.fromkeys(words))


def _check_use(request: Request, one: Mapping[str, Any], configuration: Configuration) -> None:
    """InputError for an image that nothing is done with, and an upsampler without one."""
    upsampler = configuration.stage == "upsampler"
    if upsampler and one["image"] is None:
        raise InputError("an upsampler enlarges a picture", value=None, fix="pass image= too")
    if upsampler and (one["mask"] is not None or request.strength is not None):
        raise InputError(
            "an upsampler enlarges pictures as they are",
            value="mask" if one["mask"] is not None else "strength",
            fix="leave it out, or use a base or a cascade",
        )
    unused = one["mask"] is None and request.strength is None
    if not upsampler and one["image"] is not None and unused:
        raise InputError(
            "image was given without mask",
            fix="pass mask= too, to paint into it, or strength= to make others of it",
        )


def _picture(given: Any, configuration: Configuration, model: Trained) -> Tensor | None:
    """The state of an image, as one row."""
    if given is None:
        return None
    side = _side(configuration)
    image = given_picture(given, "image")
    pixels = to_pixels(image, side, side, 3, "refuse", "image", configuration.background)
    return latents_of(torch.from_numpy(pixels.copy()).float()[None], model.codec)


def _side(configuration: Configuration) -> int:
    """Of the pictures that are given."""
    small, large = configuration.sides
    return large if configuration.stage == "cascade" else small


def _known(one: Mapping[str, Any], configuration: Configuration) -> Tensor | None:
    if one["mask"] is None:
        return None
    side = _side(configuration)
    mask = as_picture(one["mask"], "mask")
    image = as_picture(one["image"], "image")
    if image.size != mask.size:
        raise InputError(
            "image and mask have different sizes",
            value=f"image {image.height} x {image.width}, mask {mask.height} x {mask.width}",
        )
    return ~torch.from_numpy(to_mask(mask, side, side, "mask"))[None, None]


def _time(strength: float | None, model: Trained) -> float | None:
    if strength is None:
        return None
    kernel = model.denoiser.kernel
    if not isinstance(kernel, GaussianKernel):
        raise InputError("a strength is one of Gaussian noise", value=type(kernel).__name__)
    return time_of_strength(kernel, strength)
