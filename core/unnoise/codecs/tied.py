"""Codes whose noise is the least noise of a schedule (Heek 2026, Unified Latents).

A codec's encoder gives mu(x), and its decoder reads

    z_0 = alpha_0 mu + sigma_0 eps,    q(z_0 | x) = N(alpha_0 mu, sigma_0^2),

where (alpha_0, sigma_0) is where a schedule begins. The diffusion of z_0 goes on with what is
`Above` it, so that z_t | x ~ N(alpha_t mu, sigma_t^2) at all times, and how many nats z_0 takes is

    KL(q(z_1 | x) || prior) + 1/2 int_0^1 gamma' E|eps - eps_hat(z_t, t)|^2 dt,

gamma = -log SNR_t. SNR_t = alpha_t^2 / sigma_t^2 is bounded: there is no density of codes that an
encoder could sharpen without end.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from unnoise.codecs.base import Codec, Encoded, check_data
from unnoise.denoise import Condition
from unnoise.distributions import Distribution, Gaussian
from unnoise.kernels import Schedule, least
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, State, tensor


@final
class Tied(Codec):
    """`codec`, whose means are mu and whose decoder reads z_0.

    Parameters
    ----------
    codec : of codes without noise; one of its own is not used.
    schedule : whose least noise the codes have. The kernel of the diffusion has `Above(schedule)`.

    Raises
    ------
    ConfigError : a schedule without a least noise.
    """

    def __init__(self, codec: Codec, schedule: Schedule) -> None:
        super().__init__()
        self.codec, self.start = codec, least(schedule)

    @property
    def invertible(self) -> bool:
        return False

    def clean(self, x: State, layout: Layout, condition: Condition = None) -> tuple[Tensor, Layout]:
        """mu(x) and its layout."""
        mu, found = self.codec.embed(x, layout, condition)
        return tensor(mu), found

    def law(self, mu: Tensor, layout: Layout) -> Gaussian:
        """q(z_0 | x)."""
        return Gaussian(self.start.alpha * mu, self.start.sigma, Euclidean(), layout)

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        check_data(x, layout)
        mu, found = self.clean(x, layout, condition)
        q = self.law(mu, found)
        z = q.mean if noise is None else tensor(q.sample(noise))
        cost = q.log_prob(z).double()
        gain = self.decode(z, found, condition).log_prob(x).double()
        return Encoded(z, found, gain - cost, cost)

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        mu, found = self.clean(x, layout, condition)
        q = self.law(mu, found)
        return (q.mean if noise is None else q.sample(noise)), found

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        return self.codec.decode(z, layout, condition)

    def state_layout(self, layout: Layout) -> Layout:
        return self.codec.state_layout(layout)

    def data_layout(self, layout: Layout) -> Layout:
        return self.codec.data_layout(layout)
