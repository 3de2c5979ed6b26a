"""How pictures with prompts are shown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, ClassVar, final

from PIL import Image

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import State, tensor
from unnoise.trajectory import Frame
from unnoise_images.pictures import data_uri, html_cell, to_images


@final
class Pictures(Display[Trained]):
    """Pictures with their prompts under them, and each picture on its way from noise."""

    look: ClassVar[str] = (
        "Colours and faces follow the words; the model is under-trained, and of most objects "
        "there is a colour and a blob."
    )

    def preview(self, samples: Sequence[Image.Image]) -> str:
        return (
            '<div style="display:flex;flex-wrap:wrap;gap:12px">'
            + "".join(map(_figure, samples))
            + "</div>"
        )

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        def cell(state: State) -> str:
            return html_cell(to_images(tensor(state)[None], model.codec)[0])

        return [[cell(frame.sample(k)) for frame in frames] for k in rows]


def _figure(picture: Image.Image) -> str:
    info: dict[Any, Any] = picture.info
    words = html.escape(str(info.get("prompt", "")))
    return (
        f'<figure style="margin:0;width:{max(96, picture.width)}px">'
        f'<img src="{data_uri(picture)}" width="{picture.width}" height="{picture.height}"'
        f' alt="{words}" style="width:100%;height:auto;border-radius:6px;'
        f'image-rendering:pixelated"><figcaption style="font-size:.8em">{words}</figcaption>'
        "</figure>"
    )
