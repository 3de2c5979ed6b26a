"""One run: everything that a sampler, a bound or a likelihood asks a denoiser with.

A denoiser is p(x_0 | x_t) and belongs to everybody; a run is one use of it, on the states of one
layout, with noise and a condition of its own. It is called run(x_t, t), so that what walks from
x_1 to x_0 reads as the mathematics does:

    x_s ~ reverse(x_t, run(x_t, t), t, s)
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unnoise.denoise import Condition, Denoiser, Energy
from unnoise.distributions import Distribution
from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time, tensor


@final
class Diffusion:
    """A denoiser, and the states, the noise and the condition that it is asked about.

    Nothing of a denoiser is changed, so that several runs, in several threads, share one. A run
    itself belongs to one thread.

    Attributes
    ----------
    denoiser : p(x_0 | x_t).
    layout : of the states.
    noise : what the run draws from.
    condition : what the denoiser knows besides the state.
    held : True for tokens that stay masked in this run, for samplers of the absorbing kernel.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> None:
        self.denoiser = denoiser
        self.layout = layout
        self.noise = noise
        self.condition = condition
        self.held: Tensor | None = None
        self._tally = _Tally()

    def __call__(self, x_t: State, t: Time) -> Distribution:
        """The law of x_0, given the states at time t in (0, 1]."""
        self._tally.evaluations += self.denoiser.evaluations
        return self.denoiser(x_t, t, self.layout, self.condition)

    def at(self, x_t: State, t: Time, where: Bool[Tensor, "*rows"]) -> Float[Tensor, "some k"]:
        """log p(x_0 | x_t) of the tokens at `where` alone; see `Denoiser.at`."""
        self._tally.evaluations += self.denoiser.evaluations
        return self.denoiser.at(x_t, t, self.layout, where, self.condition)

    def score(self, x_t: State, t: Time) -> Float[Tensor, "rows ..."]:
        """grad log q(x_t) of an `Energy` at t in [0, 1].

        Raises IncompatibleSampler for other denoisers, which know no density at 0.
        """
        if not isinstance(self.denoiser, Energy):
            raise IncompatibleSampler(
                "a score of clean data is that of an Energy", value=type(self.denoiser).__name__
            )
        self._tally.evaluations += self.denoiser.evaluations
        return self.denoiser.score(x_t, t, self.layout, self.condition)

    @property
    def kernel(self) -> TransitionKernel:
        """The process of the denoiser."""
        return self.denoiser.kernel

    @property
    def evaluations(self) -> int:
        """Evaluations of a network in this run so far, those of guidance included."""
        return self._tally.evaluations

    def normal(self) -> State:
        """Standard normal noise of the data's space."""
        return self.kernel.space.project(self.noise.normal(self.layout), self.layout)

    def replace(
        self, denoiser: Denoiser | None = None, noise: NoiseSource | None = None
    ) -> Diffusion:
        """This run with another denoiser or other noise; what it evaluates counts here."""
        return self._part(denoiser or self.denoiser, self.layout, noise or self.noise)

    def holding(self, held: Bool[Tensor, "*rows"]) -> Diffusion:
        """This run, in which the tokens at `held` stay masked; what it evaluates counts here."""
        part = self._part(self.denoiser, self.layout, self.noise)
        part.held = held
        return part

    def take(self, samples: Int64[Tensor, " some"]) -> Diffusion:
        """The run of some of the samples, by their places, whose states are `layout.pick(x,
        samples)`; what it evaluates counts here."""
        return self._of(samples, self.noise.of(samples.tolist()))

    def branches(self, count: int) -> Diffusion:
        """The run of `count` copies of each sample of a batch, one after the other, each with noise
        of its own; what it evaluates counts here."""
        owner = torch.arange(self.layout.batch).repeat_interleave(count)
        return self._of(owner, self.noise.branches(count))

    def _of(self, samples: Int64[Tensor, " some"], noise: NoiseSource) -> Diffusion:
        part = self._part(self.denoiser, self.layout.chosen(samples), noise)
        if self.condition is not None:
            for name, value in self.condition.items():
                if len(value) != self.layout.batch:
                    raise InputError(
                        f"the condition {name!r} has rows of its own, and which of them belong to"
                        " which sample is not known here",
                        value=tuple(value.shape),
                        limit=f"({self.layout.batch}, ...), one row per sample",
                        fix="use a way with one state for each sample: dps, pigdm, mmps, diffpir",
                    )
            part.condition = {name: value[samples] for name, value in self.condition.items()}
        if self.held is not None:
            part.held = tensor(self.layout.pick(self.held, samples))
        return part

    def _part(self, denoiser: Denoiser, layout: Layout, noise: NoiseSource) -> Diffusion:
        part = Diffusion(denoiser, layout, noise, self.condition)
        part.held, part._tally = self.held, self._tally
        return part


class _Tally:
    evaluations = 0
