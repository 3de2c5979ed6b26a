"""What a state says of the potential to come: psi_t(x_t) ~ E[g(x_0) | x_t].

With the exact one, and proposals that follow it, every weight of the particles is the same. A poor
one costs particles, and nothing else as their number grows: the weights correct it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.conditioning.potentials import Potential
from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian, Product
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.spaces import Layout, State, Time, tensor

_BROKEN = 5.0


class Twist(ABC):
    """log psi_t, from the law of x_0 that the denoiser gives at x_t.

    Attributes
    ----------
    steers : whether proposals follow its gradient in x_t, where states are real numbers.
    """

    steers = True

    def law(self, law: Distribution, kernel: TransitionKernel, t: Time) -> Distribution:
        """The law of x_0 that it reckons with."""
        return law

    @abstractmethod
    def log(
        self, potential: Potential, law: Distribution, layout: Layout
    ) -> Float[Tensor, " batch"]:
        """(B,) log psi_t, differentiable in what the law is made of."""


@final
@dataclass(frozen=True)
class Usual(Twist):
    """What serves without being asked: log E g(x_0) over the law where that has a closed form, else
    g of its mean, and nothing for tokens. What a mean breaks may still be obeyed: it costs 5 nats
    on the way, not everything. Of a product, what is asked of each part alone; what couples them is
    weighed at the end."""

    def log(
        self, potential: Potential, law: Distribution, layout: Layout
    ) -> Float[Tensor, " batch"]:
        found = None if isinstance(law, Dirac) else potential.expected(law, layout)
        if found is not None:
            return found
        if isinstance(law, Product):
            total = Bootstrap().log(potential, law, layout)
            for name, one in law.parts.items():
                if (asked := potential.within(name)) is not None:
                    total = total + self.log(asked, one, layout[name])
            return total
        if isinstance(law, Categorical):
            return Bootstrap().log(potential, law, layout)
        of_mean = potential.log(law.mean, layout)
        return torch.where(torch.isneginf(of_mean), -_BROKEN, of_mean)


@final
@dataclass(frozen=True)
class Exact(Twist):
    """log E g(x_0) over the law itself: exact where the law is, as for a Gaussian or analytic
    denoiser. ConfigError where the potential has it in no closed form."""

    def log(
        self, potential: Potential, law: Distribution, layout: Layout
    ) -> Float[Tensor, " batch"]:
        found = potential.expected(law, layout)
        if found is None:
            raise ConfigError(
                f"{type(potential).__name__} has no expectation in closed form",
                value=type(law).__name__,
                fix="use twist=Tweedie()",
            )
        return found


@final
@dataclass(frozen=True)
class Tweedie(Twist):
    """log g(E[x_0 | x_t]): as if x_0 were known (Chung 2023, DPS). For real states."""

    def log(
        self, potential: Potential, law: Distribution, layout: Layout
    ) -> Float[Tensor, " batch"]:
        if isinstance(law, Categorical):
            raise ConfigError(
                "tokens have no mean", value="Tweedie()", fix="use twist=Bootstrap(), or Exact()"
            )
        found = potential.log(law.mean, layout)
        if _follows(law.mean) and not found.requires_grad:
            raise ConfigError(
                f"{type(potential).__name__} has no gradient to follow",
                value="Tweedie()",
                fix="use twist=Bootstrap(), or write it with differentiable operations",
            )
        return found


@final
@dataclass(frozen=True)
class Spread(Twist):
    """log E g(x_0) over N(E[x_0 | x_t], r_t^2), r_t^2 = v sigma_t^2 / (v alpha_t^2 + sigma_t^2):
    what a point prediction leaves open where entries of the data have variance v (Song 2023,
    PiGDM). For Gaussian kernels."""

    variance: float = 1.0

    def law(self, law: Distribution, kernel: TransitionKernel, t: Time) -> Distribution:
        if not isinstance(kernel, GaussianKernel):
            raise ConfigError(
                "a spread needs a Gaussian kernel",
                value=type(kernel).__name__,
                fix="use twist=Tweedie()",
            )
        if not isinstance(law, Dirac):
            return law
        alpha, sigma = kernel.schedule.alpha(t), kernel.schedule.sigma(t)
        left = self.variance * sigma**2 / (self.variance * alpha**2 + sigma**2)
        return Gaussian(tensor(law.value), left**0.5, kernel.space, law.layout)

    def log(
        self, potential: Potential, law: Distribution, layout: Layout
    ) -> Float[Tensor, " batch"]:
        return Exact().log(potential, law, layout)


def _follows(mean: State) -> bool:
    return any(v.requires_grad for v in (mean.values() if isinstance(mean, dict) else [mean]))


@final
@dataclass(frozen=True)
class Bootstrap(Twist):
    """psi_t = 1: what comes is not reckoned with, and all is weighed at the end. For tokens, and
    for potentials without a gradient that many samples obey."""

    steers = False

    def log(
        self, potential: Potential, law: Distribution, layout: Layout
    ) -> Float[Tensor, " batch"]:
        return torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
