"""An attack of several ascents on one random defence, the best of them by fresh draws.

What single ascents of the cross entropy miss, one by one:

    loss       under a random defence the cross entropy is ruled by draws that are lost already;
               log(1 - p_y) by those that are still right (`Doubt`).
    start      one ascent climbs one hill: others go towards each of the classes that come nearest
               (Croce 2020), with momentum, from random places of their own.
    choice     what an ascent ends with is judged by its own draws, which it has fitted. Here each
               end answers under draws that no ascent has seen, and the best is kept, picture by
               picture.
    settling   the best ascends again, with small steps and twice the draws, and the better of the
               two is kept, by fresh draws again.

The noise of scoring is seen by none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise_purify.attacks.base import Attack, Attacked, check_eps
from unnoise_purify.attacks.losses import Doubt, Towards
from unnoise_purify.attacks.norms import Norm
from unnoise_purify.attacks.pgd import PGD, through
from unnoise_purify.defended import logits_of, votes_of
from unnoise_purify.draws import numbered, parts
from unnoise_purify.gradients import Gradient

_ASCENT: Final = 1 << 42  # each ascent and each choice has a seed of its own, that far apart
_MOMENTUM: Final = 0.5


@final
@dataclass(frozen=True)
class Adaptive(Attack):
    """Several ascents, the best of them settled.

    Attributes
    ----------
    norm, eps : the ball.
    gradient : through the purifier.
    steps, eot : of each ascent, as those of `PGD`.
    targets : classes that an ascent goes towards, besides the one that only goes away.
    judges : draws of the noise that choose between ends.
    at_once : draws that are computed at once.
    """

    norm: Norm
    eps: float
    gradient: Gradient
    steps: int
    eot: int
    targets: int = 3
    judges: int = 40
    at_once: int = 1

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.targets < 0 or self.judges < 1:
            raise ConfigError("targets >= 0 and judges >= 1", value=(self.targets, self.judges))
        assert self._ascent.steps  # which says what else is wrong

    @property
    def name(self) -> str:
        return (
            f"adaptive, {2 + self.targets} ascents of {self.steps}, EOT-{self.eot},"
            f" {self.gradient.name}"
        )

    @property
    def _ascent(self) -> PGD:
        return PGD(
            self.norm,
            self.eps,
            self.gradient,
            self.steps,
            self.eot,
            loss=Doubt(),
            momentum=_MOMENTUM,
            at_once=self.at_once,
        )

    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        seen, climber = through(defence, self.gradient), self._ascent
        away = climber.run(defence, x, y, numbers, seed)
        ends, classes = [away.pictures], self._nearest(defence, away.pictures, y, numbers, seed)
        for k in range(min(self.targets, classes.shape[1])):
            own = seed + (k + 1) * _ASCENT
            start = self.norm.start(x, self.eps, NoiseSource(own, numbers, 1))
            there = replace(climber, loss=Towards(classes[:, k]))
            ends.append(there.climb(seen, x, y, numbers, own, start).pictures)
        own = seed + (self.targets + 1) * _ASCENT
        best = self._best(defence, ends, y, numbers, own)
        slow = replace(climber, step=climber.first / 4, eot=2 * self.eot)
        settled = slow.climb(seen, x, y, numbers, own + _ASCENT, best - x)
        own += 2 * _ASCENT
        return Attacked(self._best(defence, [best, settled.pictures], y, numbers, own), away.trace)

    @torch.no_grad()
    def _nearest(
        self, defence: nn.Module, x: Tensor, y: Tensor, numbers: Sequence[int], seed: int
    ) -> Int64[Tensor, "batch others"]:
        """The other classes, those first that get most of the probability over the draws."""
        chance = self._asked(defence, x, numbers, seed).softmax(2).mean(1)
        return chance.scatter(1, y[:, None], -1.0).argsort(1, descending=True)[:, :-1]

    @torch.no_grad()
    def _best(
        self, defence: nn.Module, ends: list[Tensor], y: Tensor, numbers: Sequence[int], seed: int
    ) -> Tensor:
        """Of each picture, the end that most answers are wrong about; of equals the least sure."""
        worst = []
        for end in ends:
            logits = self._asked(defence, end, numbers, seed)
            wrong = (logits.argmax(2) != y[:, None]).float().mean(1)
            own = y.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
            doubt = 1 - logits.softmax(2).gather(2, own).squeeze(2).mean(1)
            worst.append(wrong + doubt / (2 * self.judges))
        chosen = torch.stack(worst).argmax(0)
        return torch.stack(ends)[chosen, torch.arange(len(y), device=y.device)]

    def _asked(
        self, defence: nn.Module, x: Tensor, numbers: Sequence[int], seed: int
    ) -> Float[Tensor, "batch judges classes"]:
        """Answers under draws that no ascent has: those behind the last of any."""
        found, first = [], 2 * self.steps * self.eot
        for begin, count in parts(self.judges, self.at_once):
            noise = numbered(seed, numbers, first + begin, votes_of(defence), count)
            logits = logits_of(defence, x.repeat_interleave(count, 0), noise)
            found.append(logits.view(len(x), count, -1))
        return torch.cat(found, 1)
