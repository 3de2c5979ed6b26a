"""Remasking diffusion (Wang 2025, ReMDM): a token that has appeared may be taken back.

    visible at t:  hidden at s with probability r,   else it stays
    hidden at t:   hidden at s with probability (1 - alpha_s - r alpha_t) / (1 - alpha_t),
                   else drawn from p(x_0 | x_t)

With r <= r_max = min(1, (1 - alpha_s) / alpha_t) the marginals q(x_s | x_0) are those of the
absorbing kernel at every time, so that a denoiser of that kernel serves as it is; r = 0 is
ancestral sampling. What was drawn wrongly early on, when less was visible or by a network that errs
there, is mended so; of an exact denoiser the law is no better, because more is drawn at once.

    cap       r = min(eta, r_max)
    rescale   r = eta r_max
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from unnoise.distributions import Dirac
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.reveal import absorbing, masked, shown
from unnoise.spaces import State, tensor

_TINY = 1e-300


@final
@dataclass(frozen=True)
class ReMDM(Sampler):
    """Ancestral sampling that takes tokens back.

    The network is asked in steps in which a token appears, for those samples and tokens only.

    Parameters
    ----------
    eta : in [0, 1], how much is taken back.
    rule : "cap" or "rescale", what eta is of.
    on : (low, high), the times between which tokens are taken back; elsewhere r = 0.
    """

    eta: float = 0.02
    rule: Literal["cap", "rescale"] = "cap"
    on: tuple[float, float] = (0.0, 1.0)

    requires: ClassVar[type] = CategoricalKernel
    corruption: ClassVar[type] = Absorbing
    evaluations: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError("eta is out of range", value=self.eta, limit="0 <= eta <= 1")
        if self.rule not in ("cap", "rescale"):
            raise ConfigError("unknown rule", value=self.rule, limit="cap, rescale")
        if not 0 <= self.on[0] < self.on[1] <= 1:
            raise ConfigError("no such times", value=self.on, limit="0 <= low < high <= 1")

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        corruption, layout = absorbing(run.kernel), run.layout
        x = tensor(x)
        for t, s in intervals(grid):
            m_t, m_s = corruption.hidden(t), corruption.hidden(s)
            r = self.taken(m_t, m_s) if self.on[0] <= s and t <= self.on[1] else 0.0
            stay = (m_s - r * (1 - m_t)) / max(m_t, _TINY)
            u = run.noise.uniform(layout)
            hidden, visible = masked(run, x), x != corruption.mask
            new = shown(run, x, t, hidden & (u >= stay))
            x = new.masked_fill(visible & (u < r), corruption.mask)
            x = torch.as_tensor(layout.zero_padding(x))
            sent = yield Step(s, x, Dirac(x, layout))
            x = x if sent is None else tensor(sent)

    def taken(self, m_t: float, m_s: float) -> float:
        """r, from the probabilities to be hidden at t and s; nothing is taken back at time 0."""
        most = min(1.0, m_s / max(1 - m_t, _TINY))
        return min(self.eta, most) if self.rule == "cap" else self.eta * most
