"""Other sample rates, by torchaudio's windowed sinc, a piece at a time.

torchaudio's default filter of 6 zero crossings loses 1.8 dB at 7 kHz of 16 kHz and lets aliases
through; here it has 64, and its edge lies at 95 % of the lower Nyquist frequency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError
from unnoise_audio.backend import transforms

WIDTH: Final = 64
ROLLOFF: Final = 0.95
_PIECE: Final = 1 << 18  # samples that are resampled at once
_MOST: Final = 1 << 26  # numbers of the filters of a ratio of rates


def resampled(waveform: Float[Tensor, " samples"], old: int, new: int) -> Float[Tensor, " other"]:
    """A waveform at `old` samples a second with `new` of them; ceil(samples new / old) long."""
    if old == new:
        return waveform
    return torch.cat(list(resampled_pieces(waveform.split(_PIECE), old, new)))


def resampled_pieces(
    pieces: Iterable[Float[Tensor, " samples"]], old: int, new: int
) -> Iterator[Float[Tensor, " other"]]:
    """As `resampled`, of a waveform that comes in pieces: the same numbers, in bounded memory.

    Raises InputError for a ratio of rates with too many filters.
    """
    if old == new:
        yield from pieces
        return
    shared = math.gcd(old, new)
    a, b = old // shared, new // shared
    # the filter reaches so many samples to each side: whole periods of the ratio
    reach = -(-math.ceil(WIDTH * a / (min(a, b) * ROLLOFF)) // a) * a
    if b * (a + 2 * reach) > _MOST:
        raise InputError(
            "the ratio of these sample rates is too complicated",
            value=f"{old} to {new}",
            fix="bring the sound to a usual rate first, such as 16000, 22050, 44100 or 48000",
        )
    change, skip = _transform(old, new), reach // a * b
    held = torch.zeros(reach)
    for piece in pieces:
        held = torch.cat([held, piece])
        whole = (len(held) - 2 * reach) // a * a
        if whole >= _PIECE // 2:
            yield change(held[: whole + 2 * reach])[skip : skip + whole // a * b]
            held = held[whole:]
    left = -(-(len(held) - reach) * b // a)
    yield change(torch.cat([held, torch.zeros(reach)]))[skip : skip + left]


@lru_cache(maxsize=8)
def _transform(old: int, new: int) -> transforms.Resample:
    return transforms.Resample(old, new, lowpass_filter_width=WIDTH, rolloff=ROLLOFF)
