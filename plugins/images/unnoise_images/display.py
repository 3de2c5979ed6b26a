"""How pictures are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from PIL import Image

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import State, tensor
from unnoise.trajectory import Frame
from unnoise_images.pictures import html_cell, html_grid, to_images


@final
class Pictures(Display[Trained]):
    """A grid of pictures, and each picture on its way from noise."""

    look: ClassVar[str] = (
        "Each digit has the class it was asked for, and no two are alike; on the way the stroke "
        "is decided early, its edge late."
    )

    def preview(self, samples: Sequence[Image.Image]) -> str:
        return html_grid(samples)

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        def cell(state: State) -> str:
            return html_cell(to_images(tensor(state)[None], model.codec)[0])

        return [[cell(frame.sample(k)) for frame in frames] for k in rows]
