"""How text is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, final

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import State, tensor
from unnoise.trajectory import Frame
from unnoise_text import pages
from unnoise_text.configuration import Configuration
from unnoise_text.noise import mask_of


def shown_mask(configuration: Configuration) -> int | None:
    """The token that stands for what is not known yet, of a kernel that has one."""
    return mask_of(configuration) if configuration.kernel == "absorbing" else None


@final
class Pages(Display[Trained]):
    """Paragraphs, and each canvas on its way from masks to words."""

    look: ClassVar[str] = (
        "Words appear in any order around what was given, which stays as it was; gaps at t = 1 "
        "are masks."
    )

    strip: ClassVar[Literal["across", "down"]] = "down"

    def preview(self, samples: Sequence[str]) -> str:
        return pages.paragraphs(samples)

    def terminal(self, state: State, model: Trained) -> str:
        configuration, row = model.configuration, tensor(state)[0].tolist()
        return pages.canvas_line(row, shown_mask(configuration), configuration.vocabulary)

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        """The canvas of each sample at each moment."""
        configuration = model.configuration
        vocabulary, mask = configuration.vocabulary, shown_mask(configuration)
        return [
            [pages.canvas_html(tensor(f.sample(k)).tolist(), mask, vocabulary) for f in frames]
            for k in rows
        ]
