"""Pictures of pictures: states to PIL images, a grid of samples, a strip from noise to data."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unnoise.codecs import Affine, Codec
from unnoise.errors import InputError
from unnoise.spaces import Euclidean, tensor


def levels() -> Codec:
    """The codec of 8-bit pictures: values from 0 to 255 are states from -1 to 1."""
    return Affine.onto(0.0, 255.0)


@torch.no_grad()
def to_images(states: Tensor, codec: Codec | None = None) -> list[Image.Image]:
    """States (B, C, H, W) as PIL images, 8 bits, values outside cut off. The codec, by default
    `levels()`, makes 1 or 3 channels of levels from 0 to 255 of them."""
    codec = codec or levels()
    where = next((p.device for p in codec.parameters()), torch.device("cpu"))
    x = states.detach().float().to(where)
    data = tensor(codec.decode(x, Euclidean().layout(x)).mode)
    if data.ndim != 4 or data.shape[1] not in (1, 3):
        raise InputError("pictures are (B, 1 or 3, H, W)", value=tuple(data.shape))
    pixels = data.round().clamp(0, 255).byte().cpu().numpy()
    return [
        Image.fromarray(p[0] if p.shape[0] == 1 else np.ascontiguousarray(p.transpose(1, 2, 0)))
        for p in pixels
    ]


def grid(images: Sequence[Image.Image], columns: int | None = None, gap: int = 2) -> Image.Image:
    """One picture of several of one size, row by row, on mid grey.

    `columns` defaults to the square-most arrangement.
    """
    if not images:
        raise InputError("a grid needs at least one picture", value=0)
    if len({image.size for image in images}) != 1:
        raise InputError("a grid takes pictures of one size", value={i.size for i in images})
    columns = columns or math.ceil(math.sqrt(len(images)))
    if columns < 1 or gap < 0:
        raise InputError("a grid needs a column and no negative gap", value=(columns, gap))
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new(mode, size, 128 if mode == "L" else (128, 128, 128))
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        sheet.paste(image, (column * (width + gap), row * (height + gap)))
    return sheet


def strip(
    trajectory: Sequence[Tensor], frames: int = 10, sample: int = 0, gap: int = 2
) -> Image.Image:
    """One sample's way from noise to data: `frames` states of a trajectory, evenly spaced, in a
    row. The first and the last state are always shown."""
    if not trajectory or frames < 2:
        raise InputError(
            "a strip needs states and at least two frames", value=(len(trajectory), frames)
        )
    n = min(frames, len(trajectory))
    picked = [round(k * (len(trajectory) - 1) / max(n - 1, 1)) for k in range(n)]
    images = [to_images(trajectory[k][sample : sample + 1])[0] for k in picked]
    return grid(images, columns=len(images), gap=gap)


def enlarged(image: Image.Image, side: int = 96) -> Image.Image:
    """`image` with every pixel repeated a whole number of times, the shorter side at least `side`
    when it is not already."""
    factor = max(1, math.ceil(side / min(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def data_uri(image: Image.Image) -> str:
    """`image` as a PNG inside a `data:` address."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def html_grid(images: Sequence[Image.Image]) -> str:
    """A self-contained HTML fragment that shows `images` side by side, small ones with big pixels.

    It wraps to the width it is given and sets no colours of its own.
    """
    cells = "".join(
        f'<img src="{data_uri(image)}" width="{image.width}" height="{image.height}"'
        f' alt="sample {k + 1}" style="width:{max(84, image.width)}px;height:auto;'
        f'max-width:100%;border-radius:6px;image-rendering:pixelated">'
        for k, image in enumerate(images)
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{cells}</div>'


def html_cell(image: Image.Image) -> str:
    """`image` as an HTML element that fills the width it is given."""
    return (
        f'<img src="{data_uri(image)}" alt="" style="display:block;width:100%;height:auto;'
        f'image-rendering:pixelated">'
    )
