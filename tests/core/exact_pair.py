"""A real number and a category that depend on each other, with their exact denoisers.

    c ~ P,    x | c ~ N(M_c, S_c^2)

Behind a noisy pair the law of (x_0, c_0) is a mixture over the categories, by enumeration.
"""

from __future__ import annotations

import math

import torch

from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical, Dirac, Gaussian, Implicit, Product, inverse_cdf
from unnoise.kernels import Absorbing, CategoricalKernel, GaussianKernel, ProductKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, Tokens

D = torch.float64
P = torch.tensor([0.5, 0.3, 0.2], dtype=D)
M = torch.tensor([-1.0, 0.4, 1.6], dtype=D)
S = torch.tensor([0.5, 0.2, 0.3], dtype=D)
BETAS_OF_FOUR = (0.4782553, 0.849206, 0.9564177, 0.9874039)  # Xiao 2022


def pair_kernel(schedule, corruption) -> ProductKernel:
    """Of {"x": (B,), "c": (B,)}; with `Absorbing` the vocabulary has a mask on top."""
    real = GaussianKernel(Euclidean(), schedule)
    tokens = Tokens(4 if isinstance(corruption, Absorbing) else 3)
    return ProductKernel({"x": real, "c": CategoricalKernel(tokens, corruption)})


def pair_layout(batch: int) -> Layout:
    parts = {"x": Layout.dense(batch, dtype=D), "c": Layout.dense(batch, dtype=torch.int64)}
    return Layout.product(parts)


class Behind:
    """p(x_0, c_0 | x_t, c_t): a mixture over c_0, with weights (B, 3), means and variances."""

    def __init__(self, kernel, x_t, t):
        schedule, tokens = kernel.parts["x"].schedule, kernel.parts["c"]
        alpha, sigma = (
            torch.as_tensor(v, dtype=D).reshape(-1, 1)
            for v in (schedule.alpha(t), schedule.sigma(t))
        )
        x, c_t = x_t["x"][:, None], x_t["c"]
        total = alpha**2 * S**2 + sigma**2
        layout = pair_layout(len(c_t))["c"]
        log_q = [
            tokens.marginal(torch.full_like(c_t, k), t, layout).log_prob(c_t) for k in (0, 1, 2)
        ]
        logs = P.log() - (x - alpha * M) ** 2 / total / 2 - total.log() / 2 + torch.stack(log_q, 1)
        self.weights, self.extra = logs.softmax(-1), tokens.space.vocab - 3  # the mask
        self.means = M + alpha * S**2 / total * (x - alpha * M)
        self.variances = (S**2 * sigma**2 / total).expand_as(self.weights)

    def sample(self, noise: NoiseSource, layout: Layout):
        c = inverse_cdf(self.weights.log(), noise.uniform(layout["c"]))
        mean, variance = (v.gather(1, c[:, None])[:, 0] for v in (self.means, self.variances))
        return {"x": mean + variance.sqrt() * noise.normal(layout["x"]), "c": c}

    def apart(self, layout: Layout) -> Product:
        """The law whose parts are independent, each with its own moments or probabilities."""
        mean = (self.weights * self.means).sum(1)
        variance = (self.weights * (self.variances + (self.means - mean[:, None]) ** 2)).sum(1)
        log_p = torch.nn.functional.pad(self.weights, (0, self.extra)).log()
        x = Gaussian(mean, variance.sqrt(), Euclidean(), layout["x"])
        return Product({"x": x, "c": Categorical(log_p, layout["c"])})


class ExactPair(Denoiser):
    """Both parts together by draws, or apart."""

    def __init__(self, kernel: ProductKernel, together: bool) -> None:
        super().__init__()
        self.kernel, self.together = kernel, together

    def forward(self, x_t, t, layout, condition=None):
        behind = Behind(self.kernel, x_t, t)
        if self.together:
            return Implicit(lambda noise: behind.sample(noise, layout), layout)
        return behind.apart(layout)


class Point(Denoiser):
    """The mean of the real part in place of its law."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.kernel, self.denoiser = denoiser.kernel, denoiser

    def forward(self, x_t, t, layout, condition=None):
        law = self.denoiser(x_t, t, layout, condition)
        return Product({**law.parts, "x": Dirac(law.parts["x"].mean, layout["x"])})


def moments(x) -> torch.Tensor:
    """P(c), E[x 1_c] and E[x^2 1_c] of samples, as one vector (9,)."""
    one = torch.nn.functional.one_hot(x["c"], 4)[:, :3].to(D)
    rows = [one, one * x["x"][:, None], one * x["x"][:, None] ** 2]
    return torch.cat([row.mean(0) for row in rows])


EXACT = torch.cat([P, P * M, P * (M**2 + S**2)])
FOURTH = torch.cat([P, P * (M**2 + S**2), P * (M**4 + 6 * M**2 * S**2 + 3 * S**4)])


def worst(x) -> float:
    """The largest deviation of the moments from the exact ones, in standard errors."""
    n = len(x["c"])
    return float(((moments(x) - EXACT).abs() / ((FOURTH - EXACT**2) / n).sqrt()).max())


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))
