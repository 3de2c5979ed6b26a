"""What can be chosen about a training run, and how keywords become a checked configuration."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from unnoise.objectives import Elapsed
from unnoise.specs import Only

C = TypeVar("C", bound=BaseModel)
Rate = Annotated[float, Field(ge=0, lt=1)]

# What may change between a checkpoint and its continuation without changing the weights.
_FREE = {
    "checkpoint_every",
    "keep",
    "log_every",
    "quiet",
    "validate_every",
    "validation_batches",
    "bound_samples",
    "bound_evaluations",
    "samples_every",
    "workers",
    "max_minutes",
    "resume",
    "device",
    "threads",
    "card",
}


class TrainingConfiguration(BaseModel):
    """The options of the trainer; all others of `unnoise.train` belong to the domain."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(
        10_000,
        ge=1,
        le=10**9,
        description="optimiser steps in total; a run that is resumed may take more than planned",
    )
    batch_size: int = Field(
        128, ge=1, le=10**6, description="samples per step, over all processes together"
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=10**4,
        description="parts of a batch that are worked on one after the other, for less memory; the"
        " gradient is that of the whole batch",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon steps the weights of linear layers along orthogonal matrices, scaled to"
        " the learning rate of AdamW, which takes all others",
    )
    learning_rate: float = Field(3e-4, gt=0, le=10, description="peak learning rate")
    betas: tuple[Rate, Rate] = Field((0.9, 0.999), description="AdamW's two decay rates")
    weight_decay: float = Field(
        0.0, ge=0, le=10, description="decoupled weight decay, on tensors of two or more dimensions"
    )
    warmup: int = Field(
        100, ge=0, le=10**9, description="steps over which the learning rate rises linearly"
    )
    decay: Literal["none", "cosine", "linear"] = Field(
        "cosine", description="how the learning rate falls from the warm-up to the last step"
    )
    floor: Annotated[float, Only("decay", ("cosine", "linear"))] = Field(
        0.0, ge=0, le=1, description="where the decay ends, as a fraction of learning_rate"
    )
    ema: Rate = Field(
        0.999, description="decay of the averaged weights; at step n it is min(ema, (1+n)/(10+n))"
    )
    clip_norm: float | None = Field(
        1.0, gt=0, description="largest norm of the whole gradient; None for no clipping"
    )
    precision: Literal["no", "bf16", "fp16"] = Field("no", description="mixed precision")
    seed: int = Field(0, ge=0, lt=2**63, description="of weights, data order, noise and dropout")
    checkpoint_every: int = Field(1000, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, le=10**6, description="number of newest checkpoints to keep")
    log_every: int = Field(50, ge=1, description="steps between lines of the log")
    quiet: bool = Field(False, description="write nothing on the terminal")
    validate_every: int = Field(1000, ge=1, description="steps between validations")
    validation_batches: int = Field(
        4, ge=0, le=10**6, description="batches of the validation loss; 0 for no validation"
    )
    bound_samples: int = Field(
        16, ge=0, le=10**6, description="validation samples whose variational bound is computed"
    )
    bound_evaluations: int = Field(
        25, ge=1, le=10**5, description="times at which that bound calls the network"
    )
    samples_every: int = Field(
        1000,
        ge=0,
        description="steps between samples of the averaged weights, written into OUT/samples; 0 for"
        " none",
    )
    workers: int = Field(0, ge=0, le=256, description="processes that load data; 0 loads in line")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="the run's time, over all its sessions: it ends then if not before, and the"
        " learning rate falls by the clock where that is ahead of the steps",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="processor threads of the networks' operations; by default 1 for small steps,"
        " where more would wait for each other, else as set",
    )
    resume: bool = Field(False, description="continue the run in `out` if there is one")
    device: Literal["auto", "cpu"] = Field("auto", description="auto takes an accelerator")
    card: dict[str, str] = Field(
        default_factory=dict,
        description="texts for the bundle's card, each with a name: card.licence MIT",
    )

    def time_used(self, seconds: float) -> float:
        """The part of the run's time that is used after `seconds`, at most 1; 0 without a limit."""
        return 0.0 if self.max_minutes is None else min(1.0, seconds / (60 * self.max_minutes))

    def elapsed(self, step: int, clock: float = 0.0) -> Elapsed:
        """How much of the run is done before the step with number `step` (0 is the first): the part
        of the steps, or that of the time, `clock`, if it is larger."""
        return Elapsed(step, self.steps, max(step / self.steps, clock))

    def learning_rate_at(self, step: int, clock: float = 0.0) -> float:
        """Learning rate of the step with number `step` (0 is the first): a linear rise over
        `warmup` steps, times a fall from there to the end of the run, of its steps or of its time.
        """
        rate = self.learning_rate
        if step < self.warmup:
            rate = rate * (step + 1) / self.warmup
        at = max(step, clock * self.steps)
        if self.decay == "none" or at < self.warmup:
            return rate
        done = (at - self.warmup) / max(1, self.steps - self.warmup)
        shape = (1 + math.cos(math.pi * done)) / 2 if self.decay == "cosine" else 1 - done
        return rate * (self.floor + (1 - self.floor) * shape)

    def decisive(self) -> dict[str, Any]:
        """The options that decide the weights: a continued run must repeat them."""
        return self.model_dump(mode="json", exclude=_FREE)
