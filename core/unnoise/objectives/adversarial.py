"""Denoising diffusion GANs (Xiao 2022): a generator and a discriminator of steps.

At a step s < t of a chain of T, with a pair of the data

    x_s ~ q(x_s | x_0),    x_t ~ q(x_t | x_s),

and one of the generator, x_s' ~ q(x_s | x_t, x_0'), x_0' = G(x_t, t, z), on the same x_t,

    discriminator   softplus(-D(x_s, x_t, t)) + softplus(D(x_s', x_t, t)),
                    and every `every` steps + weight / 2 |grad D(x_s, x_t, t)|^2 in x_s (R1)
    generator       softplus(-D(x_s', x_t, t)).

At the optimum the law of x_s' given x_t is q(x_s | x_t), whatever its shape, so that the chain has
the data's law at any T. The discriminator sees noisy states, which overlap: that keeps it stable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from unnoise.denoise import Denoiser, Generator
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.objectives.turn import Elapsed, Networks, Turn
from unnoise.spaces import Time, tensor


class _Pair(NamedTuple):
    """A state at t, and one before it at s."""

    x_s: Tensor
    x_t: Tensor
    t: Time
    s: Time


@final
@dataclass(frozen=True, eq=False)
class Adversarial(Objective):
    """Two turns of a step: the generator's, whose loss is the run's, and the discriminator's.

    The denoiser is a `Generator`. The codec stays as it is.

    Attributes
    ----------
    discriminator : called as discriminator(x_s, x_t, label, layout, condition) -> (B,), label the
        time t as float32.
    steps : T of the chain that is trained; of a discrete kernel its own.
    weight, every : of R1 and how often it is added. .02 and 15 are those of small pictures.
    rate : the discriminator's learning rate, as a multiple of the generator's.
    betas : of the optimisers of both.
    """

    discriminator: nn.Module = field(repr=False)
    steps: int = 4
    weight: float = 0.02
    every: int = 15
    rate: float = 0.78
    betas: tuple[float, float] = (0.5, 0.9)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1 or self.weight < 0:
            raise ConfigError(
                "a chain has steps, and R1 a weight now and then",
                value=(self.steps, self.every, self.weight),
                limit="steps >= 1, every >= 1, weight >= 0",
            )

    def turns(self, networks: Networks) -> Sequence[Turn]:
        denoiser = _generator(networks.denoiser)
        if denoiser.kernel.steps not in (None, self.steps):
            raise ConfigError(
                "the kernel is of another chain", value=self.steps, limit=denoiser.kernel.steps
            )
        if "discriminator" not in networks.others:
            raise ConfigError(
                "the networks have no discriminator that learns",
                value=type(self.discriminator).__name__,
                limit="a module with parameters that require a gradient",
                fix="Networks(denoiser, codec, objective.others()) has that of the objective",
            )
        options = {"betas": self.betas}
        return [
            Turn(self._generate, parts=("denoiser",), options=options),
            Turn(
                self._discriminate,
                parts=("others.discriminator",),
                rates={"others.discriminator": self.rate},
                options=options,
                name="discriminator",
            ),
        ]

    def _generate(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        states, pair = self._data(networks, batch, noise)
        made = _made(networks, states, pair, noise)
        return softplus(-_judged(networks, states, pair, made))

    def _discriminate(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        states, pair = self._data(networks, batch, noise)
        with torch.no_grad():
            made = _made(networks, states, pair, noise)
        penalised = progress.step % self.every == 0 and self.weight > 0
        with torch.enable_grad():
            x_s = pair.x_s.detach().requires_grad_(penalised)
            real = _judged(networks, states, pair, x_s)
            loss = softplus(-real) + softplus(_judged(networks, states, pair, made))
            if penalised:
                penalty = gradient_penalty(real, x_s, states, networks.denoiser)
                loss = loss + 0.5 * self.weight * penalty
        return loss

    def _data(self, networks: Networks, batch: Batch, noise: NoiseSource) -> tuple[Batch, _Pair]:
        """States of the batch, and a pair of a step of the chain."""
        kernel = networks.denoiser.kernel
        with torch.no_grad():
            states = batch.encoded(networks.codec, noise)
            layout = states.layout
            number = 1 + (noise.times() * self.steps).long().to(layout.device)
            t, s = number.double() / self.steps, (number - 1).double() / self.steps
            x_s = kernel.noisy(states.x0, s, layout, noise)
            x_t = kernel.transition(x_s, s, t, layout).sample(noise)
        return states, _Pair(tensor(x_s), tensor(x_t), t, s)


def gradient_penalty(
    judged: Float[Tensor, " batch"], x: Tensor, batch: Batch, denoiser: Denoiser
) -> Float[Tensor, " batch"]:
    """(B,) |grad of D|^2 in the states `x`, in the directions of the space (Mescheder 2018, R1);
    differentiable."""
    (slope,) = torch.autograd.grad(judged.sum(), x, create_graph=True)
    slope = tensor(denoiser.kernel.space.project(slope, batch.layout))
    return batch.layout.sum(slope**2)


def _made(networks: Networks, states: Batch, pair: _Pair, noise: NoiseSource) -> Tensor:
    """The generator's x_s given x_t."""
    denoiser, layout = _generator(networks.denoiser), states.layout
    x0 = denoiser.draw(pair.x_t, pair.t, layout, noise, states.condition)
    law = denoiser.kernel.reverse(pair.x_t, Dirac(x0, layout), pair.t, pair.s, layout)
    return tensor(law.sample(noise))


def _judged(networks: Networks, states: Batch, pair: _Pair, x_s: Tensor) -> Tensor:
    label = torch.as_tensor(pair.t).to(torch.float32)
    judge = networks.others["discriminator"]
    found: Tensor = judge(x_s, pair.x_t, label, states.layout, states.condition)
    if found.shape != label.shape:
        raise ConfigError(
            "a discriminator puts out one number per sample",
            value=tuple(found.shape),
            limit=tuple(label.shape),
        )
    return found


def _generator(denoiser: Denoiser) -> Generator:
    if not isinstance(denoiser, Generator):
        raise ConfigError(
            "what is trained against a discriminator is a Generator",
            value=type(denoiser).__name__,
        )
    return denoiser
