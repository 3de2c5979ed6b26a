"""The categorical kernel: tokens moved by a corruption.

    q(x_t = j | x_s = i) = Q(s, t)[i, j],    q(x_t | x_0) = Q(0, t)[x_0, .],    rows = from.

Bayes' posterior of one token, and the two ways to integrate it over p0_i = p(x_0 = i | x_t),

    q(x_s | x_t, x_0 = i) = Q(0, s)[i, x_s] Q(s, t)[x_s, x_t] / Q(0, t)[i, x_t]
    mixture:  sum_i p0_i q(x_s | x_t, x_0 = i)
    joint:    sum_i p0_i Q(0, s)[i, x_s] Q(s, t)[x_s, x_t], normalised.

The mixture is exact; D3PM uses the other. They are one where Q(0, t)[i, x_t] is the same for every
i that is possible, as for `Absorbing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from unnoise.distributions import Categorical, Dirac, Distribution, Implicit, one_hot_log
from unnoise.errors import ConfigError, InputError
from unnoise.kernels.base import TransitionKernel
from unnoise.kernels.corruptions import Corruption
from unnoise.kernels.process import check_time, check_times
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time, Tokens, tensor


@final
@dataclass(frozen=True, eq=False)
class CategoricalKernel(TransitionKernel):
    """q(x_t | x_s) = Q(s, t)[x_s, x_t], independently for each token (Austin 2021, D3PM).

    Parameters
    ----------
    space : the vocabulary; for `Absorbing` it includes the mask.
    corruption : Uniform, Absorbing, RandomWalk or Matrices.
    posterior : how `reverse` integrates over a Categorical law of x_0. "mixture" averages the
        posteriors q(x_s | x_t, x_0), the exact rule; "joint" is D3PM's normalised
        sum_i p0_i q(x_s, x_t | x_0 = i). Equal for a Dirac, and for `Absorbing` where p0 has no
        mask.
    """

    space: Tokens
    corruption: Corruption
    posterior: Literal["mixture", "joint"] = "mixture"

    def __post_init__(self) -> None:
        self.corruption.check(self.space.vocab)
        if self.posterior not in ("mixture", "joint"):
            raise ConfigError("unknown posterior", value=self.posterior, limit="mixture, joint")

    @property
    def steps(self) -> int | None:
        return self.corruption.steps

    def modules(self) -> Iterable[nn.Module]:
        return self.corruption.modules()

    def marginal(self, x0: State, t: Time, layout: Layout) -> Categorical:
        check_time(t)
        return self._moved(self._data(x0), 0.0, t, layout)

    def noisy(self, x0: State, t: Time, layout: Layout, noise: NoiseSource) -> State:
        check_time(t)
        x0, u = self._data(x0), noise.uniform(layout)
        return layout.zero_padding(self.corruption.draw(x0, 0.0, t, u, self.space.vocab, layout))

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Categorical:
        check_times(s, t)
        return self._moved(x_s, s, t, layout)

    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Categorical | Implicit:
        check_times(s, t)
        if isinstance(x0, Implicit):
            return x0.then(lambda point: self._step(x_t, point, t, s, layout))
        return self._step(x_t, x0, t, s, layout)

    def prior(self, layout: Layout) -> Categorical:
        log_prior = self.corruption.log_prior(self.space.vocab).to(layout.device)
        return Categorical(log_prior.expand(*layout.shape, -1), layout)

    def reconstruction(self, x_t: State, x0: Distribution, t: Time, layout: Layout) -> Categorical:
        """The step from t to 0."""
        check_times(0.0, t)
        return self._step(x_t, x0, t, 0.0, layout)

    def _step(self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout) -> Categorical:
        x_t = _tokens(x_t)
        log_p0 = self._log_probs(x0, x_t)
        rule = self.corruption.log_posterior
        if self.posterior == "joint" and isinstance(x0, Categorical):
            rule = self.corruption.log_joint
        return Categorical(rule(log_p0, x_t, t, s, layout), layout)

    def _data(self, x0: State) -> Tensor:
        """Clean tokens, which come from outside. On an accelerator their values are not read: that
        would wait for it."""
        x = _tokens(x0)
        if x.is_cpu and x.numel():
            low, high = torch.aminmax(x)
            if low < 0 or high >= self.space.vocab:
                raise InputError(
                    "token out of range",
                    value=(int(low), int(high)),
                    limit=f"0 to {self.space.vocab - 1}",
                    fix="the vocabulary of the kernel is smaller than that of the data",
                )
        return x

    def _moved(self, x: State, s: Time, t: Time, layout: Layout) -> Categorical:
        table = self.corruption.log_rows(_tokens(x), s, t, self.space.vocab, layout)
        return Categorical(table, layout)

    def _log_probs(self, x0: Distribution, x_t: Tensor) -> Tensor:
        if isinstance(x0, Categorical):
            if x0.log_probs.shape != (*x_t.shape, self.space.vocab):
                raise InputError(
                    "the prediction has another shape than the tokens",
                    value=tuple(x0.log_probs.shape),
                    limit=(*x_t.shape, self.space.vocab),
                )
            return x0.log_probs
        if isinstance(x0, Dirac):
            like = torch.empty(1, dtype=torch.float64, device=x_t.device)
            return one_hot_log(_tokens(x0.value), like.expand(*x_t.shape, self.space.vocab))
        raise InputError(
            "a categorical kernel needs a Dirac or Categorical prediction of x_0",
            value=type(x0).__name__,
        )


def _tokens(x: State) -> Tensor:
    x = tensor(x)
    if x.dtype != torch.int64:
        raise InputError("tokens are int64", value=x.dtype, fix="convert with x.long()")
    return x


def corruption_of(kernel: TransitionKernel) -> Corruption | TransitionKernel:
    """The corruption of a categorical kernel; any other kernel itself, so that an error that asks
    for a corruption can name what it got."""
    return kernel.corruption if isinstance(kernel, CategoricalKernel) else kernel
