"""How sound is shown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

from torch import Tensor

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import Layout, tensor
from unnoise.trajectory import Frame
from unnoise_audio import files
from unnoise_audio.pictures import close, figure_of, image, loudest, png
from unnoise_audio.sound import Audio


@final
class Sounds(Display[Trained]):
    """Players, spectrograms, and the spectrogram on its way from noise."""

    look: ClassVar[str] = (
        "Listen to the original and the result. The mel says from the start where the sound is "
        "loud; below, close by, the harmonics of the voice come out of that noise."
    )

    def preview(self, samples: Sequence[Audio]) -> str:
        return "".join(_shown(sample) for sample in samples)

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        """The sound behind the coefficients at each time, close by: its noise has the spectrum of
        the mel from the first moment on, and the harmonics of the voice come out of that."""
        rate = model.configuration.mel.sample_rate

        def wave(frame: Frame, k: int) -> Tensor:
            state = tensor(frame.sample(k))[None]
            told = {n: v[:, : state.shape[1]] for n, v in frame.told(k).items()}
            return tensor(model.decode(state, Layout.dense(1, state.shape[1:]), told)).flatten()

        found = []
        for k in rows:
            waves = [wave(frame, k) for frame in frames]
            where = loudest(waves[-1], rate)
            found.append([close(one[where], rate) for one in waves])
        return found

    def gather(self, groups: Sequence[Sequence[Path]], folder: Path) -> Sequence[Path]:
        """One file of what was handed out in parts."""
        return [path for group in groups for path in files.gather(group)]


def _shown(sample: Audio) -> str:
    parts = []
    if isinstance(sample.original, Audio):
        parts.append(f"<figcaption>original</figcaption>{sample.original._repr_html_()}")
    parts.append(f"<figcaption>result</figcaption>{sample._repr_html_()}")
    picture = image(png(figure_of(sample)), "spectrograms, the original above the result")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in sample.notes)
    return f"<figure>{''.join(parts)}{picture}{notes}</figure>"
