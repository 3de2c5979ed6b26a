"""Sound: samples with their rate, and the files that hold it.

Numbers are float32 in [-1, 1]; 16-bit files are written with the values rounded, which soundfile
would cut off. What was done to a sound on its way in (another rate, channels mixed, values beyond
full scale cut) stays with it as `notes`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError
from unnoise.storage.files import replace_file
from unnoise_audio.reading import load
from unnoise_audio.resampling import resampled
from unnoise_audio.samples import MOST_CHANNELS, check_rate, mixed, numbers, within

SUFFIXES: Final = (".wav", ".flac", ".ogg")
"""Of files that are written, and of those that are looked for in folders."""
PLAYED: Final = 60.0
"""Seconds of a sound that a page plays: a page holds its sounds."""
_FORMATS: Final = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
}


@final
@dataclass(frozen=True, eq=False)
class Audio:
    """A sound.

    Attributes
    ----------
    waveform : (channels, samples) float32 in [-1, 1].
    sample_rate : samples a second.
    notes : what was done to it that one would want to know.
    original : of a generated sound, what it was made after: a sound, or a mel (mels, frames).
    """

    waveform: Float[Tensor, "channels samples"]
    sample_rate: int
    notes: tuple[str, ...] = ()
    original: Audio | Float[Tensor, "mels frames"] | None = None

    def __post_init__(self) -> None:
        wave: Any = self.waveform
        if not isinstance(wave, Tensor) or wave.dtype != torch.float32 or wave.ndim != 2:
            found = (wave.dtype, tuple(wave.shape)) if isinstance(wave, Tensor) else type(wave)
            raise InputError(
                "a waveform is float32 (channels, samples)",
                value=found,
                fix="Audio.of(array, rate) takes others",
            )
        check_rate(self.sample_rate)
        if not 1 <= wave.shape[0] <= MOST_CHANNELS:
            raise InputError(
                "wrong number of channels", value=wave.shape[0], limit=f"1 to {MOST_CHANNELS}"
            )
        if wave.numel() and not float(wave.abs().max()) <= 1:
            raise InputError(
                "a waveform lies between -1 and 1",
                value=float(wave.abs().max()),
                fix="Audio.of(array, rate) cuts what lies beyond, and says so",
            )

    @staticmethod
    def of(samples: Any, rate: int) -> Audio:
        """From an array or tensor (samples,) or (channels, samples): floating point in [-1, 1], or
        whole numbers of 16 or 32 bits, or of 8 bits without a sign.

        Up to a peak of 8, what lies beyond full scale is cut, and noted. Raises InputError for NaN
        and everything else.
        """
        wave = numbers(samples)
        if wave.ndim == 1:
            wave = wave[None]
        if wave.ndim != 2 or not wave.shape[0]:
            raise InputError(
                "a sound has the shape (samples,) or (channels, samples)", value=tuple(wave.shape)
            )
        if wave.shape[0] > MOST_CHANNELS >= wave.shape[1]:
            raise InputError(
                "a sound is (channels, samples)", value=tuple(wave.shape), fix="transpose it"
            )
        cut, notes = within(wave, "it")
        return Audio(cut, check_rate(rate), notes)

    @staticmethod
    def load(path: str | Path) -> Audio:
        """Read a wav, flac or ogg file whole.

        Raises InputError, naming the file, where there is none, or it is empty, cut off, damaged,
        no sound, or has NaN.
        """
        return Audio(*load(path))

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.waveform.shape[1] / self.sample_rate

    def mono(self, rate: int | None = None) -> Float[Tensor, " samples"]:
        """The mean of the channels, at `rate`. Raises InputError where they cancel each other."""
        mean = mixed(self.waveform)
        return resampled(mean, self.sample_rate, rate or self.sample_rate)

    def pcm(self) -> np.ndarray[Any, np.dtype[np.int16]]:
        """(samples, channels) 16-bit values, rounded to the nearest."""
        whole = (self.waveform * 32768).round().clamp(-32768, 32767)
        return whole.to(torch.int16).T.contiguous().numpy()

    def save(self, path: str | Path) -> Path:
        """Write wav or flac (16 bits, PCM_16) or ogg (Vorbis, which loses), by the suffix."""
        target = Path(path)
        if target.suffix.lower() not in _FORMATS:
            raise InputError(
                "this is no kind of sound file", value=target.name, limit=", ".join(SUFFIXES)
            )
        replace_file(target, self._encoded(target.suffix.lower()))
        return target

    def _encoded(self, suffix: str) -> bytes:
        kind, subtype = _FORMATS[suffix]
        buffer = io.BytesIO()
        values = self.waveform.T.numpy() if subtype == "VORBIS" else self.pcm()
        soundfile.write(buffer, values, self.sample_rate, format=kind, subtype=subtype)
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        """A player, for notebooks and pages; of a long sound its begin."""
        count = round(PLAYED * self.sample_rate)
        begin = Audio(self.waveform[:, :count], self.sample_rate)
        data = base64.b64encode(begin._encoded(".wav")).decode()
        player = (
            f'<audio controls preload="metadata" style="max-width:100%"'
            f' src="data:audio/wav;base64,{data}"></audio>'
        )
        if self.seconds <= PLAYED:
            return player
        return f"{player}<p>the first {PLAYED:.0f} of {self.seconds:.0f} seconds</p>"


def joined(parts: Sequence[Audio]) -> Audio:
    """One sound of several, one after the other."""
    originals = [part.original for part in parts]
    whole: Audio | Tensor | None = None
    if all(isinstance(one, Audio) for one in originals):
        whole = joined([one for one in originals if isinstance(one, Audio)])
    elif all(isinstance(one, Tensor) for one in originals):
        whole = torch.cat([one for one in originals if isinstance(one, Tensor)], 1)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    waves = torch.cat([part.waveform for part in parts], 1)
    return Audio(waves, parts[0].sample_rate, notes, whole)
