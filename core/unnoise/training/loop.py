"""The loop: steps, validation, log, checkpoints, and the ways in which it ends."""

from __future__ import annotations

import math
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unnoise.denoise import Denoiser
from unnoise.errors import Cancelled, ConfigError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Objective
from unnoise.training import checkpoint as checkpoints
from unnoise.training.average import Average
from unnoise.training.data import Batches, in_order, mix
from unnoise.training.options import TrainingConfiguration
from unnoise.training.record import Record
from unnoise.training.signals import StopRequest
from unnoise.training.validate import Validation

_GO_ON, _TIME_IS_UP = 0, 1  # reasons to stop; the others are signal numbers, all larger
_COLLAPSED = 2.0**-8  # a loss scale that only a loss that is never finite can reach


class Loss(nn.Module):
    """Denoiser and objective as one module, which is what data parallelism wraps."""

    def __init__(self, denoiser: Denoiser, objective: Objective) -> None:
        super().__init__()
        self.denoiser, self.objective = denoiser, objective

    def forward(self, batch: Batch, noise: NoiseSource, scale: float) -> Tensor:
        losses = self.objective(self.denoiser, batch, noise)
        if losses.shape != (len(noise.ids),):
            raise ConfigError(
                "the objective must return one loss per sample",
                value=tuple(losses.shape),
                limit=(len(noise.ids),),
            )
        return losses.sum() * scale


@dataclass(frozen=True)
class Progress:
    """How far a run is: completed steps, seconds over all sessions, the last validation."""

    step: int
    seconds: float
    validation: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """All that a running training consists of.

    `identity` is what a checkpoint says about the run; `deliver` writes the averaged weights as a
    bundle.
    """

    folder: Path
    options: TrainingConfiguration
    accelerator: Accelerator
    loss: nn.Module
    denoiser: Denoiser
    average: Average[Denoiser]
    optimizer: Any
    batches: Batches
    validation: Validation | None
    identity: Mapping[str, Any]
    deliver: Callable[[Progress], object]


def run_steps(run: Run, progress: Progress) -> Progress:
    """Train from `progress` to the last step, or to the time limit, and return how far it came.

    Raises
    ------
    NonFiniteError : before the weights are touched by a gradient that is not finite.
    Cancelled : after SIGINT or SIGTERM, once the checkpoint is written.
    LimitExceeded, InputError : the disk refused a checkpoint or the log.
    """
    options, step = run.options, progress.step
    begun, reason = time.monotonic(), _GO_ON
    with StopRequest() as stop, _record(run, step) as record:
        meter = _Meter(run.accelerator)
        for batch in in_order(run.batches, step, options.steps, options.workers):
            loss, norm = take_step(run, step, batch)
            meter.add(loss)
            step += 1
            last = step == options.steps
            reason = _GO_ON if last else _reason(run, stop, begun)
            ending = last or reason != _GO_ON
            validating = last or step % options.validate_every == 0
            logging = ending or validating or step % options.log_every == 0
            saving = ending or step % options.checkpoint_every == 0
            if record is not None:
                record.advance(step)
            if not (logging or saving):
                continue
            mean = _finite(run, meter.mean(), step)
            validation = _validated(run, step) if validating else progress.validation
            seconds = progress.seconds + time.monotonic() - begun
            if logging:
                row = {
                    "step": step,
                    "loss": mean,
                    "learning_rate": options.learning_rate_at(step - 1),
                    "gradient_norm": norm,
                    "steps_per_second": meter.speed(),
                    "seconds": seconds,
                }
                meter = _Meter(run.accelerator)
                if record is not None:
                    record.write({**row, **validation} if validating else row)
            progress = Progress(step, progress.seconds, validation)
            if saving:
                save(run, Progress(step, seconds, validation))
            if ending:
                break
    if reason > _TIME_IS_UP:
        raise Cancelled(
            f"training stopped after step {step} with a checkpoint",
            value=signal.Signals(reason).name,
            fix="continue with resume=True",
        )
    return Progress(step, progress.seconds + time.monotonic() - begun, progress.validation)


