"""Distill in child processes that kill themselves with SIGKILL, until one gets through.

    python distillation_kills.py FOLDER STEPS...

Each number is after how many optimiser steps a child dies. Writes FOLDER/whole (never disturbed)
and FOLDER/killed. The children are forked from this process: it imports, but never computes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import torch
import torch._dynamo  # an optimiser imports it: seconds, once here and not in each child
from training_toy import Configuration, Toy

with contextlib.suppress(ImportError):
    import torch.utils.tensorboard

from unnoise.model import Model
from unnoise.training import loop
from unnoise.training.distill import distill

OPTIONS = {
    "steps": 5,
    "growth": 1.4,
    "batch_size": 6,
    "checkpoint_every": 3,
    "log_every": 2,
    "validation_batches": 0,
    "bound_samples": 0,
}


def run(out: Path, death: int | None) -> int:
    """The wait status of a child that distills, and dies when it begins step `death` of its own."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status, done, step = 1, 0, loop.take_step

    def counted(*arguments):
        nonlocal done
        if done == death:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return step(*arguments)

    loop.take_step = counted
    try:
        torch.manual_seed(0)
        teacher = Model(Toy(), Toy().build(Configuration()), Configuration())
        distill(Toy(), 0.0, out, model=teacher, to_steps=2, from_steps=8, resume=True, **OPTIONS)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert run(folder / "whole", None) == 0
    for number in sys.argv[2:]:
        assert os.WTERMSIG(run(folder / "killed", int(number))) == signal.SIGKILL
    assert run(folder / "killed", None) == 0
