"""An objective of several turns for the toy: a denoiser and a critic that train each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Elapsed, Networks, Objective, Simple, Turn


def critic(dropout: float = 0.1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Dropout(dropout), nn.Linear(8, 1))


@dataclass(frozen=True, eq=False)
class Duel(Objective):
    """The denoiser's own error less what the critic thinks of its guesses; the critic tells data
    from guesses, with a penalty on its slope at every fourth step. The weight of the critic's
    opinion rises over the first half of the run."""

    critic: nn.Module = field(default_factory=critic, repr=False)
    every: int = 2
    options: Any = None

    def turns(self, networks: Networks) -> Sequence[Turn]:
        return [
            Turn(self.denoise, parts=("denoiser",), rates={"denoiser.network.enter": 0.1}),
            Turn(
                self.judge,
                parts=("others.critic",),
                rates={"others": 0.5},
                every=self.every,
                options={"betas": (0.5, 0.9), "weight_decay": 0.01} | (self.options or {}),
                name="critic",
            ),
        ]

    def denoise(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        own = Simple()(networks.denoiser, batch, noise)
        opinion = networks.others["critic"](self.guess(networks, batch, noise)).squeeze(1)
        return own - 0.1 * progress.ramp(0.5) * opinion

    def judge(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        judge = networks.others["critic"]
        guess = self.guess(networks, batch, noise)
        x0 = batch.x0.detach().requires_grad_(progress.step % 4 == 0)
        real = judge(x0).squeeze(1)
        loss = nn.functional.softplus(-real) + nn.functional.softplus(judge(guess).squeeze(1))
        if x0.requires_grad:
            (slope,) = torch.autograd.grad(real.sum(), x0, create_graph=True)
            loss = loss + 0.1 * slope.square().sum(1)
        return loss

    def guess(self, networks: Networks, batch: Batch, noise: NoiseSource) -> Tensor:
        t = 1 - noise.times()
        x_t = networks.denoiser.kernel.noisy(batch.x0, t, batch.layout, noise)
        return networks.denoiser(x_t, t, batch.layout, batch.condition).mean
