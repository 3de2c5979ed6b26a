"""Noise by its level, as WaveGrad has it, and the schedules in circulation.

With betas b_1 .. b_S the levels are l_s = sqrt(prod over j <= s of (1 - b_j)), l_0 = 1. A network
is trained at s uniform in 1 .. S and l uniform between l_{s-1} and l_s, on y = l x + sqrt(1 - l^2)
eps. As a function of time that is `Levels`: straight lines between l_s at times s / S, and uniform
times. It is asked at any level afterwards: `on_schedule` runs it on another table.

    name         betas                                      l_S       variance at the start
    linear-1000  1e-6 to 0.01 in equal steps                0.08138   0.99338
    linear-6     1e-6 to 0.01 in equal steps, six           0.98506   0.02967
    wg-6         7e-6 1.4e-4 2.1e-3 2.8e-2 3.5e-1 7e-1      0.43494   0.81083
    port-6       1e-6 1.9e-5 1.2e-4 1.0e-3 1.1e-2 6e-2      0.96363   0.07142

Published code begins with N(0, I) whatever the table. That is nearly the law of its noisiest states
for the first alone: `kernel.prior` has the variance above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final, final

import torch
from torch import Tensor

from unnoise.denoise import Coefficients, GaussianParametrization, NetworkDenoiser
from unnoise.errors import ConfigError, nearest
from unnoise.kernels import BetaTable, GaussianKernel, Schedule, TransitionKernel
from unnoise.spaces import Layout, State, Time, tensor

LINEAR: Final = BetaTable.linear(1000, 1e-6, 0.01)
"""What WaveGrad is trained on."""
SCHEDULES: Final[Mapping[str, BetaTable]] = MappingProxyType(
    {
        "linear-1000": LINEAR,
        "linear-6": BetaTable.linear(6, 1e-6, 0.01),
        "wg-6": BetaTable((7e-6, 1.4e-4, 2.1e-3, 2.8e-2, 3.5e-1, 7e-1)),
        "port-6": BetaTable((1e-6, 1.892873e-5, 1.1943e-4, 1.00475e-3, 1.109425e-2, 6e-2)),
    }
)
"""Published tables; port-6 was tuned by hand for one checkpoint of the port `wavegrad`."""


@final
@dataclass(frozen=True)
class Levels(Schedule):
    """alpha on straight lines between the levels of a table, sigma^2 = 1 - alpha^2."""

    table: BetaTable = LINEAR

    @property
    def steps(self) -> int | None:
        return None

    @cached_property
    def _values(self) -> Tensor:
        count = len(self.table.betas)
        return torch.tensor([self.table.alpha(k / count) for k in range(count + 1)]).double()

    @cached_property
    def _drops(self) -> Tensor:
        """1 - l_s, without the rounding of 1."""
        logs = torch.log1p(-torch.tensor(self.table.betas, dtype=torch.float64)).cumsum(0) / 2
        return torch.cat([logs.new_zeros(1), -torch.expm1(logs)])

    def _at(self, t: Time) -> tuple[Tensor, Tensor]:
        """1 - alpha and its slope."""
        at, count = torch.as_tensor(t, dtype=torch.float64), len(self.table.betas)
        drops = self._drops.to(at.device)
        left = (torch.ceil(at * count - 1e-9) - 1).clamp(0, count - 1)
        place = left.long()
        slope = drops[place + 1] - drops[place]
        return drops[place] + slope * (at * count - left), slope * count

    def alpha(self, t: Time) -> Time:
        return _like(1 - self._at(t)[0], t)

    def sigma(self, t: Time) -> Time:
        drop = self._at(t)[0]
        return _like((drop * (2 - drop)).clamp(min=0).sqrt(), t)

    def d_alpha(self, t: Time) -> Time:
        return _like(-self._at(t)[1], t)

    def d_sigma(self, t: Time) -> Time:
        drop, slope = self._at(t)
        return _like((1 - drop) * slope / (drop * (2 - drop)).sqrt(), t)

    def time(self, level: float) -> float:
        """When alpha is `level`. Raises ConfigError below the last level."""
        drops, drop = self._drops, 1 - level
        if not 0 <= drop <= float(drops[-1]):
            raise ConfigError("no such level", value=level, limit=f"{1 - float(drops[-1]):g} to 1")
        right = int(torch.searchsorted(drops, drop).clamp(1, len(drops) - 1))
        low, high = float(drops[right - 1]), float(drops[right])
        return (right - 1 + (drop - low) / (high - low)) / (len(drops) - 1)


@final
@dataclass(frozen=True)
class LevelNoise(GaussianParametrization):
    """F = eps, and the network is told alpha instead of the time."""

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return Coefficients(1 / alpha, -sigma / alpha, 1.0, alpha)

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        return tensor(x_t)

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        assert isinstance(kernel, GaussianKernel)
        return kernel.schedule.alpha(t)


def schedule(name: str) -> BetaTable:
    """A published table. Raises ConfigError for a name that is not known."""
    if name not in SCHEDULES:
        raise ConfigError(
            "no schedule has this name",
            value=name,
            limit=", ".join(SCHEDULES),
            fix=nearest(name, SCHEDULES),
        )
    return SCHEDULES[name]


def on_schedule(
    denoiser: NetworkDenoiser, betas: str | BetaTable | Sequence[float]
) -> NetworkDenoiser:
    """The same network on another table, by name or by its betas: its steps are those of a run, and
    its prior is N(0, 1 - l_S^2).

    Raises ConfigError for a network that is told times and not levels.
    """
    if not isinstance(denoiser.parametrization, LevelNoise):
        raise ConfigError(
            "only a network that is told the level runs on every schedule",
            value=type(denoiser.parametrization).__name__,
        )
    if isinstance(betas, str):
        table = schedule(betas)
    else:
        table = betas if isinstance(betas, BetaTable) else BetaTable(tuple(betas))
    kernel = GaussianKernel(denoiser.kernel.space, table)
    return NetworkDenoiser(denoiser.network, kernel, denoiser.parametrization, denoiser.clip)


def _like(value: Tensor, t: Time) -> Time:
    return value if isinstance(t, Tensor) else float(value)
