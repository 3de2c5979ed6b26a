"""Train an objective of two turns in child processes that are killed with SIGKILL at random times,
until one gets through.

    python training_kills.py FOLDER KILLS SEED

Writes FOLDER/whole (never disturbed) and FOLDER/killed, and prints what happened as JSON. The
children are forked from this process, so that each starts at once: it imports, but never computes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import torch._dynamo  # an optimiser imports it: seconds, once here and not in each child
from training_toy import Toy
from training_turns import Duel

with contextlib.suppress(ImportError):
    import torch.utils.tensorboard  # noqa: F401

from unnoise.training import checkpoint as checkpoints
from unnoise.training.train import train

OPTIONS = {
    "steps": 60,
    "batch_size": 6,
    "learning_rate": 1e-2,
    "checkpoint_every": 3,
    "log_every": 7,
    "validate_every": 20,
    "samples_every": 6,
    "validation_batches": 1,
    "bound_evaluations": 1,
    "width": 8,
    "dropout": 0.3,
}


def start(out: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        train(Toy(), 0.0, out, **OPTIONS, objective=Duel(), resume=True)
        status = 0
    finally:
        os._exit(status)


def ended(child: int, within: float) -> bool:
    """Whether the child ends by itself within so many seconds; it must then have succeeded."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0, f"a training process ended with {status}"
            return True
        time.sleep(0.001)
    return False


def main(folder: Path, kills: int, seed: int) -> None:
    whole, out = folder / "whole", folder / "killed"
    begun = time.monotonic()
    assert ended(start(whole), 600)
    seconds = time.monotonic() - begun
    chance = random.Random(seed)
    resumed = []
    done = 0
    while done < kills:
        child = start(out)
        # on average the killed children get through the run together
        if ended(child, chance.uniform(0, 2.5 * seconds / kills)):
            shutil.rmtree(out)
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1
        good = checkpoints.latest(out)
        resumed.append(good.step if good else 0)
    leftovers = len(list(out.rglob(".tmp-*")))
    assert ended(start(out), 600)
    print(json.dumps({"kills": done, "resumed": resumed, "leftovers": leftovers}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
