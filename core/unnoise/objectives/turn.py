"""What is trained, and in which turns.

At each step of a run the turns whose time it is follow one another on the same batch,

    theta_k <- theta_k - rate_k  (optimiser's direction of  sum_i w_i L_k(i) / sum_i w_i),

where theta_k are the parameters in the parts that turn k names: all others stand still in it. An
ordinary objective has one turn. A GAN has two; latent score-based models one for the autoencoder
and one for the prior, each with a weighting of its own; a learned forward drift one beside the
denoiser's. Each turn has an optimiser of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias, final

from torch import Tensor, nn

from unnoise.codecs import Codec, Identity
from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError, nearest
from unnoise.noise import NoiseSource
from unnoise.objectives.batch import Batch

PARTS = ("denoiser", "codec", "others")


@final
class Networks(nn.Module):
    """All that learns in a run, and all that is saved of it.

    Parameters
    ----------
    denoiser, codec : what a model generates with.
    others : what is trained beside them, by name: a discriminator, an objective's own parameters.
    """

    denoiser: Denoiser
    codec: Codec
    others: nn.ModuleDict

    def __init__(
        self,
        denoiser: Denoiser,
        codec: Codec | None = None,
        others: Mapping[str, nn.Module] | nn.ModuleDict = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.codec = Identity() if codec is None else codec
        try:
            self.others = nn.ModuleDict(dict(others.items()))
        except KeyError as error:
            raise ConfigError(
                f"a network cannot have this name: {error.args[0]}", value=sorted(others)
            ) from error


@final
class Elapsed(float):
    """How much of a run is done, a number in [0, 1]: `step` of `steps`, or of its time if it ends
    by the clock and that is more.

    `step` counts from 0 and is that of the step at work, so that a step's first turn can do
    something extra now and then: `progress.step % 15 == 0`.
    """

    step: int
    steps: int

    def __new__(cls, step: int, steps: int, part: float | None = None) -> Elapsed:
        self = super().__new__(cls, step / steps if part is None else part)
        self.step, self.steps = step, steps
        return self

    def ramp(self, part: float) -> float:
        """From 0 to 1 over the first `part` of the run, linearly, then 1: a weight that is warmed
        up."""
        return 1.0 if part <= 0 else min(1.0, float(self) / part)


Loss: TypeAlias = "Callable[[Networks, Batch, NoiseSource, Elapsed], Tensor]"
"""(networks, batch, noise, progress) -> (B,), the loss of each sample. The batch is in the units of
the data; all that is random comes from `noise`."""


@final
@dataclass(frozen=True, eq=False)
class Turn:
    """A loss, and the parameters that one optimiser moves to lower it.

    The others have no gradient in this turn, but let it through to what they are given.

    Attributes
    ----------
    loss : see `Loss`. It uses the networks it is given: those of a validation are averaged ones.
    parts : what moves, by the names that `Networks` gives: "denoiser", "codec.encoder",
        "others.discriminator".
    rates : what the learning rate of a part is multiplied by; of several names that a parameter is
        under, the longest counts, and without one it is 1.
    every : the turn is taken at each step whose number, from 0, is divisible by this.
    options : of the run's "optimizer", "betas", "weight_decay" and "clip_norm", those that are
        different in this turn.
    name : in the log, by default its number. The first turn's loss is the run's.

    Raises
    ------
    ConfigError : no parts, or a number out of range.
    """

    loss: Loss
    parts: Sequence[str] = PARTS
    rates: Mapping[str, float] = field(default_factory=dict)
    every: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts:
            raise ConfigError("a turn names the parts that it moves", value=self.parts, limit=PARTS)
        if self.every < 1:
            raise ConfigError("a turn is taken every so many steps", value=self.every, limit=">= 1")
        for name, rate in self.rates.items():
            if not 0 <= rate < math.inf:
                raise ConfigError(f"the rate of {name!r} is a factor", value=rate, limit=">= 0")

    def parameters(self, networks: Networks) -> dict[str, nn.Parameter]:
        """The trainable parameters that this turn moves, by name, each once.

        Raises
        ------
        ConfigError : a part or a rate is of nothing in `networks`, or there is nothing to train.
        """
        every = dict(networks.named_parameters(remove_duplicate=False))
        known = {*(name for name, _ in networks.named_modules(remove_duplicate=False)), *every}
        for name in (*self.parts, *self.rates):
            if name not in known:
                raise ConfigError(
                    "a turn names a part that the networks do not have",
                    value=name,
                    limit=", ".join((*PARTS, *(f"others.{key}" for key in networks.others))),
                    fix=nearest(name, tuple(known)),
                )
        found: dict[int, tuple[str, nn.Parameter]] = {}
        for name, parameter in every.items():
            if parameter.requires_grad and any(_under(name, part) for part in self.parts):
                found.setdefault(id(parameter), (name, parameter))
        if not found:
            raise ConfigError("no trainable parameter in the parts of a turn", value=self.parts)
        return dict(found.values())

    def rate(self, name: str) -> float:
        """The factor of the parameter called `name`."""
        own = [part for part in self.rates if _under(name, part)]
        return self.rates[max(own, key=len)] if own else 1.0


def _under(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")
