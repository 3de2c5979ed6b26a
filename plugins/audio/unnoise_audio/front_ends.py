"""Front ends by name, as their authors published them; and what becomes of a mel of another one.

    name       rate     FFT   window  hop  bands      Hz            scale, norm    map
    speech     16,000  1,024     800  200     80      0 - 8,000     slaney slaney  ln, 1e-5
    hifigan    22,050  1,024   1,024  256     80      0 - 8,000     slaney slaney  ln, 1e-5
    bigvgan    24,000  1,024   1,024  256    100      0 - 12,000    slaney slaney  ln, 1e-5
    vocos      24,000  1,024   1,024  256    100      0 - 12,000    htk none       ln, 1e-7
    wavegrad   22,050  2,048   1,200  300    128     20 - 11,025    htk none       dB to [0, 1]
    speecht5   16,000  1,024   1,024  256     80     80 - 7,600     slaney slaney  log10, 1e-10

hifigan (Kong 2020, V1) and bigvgan (Lee 2023, v2 with 100 bands) have frame j in the middle of
block j and 1e-9 under the root of each magnitude; vocos (Siuzdak 2024), wavegrad (the port
`wavegrad` 0.1.5) and speecht5 (Ao 2022, as in transformers) centre frame j on sample j hop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from unnoise.errors import ConfigError, InputError, NonFiniteError, nearest
from unnoise.fields import configured
from unnoise_audio.mel import LOGS, MelConfiguration, empty, filters

_LOUD: Final = 4.0
"""Louder than full scale by so much is no sound: room for what a network predicts."""
_QUIET: Final = 3.0
"""So far below the floor, as a natural logarithm, is room for the same."""
_NEAR: Final = 0.05  # of the span of decibels
_SILENT: Final = 3  # entries at the least value that are no accident
_FLOORS: Final = (1e-5, 1e-7, 1e-8, 1e-10)

HIFIGAN: Final = MelConfiguration(
    sample_rate=22_050, window=1024, hop=256, placing="same", tiny=1e-9
)

FRONT_ENDS: Final[Mapping[str, MelConfiguration]] = MappingProxyType(
    {
        "speech": MelConfiguration(),
        "hifigan": HIFIGAN,
        "bigvgan": HIFIGAN.model_copy(
            update={"sample_rate": 24_000, "mels": 100, "high": 12_000.0}
        ),
        "vocos": MelConfiguration(
            sample_rate=24_000,
            window=1024,
            hop=256,
            mels=100,
            high=12_000.0,
            scale="htk",
            norm=None,
            floor=1e-7,
        ),
        "wavegrad": MelConfiguration(
            sample_rate=22_050,
            fft=2048,
            window=1200,
            hop=300,
            mels=128,
            low=20.0,
            high=11_025.0,
            scale="htk",
            norm=None,
            window_norm="energy",
            log="dB",
        ),
        "speecht5": MelConfiguration(
            window=1024, hop=256, low=80.0, high=7600.0, log="10", floor=1e-10
        ),
    }
)


def front_end(name: str) -> MelConfiguration:
    """The front end of this name. Raises ConfigError for one that is not known."""
    if name not in FRONT_ENDS:
        raise ConfigError(
            "no front end has this name",
            value=name,
            limit=", ".join(FRONT_ENDS),
            fix=nearest(name, FRONT_ENDS) or "say its fields",
        )
    return FRONT_ENDS[name]


def named(value: str | Mapping[str, Any] | MelConfiguration) -> MelConfiguration:
    """A configuration, from a name or its fields. Raises ConfigError."""
    if isinstance(value, MelConfiguration):
        return value
    return front_end(value) if isinstance(value, str) else configured(MelConfiguration, value)


def refuse(own: MelConfiguration, other: MelConfiguration) -> None:
    """InputError unless a mel of `other` has the numbers of one of `own`: every field that differs,
    with both values."""
    found = own.differences(other)
    if not found:
        return
    names = [name for name, known in FRONT_ENDS.items() if not known.differences(other)]
    made = f" ({names[0]})" if names else ""
    raise InputError(
        f"the mel{made} was made with another front end than the model's: {'; '.join(found)}",
        fix="make it with the model's, or use a model that was trained for this one",
    )


def limits(configuration: MelConfiguration) -> tuple[float, float]:
    """The least and the greatest value of a spectrogram of sound in [-1, 1]."""
    c = configuration
    window = torch.hann_window(c.window)
    most = window.sum() / (window.square().sum().sqrt() if c.window_norm == "energy" else 1)
    band = float(filters(c).sum(0).max() * (most.square() + c.tiny) ** (c.power / 2))
    if c.log is None:
        return 0.0, band
    if c.log == "dB":
        return 0.0, 1.0
    return math.log(c.floor) / c.unit, math.log(band + c.floor) / c.unit


def check(mel: Tensor, own: MelConfiguration) -> Tensor:
    """`mel` (..., bands, frames) in float32, or an error that says why it is none of `own`.

    Values in range can show that they were mapped in another way, too: all of a linear spectrogram
    are positive and some next to nothing, and silence stands at the floor of its logarithm.

    Raises
    ------
    InputError : another number of bands; no frame; values that no sound has in this front end.
    NonFiniteError : NaN or infinity.
    """
    if mel.ndim < 2 or mel.shape[-2] != own.mels or mel.shape[-1] < 1:
        turned = mel.ndim >= 2 and mel.shape[-1] == own.mels
        raise InputError(
            "wrong shape of the mel",
            value=tuple(mel.shape),
            limit=f"(..., {own.mels} bands, frames)",
            fix="turn it round: mel.mT" if turned else "",
        )
    if not mel.dtype.is_floating_point:
        raise InputError("the numbers of a mel are floating point", value=mel.dtype)
    bad = int((~torch.isfinite(mel)).sum())
    if bad:
        raise NonFiniteError("the mel has NaN or infinite entries", value=bad, limit=0)
    mel = mel.float()
    low, high = float(mel.min()), float(mel.max())
    least, most = limits(own)
    if own.log is None:
        inside = low >= -1e-6 and high <= most * _LOUD
    elif own.log == "dB":
        inside = low >= -_NEAR and high <= 1 + _NEAR
    else:
        inside = low >= least - _QUIET / own.unit and high <= most + math.log(_LOUD) / own.unit
    other = _looks(mel, own)
    if inside and not (other and own.log in LOGS):
        return mel
    raise InputError(
        "the mel has values that the model's front end does not give",
        value=f"{low:.3g} to {high:.3g}{other}",
        limit=f"{least:.3g} to {most:.3g}: {_map(own)}",
        fix="make it with the model's configuration",
    )


def _looks(mel: Tensor, own: MelConfiguration) -> str:
    """What it might be instead, in words, or nothing."""
    silent = set(empty(own))
    said = [k for k in range(own.mels) if k not in silent]
    bands = mel[..., said, :]
    low, high = float(bands.min()), float(bands.max())
    if 0 <= low < 0.005 and own.log is not None:
        if high <= 1 and own.log != "dB":
            return ", as linear magnitudes or decibels brought to [0, 1] have"
        return ", as linear magnitudes have"
    for base, name in (("10", "log10"), ("e", "ln")):
        if base == own.log:
            continue
        for floor in _FLOORS:
            at = math.log(floor) / LOGS[base]
            if abs(low - at) < 1e-4 and int((bands < low + 1e-4).sum()) >= _SILENT:
                return f", as {name} with the floor {floor:g} has"
    if (own.log != "dB" and low < -30) or (high > 12 and own.log is not None):
        return ", as decibels have"
    if low < 0 and own.log in (None, "dB"):
        return ", as a logarithm has"
    return ""


def _map(own: MelConfiguration) -> str:
    if own.log is None:
        return "linear"
    if own.log == "dB":
        return f"{own.span[0]:g} to {own.span[1]:g} dB as 0 to 1"
    return f"{'ln' if own.log == 'e' else 'log10'}, floor {own.floor:g}"
