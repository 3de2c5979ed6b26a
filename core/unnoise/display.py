"""How a domain shows itself: on a page, in a terminal, and in the files of a finished request."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, final

from unnoise.spaces import State
from unnoise.trajectory import Frame

M = TypeVar("M", contravariant=True)
"""What the domain's plans run on, `unnoise.domain.Trained`."""


class Display(ABC, Generic[M]):
    """What a domain shows of samples and of the way to them.

    HTML fragments are self-contained: no scripts, no addresses except `data:`, text escaped, every
    element closed, and no colours that need a light page.

    Attributes
    ----------
    strip : how a page lays out a trajectory: moments side by side, or one below the other.
    look : what to look at in the demo's samples and their way, in a sentence; plain text, or "".
    """

    strip: ClassVar[Literal["across", "down"]] = "across"
    look: ClassVar[str] = ""

    @abstractmethod
    def preview(self, samples: Sequence[Any]) -> str:
        """An HTML fragment that shows the samples."""

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: M
    ) -> Sequence[Sequence[str]]:
        """HTML fragments of a few moments on the way from noise to data: for each sample whose
        place in the batch is in `rows`, one fragment per frame. Nothing when there is none.

        The page writes the time beside each moment; fragments fill the width they are given.
        """
        return []

    def terminal(self, state: State, model: M) -> str:
        """The first sample of a batch of states as text, for those who watch it in a terminal;
        empty where there is nothing to see."""
        return ""

    def gather(self, groups: Sequence[Sequence[Path]], folder: Path) -> Sequence[Path]:
        """What is done with the files of a finished request, one list for each of its inputs, in
        order: a domain may put files in `folder` that belong together into one, and return
        that. By default they stay as they are."""
        return [path for group in groups for path in group]


@final
class Listed(Display[object]):
    """A list of the samples as text: for a domain that has no better way yet."""

    def preview(self, samples: Sequence[Any]) -> str:
        return f"<ul>{''.join(f'<li>{html.escape(str(s))}</li>' for s in samples)}</ul>"
