"""Reading pictures: what a file may be, and what is done about every other file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unnoise.errors import InputError

Fit: TypeAlias = Literal["refuse", "resize", "crop"]
Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

SUFFIXES: Final = (".png", ".jpg", ".jpeg")
SMALLEST, LARGEST = 8, 256
"""Limits of the sides of the pictures that a model makes, in pixels."""
MOST_PIXELS: Final = 1 << 26
"""Largest file that is opened, in pixels (8192 x 8192): a bomb is refused by its header."""

_GREY, _COLOUR = ("1", "L"), ("RGB",)
_ORIENTATION: Final = 0x0112  # EXIF tag; 5 to 8 swap height and width
_FORMATS: Final = ("PNG", "JPEG")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture in `path`, header read and checked, pixels not yet decoded.

    Raises InputError, naming the file, for everything that is not an 8-bit PNG or JPEG of at most
    `MOST_PIXELS` pixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError(
                    f"{str(path)!r} is too large",
                    value=f"{picture.width} x {picture.height}",
                    limit=f"{MOST_PIXELS} pixels",
                )
            yield picture
    except Image.DecompressionBombError as error:
        raise InputError(f"{str(path)!r} is too large", limit=f"{MOST_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{str(path)!r} is not a PNG or JPEG picture") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(path)!r}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # all that PIL raises on damage
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error


def is_colour(picture: Image.Image, what: str) -> bool:
    """Whether a picture has three channels; InputError for modes that would lose information."""
    if picture.mode in _GREY:
        return False
    if picture.mode in _COLOUR:
        return True
    if picture.mode == "P" and "transparency" not in picture.info:
        return True
    if picture.mode in ("RGBA", "LA", "PA", "P", "La", "RGBa"):
        raise InputError(
            f"{what} has an alpha channel or transparency",
            value=picture.mode,
            limit="grey (L) or RGB, 8 bits per channel",
            fix="paste it onto a background and save it as RGB",
        )
    raise InputError(
        f"{what} is not an 8-bit grey or RGB picture",
        value=picture.mode,
        limit="grey (L) or RGB, 8 bits per channel",
        fix="convert it to 8 bits",
    )


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(height, width) once the EXIF orientation is applied."""
    lying = picture.getexif().get(_ORIENTATION, 1) >= 5
    return picture.size if lying else (picture.height, picture.width)


def to_pixels(
    picture: Image.Image, height: int, width: int, channels: int, fit: Fit, what: str
) -> Pixels:
    """The pixels of `picture` as (channels, height, width) uint8.

    Grey becomes RGB by repetition and RGB becomes grey by ITU-R 601 luma. A picture of another
    size is refused, resized (changing its proportions), or scaled to cover and cut at the centre.
    """
    is_colour(picture, what)
    upright = ImageOps.exif_transpose(picture)
    image = upright.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        if fit == "refuse":
            raise InputError(
                f"{what} has another size than the model",
                value=f"{image.height} x {image.width} (height x width)",
                limit=f"{height} x {width}",
                fix="pass fit='resize' or fit='crop' when training, or change its size",
            )
        if fit == "resize":
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        else:
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def read_pixels(path: Path, height: int, width: int, channels: int, fit: Fit) -> Pixels:
    """`to_pixels` of a file; InputError names the file."""
    with opened(path) as picture:
        return to_pixels(picture, height, width, channels, fit, repr(str(path)))


def as_picture(value: object, what: str) -> Image.Image:
    """A picture given as a path, a PIL image or an array (H, W) or (H, W, 3).

    Arrays are uint8 in 0..255 or floating point in [0, 1].
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, (str, Path)):
        with opened(Path(value)) as picture:
            picture.load()
            return picture.copy()
    array = np.asarray(value)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3):
        raise InputError(
            f"{what} has no shape of a picture",
            value=tuple(array.shape),
            limit="(H, W) or (H, W, 3)",
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise InputError(
                f"{what} has values out of range",
                value=(float(array.min()), float(array.max())),
                limit="floats in [0, 1], or uint8",
            )
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(
            f"{what} has an unusable type", value=str(array.dtype), limit="uint8, bool or float"
        )
    return Image.fromarray(array)
