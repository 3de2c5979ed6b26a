"""What a noisy token itself says of the clean one is known, and need not be learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from unnoise.denoise import CategoricalParametrization
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError
from unnoise.kernels import BayesCorruption, TransitionKernel, corruption_of
from unnoise.spaces import Layout, State, Time, tensor


@final
@dataclass(frozen=True)
class Evidence(CategoricalParametrization):
    """The output is logits of x_0 without the evidence of its own noisy token, which Bayes' rule
    adds:

        p(x_0 | x_t) = softmax(output + log q(x_t | x_0)).

    What `Masked` is for the absorbing kernel, for all others. A network that puts out the law of
    the clean token given the other ones is right at every t; with `Logits` it has to learn how far
    to trust x_t.
    """

    def check(self, kernel: TransitionKernel) -> None:
        corruption = corruption_of(kernel)
        if not isinstance(corruption, BayesCorruption):
            raise ConfigError(
                "Evidence needs a CategoricalKernel with Uniform, RandomWalk or Matrices",
                value=type(corruption).__name__,
                fix="use Masked for Absorbing",
            )

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Categorical:
        logits = tensor(output).float()
        corruption = corruption_of(kernel)
        assert isinstance(corruption, BayesCorruption)
        told = corruption.column(tensor(x_t), 0.0, t, logits, layout)
        return Categorical((logits + told).log_softmax(-1), layout)
