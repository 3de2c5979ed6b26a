"""How purifications are shown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import ClassVar, final

from PIL import Image

from unnoise.display import Display
from unnoise.domain import Trained
from unnoise.spaces import Layout, State, tensor
from unnoise.trajectory import Frame
from unnoise_images.pictures import html_cell, html_grid
from unnoise_purify.pictures import difference, to_pil
from unnoise_purify.pixels import pixels_of
from unnoise_purify.samples import Case


@final
class Purifications(Display[Trained]):
    """What was given, what came of it, the difference, and the classifier's answers."""

    look: ClassVar[str] = (
        "What the attack added is in the difference; the answer beside it is the classifier's, "
        "before and after."
    )

    def preview(self, samples: Sequence[Image.Image]) -> str:
        cases = [Case.of(sample) for sample in samples]
        if any(case is None for case in cases):
            return html_grid(samples)
        rows = [
            _row(sample, case)
            for sample, case in zip(samples, cases, strict=True)
            if case is not None
        ]
        head = "".join(f"<th>{name}</th>" for name in ("given", "purified", "difference", ""))
        return f"<table><tr>{head}</tr>{''.join(rows)}</table>"

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        pixels = pixels_of(model)

        def cell(state: State) -> str:
            x = tensor(state)[None]
            told = pixels.condition(1, x.device)
            data = model.decode(x, Layout.dense(1, x.shape[1:], dtype=x.dtype), told)
            return html_cell(to_pil(pixels.unit(tensor(data))[0]))

        return [[cell(frame.sample(k)) for frame in frames] for k in rows]


def _row(sample: Image.Image, case: Case) -> str:
    shown = (case.given, sample, difference(case.given, sample))
    cells = "".join(f'<td style="width:96px">{html_cell(image)}</td>' for image in shown)
    said = ""
    if case.before is not None and case.after is not None:
        said = f"{html.escape(str(case.before))} &rarr; {html.escape(str(case.after))}"
    return f"<tr>{cells}<td>{said}</td></tr>"
