"""One step of a run: each turn whose time it is, one after the other, on the same batch."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Networks
from unnoise.training import checkpoint as checkpoints
from unnoise.training.average import Average
from unnoise.training.data import Batches, Shard, mix
from unnoise.training.options import TrainingConfiguration
from unnoise.training.samples import Samples
from unnoise.training.turns import Optimised
from unnoise.training.validate import Validation

_COLLAPSED = 2.0**-8  # a loss scale that only a loss that is never finite can reach


@dataclass(frozen=True)
class Standing:
    """How far a run is: completed steps, seconds over all sessions, the last validation."""

    step: int
    seconds: float
    validation: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """All that a running training consists of.

    `parts` are what this process works on one after the other, which make one batch; `samples`
    draws what shows how far it is; `identity` is what a checkpoint says about the run;
    `deliver` writes the averaged weights as a bundle.
    """

    folder: Path
    options: TrainingConfiguration
    accelerator: Accelerator
    loss: nn.Module
    networks: Networks
    average: Average[Networks]
    turns: Sequence[Optimised]
    parts: Sequence[Batches]
    validation: Validation | None
    samples: Samples
    identity: Mapping[str, Any]
    deliver: Callable[[Standing], object]


class Taken(NamedTuple):
    """Of a turn: this process's share of the loss, and the norm of the whole gradient."""

    loss: Tensor
    norm: float


def seed_generators(number: int, device: torch.device) -> None:
    """Seed the global generators, which dropout draws from (torch's own call takes 0.2 ms)."""
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


@contextmanager
def moving(turn: Optimised) -> Iterator[None]:
    """While entered, only the parameters of `turn` have gradients."""
    for parameter in turn.others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in turn.others:
            parameter.requires_grad_(True)


def sum_of_weights(batches: Sequence[Batch], accelerator: Accelerator) -> float:
    """Of the batches of all processes together; InputError when nothing counts."""
    own = 0.0
    for batch in batches:
        weight = batch.weight
        own += batch.layout.batch if weight is None else float(weight.double().sum())
    if accelerator.num_processes > 1:
        mine = torch.tensor([own], dtype=torch.float64, device=accelerator.device)
        own = float(accelerator.reduce(mine, "sum"))
    if not own > 0:
        raise InputError("all samples of a step have the weight 0", value=own, limit="> 0")
    return own


def take_step(
    run: Run, step: int, batches: Sequence[Batch], clock: float = 0.0
) -> dict[str, Taken]:
    """The turns of one step, by their labels, on the parts of its batch. `clock` is the part of the
    run's time that is used.

    Raises
    ------
    NonFiniteError : before the weights are touched by a gradient that is not finite.
    """
    accelerator = run.accelerator
    progress = run.options.elapsed(step, clock)
    # Processes are averaged, so that the sum over all of them is divided by all weights once.
    scale = accelerator.num_processes / sum_of_weights(batches, accelerator)
    moved = [batch.to(accelerator.device) for batch in batches]
    found = {}
    for number, turn in enumerate(run.turns):
        if step % turn.turn.every == 0:
            total = torch.zeros((), device=accelerator.device)
            for part, batch in zip(run.parts, moved, strict=True):
                noise = _randomness(run, number, step, part.shard)
                with moving(turn):
                    loss = run.loss(number, batch, noise, progress, scale)
                    accelerator.backward(loss)
                total += loss.detach()
            found[turn.label] = _descend(run, turn, total, step, clock)
    run.average.update(step + 1)
    return found


def _randomness(run: Run, number: int, step: int, shard: Shard) -> NoiseSource:
    """Of turn `number`, which the turns before it do not change, and a part of the batch."""
    seed = run.options.seed
    own = (number,) if number else ()
    seed_generators(mix(seed, step, shard.rank, *own), run.accelerator.device)
    return NoiseSource(mix(seed, *own) if own else seed, shard.positions(step))


def _descend(run: Run, turn: Optimised, loss: Tensor, step: int, clock: float) -> Taken:
    """Move the parameters of a turn along their gradients."""
    accelerator, options = run.accelerator, turn.options
    accelerator.unscale_gradients(turn.optimizer)
    gradients = [p.grad for p in turn.parameters.values() if p.grad is not None]
    norm = _norm(gradients)
    if not math.isfinite(norm):
        _not_finite(run, turn, loss, norm, step, clock)
    elif options.clip_norm is not None and norm > options.clip_norm:
        torch._foreach_mul_(gradients, options.clip_norm / norm)
    # accelerate's wrapper costs 0.5 ms a call and matters only to the loss scale of fp16
    optimizer = turn.optimizer.optimizer if accelerator.scaler is None else turn.optimizer
    rate = options.learning_rate_at(step, clock)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    optimizer.step()
    optimizer.zero_grad()
    return Taken(loss.detach(), norm)


def _norm(gradients: list[Tensor]) -> float:
    if not gradients:
        raise ConfigError("no parameter received a gradient", fix="the objective must be trainable")
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


def _not_finite(
    run: Run, turn: Optimised, loss: Tensor, norm: float, step: int, clock: float
) -> None:
    # With fp16 an overflow now and then is how the loss scale is found: the scaler skips the step.
    scaler = run.accelerator.scaler
    if scaler is None or scaler.get_scale() < _COLLAPSED:
        value = float(loss.detach())
        what = "gradient norm" if math.isfinite(value) else "loss"
        give_up(run, turn.about(what), norm if math.isfinite(value) else value, step + 1, clock)


def give_up(run: Run, what: str, value: float, step: int, clock: float) -> NoReturn:
    """Raise the NonFiniteError of a number that became `value` after `step` steps."""
    rate = run.options.learning_rate_at(step - 1, clock)
    good = checkpoints.latest(run.folder)
    kept = f"the last good checkpoint is {str(good.folder)!r}" if good else "no checkpoint yet"
    raise NonFiniteError(
        f"the {what} became {value} at step {step} with learning rate {rate:.3g}; {kept}",
        value=value,
        limit="finite",
        fix="lower learning_rate or clip_norm, or look at the data of that step",
    )
