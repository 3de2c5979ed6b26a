"""The loop: steps, validation, log, checkpoints, and the ways in which it ends."""

from __future__ import annotations

import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from unnoise.errors import Cancelled
from unnoise.training import checkpoint as checkpoints
from unnoise.training.data import in_order
from unnoise.training.record import Record
from unnoise.training.signals import StopRequest
from unnoise.training.step import Run, Standing, Taken, give_up, take_step

_GO_ON, _TIME_IS_UP = 0, 1  # reasons to stop; the others are signal numbers, all larger


def run_steps(run: Run, standing: Standing) -> Standing:
    """Train from `standing` to the last step, or to the end of the time, and return how far it
    came.

    Raises
    ------
    NonFiniteError : before the weights are touched by a gradient that is not finite.
    Cancelled : after SIGINT or SIGTERM, once the checkpoint is written.
    LimitExceeded, InputError : the disk refused a checkpoint or the log.
    """
    options, step, watch = run.options, standing.step, _Watch(run, standing.seconds)
    reason = _GO_ON
    if watch.used >= 1:
        return standing
    with StopRequest() as stop, _record(run, step) as record:
        if run.samples.due(step):
            _drawn(run, run.samples.complete, step, stop)
        meter = _Meter(run.accelerator)
        for batches in in_order(run.parts, step, options.steps, options.workers):
            clock = watch.used
            meter.add(take_step(run, step, batches, clock))
            step += 1
            last = step == options.steps
            reason = _GO_ON if last else watch.reason(stop)
            ending = last or reason != _GO_ON
            validating = last or step % options.validate_every == 0
            drawing = run.samples.due(step)
            logging = ending or validating or drawing or step % options.log_every == 0
            saving = ending or step % options.checkpoint_every == 0
            if record is not None:
                record.advance(step)
            if not (logging or saving):
                continue
            numbers = meter.numbers(run)
            if not math.isfinite(numbers["loss"]):
                give_up(run, "loss", numbers["loss"], step, clock)
            validation = _validated(run, step, clock) if validating else standing.validation
            if logging:
                row = {
                    "step": step,
                    "learning_rate": options.learning_rate_at(step - 1, clock),
                    **numbers,
                    "steps_per_second": meter.speed(),
                    "seconds": watch.seconds(),
                }
                meter = _Meter(run.accelerator)
                if record is not None:
                    record.write({**row, **validation} if validating else row)
            standing = Standing(step, watch.seconds(), validation)
            if saving:
                save(run, standing)
            if drawing and reason == _GO_ON:
                # after the checkpoint, which is not lost when a library ends the process
                _drawn(run, run.samples.draw, step, stop)
            if ending:
                break
    if reason > _TIME_IS_UP:
        raise Cancelled(
            f"training stopped after step {step} with a checkpoint",
            value=signal.Signals(reason).name,
            fix="continue with resume=True",
        )
    return replace(standing, seconds=watch.seconds())


def _drawn(
    run: Run, draw: Callable[[int, Callable[[], bool]], None], step: int, stop: StopRequest
) -> None:
    if run.accelerator.is_main_process:
        draw(step, lambda: stop.number != 0)
    run.accelerator.wait_for_everyone()


def save(run: Run, standing: Standing) -> None:
    """Write the checkpoint and, from its averaged weights, the bundle."""
    if run.accelerator.is_main_process:
        scaler = run.accelerator.scaler
        clock = run.options.time_used(standing.seconds)
        state = {
            **run.identity,
            "seconds": standing.seconds,
            "progress": float(run.options.elapsed(standing.step, clock)),
            "validation": dict(standing.validation),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        checkpoints.save(
            run.folder,
            standing.step,
            state,
            run.networks,
            run.average.module,
            [(turn.parameters, turn.optimizer.optimizer) for turn in run.turns],
            run.options.keep,
        )
        run.deliver(standing)
    run.accelerator.wait_for_everyone()


class _Watch:
    """The time of a run over all its sessions, and the reasons to stop; every process sees the
    same."""

    def __init__(self, run: Run, seconds: float) -> None:
        self._run, self._before, self._begun = run, seconds, time.monotonic()
        self.used = run.options.time_used(seconds)

    def seconds(self) -> float:
        """Of all sessions together."""
        return self._before + time.monotonic() - self._begun

    def reason(self, stop: StopRequest) -> int:
        """Why to stop now; `used` becomes the part of the time that is used."""
        self.used = self._run.options.time_used(self.seconds())
        reason = max(stop.number, _TIME_IS_UP if self.used >= 1 else _GO_ON)
        accelerator = self._run.accelerator
        if accelerator.num_processes > 1:
            mine = torch.tensor([[float(reason), self.used]], device=accelerator.device)
            reason_of_all, self.used = accelerator.gather(mine).amax(0).tolist()
            return int(reason_of_all)
        return reason


class _Meter:
    """Mean losses and speed since it was made, without waiting for the device."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._zero = torch.zeros((), device=accelerator.device)
        self._totals: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._steps, self._since = 0, time.monotonic()

    def add(self, taken: Mapping[str, Taken]) -> None:
        for label, one in taken.items():
            self._totals[label] = self._totals.get(label, self._zero) + one.loss
            self._norms[label] = one.norm
            self._counts[label] += 1
        self._steps += 1

    def numbers(self, run: Run) -> dict[str, float]:
        """Loss and norm of the gradient of each turn that was taken, as the log calls them."""
        found = {}
        for turn in run.turns:
            if count := self._counts[turn.label]:
                mean = run.accelerator.reduce(self._totals[turn.label] / count, "mean")
                found[turn.about("loss")] = float(mean)
                found[turn.about("gradient_norm")] = self._norms[turn.label]
        return found

    def speed(self) -> float:
        return self._steps / max(time.monotonic() - self._since, 1e-9)


def _record(run: Run, step: int) -> AbstractContextManager[Record | None]:
    if not run.accelerator.is_main_process:
        return nullcontext()
    return Record(run.folder, step, run.options.steps, quiet=run.options.quiet)


def _validated(run: Run, step: int, clock: float) -> dict[str, Any]:
    if run.validation is None:
        return {"step": step}
    progress = run.options.elapsed(step, clock)
    return {"step": step, **run.validation(run.average.module, progress)}
