"""How pictures are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from PIL import Image

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import State, tensor
from unnoise.trajectory import Frame
from unnoise_images.pictures import html_cell, html_grid, to_images


@final
class Pictures(Display[Trained]):
    """A grid of pictures, and each picture on its way from noise."""

    def preview(self, samples: Sequence[Image.Image]) -> str:
        return html_grid(samples)

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        def cell(state: State) -> str:
            return html_cell(to_images(tensor(state)[None], model.codec)[0])

        return [[cell(frame.sample(k)) for frame in frames] for k in rows]
