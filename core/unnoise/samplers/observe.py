"""Where a run starts, and what is known of its result: inpainting, infilling, imputation, editing.

Replacement and RePaint work with every kernel: the known part of a state at time t is a draw of
its own marginal, and RePaint's jumps are draws of the kernel's transition. Reveal is for absorbing
kernels: known tokens are never hidden.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import Absorbing, ProductKernel, TransitionKernel, corruption_of
from unnoise.noise import NoiseSource
from unnoise.samplers.base import Sampler, Step, Times
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.gradient import Memory, Plain
from unnoise.spaces import DataSpace, Layout, ProductSpace, State, Tokens, parts, tensor


@final
@dataclass(frozen=True, eq=False)
class Start:
    """Start half-way: from clean `value` diffused to time t, or from a state that is already there.

    Attributes
    ----------
    value : a state.
    t : in (0, 1].
    corrupt : draw x_t from the marginal of clean `value`; False takes `value` as x_t.
    """

    value: State
    t: float = 1.0
    corrupt: bool = True

    def state(self, kernel: TransitionKernel, layout: Layout, noise: NoiseSource) -> State:
        """x_t. Raises InputError or NonFiniteError unless `value` is a state and t in (0, 1]."""
        if not 0 < self.t <= 1:
            raise InputError("a run starts at a time in (0, 1]", value=self.t, limit="0 < t <= 1")
        kernel.space.validate(self.value, layout)
        for name, value in _named(self.value).items():
            _check_dtype("the start", value, layout[name] if name else layout)
        if not self.corrupt:
            return self.value
        return kernel.marginal(self.value, self.t, layout).sample(noise)


class Conditioning(ABC):
    """How a known part steers a run."""

    @abstractmethod
    def path(self, steps: int) -> list[int]:
        """Positions on a grid of `steps` steps, in the order they are visited."""

    @abstractmethod
    def known(
        self, value: State, t: float, kernel: TransitionKernel, layout: Layout, noise: NoiseSource
    ) -> State:
        """What stands for the clean `value` in a state at time t > 0."""


@final
@dataclass(frozen=True)
class Replacement(Conditioning):
    """After every step the known part is replaced by a draw of its own marginal."""

    def path(self, steps: int) -> list[int]:
        return list(range(steps + 1))

    def known(
        self, value: State, t: float, kernel: TransitionKernel, layout: Layout, noise: NoiseSource
    ) -> State:
        return kernel.marginal(value, t, layout).sample(noise)


@final
@dataclass(frozen=True)
class Reveal(Conditioning):
    """The known tokens are in every state, clean from the start on, for absorbing kernels.

    A denoiser that knows p(x_0 | visible tokens) for any set of visible tokens is then conditioned
    exactly: what is generated has the law of the rest given the known part, as far as the sampler
    itself is exact. Parts of a product that are not masked tokens are replaced.
    """

    def path(self, steps: int) -> list[int]:
        return list(range(steps + 1))

    def known(
        self, value: State, t: float, kernel: TransitionKernel, layout: Layout, noise: NoiseSource
    ) -> State:
        if isinstance(kernel, ProductKernel) and any(map(_masks, kernel.parts.values())):
            noisy, clean = parts(kernel.marginal(value, t, layout).sample(noise)), parts(value)
            return {n: clean[n] if _masks(k) else noisy[n] for n, k in kernel.parts.items()}
        if not _masks(kernel):
            raise InputError(
                "Reveal needs a CategoricalKernel with Absorbing",
                value=type(corruption_of(kernel)).__name__,
                fix="use Replacement() or RePaint()",
            )
        return value


@final
@dataclass(frozen=True)
class RePaint(Conditioning):
    """Replacement, and every `jump` steps back to the noise, `resample` times in all
    (Lugmayr 2022): known and unknown parts get time to agree. `jump` steps need a one-step
    sampler."""

    jump: int = 10
    resample: int = 10

    def __post_init__(self) -> None:
        if self.jump < 1 or self.resample < 1:
            raise ConfigError("jump and resample are at least 1", value=(self.jump, self.resample))

    def path(self, steps: int) -> list[int]:
        left = {steps - 1 - j: self.resample - 1 for j in range(0, steps - self.jump, self.jump)}
        path, i = [0], 0
        while i < steps:
            i += 1
            path.append(i)
            if left.get(i, 0) > 0:
                left[i] -= 1
                path.extend(range(i - 1, i - self.jump - 1, -1))
                i -= self.jump
        return path

    def known(
        self, value: State, t: float, kernel: TransitionKernel, layout: Layout, noise: NoiseSource
    ) -> State:
        return kernel.marginal(value, t, layout).sample(noise)


@final
@dataclass(frozen=True, eq=False)
class Observation:
    """A known part of the result.

    Attributes
    ----------
    value : a clean state; entries outside the mask are ignored.
    mask : bool, True where known; broadcasts against the state. For products both are dicts, and a
        part that the mask leaves out is unknown. A token that is known to be the mask of an
        absorbing kernel stays hidden, and samplers of that kernel do not show it.
    method : Replacement(), RePaint() or Reveal().
    paste : put the known part into the final state exactly as given; of positions that have no
        place of their own (ZeroCoM), exactly where they lie to each other.
    """

    value: State
    mask: State
    method: Conditioning = field(default_factory=Replacement)
    paste: bool = True

    def check(self, layout: Layout, space: DataSpace | None = None) -> None:
        """Raise InputError unless value and mask fit the layout, and known tokens the space."""
        for name, value, mask, part in _zip(self.value, self.mask, layout):
            if tuple(value.shape) != part.shape:
                raise InputError(
                    "the observed value has another shape than the state",
                    value=tuple(value.shape),
                    limit=part.shape,
                )
            _check_dtype("the observed value", value, part)
            if mask.dtype != torch.bool:
                raise InputError("a mask is boolean, True where known", value=mask.dtype)
            try:
                known = value[mask.expand(part.shape)]
            except RuntimeError as error:
                raise InputError(
                    "the mask does not broadcast against the state",
                    value=tuple(mask.shape),
                    limit=part.shape,
                ) from error
            if value.dtype.is_floating_point and not torch.isfinite(known).all():
                raise InputError("the known part has NaN or infinite entries")
            own = space.parts[name] if isinstance(space, ProductSpace) else space
            if isinstance(own, Tokens):
                own.validate(torch.where(mask, value, 0), part)

    def put(
        self, x: State, t: float, kernel: TransitionKernel, layout: Layout, noise: NoiseSource
    ) -> State:
        """`x` with its known part drawn from the marginal at t; exact at t = 0."""
        if not any(bool(mask.any()) for mask in _named(self.mask).values()):
            return x
        if t > 0:
            known = self.method.known(self._clean(x), t, kernel, layout, noise)
            return kernel.space.put(x, known, self.mask, layout)
        return kernel.space.put(x, self.value, self.mask, layout) if self.paste else x

    def _clean(self, x: State) -> State:
        # what is outside the mask may be NaN, or a token that does not exist
        if isinstance(x, Tensor):
            return _where(self.mask, self.value, torch.zeros_like(x))
        zeros: State = {n: torch.zeros_like(v) for n, v in x.items()}
        return _where(self.mask, self.value, zeros)


def walk(
    sampler: Sampler,
    run: Diffusion,
    x: State,
    grid: Times,
    observation: Observation | None = None,
    memory: Memory = Plain(),
) -> Iterator[Step]:
    """Run `sampler` over `grid`, with the known part put in after every step. `memory` says what is
    kept for a gradient: Plain() is everything."""
    kernel, layout = run.kernel, run.layout
    sampler.check_denoiser(run.denoiser)
    run = memory.over(run)
    if observation is None:
        yield from sampler(run, x, grid)
        return
    observation.check(layout, kernel.space)
    times = grid.tolist()
    path = observation.method.path(len(times) - 1)
    run = _holding(run, observation)
    own = run.noise.fork()  # with nothing known, the run is the unconditional one, bit for bit
    x = observation.put(x, times[0], kernel, layout, own)
    for start, stop in _runs(path):
        if start > stop:
            if not sampler.one_step:
                raise IncompatibleSampler(
                    f"{type(sampler).__name__} remembers earlier steps and cannot jump back",
                    fix="use a one-step sampler, or Replacement()",
                )
            for i in range(start, stop, -1):
                x = kernel.transition(x, times[i], times[i - 1], layout).sample(run.noise)
            x = observation.put(x, times[stop], kernel, layout, own)
            continue
        steps = sampler(run, x, grid[start : stop + 1])
        step: Step | None = next(steps)
        while step is not None:
            x = observation.put(step.x, step.t, kernel, layout, own)
            yield Step(step.t, x, step.x0)
            try:
                step = steps.send(x)
            except StopIteration:
                step = None


def _holding(run: Diffusion, observation: Observation) -> Diffusion:
    """The run that shows no token which is known to be hidden."""
    corruption, value, mask = corruption_of(run.kernel), observation.value, observation.mask
    if not isinstance(corruption, Absorbing) or not isinstance(value, Tensor):
        return run
    held = (tensor(mask) & (value == corruption.mask)).expand(value.shape)
    return run.holding(held) if bool(held.any()) else run


def _masks(kernel: TransitionKernel) -> bool:
    return isinstance(corruption_of(kernel), Absorbing)


def _runs(path: list[int]) -> Iterator[tuple[int, int]]:
    """Split a path into its monotone runs."""
    start = 0
    for i in range(1, len(path)):
        last = i == len(path) - 1
        if last or (path[i + 1] > path[i]) != (path[i] > path[i - 1]):
            yield path[start], path[i]
            start = i


def _where(mask: State, a: State, b: State) -> State:
    if isinstance(b, Tensor):
        return torch.where(tensor(mask), tensor(a), b)
    mask, a = parts(mask), parts(a)
    return {n: torch.where(mask[n], a[n], v) if n in mask else v for n, v in b.items()}


def _zip(value: State, mask: State, layout: Layout) -> Iterator[tuple[str, Tensor, Tensor, Layout]]:
    """What is known, part by part; the one part of a plain state is called ''."""
    if isinstance(value, Tensor) != isinstance(mask, Tensor):
        raise InputError("value and mask are both tensors, or both dicts of a product state")
    layouts = layout.fields or {"": layout}
    values = _named(value)
    for name, part in _named(mask).items():
        if name not in values or name not in layouts:
            raise InputError(
                "the observation has other parts than the state",
                value=sorted(values) if name in layouts else name,
                limit=", ".join(layouts) or "one tensor",
            )
        yield name, values[name], part, layouts[name]


def _named(x: State) -> dict[str, Tensor]:
    return {"": x} if isinstance(x, Tensor) else x


def _check_dtype(what: str, value: Tensor, layout: Layout) -> None:
    own = value.dtype
    if own.is_floating_point and layout.dtype.is_floating_point and own != layout.dtype:
        raise InputError(
            f"{what} has another dtype than the state",
            value=own,
            limit=layout.dtype,
            fix=f"convert it with .to({layout.dtype})",
        )