def take_step(run: Run, step: int, batch: Batch) -> tuple[Tensor, float]:
    """One step of the optimiser; (loss of this process's share, norm of the whole gradient)."""
    options, accelerator, shard = run.options, run.accelerator, run.batches.shard
    seed_generators(mix(options.seed, step, shard.rank), accelerator.device)
    for group in run.optimizer.param_groups:
        group["lr"] = options.learning_rate_at(step)
    noise = NoiseSource(options.seed, shard.positions(step))
    # Processes are averaged, so that the sum over all of them is divided by the global batch once.
    scale = shard.processes / shard.batch_size
    loss = run.loss(batch.to(accelerator.device), noise, scale)
    accelerator.backward(loss)
    accelerator.unscale_gradients(run.optimizer)
    gradients = [p.grad for p in run.denoiser.parameters() if p.grad is not None]
    norm = _norm(gradients)
    if not math.isfinite(norm):
        _not_finite(run, loss, norm, step)
    elif options.clip_norm is not None and norm > options.clip_norm:
        torch._foreach_mul_(gradients, options.clip_norm / norm)
    # accelerate's wrapper costs 0.5 ms a call and matters only to the loss scale of fp16
    optimizer = run.optimizer.optimizer if accelerator.scaler is None else run.optimizer
    optimizer.step()
    optimizer.zero_grad()
    run.average.update(step + 1)
    return loss.detach(), norm


def save(run: Run, progress: Progress) -> None:
    """Write the checkpoint and, from its averaged weights, the bundle."""
    if run.accelerator.is_main_process:
        scaler = run.accelerator.scaler
        state = {
            **run.identity,
            "seconds": progress.seconds,
            "validation": dict(progress.validation),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        checkpoints.save(
            run.folder,
            progress.step,
            state,
            run.denoiser,
            run.average.module,
            run.optimizer.optimizer,
            run.options.keep,
        )
        run.deliver(progress)
    run.accelerator.wait_for_everyone()


def seed_generators(number: int, device: torch.device) -> None:
    """Seed the global generators, which dropout draws from (torch's own call takes 0.2 ms)."""
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


class _Meter:
    """Mean loss and speed since it was made, without waiting for the device."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._total = torch.zeros((), device=accelerator.device)
        self._count, self._since = 0, time.monotonic()

    def add(self, loss: Tensor) -> None:
        self._total += loss
        self._count += 1

    def mean(self) -> float:
        return float(self._accelerator.reduce(self._total / self._count, "mean"))

    def speed(self) -> float:
        return self._count / max(time.monotonic() - self._since, 1e-9)


def _record(run: Run, step: int) -> AbstractContextManager[Record | None]:
    if not run.accelerator.is_main_process:
        return nullcontext()
    return Record(run.folder, step, run.options.steps)


def _validated(run: Run, step: int) -> dict[str, Any]:
    return {"step": step, **(run.validation(run.average.module) if run.validation else {})}


def _norm(gradients: list[Tensor]) -> float:
    if not gradients:
        raise ConfigError("no parameter received a gradient", fix="the objective must be trainable")
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


def _reason(run: Run, stop: StopRequest, begun: float) -> int:
    """Why to stop now, the same on every process."""
    minutes = run.options.max_minutes
    late = minutes is not None and time.monotonic() - begun > 60 * minutes
    reason = max(stop.number, _TIME_IS_UP if late else _GO_ON)
    if run.accelerator.num_processes > 1:
        mine = torch.tensor([reason], device=run.accelerator.device)
        reason = int(run.accelerator.gather(mine).max())
    return reason


def _not_finite(run: Run, loss: Tensor, norm: float, step: int) -> None:
    # With fp16 an overflow now and then is how the loss scale is found: the scaler skips the step.
    scaler = run.accelerator.scaler
    if scaler is None or scaler.get_scale() < _COLLAPSED:
        value = float(loss.detach())
        what = "gradient norm" if math.isfinite(value) else "loss"
        _give_up(run, what, norm if math.isfinite(value) else value, step + 1)


def _finite(run: Run, mean: float, step: int) -> float:
    if not math.isfinite(mean):
        _give_up(run, "loss", mean, step)
    return mean


def _give_up(run: Run, what: str, value: float, step: int) -> None:
    rate = run.options.learning_rate_at(step - 1)
    good = checkpoints.latest(run.folder)
    kept = f"the last good checkpoint is {str(good.folder)!r}" if good else "no checkpoint yet"
    raise NonFiniteError(
        f"the {what} became {value} at step {step} with learning rate {rate:.3g}; {kept}",
        value=value,
        limit="finite",
        fix="lower learning_rate or clip_norm, or look at the data of that step",
    )
