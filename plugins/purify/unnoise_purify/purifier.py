"""Purification (Nie 2022, DiffPure): diffuse to a noise level, and walk back.

    x_t* = alpha_t* x + sigma_t* eps,        x_s ~ reverse(x_t, denoiser(x_t, t), t, s), t* -> 0

The noise drowns what is small beside it, an attack as well as detail, and the model puts in what
data have there. With the exact denoiser and enough steps the result is a draw of p(x_0 | x_t*), so
that a classifier behind it sees data. Codecs stand at both ends: what is diffused is the state of
the model, pixels, codes or standardised series.

What is bought is chance: the result is random, and a decision of it, too. How much of an attack is
gone is a question for `unnoise_purify.robustness` and not for a formula here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.domain import Trained
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    Ancestral,
    Diffusion,
    Grid,
    Sampler,
    Start,
    Times,
    grids,
    walk,
)
from unnoise.samplers.gradient import Memory, Plain
from unnoise.samplers.strength import strength_at, time_of_strength
from unnoise.spaces import Layout, tensor


@final
@dataclass(frozen=True, eq=False)
class Purifier:
    """A model of any domain with Gaussian noise, used to purify.

    Attributes
    ----------
    model : a trained model.
    strength : sigma of a variance-preserving state, see `unnoise.samplers.strength`.
    sampler : the way back; ancestral sampling is DiffPure's reverse SDE. A deterministic one is
        random through the noise that was added alone.
    steps : of the way back; one is a single evaluation, E[x_0 | x_t*].
    grid : where its times lie.

    Raises
    ------
    InputError : the model's noise is not Gaussian; the schedule has no such strength, or fewer
        steps. IncompatibleSampler : the sampler does not fit.
    """

    model: Trained
    strength: float
    sampler: Sampler = field(default_factory=Ancestral)
    steps: int = 20
    grid: Grid = grids.uniform

    def __post_init__(self) -> None:
        self.sampler.check(self.kernel)
        assert len(self.times) > 1  # a wrong strength and wrong steps are said now

    @cached_property
    def kernel(self) -> GaussianKernel:
        """The process of the model."""
        return gaussian(self.model.denoiser.kernel)

    @cached_property
    def t(self) -> float:
        """t*, where the walk begins."""
        return time_of_strength(self.kernel, self.strength)

    @cached_property
    def reached(self) -> float:
        """The strength at t*, which is the one asked for but where the kernel's steps are far
        apart."""
        return strength_at(self.kernel, self.t)

    @cached_property
    def times(self) -> Times:
        """From t* to 0."""
        return self.grid.times(self.kernel, self.steps, self.t)

    @property
    def evaluations(self) -> int:
        """Of the network, for one purification; 0 where the sampler decides."""
        return (len(self.times) - 1) * self.sampler.evaluations * self.model.denoiser.evaluations

    def __call__(
        self,
        x: Tensor,
        layout: Layout,
        condition: Condition = None,
        *,
        noise: NoiseSource,
        memory: Memory = Plain(),
    ) -> Tensor:
        """Data `x` purified: data again, with the layout that they had. Differentiable.

        Parameters
        ----------
        layout : of the data.
        condition : what the model's denoiser and codec are told.
        noise : what is added and what the way back draws; one stream for each sample.
        memory : what is kept for a gradient. N evaluations of A bytes of activations and S bytes of
            state each keep N (A + S), with `Checkpointed(k)` N S + k A.
        """
        z, states = self.embedded(x, layout, condition)
        z = self.walked(z, states, condition, noise, memory)
        return self.decoded(z, states, condition)

    def embedded(self, x: Tensor, layout: Layout, condition: Condition) -> tuple[Tensor, Layout]:
        """The states of data, and their layout. A code is the mean of what an encoder says."""
        z, states = self.model.codec.embed(x, layout, condition)
        return tensor(z), states

    def decoded(self, z: Tensor, layout: Layout, condition: Condition) -> Tensor:
        """The mean of the data behind states with this layout. (A decoder's most probable levels
        would have no gradient.)"""
        return tensor(self.model.codec.decode(z, layout, condition).mean)

    def begun(self, z: Tensor, layout: Layout, noise: NoiseSource) -> Tensor:
        """x_t* of clean states."""
        return tensor(self.start(z).state(self.kernel, layout, noise))

    def start(self, z: Tensor) -> Start:
        """Where a run begins that purifies the states `z`."""
        return Start(z, self.t)

    def walked(
        self,
        z: Tensor,
        layout: Layout,
        condition: Condition,
        noise: NoiseSource,
        memory: Memory = Plain(),
    ) -> Tensor:
        """Purified states."""
        run = self.run(layout, condition, noise)
        x = self.begun(z, layout, noise)
        for step in walk(self.sampler, run, x, self.times, memory=memory):
            x = tensor(step.x)
        return x

    def run(self, layout: Layout, condition: Condition, noise: NoiseSource) -> Diffusion:
        """One use of the model's denoiser."""
        denoiser: Denoiser = self.model.denoiser
        return Diffusion(denoiser, layout, noise, condition)


def gaussian(kernel: TransitionKernel) -> GaussianKernel:
    """The kernel, which must be Gaussian; InputError otherwise."""
    if not isinstance(kernel, GaussianKernel):
        raise InputError(
            "purification needs a model whose noise is Gaussian",
            value=type(kernel).__name__,
            limit="GaussianKernel",
            fix="use a model of pictures, codes, series or sound",
        )
    return kernel
