"""What samples are: float32 in [-1, 1], one row for each channel."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError

RATES: Final = (1000, 768_000)
MOST_CHANNELS: Final = 64
LOUDEST: Final = 8.0
"""Peak up to which floating-point sound is cut at full scale, and noted; one that is larger has
other units."""
_WHOLE: Final = {"uint8": (128, 128), "int16": (0, 1 << 15), "int32": (0, 1 << 31)}


def check_rate(rate: Any) -> int:
    """A sample rate; InputError where it is none."""
    low, high = RATES
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or not low <= rate <= high:
        raise InputError("this is no sample rate", value=rate, limit=f"{low} to {high}, whole")
    return int(rate)


def mixed(waveform: Float[Tensor, "channels samples"]) -> Float[Tensor, " samples"]:
    """The mean of the channels.

    Raises InputError where less than a hundredth of their power is left: they cancel each other.
    """
    if waveform.shape[0] == 1:
        return waveform[0]
    mean = waveform.mean(0)
    if float(mean.square().sum()) * 100 < float(waveform.square().mean(0).sum()):
        raise InputError(
            "the channels cancel each other when they are mixed to one",
            value=f"{waveform.shape[0]} channels",
            fix="pass one of them",
        )
    return mean


def within(waveform: Tensor, what: str) -> tuple[Tensor, tuple[str, ...]]:
    """A waveform cut at full scale, and a note of it; InputError for NaN and other units."""
    peak = float(waveform.abs().max()) if waveform.numel() else 0.0
    if not np.isfinite(peak):
        bad = int((~waveform.isfinite()).sum())
        raise InputError(f"{what} has NaN or infinity", value=f"{bad} samples")
    if peak <= 1:
        return waveform, ()
    if peak > LOUDEST:
        raise InputError(
            f"{what} has floating-point values far beyond full scale",
            value=peak,
            limit="-1 to 1",
            fix="divide 16-bit values by 32768",
        )
    return waveform.clamp(-1, 1), ("values beyond full scale were cut",)


def numbers(samples: Any) -> Tensor:
    """float32 from what may be a waveform."""
    try:
        array = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else samples
        array = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("this is no array of samples", value=type(samples).__name__) from error
    if array.dtype.name in _WHOLE:
        zero, scale = _WHOLE[array.dtype.name]
        return torch.from_numpy(((array.astype(np.float64) - zero) / scale).astype(np.float32))
    if array.dtype.kind != "f":
        raise InputError(
            "samples have an unusable type",
            value=str(array.dtype),
            limit="floating point in [-1, 1], int16, int32 or uint8",
        )
    return torch.from_numpy(array.astype(np.float32))
