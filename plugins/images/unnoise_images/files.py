"""Reading pictures: what a file may be, and what is done about every other file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageColor, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from unnoise.errors import ConfigError, InputError

Fit: TypeAlias = Literal["refuse", "resize", "crop"]
Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

_WANTED: Final = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO"),
    *("JPEG2000", "AVIF"),
)
"""What Pillow decodes itself; EPS and the like are programs, which are never run."""
_EXTENSIONS: Final = Image.registered_extensions()  # which makes all formats known
_FORMATS: Final = tuple(name for name in _WANTED if name in Image.OPEN)
SUFFIXES: Final = tuple(
    sorted(suffix for suffix, name in _EXTENSIONS.items() if name in (*_FORMATS, "MPO"))
)
_HELD: Final = "data:image/png;base64,"
SMALLEST, LARGEST = 8, 256
"""Limits of the sides of the pictures that a model makes, in pixels."""
MOST_PIXELS: Final = 1 << 26
"""Largest file that is opened, in pixels (8192 x 8192): a bomb is refused by its header."""

_GREY, _COLOUR = ("1", "L"), ("RGB",)
_ORIENTATION: Final = 0x0112  # EXIF tag; 5 to 8 swap height and width


@contextmanager
def opened(source: Path | bytes, what: str = "") -> Iterator[Image.Image]:
    """The picture in a file, or in the bytes of one; header read and checked, pixels not yet
    decoded.

    Raises InputError, naming the file or `what`, for everything that is not one picture, in a
    format that Pillow decodes itself, of at most `MOST_PIXELS` pixels.
    """
    what = what or repr(str(source))
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_FORMATS) as picture:
            if picture.format != "MPO":  # a phone's, with its preview behind it
                _check_frames(picture, what)
            _check_bits(picture, what)
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError(
                    f"{what} is too large",
                    value=f"{picture.width} x {picture.height}",
                    limit=f"{MOST_PIXELS} pixels",
                )
            yield picture
    except Image.DecompressionBombError as error:
        raise InputError(f"{what} is too large", limit=f"{MOST_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{what} is no picture in a format that can be read") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {what}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # all that PIL raises on damage
        raise InputError(f"{what} cannot be read: {error}") from error


def is_colour(picture: Image.Image, what: str, background: str | None = None) -> bool:
    """Whether a picture has three channels, on `background` where it is transparent; InputError for
    modes that would lose information."""
    if is_transparent(picture):
        if background is None:
            raise InputError(
                f"{what} has an alpha channel or transparency",
                value=picture.mode,
                limit="grey (L) or RGB, 8 bits per channel",
                fix="paste it onto a colour; a training does that with background='white'",
            )
        red, green, blue = colour(background)
        return picture.mode not in ("L", "LA", "La", "1") or not red == green == blue
    if picture.mode in _GREY:
        return False
    if picture.mode == "P":
        colours = np.reshape(picture.getpalette("RGB") or [], (-1, 3))
        return bool((colours != colours[:, :1]).any())
    if picture.mode in _COLOUR:
        return True
    raise InputError(
        f"{what} is not an 8-bit grey or RGB picture",
        value=picture.mode,
        limit="grey (L) or RGB, 8 bits per channel",
        fix="convert it to 8 bits",
    )


def is_transparent(picture: Image.Image) -> bool:
    """Whether a picture has an alpha channel, or a colour that stands for nothing."""
    return "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa")


def colour(name: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour as Pillow knows it: white, #ffcc00. Raises ConfigError."""
    try:
        red, green, blue, *alpha = ImageColor.getrgb(name)
    except ValueError as error:
        raise ConfigError("unknown colour", value=name, limit="white, black, #ffcc00") from error
    if alpha and alpha[0] < 255:
        raise ConfigError("a background is not transparent", value=name, limit="white, #ffcc00")
    return red, green, blue


def _check_frames(picture: Image.Image, what: str) -> None:
    """InputError for films and files of several pages, of which one picture would be seen."""
    try:
        picture.seek(1)
    except EOFError:
        picture.seek(0)
        return
    raise InputError(
        f"{what} has several frames",
        limit="one picture",
        fix="save them as files of their own",
    )


