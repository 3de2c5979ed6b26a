"""Train as one of several processes: python training_pair.py FOLDER.

FOLDER/run is a whole run. FOLDER/stopped is stopped by a signal that only the last process gets.
FOLDER/turns is of an objective of two turns, on samples that count differently.
FOLDER/threads-RANK lists the threads (on Linux) at the very end.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from torch import Tensor, nn
from training_toy import Toy
from training_turns import Duel, critic

from unnoise.errors import Cancelled
from unnoise.objectives import Batch, Objective, Simple
from unnoise.training.train import train

OPTIONS = {
    "steps": 20,
    "batch_size": 7,  # which two processes cannot halve
    "learning_rate": 1e-2,
    "warmup": 5,
    "checkpoint_every": 8,
    "log_every": 5,
    "validate_every": 10,
    "bound_evaluations": 2,
    "width": 16,
}


class Stopping(Objective):
    """Sends this process, when it is the last one, SIGTERM in the middle of step `at`."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        if noise.ids[-1] == 7 * self.at - 1:
            signal.raise_signal(signal.SIGTERM)
        return Simple()(denoiser, batch, noise)


def duel() -> Duel:
    """Without dropout, which each process draws for itself."""
    return Duel(critic(0.0))


class Weighing(Toy):
    """Weights that the two processes have unequal sums of."""

    def collate(self, items: list[tuple[Tensor, int]]) -> Batch:
        batch = super().collate(items)
        return replace(batch, weight=batch.x0[:, 0].clamp(min=0) ** 2)


def threads() -> list[str]:
    """The names of this process's threads; none where the system does not list them."""
    tasks = Path("/proc/self/task")
    return [(task / "comm").read_text().strip() for task in tasks.glob("*")]


def main(folder: Path) -> None:
    rank = os.environ.get("RANK", "0")
    # Registered first, it runs last.
    atexit.register(lambda: (folder / f"threads-{rank}").write_text("\n".join(threads())))
    model = train(Toy(), 0.0, folder / "run", **OPTIONS)
    (folder / f"hash-{rank}").write_text(model.hash)
    try:
        train(Toy(), 0.0, folder / "stopped", **OPTIONS, objective=Stopping(6))
    except Cancelled as error:
        (folder / f"stopped-{rank}").write_text(str(error.value))
    train(Toy(), 0.0, folder / "stopped", **OPTIONS, objective=Stopping(-1), resume=True)
    # A thread that waits for the interpreter now waits for its end, unless the thread is ended.
    sys.setswitchinterval(1000)
    train(Weighing(), 0.0, folder / "turns", **OPTIONS, objective=duel())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
