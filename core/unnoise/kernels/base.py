"""Transition kernels: the four lines that everything rests on.

    marginal      q(x_t | x_0)
    transition    q(x_t | x_s)                                                          s < t
    reverse       E over x_0 of q(x_s | x_t, x_0) ~ q(x_t | x_s) q(x_s | x_0)           s < t
    prior         q(x_1), which does not depend on x_0

A denoiser says what x_0 may have been, `reverse` integrates Bayes' posterior over it, and so

    p(x_s | x_t) = integral of q(x_s | x_t, x_0) p(x_0 | x_t)

walks back: with a point for x_0 it is DDPM, with a Gaussian law Analytic-DPM, with probabilities
D3PM, with a law that is known by its samples the denoising diffusion GAN.
"""

from __future__ import annotations

from abc import abstractmethod

from unnoise.distributions import Distribution
from unnoise.kernels.process import Process
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time


class TransitionKernel(Process):
    """A process whose marginals and posteriors have a closed form."""

    @abstractmethod
    def marginal(self, x0: State, t: Time, layout: Layout) -> Distribution:
        """q(x_t | x_0)."""

    def noisy(self, x0: State, t: Time, layout: Layout, noise: NoiseSource) -> State:
        """One draw of x_t: `marginal(x0, t, layout).sample(noise)`, by a shorter way if any."""
        return self.marginal(x0, t, layout).sample(noise)

    @abstractmethod
    def reverse(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout
    ) -> Distribution:
        """E over x0 of q(x_s | x_t, x_0) for s < t: Bayes' posterior integrated over `x0`.

        An `Implicit` law is integrated by drawing from it: `x0.then(...)`.
        """

    def bridge(
        self, x_t: State, x0: Distribution, t: Time, s: Time, layout: Layout, eta: float
    ) -> Distribution:
        """One of the laws of x_s given x_t and x_0 that leave every q(x_t | x_0) as it is.

        eta = 1 is Bayes' posterior, `reverse`; eta = 0 has the least noise of its own (Song 2021,
        DDIM). A kernel without such a family has one law only, `reverse`: there is nothing to
        choose, and eta has no effect. That is the default.
        """
        return self.reverse(x_t, x0, t, s, layout)

    @abstractmethod
    def reconstruction(self, x_t: State, x0: Distribution, t: Time, layout: Layout) -> Distribution:
        """p(x_0 | x_t) with a density: the last term of the variational bound."""
