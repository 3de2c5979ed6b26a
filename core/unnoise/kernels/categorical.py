"""The categorical kernel: tokens moved by a corruption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from unnoise.distributions import Categorical, Dirac, Distribution, one_hot_log
from unnoise.errors import ConfigError, InputError
from unnoise.kernels.base import TransitionKernel, check_time, check_times
from unnoise.kernels.corruptions import Corruption
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

    def marginal(self, x0: State, t: Time, layout: Layout) -> Categorical:
        check_time(t)
        return self._moved(x0, 0.0, t, layout)

    def noisy(self, x0: State, t: Time, layout: Layout, noise: NoiseSource) -> State:
        check_time(t)
        x0, u = _tokens(x0), noise.uniform(layout)
        return layout.zero_padding(self.corruption.draw(x0, 0.0, t, u, self.space.vocab, layout))

    def transition(self, x_s: State, s: Time, t: Time, layout: Layout) -> Categorical:
        check_times(s, t)
        return self._moved(x_s, s, t, layout)

    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Categorical:
        check_times(s, t)
        x_t = _tokens(x_t)
        log_p0 = self._log_probs(x0, x_t)
        rule = self.corruption.log_posterior
        if self.posterior == "joint" and isinstance(x0, Categorical):
            rule = self.corruption.log_joint
        return Categorical(rule(log_p0, x_t, t, s, layout), layout)

    def prior(self, layout: Layout) -> Categorical:
        log_prior = self.corruption.log_prior(self.space.vocab).to(layout.device)
        return Categorical(log_prior.expand(*layout.shape, -1), layout)

    def reconstruction(self, x_t: State, x0: Distribution, t: Time, layout: Layout) -> Categorical:
        """The step from t to 0."""
        return self.reverse(x_t, x0, t, 0.0, layout)

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
