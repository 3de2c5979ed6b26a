"""Mel spectrograms: what a vocoder is told of the sound, and everything that decides their numbers.

    mel[j, m] = map(sum over f of B[m, f] (|X[j, f]|^2 + tiny)^(power/2)),

X the short-time Fourier transform, and map(x) = log(max(x, floor)) to the base e or 10, the
identity, or decibels, 20/power log10, of which a span is brought to [0, 1] and cut off there.
Frame j is centred on sample j hop ("centre"), or on the middle of block j, samples j hop ..
(j + 1) hop - 1 ("same").
Two configurations whose numbers differ give noise or a metallic voice, not an error: a mel carries
its configuration, and one that was made with another is refused, field by field.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Final, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise_audio.backend import functional, transforms

LOGS: Final = {"e": 1.0, "10": math.log(10)}


class MelConfiguration(BaseModel):
    """Everything that decides the numbers of a mel spectrogram."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sample_rate: int = Field(16_000, ge=1000, le=768_000, description="samples a second")
    fft: int = Field(1024, ge=16, le=65_536, description="samples of the Fourier transform")
    window: int = Field(800, ge=8, le=65_536, description="samples of the Hann window")
    hop: int = Field(200, ge=2, le=16_384, description="samples from frame to frame")
    mels: int = Field(80, ge=1, le=512, description="bands")
    low: float = Field(0.0, ge=0, description="Hz, lowest frequency of the bands")
    high: float = Field(8000.0, gt=0, description="Hz, highest frequency of the bands")
    scale: Literal["slaney", "htk"] = Field("slaney", description="the mel scale")
    norm: Literal["slaney"] | None = Field("slaney", description="slaney: bands of one area")
    power: float = Field(1.0, gt=0, le=2, description="1 magnitude, 2 power")
    placing: Literal["centre", "same"] = Field(
        "centre", description="frame j is centred on sample j hop, or on the middle of block j"
    )
    padding: Literal["reflect", "constant"] = Field(
        "reflect", description="what lies beyond the ends"
    )
    log: Literal["e", "10", "dB"] | None = Field(
        "e", description="base of the logarithm, dB for a span of decibels; None for none"
    )
    floor: float = Field(1e-5, gt=0, description="least value before the logarithm")
    flooring: Literal["clip", "add"] = Field("clip", description="max(x, floor), or x + floor")
    tiny: float = Field(0.0, ge=0, description="added to the squared magnitude of each frequency")
    window_norm: Literal["energy"] | None = Field(
        None, description="energy: the squares of the window sum to 1"
    )
    span: tuple[float, float] = Field(
        (-80.0, 20.0), description="decibels that become 0 and 1, for log dB"
    )

    @model_validator(mode="after")
    def _possible(self) -> MelConfiguration:
        if not self.hop <= self.window <= self.fft:
            raise ValueError("hop <= window <= fft")
        if not self.low < self.high <= self.sample_rate / 2:
            raise ValueError("low < high <= sample_rate / 2")
        if not self.span[0] < self.span[1]:
            raise ValueError("span: the first is below the second")
        return self

    @property
    def unit(self) -> float:
        """The natural logarithm of a band, per unit of the spectrogram."""
        if self.log == "dB":
            return (self.span[1] - self.span[0]) * self.power * LOGS["10"] / 20
        return LOGS[self.log or "e"]

    @property
    def origin(self) -> float:
        """The natural logarithm of a band at which the spectrogram is 0."""
        return self.span[0] * self.power * LOGS["10"] / 20 if self.log == "dB" else 0.0

    @property
    def offset(self) -> int:
        """Samples from the begin of block j to the sample j hop: 0 for "same"; with "centre", where
        frame j is centred on sample j hop, half a block."""
        return self.hop // 2 if self.placing == "centre" else 0

    def frames(self, samples: int) -> int:
        """Frames of a signal with so many samples."""
        return samples // self.hop + (self.placing == "centre")

    def differences(self, other: MelConfiguration) -> list[str]:
        """The fields in which `other` differs, as "field: own value, other value"."""
        mine, theirs = self.model_dump(), other.model_dump()
        return [f"{k}: {mine[k]!r}, not {theirs[k]!r}" for k in mine if mine[k] != theirs[k]]


def filters(configuration: MelConfiguration) -> Float[Tensor, "frequencies mels"]:
    """B, the triangles of the bands."""
    c = configuration
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of bands without a frequency: see `empty`
        bank: Tensor = functional.melscale_fbanks(
            c.fft // 2 + 1, c.low, c.high, c.mels, c.sample_rate, norm=c.norm, mel_scale=c.scale
        )
    return bank


def empty(configuration: MelConfiguration) -> list[int]:
    """The bands that hold no frequency of the Fourier transform: narrow ones of low frequencies,
    where there are many bands for a short transform. They say nothing, and are passed over."""
    return [k for k, total in enumerate(filters(configuration).sum(0).tolist()) if total == 0]


