"""Square attack (Andriushchenko 2020), l_inf: a random search that asks for answers alone.

A square of a random place and of a side that shrinks with the queries is set to +-eps, channel by
channel, and kept where the loss has not fallen. It begins with vertical stripes. The answers of a
random defence are random: each is one draw, so that what is kept may be luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise_purify.attacks.base import Attack, Attacked, Trace, check_eps
from unnoise_purify.attacks.losses import Loss, Margin
from unnoise_purify.attacks.norms import Linf
from unnoise_purify.defended import logits_of, votes_of
from unnoise_purify.draws import numbered

_SHRINK: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries, those at which the share of entries is halved."""


@final
@dataclass(frozen=True)
class Square(Attack):
    """`share` is that of the entries in the first square."""

    eps: float
    queries: int
    share: float = 0.3
    loss: Loss = field(default_factory=Margin)
    norm: Linf = field(default_factory=Linf)

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.queries < 1 or not 0 < self.share <= 1:
            raise ConfigError("queries >= 1 and share in (0, 1]", value=(self.queries, self.share))

    @property
    def name(self) -> str:
        return f"Square, {self.queries} queries"

    @property
    def black(self) -> bool:
        return True

    @torch.no_grad()
    def run(
        self,
        defence: nn.Module,
        x: Float[Tensor, "batch c h w"],
        y: Int64[Tensor, " batch"],
        numbers: Sequence[int],
        seed: int,
    ) -> Attacked:
        noise, count = NoiseSource(seed, list(numbers), branch=1), len(x)
        channels, height, width = x.shape[1:]
        stripes = _signs(noise, (channels, 1, width), x) * self.eps
        best = (x + stripes).clamp(0, 1)
        worst = self._asked(defence, best, y, numbers, seed, 0)
        losses = [float(worst.mean())]
        for k in range(1, self.queries):
            side = self._side(k, height, width)
            corner = noise.uniform(Layout.dense(count, (2,)))
            signs = _signs(noise, (channels, 1, 1), x) * self.eps
            tried = best.clone()
            for row, (top, left) in enumerate(corner.tolist()):
                i, j = int(top * (height - side + 1)), int(left * (width - side + 1))
                place = (slice(None), slice(i, i + side), slice(j, j + side))
                tried[row][place] = (x[row][place] + signs[row]).clamp(0, 1)
            loss = self._asked(defence, tried, y, numbers, seed, k)
            better = loss >= worst
            best = torch.where(better.view(-1, 1, 1, 1), tried, best)
            worst = torch.where(better, loss, worst)
            losses.append(float(worst.mean()))
        return Attacked(best, Trace(tuple(losses)))

    def _asked(
        self,
        defence: nn.Module,
        x: Tensor,
        y: Tensor,
        numbers: Sequence[int],
        seed: int,
        query: int,
    ) -> Tensor:
        noise = numbered(seed, numbers, query, votes_of(defence))
        return self.loss(logits_of(defence, x, noise), y)

    def _side(self, query: int, height: int, width: int) -> int:
        halvings = sum(query * 10_000 / self.queries > at for at in _SHRINK)
        side = round(math.sqrt(self.share / 2**halvings * height * width))
        return min(max(side, 1), height, width)


def _signs(noise: NoiseSource, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    drawn = noise.uniform(Layout.dense(len(like), shape, device=like.device))
    return torch.where(drawn < 0.5, -1.0, 1.0)
