"""Mel spectrograms: what a vocoder is told of the sound, and everything that decides their numbers.

    mel[j, m] = map(sum over f of B[m, f] |X[j, f]|^power),    X the short-time Fourier transform,

map(x) = log(max(x, floor)) to the base e or 10, or the identity. Frame j is centred on sample
j hop ("centre"), or on the middle of block j, samples j hop .. (j + 1) hop - 1 ("same").
Two configurations whose numbers differ give noise or a metallic voice, not an error: a mel carries
its configuration, and one that was made with another is refused, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from unnoise.errors import ConfigError, InputError
from unnoise_audio.backend import functional, transforms

LOGS: Final = {"e": 1.0, "10": 2.302585092994046}


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
    log: Literal["e", "10"] | None = Field("e", description="base of the logarithm, None for none")
    floor: float = Field(1e-5, gt=0, description="least value before the logarithm")

    @model_validator(mode="after")
    def _possible(self) -> MelConfiguration:
        if not self.hop <= self.window <= self.fft:
            raise ValueError("hop <= window <= fft")
        if not self.low < self.high <= self.sample_rate / 2:
            raise ValueError("low < high <= sample_rate / 2")
        return self

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
    return functional.melscale_fbanks(
        c.fft // 2 + 1, c.low, c.high, c.mels, c.sample_rate, norm=c.norm, mel_scale=c.scale
    )


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
    return _transform(c)(waveform)


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
    if configuration.log is None:
        return bands
    return bands.clamp(min=configuration.floor).log() / LOGS[configuration.log]


def unmapped(mel: Tensor, configuration: MelConfiguration) -> Tensor:
    """The bands of a spectrogram; at least the floor."""
    if configuration.log is None:
        return mel.clamp(min=configuration.floor)
    return (mel * LOGS[configuration.log]).exp().clamp(min=configuration.floor)


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
def _transform(configuration: MelConfiguration) -> transforms.MelSpectrogram:
    c = configuration
    return transforms.MelSpectrogram(
        c.sample_rate,
        n_fft=c.fft,
        win_length=c.window,
        hop_length=c.hop,
        f_min=c.low,
        f_max=c.high,
        n_mels=c.mels,
        power=c.power,
        norm=c.norm,
        mel_scale=c.scale,
        center=c.placing == "centre",
        pad_mode=c.padding,
    )


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


def named(values: Mapping[str, Any] | MelConfiguration) -> MelConfiguration:
    """A configuration, from its fields."""
    return values if isinstance(values, MelConfiguration) else MelConfiguration(**values)
