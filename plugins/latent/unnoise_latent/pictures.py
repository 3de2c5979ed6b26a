"""Pictures to latents, and latents to pictures."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unnoise.codecs import Codec
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, tensor
from unnoise_images.files import given_picture, to_pixels
from unnoise_latent.configuration import Configuration
from unnoise_latent.data import THRESHOLD
from unnoise_latent.heads import head_of, median


def levels_of(value: object, configuration: Configuration, name: str) -> Tensor:
    """A picture as data (1, channels, height, width) on the levels of the model. To black and white
    it comes by the threshold, whatever training did.

    Raises InputError for what is no picture, or has another size than the model's.
    """
    channels, height, width = configuration.size
    picture, fit = given_picture(value, name), configuration.fit
    pixels = to_pixels(picture, height, width, channels, fit, name, configuration.background)
    data = torch.from_numpy(pixels.copy())[None]
    if configuration.levels == 2:
        data = data > THRESHOLD
    return data.to(head_of(configuration).dtype)


@torch.no_grad()
def latents_of(x: Tensor, codec: Codec, noise: NoiseSource | None = None) -> Tensor:
    """The latents of data (B, channels, height, width): the means of their law, or draws; on the
    CPU."""
    where = _device(codec)
    layout = Layout.dense(len(x), x.shape[1:], dtype=x.dtype, device=where)
    state, _ = codec.embed(x.to(where), layout, None, noise)
    return tensor(state).cpu()


@torch.no_grad()
def pictures_of(z: Tensor, codec: Codec, configuration: Configuration) -> list[Image.Image]:
    """The pictures of latents (B, C, h, w): of each value the median of what the decoder says."""
    where = _device(codec)
    layout = Layout.dense(len(z), z.shape[1:], dtype=z.dtype, device=where)
    values = tensor(median(codec.decode(z.to(where), layout))).cpu().double()
    scaled = values * (255 / (configuration.levels - 1))
    return [_image(one) for one in scaled.round().clamp(0, 255).byte().numpy()]


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(
        pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )


def _device(codec: Codec) -> torch.device:
    return next((p.device for p in codec.parameters()), torch.device("cpu"))
