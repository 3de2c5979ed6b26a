"""Pictures that were seen through something: blurred, small, with holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch

from unnoise.codecs import Codec
from unnoise.conditioning import (
    SMC,
    Measurement,
    Renoised,
    Spread,
    Usual,
    diffpir,
    mmps,
    operator_named,
)
from unnoise.denoise import Denoiser
from unnoise.samplers import Sampler
from unnoise.spaces import Euclidean, tensor
from unnoise_images.files import as_picture, given_picture, to_mask, to_pixels
from unnoise_images.request import Request

RANGE = (-1.0, 1.0)
"""Black and white as states. Predictions of x_0 are clamped to it."""
_SPREAD = 0.3
"""Variance of the pixels of pictures between -1 and 1: how wide a mean is thought to be."""


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of a picture, and how that is followed."""

    measurement: Measurement
    method: str
    particles: int

    def followed(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with the measurement around it; particles leave it alone."""
        if self.method == "mmps":
            return mmps(denoiser, self.measurement, clip=RANGE)
        return (
            diffpir(denoiser, self.measurement, clip=RANGE)
            if self.method == "diffpir"
            else denoiser
        )

    @property
    def potential(self) -> Measurement | None:
        return self.measurement if self.method == "particles" else None

    @property
    def sampler(self) -> Sampler | None:
        """DiffPIR and particles have walks of their own."""
        if self.method == "particles":
            # of a function of a whole picture there is no closed form
            twist = Usual() if callable(self.measurement.operator) else Spread(_SPREAD)
            return SMC(particles=self.particles, twist=twist)
        return Renoised() if self.method == "diffpir" else None


def seen(request: Request, size: tuple[int, int, int], codec: Codec) -> Seen | None:
    """What a request has measured of a picture of this size (channels, height, width).

    Raises InputError for a picture of another size than the operator makes.
    """
    if request.measure is None:
        return None
    channels, height, width = size
    operator: Any = None
    shown = (height, width)
    if request.operator is not None:
        operator = operator_named(request.operator)
        shown = operator.size(height, width)
    elif request.mask is not None:
        hidden = to_mask(as_picture(request.mask, "mask"), height, width, "mask")
        operator = ~torch.from_numpy(hidden).expand(channels, height, width)
    picture = given_picture(request.measure, "measure")
    data = torch.from_numpy(to_pixels(picture, *shown, channels, "refuse", "measure").copy())
    state, _ = codec.embed(data.float()[None], Euclidean().layout(data.float()[None]))
    measurement = Measurement(tensor(state), 2 * request.noise, operator)
    return Seen(measurement, request.method, request.particles)
