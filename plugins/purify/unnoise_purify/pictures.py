"""Pictures in and out: what a request may hold, as tensors in [0, 1], and samples as PIL images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unnoise.errors import InputError, LimitExceeded
from unnoise_images.files import SUFFIXES, check_bright, given_picture, to_pixels
from unnoise_purify.pixels import SLACK

MOST: Final = 100_000
"""Pictures of one request."""


def read_all(images: Any, shape: tuple[int, int, int]) -> list[Float[Tensor, "c h w"]]:
    """Every picture of a request, in [0, 1], of the shape that the model takes.

    Raises InputError, which names the file, for what is no picture of this size.
    """
    found: list[Tensor] = []
    for one in _each(images):
        found += _tensors(one, shape) if isinstance(one, Tensor) else [_read(one, shape)]
        if len(found) > MOST:
            raise LimitExceeded("too many pictures", limit=MOST, fix="purify them in parts")
    if not found:
        raise InputError("there are no pictures to purify", value=images)
    return found


def to_pil(x: Float[Tensor, "c h w"]) -> Image.Image:
    """A picture in [0, 1], rounded to 8 bits."""
    levels = (x.detach().cpu().float() * 255).round().clamp(0, 255).byte().numpy()
    if len(levels) == 1:
        return Image.fromarray(levels[0])
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def difference(a: Image.Image, b: Image.Image) -> Image.Image:
    """b - a, around mid grey."""
    one, two = (np.asarray(image, dtype=np.int16) for image in (a, b))
    return Image.fromarray(((two - one) // 2 + 128).clip(0, 255).astype(np.uint8))


def _each(images: Any) -> Iterator[Any]:
    """What is in a request, one after the other; folders are what is in them."""
    for one in images if isinstance(images, (list, tuple)) else [images]:
        if isinstance(one, (str, Path)) and Path(one).is_dir():
            paths = sorted(p for p in Path(one).rglob("*") if p.suffix.lower() in SUFFIXES)
            if not paths:
                raise InputError(
                    f"there are no pictures in {str(one)!r}", limit=", ".join(SUFFIXES)
                )
            yield from paths
        else:
            yield one


def _read(one: Any, shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = shape
    what = repr(str(one)) if isinstance(one, (str, Path)) else "the picture"
    try:
        picture = given_picture(one, what)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is no picture", value=type(one).__name__) from error
    pixels = to_pixels(picture, height, width, channels, "refuse", what)
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def _tensors(x: Tensor, shape: tuple[int, int, int]) -> Sequence[Tensor]:
    """One or many pictures of a tensor."""
    batch = x[None] if x.ndim == len(shape) else x
    if batch.ndim != 4 or tuple(batch.shape[1:]) != shape:
        raise InputError(
            "a tensor of pictures has another size than the model",
            value=tuple(x.shape),
            limit=f"(batch, {', '.join(map(str, shape))})",
        )
    batch = batch.detach().cpu()
    if batch.dtype == torch.uint8:
        check_bright(int(batch.max()) if batch.numel() else 0, "a tensor of pictures")
        return list(batch.float() / 255)
    if not batch.dtype.is_floating_point:
        raise InputError("pictures are floating point in [0, 1] or uint8", value=x.dtype)
    least, most = float(batch.min()), float(batch.max())
    if not (least >= -SLACK and most <= 1 + SLACK):
        raise InputError(
            "pictures have values outside of [0, 1]", value=(least, most), limit="0 to 1"
        )
    return list(batch.float().clamp(0, 1))
