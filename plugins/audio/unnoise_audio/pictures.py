"""Spectrograms to look at: a vertical line is a click, a comb of lines a voice, a line that runs
through everything a buzz."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import matplotlib.image
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from unnoise_audio.sound import Audio

SHOWN: Final = 80.0
"""Decibels below the loudest that a picture shows."""
CLOSE: Final = 0.4
LOW: Final = 1000.0
"""Seconds and Hz of the part of a sound that is seen on its way from noise."""
_COLUMNS: Final = 2000
_COLOURS: Final = "magma"


def decibels(
    waveform: Float[Tensor, " samples"], rate: int, window: float = 0.025
) -> np.ndarray[Any, Any]:
    """(frequencies, frames) level in decibels, of windows of so many seconds."""
    size = max(16, round(rate * window))
    fft = 1 << (size - 1).bit_length()
    hop = max(1, size // 4, len(waveform) // _COLUMNS)
    x = torch.stft(
        waveform,
        fft,
        hop,
        size,
        torch.hann_window(size),
        pad_mode="constant",
        return_complex=True,
    )
    level: np.ndarray[Any, Any] = (20 * x.abs().clamp(min=1e-6).log10()).numpy()
    return level


def figure_of(sample: Audio) -> Figure:
    """What a sound was made after, above the sound."""
    made = decibels(sample.waveform.mean(0), sample.sample_rate)
    original = sample.original
    panels: list[tuple[str, np.ndarray[Any, Any], str, float]] = []
    top = sample.sample_rate / 2000
    if isinstance(original, Audio):
        before = decibels(original.waveform.mean(0), original.sample_rate)
        panels.append(("original", before, "kHz", original.sample_rate / 2000))
    elif original is not None:
        panels.append(("mel", original.numpy(), "band", float(original.shape[0])))
    panels.append(("result", made, "kHz", top))
    height = 2.6 * len(panels)
    figure = Figure(figsize=(9, height))
    FigureCanvasAgg(figure)
    # inches, for texts of this size: a layout that measures them takes as long as the picture
    figure.subplots_adjust(0.06, 0.45 / height, 0.99, 1 - 0.25 / height, hspace=0.22)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    loudest = max(float(values.max()) for _, values, unit, _ in panels if unit == "kHz")
    for axis, (name, values, unit, high) in zip(axes, panels, strict=True):
        limits = (loudest - SHOWN, loudest) if unit == "kHz" else (None, None)
        axis.imshow(
            values,
            origin="lower",
            aspect="auto",
            cmap=_COLOURS,
            extent=(0, sample.seconds, 0, high),
            vmin=limits[0],
            vmax=limits[1],
        )
        axis.set(ylabel=unit)
        axis.set_title(name, fontsize=9, loc="left")
    axes[-1].set(xlabel="seconds")
    return figure


def png(figure: Figure) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def image(data: bytes, what: str) -> str:
    """An HTML element with a PNG; `what` is text without markup."""
    source = base64.b64encode(data).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{what}" style="max-width:100%">'


def loudest(waveform: Float[Tensor, " samples"], rate: int) -> slice:
    """The loudest `CLOSE` seconds."""
    size = min(len(waveform), round(CLOSE * rate))
    power = waveform.double().square().cumsum(0)
    begin = int((power[size - 1 :] - power[: len(power) - size + 1]).argmax())
    return slice(begin, begin + size)


def close(waveform: Float[Tensor, " samples"], rate: int) -> str:
    """A spectrogram without axes, as an HTML element: what lies below `LOW` Hz, of windows long
    enough to see the harmonics of a voice, which is what comes out of noise; that the noise is
    loud where the sound will be, the mel has said before."""
    values = decibels(waveform, rate, 0.064)
    values = values[: max(8, round(len(values) * 2 * LOW / rate))]
    buffer = io.BytesIO()
    top = float(values.max())
    matplotlib.image.imsave(
        buffer, values[::-1], cmap=_COLOURS, format="png", vmin=top - 40.0, vmax=max(top, -99.0)
    )
    source = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{source}" alt="spectrogram"'
        ' style="width:100%;height:9em">'
    )