def magnitudes(
    waveform: Float[Tensor, "rows samples"], configuration: MelConfiguration
) -> Float[Tensor, "rows mels frames"]:
    """The bands before map; ends are padded."""
    c = configuration
    least = c.fft // 2 + 1 if c.padding == "reflect" else 1
    if waveform.shape[-1] < least:
        raise InputError(
            "the sound is shorter than half a Fourier transform",
            value=f"{waveform.shape[-1]} samples",
            limit=f">= {least}",
            fix="pad it with silence",
        )
    if c.placing == "same":
        width = (c.fft - c.hop) // 2
        waveform = torch.nn.functional.pad(
            waveform[:, None], (width, c.fft - c.hop - width), mode=c.padding
        )[:, 0]
    spectrum, bands = _transforms(c)
    power = spectrum(waveform)
    if c.tiny:
        power = power.add_(c.tiny).pow_(c.power / 2)
    found: Tensor = bands(power)
    return found


def mel_spectrogram(
    waveform: Float[Tensor, "rows samples"], configuration: MelConfiguration
) -> Float[Tensor, "rows mels frames"]:
    """The spectrogram of waveforms, float32.

    Raises
    ------
    InputError : a waveform shorter than half a Fourier transform, which cannot be reflected.
    """
    return mapped(magnitudes(waveform, configuration), configuration)


def mapped(bands: Tensor, configuration: MelConfiguration) -> Tensor:
    """map(bands)."""
    c = configuration
    if c.log is None:
        return bands
    raised = bands + c.floor if c.flooring == "add" else bands.clamp(min=c.floor)
    if c.log == "dB":
        return ((raised.log() - c.origin) / c.unit).clamp(0, 1)
    return raised.log() / c.unit


def unmapped(mel: Tensor, configuration: MelConfiguration) -> Tensor:
    """The bands of a spectrogram; at least the floor."""
    c = configuration
    if c.log is None:
        return mel.clamp(min=c.floor)
    bands = (mel * c.unit + c.origin if c.log == "dB" else mel * c.unit).exp()
    return (bands - c.floor if c.flooring == "add" else bands).clamp(min=c.floor)


def log_bands(
    mel: Float[Tensor, "rows frames mels"], configuration: MelConfiguration
) -> Float[Tensor, "rows frames mels"]:
    """The natural logarithm of the mean magnitude in each band; frames before bands here."""
    _, area = _interpolation(configuration)
    bands = unmapped(mel, configuration).clamp(min=1e-12).log()
    return (bands - area.to(bands)) / configuration.power


def log_envelope(
    mel: Float[Tensor, "rows frames mels"], configuration: MelConfiguration
) -> Float[Tensor, "rows frames hop"]:
    """The natural logarithm of the mean magnitude around `hop` evenly spaced frequencies, those of
    the MDCT: that of each band, and between the centres of bands on a line."""
    weights, _ = _interpolation(configuration)
    bands = log_bands(mel, configuration)
    return bands @ weights.to(bands)


@lru_cache(maxsize=16)
def _transforms(
    configuration: MelConfiguration,
) -> tuple[transforms.Spectrogram, transforms.MelScale]:
    """From samples to (|X|^2, or |X|^power where nothing is added), and from there to bands."""
    c = configuration
    spectrum = transforms.Spectrogram(
        n_fft=c.fft,
        win_length=c.window,
        hop_length=c.hop,
        power=2.0 if c.tiny else c.power,
        normalized="window" if c.window_norm == "energy" else False,
        center=c.placing == "centre",
        pad_mode=c.padding,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        bands = transforms.MelScale(
            c.mels, c.sample_rate, c.low, c.high, c.fft // 2 + 1, c.norm, c.scale
        )
    return spectrum, bands


@lru_cache(maxsize=16)
def _interpolation(configuration: MelConfiguration) -> tuple[Tensor, Tensor]:
    """(mels, hop) weights, and the log of each band's area. Bands that hold no frequency of the
    Fourier transform say nothing and are passed over."""
    c = configuration
    bank = filters(c).double()
    area = bank.sum(0)
    kept = (area > 0).nonzero()[:, 0]
    if not len(kept):
        raise ConfigError("no band holds a frequency of the Fourier transform", value=c.fft)
    frequencies = torch.arange(bank.shape[0], dtype=torch.float64) * c.sample_rate / c.fft
    centres = (bank * frequencies[:, None]).sum(0)[kept] / area[kept]
    wanted = (torch.arange(c.hop, dtype=torch.float64) + 0.5) * c.sample_rate / 2 / c.hop
    wanted = wanted.clamp(centres[0], centres[-1])
    right = torch.searchsorted(centres, wanted).clamp(1, max(1, len(kept) - 1))
    left = right - 1
    right = right.clamp(max=len(kept) - 1)
    gap = (centres[right] - centres[left]).clamp(min=1e-9)
    part = (wanted - centres[left]) / gap
    matrix = torch.zeros(c.mels, c.hop, dtype=torch.float64)
    places = torch.arange(c.hop)
    matrix[kept[left], places] += 1 - part
    matrix[kept[right], places] += part
    return matrix.float(), area.clamp(min=1e-12).log().float()
