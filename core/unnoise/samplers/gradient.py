"""What a walk remembers for its gradient.

A walk of N steps is a chain of evaluations of a network and of a few sums between them. A gradient
through it needs the activations of every evaluation, A bytes each, beside the states, S bytes each:
N (A + S), and A is some hundred S. `Checkpointed` keeps the states that a network was asked about
and no activations; the backward pass evaluates a segment of k evaluations again when it comes
there, so that N S + k A bytes do, for the time of one more forward pass (Chen 2016).

Nothing but evaluations is made again. Noise is drawn once, the sampler's history is there once, and
the derivative is the same number, whatever sampler and segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import final
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import get_device_states, set_device_states

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import ConfigError
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import Layout, State, Time


class Memory(ABC):
    """What a walk keeps for the backward pass."""

    @abstractmethod
    def over(self, run: Diffusion) -> Diffusion:
        """The run, with its evaluations remembered in this way."""


@final
@dataclass(frozen=True)
class Plain(Memory):
    """Everything, as autograd does it."""

    def over(self, run: Diffusion) -> Diffusion:
        return run


@final
@dataclass(frozen=True)
class Checkpointed(Memory):
    """The states that the network was asked about; activations are computed again, once, for
    `segment` evaluations at a time. 1 needs the least memory.

    Evaluations that are made again are not counted in the run. A state that was asked about must
    not be overwritten, and the network must compute the same again; global random numbers (dropout)
    and autocast are as they were.
    """

    segment: int = 1

    def __post_init__(self) -> None:
        if self.segment < 1:
            raise ConfigError("a segment has at least one evaluation", value=self.segment)

    def over(self, run: Diffusion) -> Diffusion:
        return run.replace(denoiser=_Recomputed(run.denoiser, self.segment))


@final
class _Recomputed(Denoiser):
    """A denoiser whose activations are not kept."""

    def __init__(self, denoiser: Denoiser, length: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.kernel = denoiser.kernel
        self.length = length
        self.segment = _Segment()

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        if not torch.is_grad_enabled():
            return self.denoiser(x_t, t, layout, condition)
        if len(self.segment.evaluations) == self.length:
            self.segment = _Segment()
        evaluation = _Evaluation(self.denoiser, x_t, t, layout, condition)
        with self.segment.remembering(evaluation):
            return self.denoiser(x_t, t, layout, condition)


class _Saved:
    """What stands in the graph for a tensor that is not kept. While the graph holds it, it is the
    key to the tensor once that was computed again."""

    def __init__(self, segment: _Segment, evaluation: _Evaluation) -> None:
        self.segment, self.evaluation = segment, evaluation


def _apart(x: Tensor) -> Tensor:
    """The same memory in a graph of its own."""
    return x.detach().requires_grad_(x.requires_grad)


def _all_apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _apart(x) for name, x in tensors.items()}


class _Evaluation:
    """One call of a denoiser, to be made again as it was made first."""

    def __init__(
        self, denoiser: Denoiser, x_t: State, t: Time, layout: Layout, condition: Condition
    ) -> None:
        self.denoiser = denoiser
        # without the graph that they come from, which holds this evaluation: not a circle
        self.x_t = _apart(x_t) if isinstance(x_t, Tensor) else _all_apart(x_t)
        self.rest = (t, layout, None if condition is None else _all_apart(condition))
        self.states = [self.x_t] if isinstance(self.x_t, Tensor) else list(self.x_t.values())
        self.versions = [x._version for x in self.states]
        self.random = torch.get_rng_state(), get_device_states(*self.states)
        kind = layout.device.type
        self.autocast = torch.autocast(
            kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        )
        self.saved: list[tuple[ReferenceType[_Saved], torch.Size, torch.dtype]] = []
        self.done = False

    def again(self, keep: WeakKeyDictionary[_Saved, Tensor]) -> None:
        """Put into `keep` what the graph has places for."""
        if [x._version for x in self.states] != self.versions:
            raise ConfigError(
                "a state was overwritten after the network was asked about it",
                fix="let samplers make new tensors, or walk with Plain()",
            )
        count = 0

        def pack(x: Tensor) -> Tensor:
            nonlocal count
            value = x.detach()
            if count < len(self.saved):
                place, shape, dtype = self.saved[count]
                if (x.shape, x.dtype) != (shape, dtype):
                    raise _other(self.denoiser)
                if (held := place()) is not None:
                    keep[held] = value
            count += 1
            return value

        cpu, (devices, states) = self.random
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices))
            torch.set_rng_state(cpu)
            set_device_states(devices, states)
            stack.enter_context(torch.enable_grad())
            stack.enter_context(self.autocast)
            stack.enter_context(saved_tensors_hooks(pack, lambda x: x))
            self.denoiser(self.x_t, *self.rest)
        if self.done and count != len(self.saved):
            raise _other(self.denoiser)


class _Segment:
    """Evaluations that are made again together."""

    def __init__(self) -> None:
        self.evaluations: list[_Evaluation] = []
        self.tensors: WeakKeyDictionary[_Saved, Tensor] = WeakKeyDictionary()

    @contextmanager
    def remembering(self, evaluation: _Evaluation) -> Iterator[None]:
        """What is evaluated inside keeps nothing."""

        def pack(x: Tensor) -> _Saved:
            saved = _Saved(self, evaluation)
            evaluation.saved.append((ref(saved), x.shape, x.dtype))
            return saved

        self.evaluations.append(evaluation)
        with saved_tensors_hooks(pack, self.unpack):
            yield
        evaluation.done = True
        self.tensors.clear()  # of a gradient inside of the evaluation

    def unpack(self, saved: _Saved) -> Tensor:
        if saved not in self.tensors:
            own = saved.evaluation
            for evaluation in self.evaluations if own.done else [own]:
                if evaluation.done or evaluation is own:
                    evaluation.again(self.tensors)
        return self.tensors[saved]


def _other(denoiser: Denoiser) -> ConfigError:
    return ConfigError(
        "the network computes something else when it is evaluated again",
        value=type(denoiser).__name__,
        fix="walk with Plain()",
    )
