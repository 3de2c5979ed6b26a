"""What a run tells: `log.jsonl`, TensorBoard where it is installed, and a progress bar or lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from unnoise.storage.files import disk_errors, replace_file

LOG = "log.jsonl"
Row = Mapping[str, float | int | None]


def rows(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's log; a last line that a kill cut short is left out."""
    path = run / LOG
    found = []
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def truncate(run: Path, step: int) -> None:
    """Forget what the log says about steps after `step`: a resumed run writes them again."""
    if (run / LOG).is_file():
        kept = [json.dumps(row) + "\n" for row in rows(run) if row["step"] <= step]
        replace_file(run / LOG, "".join(kept).encode())


class Record:
    """Writes rows about steps. Use as a context manager; only the main process has one."""

    def __init__(self, run: Path, start: int, steps: int, quiet: bool = False) -> None:
        self._steps, self._start, self._begun = steps, start, time.monotonic()
        with disk_errors("opening the log"):
            self._file = open(run / LOG, "a", encoding="utf-8")  # noqa: SIM115 (see __exit__)
            self._board = _board(run, start)
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        if self._console.is_terminal and not quiet:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}  {task.fields[speed]} steps/s"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task(
                "training", total=steps, completed=start, loss="-", speed="-"
            )

    def __enter__(self) -> Record:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._board is not None:
            self._board.close()
        self._file.close()

    def advance(self, step: int) -> None:
        """`step` steps are done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=step)

    def write(self, row: Row) -> None:
        """One row: `step` and numbers (None where there is no number)."""
        step = int(row["step"] or 0)
        with disk_errors("writing the log", "continue with resume=True"):
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
            if self._board is not None:
                for name, value in row.items():
                    if value is not None and name != "step":
                        self._board.add_scalar(name, value, step)
        if self._progress is not None:
            speed = f"{row['steps_per_second']:.2f}"
            self._progress.update(self._task, completed=step, loss=_losses(row), speed=speed)
        else:
            self._console.print(self._line(row, step), soft_wrap=True)

    def _line(self, row: Row, step: int) -> str:
        done = max(1, step - self._start)
        left = (time.monotonic() - self._begun) / done * (self._steps - step)
        parts = [f"step {step}/{self._steps}", f"loss {_losses(row)}"]
        if row.get("validation_loss") is not None:
            parts.append(f"validation {row['validation_loss']:.4f}")
        if row.get("bound") is not None:
            parts.append(f"bound {row['bound']:.2f} nats")
        parts.append(f"{row['steps_per_second']:.2f} steps/s")
        parts.append(f"{int(left // 60)} min {int(left % 60)} s left")
        return "  ".join(parts)


def _losses(row: Row) -> str:
    """The run's loss, and those of its other turns with their names."""
    found = [f"{row['loss']:.4f}"]
    for name, value in row.items():
        if name.startswith("loss/") and value is not None:
            found.append(f"{name.removeprefix('loss/')} {value:.4f}")
    return "  ".join(found)


def _board(run: Path, start: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
