"""What a model in training makes, so that one sees or hears how far it is.

    out/samples/step-00001000/    the samples of `Trainable.trial` as `generate` writes them, and
                                  preview.html, what `Display` shows of them

They are drawn with the averaged weights, always with the same noise, so that steps compare. Nothing
of the run depends on them: not its bytes, and not its end when they cannot be drawn.
"""

from __future__ import annotations

import html
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from torch.utils.data import Dataset

from unnoise.discovery.domains import trial_of
from unnoise.engine.output import Output
from unnoise.errors import Cancelled
from unnoise.model import Model
from unnoise.storage.files import new_folder, write_file

PREVIEW = "preview.html"


def folder_of(run: Path) -> Path:
    """Where the run in `run` keeps its samples."""
    return run / "samples"


@final
@dataclass(frozen=True, eq=False)
class Samples:
    """Draws and writes the samples of a step."""

    folder: Path
    model: Model
    held_out: Dataset[Any]
    device: str
    every: int

    def due(self, step: int) -> bool:
        """Whether samples belong to this step."""
        return self.every > 0 and step > 0 and step % self.every == 0

    def complete(self, step: int, stopped: Callable[[], bool]) -> None:
        """As `draw`, where a kill came between the checkpoint and the samples of its step."""
        if not self._of(step).exists():
            self.draw(step, stopped)

    def draw(self, step: int, stopped: Callable[[], bool]) -> None:
        """Write those of `step`, in the place of older ones. `stopped` is asked between the steps
        of a sampler. What goes wrong is a warning."""

        def go_on(at: object) -> None:
            if stopped():
                raise Cancelled("the run is stopped")

        try:
            model = replace(self.model, hash=f"step {step}")
            request = trial_of(model.domain, model.configuration, self.held_out)
            if request is None:
                return
            out = model.generate(**{"device": self.device, **request, "callback": go_on})
            self._write(out, step)
        except Cancelled:
            return
        except Exception as error:
            # whatever a domain, a library or the disk says: hours of training go on
            warnings.warn(
                f"samples of a model in training could not be drawn, and training goes on:"
                f" {type(error).__name__}: {error}; pass samples_every=0 for none",
                RuntimeWarning,
                stacklevel=2,
            )

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _write(self, out: Output, step: int) -> None:
        target = self._of(step)
        self.folder.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        with new_folder(target) as temporary:
            out.save(temporary)
            shown = out.domain.display.preview(out.samples)
            title = html.escape(f"{out.domain.name}, step {step}")
            page = f"<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n{shown}\n"
            write_file(temporary / PREVIEW, page.encode())