def _check_bits(picture: Image.Image, what: str) -> None:
    """InputError for pictures of which Pillow would show 8 of 16 bits without a word."""
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    raw = " ".join(str(tile[3]) for tile in tiles)
    if ";16" in raw or picture.mode.startswith("I;16"):
        raise InputError(
            f"{what} has 16 bits per channel",
            value=picture.mode,
            limit="grey (L) or RGB, 8 bits per channel",
            fix="convert it to an 8-bit picture",
        )


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(height, width) once the EXIF orientation is applied."""
    lying = picture.getexif().get(_ORIENTATION, 1) >= 5
    return picture.size if lying else (picture.height, picture.width)


def to_pixels(
    picture: Image.Image,
    height: int,
    width: int,
    channels: int,
    fit: Fit,
    what: str,
    background: str | None = None,
) -> Pixels:
    """The pixels of `picture` as (channels, height, width) uint8.

    Grey becomes RGB by repetition and RGB becomes grey by ITU-R 601 luma. A picture of another
    size is refused, resized (changing its proportions), or scaled to cover and cut at the centre.
    A transparent one is refused unless there is a `background` to see behind it.
    """
    is_colour(picture, what, background)
    upright = ImageOps.exif_transpose(picture)
    if background is not None and is_transparent(upright):
        shown = upright.convert("RGBA")
        upright = Image.new("RGBA", shown.size, (*colour(background), 255))
        upright.alpha_composite(shown)
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


def to_mask(picture: Image.Image, height: int, width: int, what: str) -> Mask:
    """Where a mask is white, (height, width). One of zeros and ones alone is a mask of truth values
    in numbers: 1 is white."""
    grey = to_pixels(picture, height, width, 1, "refuse", what)[0]
    if 1 < grey.max() < 128:
        raise InputError(
            f"{what} paints nothing and is not black",
            value=f"values up to {grey.max()}",
            limit="0 and 1, or 0 (kept) to 255 (painted)",
            fix="make white what is to be painted",
        )
    return grey > 0 if grey.max() <= 1 else grey >= 128


def recorded(value: object, what: str) -> Any:
    """A picture of a request, or a list of them, as JSON: files by their paths, others whole, so
    that a record repeats the request."""
    if isinstance(value, list):
        return [recorded(one, what) for one in value]
    if value is None or isinstance(value, (str, Path)):
        return None if value is None else str(value)
    return held(as_picture(value, what))


def held(picture: Image.Image) -> str:
    """The address that holds a picture, as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _HELD + base64.b64encode(buffer.getvalue()).decode("ascii")


def _held(address: str, what: str) -> Image.Image:
    try:
        content = base64.b64decode(address.removeprefix(_HELD), validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            picture.load()
            return picture.copy()
    except (ValueError, OSError, SyntaxError) as error:
        raise InputError(f"{what} holds no PNG picture", value=address[:60]) from error


def given_picture(value: object, what: str) -> Image.Image:
    """`as_picture` of a request. Raises InputError for zeros and ones in uint8, which would be
    black."""
    if isinstance(value, (Tensor, np.ndarray)) and str(value.dtype).endswith("uint8"):
        check_bright(int(value.max()) if math.prod(value.shape) else 0, what)
    return as_picture(value, what)


def check_bright(most: int, what: str) -> None:
    """InputError for pictures of which `most`, the largest value of 255, is 1."""
    if most == 1:
        raise InputError(
            f"{what} would be black: no value is above 1",
            value="uint8 of 0 and 1",
            limit="uint8 up to 255, bool, or floats in [0, 1]",
            fix="multiply by 255, or make it floating point or bool",
        )


def as_picture(value: object, what: str) -> Image.Image:
    """A picture given as a path, an address that holds it (data:image/png;base64,...), a PIL image,
    an array (H, W) or (H, W, 3), or a tensor (H, W) or (3, H, W).

    Arrays and tensors are uint8 in 0..255 or floating point in [0, 1].
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        if value.ndim == 3 and value.shape[0] in (1, 3):
            value = value.transpose(1, 2, 0)
    if isinstance(value, str) and value.startswith(_HELD):
        return _held(value, what)
    if isinstance(value, (str, Path)):
        with opened(Path(value)) as picture:
            picture.load()
            return picture.copy()
    array = np.asarray(value)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if np.ma.is_masked(value):
        raise InputError(
            f"{what} lacks values", value="a masked array", limit="a number for every pixel"
        )
    if not array.size or (array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3)):
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
