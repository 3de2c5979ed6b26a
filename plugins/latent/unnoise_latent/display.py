"""How pictures of a latent model are shown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar, final

from PIL import Image

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import State, tensor
from unnoise.trajectory import Frame
from unnoise_images.pictures import html_cell, html_grid
from unnoise_latent.pictures import pictures_of

WHAT = "unnoise"
"""Where a picture's `info` says what it is: sample, reconstruction, interpolation, edit."""
_TITLES = {
    "sample": "generated",
    "reconstruction": "reconstructed: the mean of the code, then draws",
    "interpolation": "from one picture to another",
    "edit": "drawn again from a picture",
}


@final
class Pictures(Display[Trained]):
    """A row of pictures for each thing that was asked for, and each picture on its way from
    noise."""

    look: ClassVar[str] = (
        "The codes are what diffuses: halfway, a picture is what the decoder makes of a noisy code."
    )

    def preview(self, samples: Sequence[Image.Image]) -> str:
        rows = []
        for what, group in groupby(samples, lambda sample: str(sample.info.get(WHAT, "sample"))):
            title = html.escape(_TITLES.get(what, what))
            rows.append(f"<p>{title}</p>{html_grid(list(group))}")
        return "".join(rows)

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        def cell(state: State) -> str:
            z = tensor(state)[None]
            return html_cell(pictures_of(z, model.codec, model.configuration)[0])

        return [[cell(frame.sample(k)) for frame in frames] for k in rows]
