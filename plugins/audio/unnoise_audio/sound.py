"""Sound: samples with their rate, read from and written to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import InputError

without_broken_torchaudio()
from torchaudio import functional  # noqa: E402

SUFFIXES: Final = (".wav", ".flac", ".ogg")


@final
@dataclass(frozen=True, eq=False)
class Sound:
    """A waveform.

    Attributes
    ----------
    waveform : (channels, samples) float32 in [-1, 1].
    sample_rate : samples a second.
    """

    waveform: Float[Tensor, "channels samples"]
    sample_rate: int

    def mono(self, rate: int) -> Float[Tensor, " samples"]:
        """The mean of the channels at `rate`."""
        return resampled(self.waveform.mean(0), self.sample_rate, rate)


def resampled(waveform: Float[Tensor, "*channels samples"], old: int, new: int) -> Tensor:
    """At another rate, by torchaudio's windowed sinc; its default width of 6 loses 1.8 dB at 7 kHz
    of 16 kHz and aliases, so that a longer filter is used."""
    if old == new:
        return waveform
    return functional.resample(waveform, old, new, lowpass_filter_width=64, rolloff=0.95)


def load(path: str | Path) -> Sound:
    """Read a wav, flac or ogg file."""
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError("not a sound file that can be read", value=str(path)) from error
    return Sound(torch.from_numpy(samples.T.copy()), int(rate))
