"""Exact denoisers: laws of x_0 given x_t in closed form, for data whose distribution is known.

With them every sampler, loss and bound has a numeric test and needs no training.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Categorical, Dirac, Gaussian, Mixture
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import CategoricalKernel, GaussianKernel, TransitionKernel
from unnoise.spaces import Euclidean, Layout, State, Time, tensor


@final
class GaussianOracle(Denoiser):
    """Data N(mean, C) under any Gaussian kernel: with x_t = alpha x_0 + sigma eps,

        G = alpha C (alpha^2 C + sigma^2)^-1
        x_0 | x_t ~ N(mean + G (x_t - alpha mean), C - alpha G C).

    With a scalar or elementwise C the law is exact, and so is `reverse` for any number of steps.
    With a matrix the law holds the exact mean and the exact variance of each entry; a step drops
    the correlations of x_0 given x_t, an error that vanishes with the step.

    Parameters
    ----------
    mean : a number or a tensor that broadcasts against the states (rows, ...).
    covariance : a number, the variance of every entry; a tensor of the mean's shape, a variance
        for each; or a matrix (d, d), the covariance of the last axis of the state.

    Raises
    ------
    ConfigError : the kernel is not Gaussian, the covariance is no covariance, or it is not a
        number on a constrained space such as ZeroCoM.
    """

    mean: Tensor
    variances: Tensor
    vectors: Tensor | None

    def __init__(
        self, kernel: TransitionKernel, mean: Tensor | float, covariance: Tensor | float
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.schedule = _gaussian(kernel).schedule
        m = torch.as_tensor(mean, dtype=torch.float64)
        c = torch.as_tensor(covariance, dtype=torch.float64)
        vectors = None
        if c.ndim == 2 and c.shape != m.shape:
            if c.shape[0] != c.shape[1] or not torch.allclose(c, c.mT):
                raise ConfigError("a covariance matrix is symmetric", value=tuple(c.shape))
            c, vectors = torch.linalg.eigh(c)
        elif c.ndim and c.shape != m.shape:
            raise ConfigError(
                "a covariance is a number, has the mean's shape, or is a matrix",
                value=tuple(c.shape),
                limit=f"(), {tuple(m.shape)} or (d, d)",
            )
        if not bool((c >= 0).all()):
            raise ConfigError("a covariance has no negative eigenvalue", value=float(c.min()))
        if c.ndim and not isinstance(kernel.space, Euclidean):
            raise ConfigError(
                "on a constrained space the oracle's covariance is one number",
                value=type(kernel.space).__name__,
            )
        self.register_buffer("mean", m)
        self.register_buffer("variances", c)
        self.register_buffer("vectors", vectors)

    def forward(self, x_t: State, t: Time, layout: Layout, condition: Condition = None) -> Gaussian:
        x_t = tensor(x_t)
        x, space = x_t.double(), self.kernel.space
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if self.variances.ndim == 0:
            v = float(self.variances)
            total = alpha**2 * v + sigma**2
            gain = layout.expand(alpha * v / total, x)
            mean = self.mean + gain * (x - layout.expand(alpha, x) * self.mean)
            std = sigma * (v / total) ** 0.5
            return Gaussian(mean.to(x_t.dtype), std, space, layout)
        alpha, sigma = layout.expand(alpha, x), layout.expand(sigma, x)
        total = alpha**2 * self.variances + sigma**2
        y = x - alpha * self.mean
        # variances are the eigenvalues of C, and vectors its eigenvectors (None: the unit vectors)
        y = y if self.vectors is None else y @ self.vectors
        y = alpha * self.variances / total * y
        variance = self.variances * sigma**2 / total
        if self.vectors is not None:
            y, variance = y @ self.vectors.mT, variance @ self.vectors.mT**2
        std = variance.clamp(min=0).sqrt().to(x_t.dtype)
        return Gaussian((self.mean + y).to(x_t.dtype), std.expand(x.shape), space, layout)


@final
class MixtureOracle(Denoiser):
    """Data from a mixture of Gaussians, under any Gaussian kernel on a Euclidean space.

    The law of x_0 given x_t is a mixture too. What is returned is the Gaussian with its exact mean
    and its exact variance of each entry, which networks may hope to know; or, with `whole`, that
    mixture, with which the chain has the data's law in steps of any length.

    Parameters
    ----------
    weights : (K,), positive; normalised here.
    means : (K, ...), each broadcasts against the states of the samples.
    stds : (K,) or of the shape of `means`.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(
        self,
        kernel: TransitionKernel,
        weights: Float[Tensor, " components"],
        means: Float[Tensor, "components ..."],
        stds: Float[Tensor, "components ..."],
        *,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.whole = kernel, whole
        self.schedule = _gaussian(kernel).schedule
        if not isinstance(kernel.space, Euclidean):
            raise ConfigError(
                "the mixture lives on a Euclidean space", value=type(kernel.space).__name__
            )
        w, m, s = (torch.as_tensor(v, dtype=torch.float64) for v in (weights, means, stds))
        if w.ndim != 1 or m.shape[:1] != w.shape or s.shape not in (w.shape, m.shape):
            raise ConfigError(
                "a mixture has K weights, K means, and K stds or one for each entry of the means",
                value=(tuple(w.shape), tuple(m.shape), tuple(s.shape)),
            )
        if not bool((w > 0).all()) or not bool((s >= 0).all()):
            raise ConfigError("weights are positive and stds not negative", value=(weights, stds))
        self.register_buffer("log_weights", (w / w.sum()).log())
        self.register_buffer("means", m)
        self.register_buffer("variances", s.view(-1, *s.shape[1:], *(1,) * (m.ndim - s.ndim)) ** 2)

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Gaussian | Mixture:
        x_t = tensor(x_t)
        x = x_t.double()
        alpha = layout.expand(self.schedule.alpha(t), x)
        sigma = layout.expand(self.schedule.sigma(t), x)
        logs, means, variances = [], [], []
        for log_weight, m, v in zip(self.log_weights, self.means, self.variances, strict=True):
            total = alpha**2 * v + sigma**2
            y = x - alpha * m
            log_density = -0.5 * (y**2 / total + total.log())
            logs.append(log_weight + layout.sum(log_density.expand_as(x)))
            means.append(m + alpha * v / total * y)
            variances.append((v * sigma**2 / total).expand_as(x))
        posterior = torch.stack(logs).softmax(0)
        if self.whole:
            laws = [
                Gaussian(m.to(x_t.dtype), v.sqrt().to(x_t.dtype), self.kernel.space, layout)
                for m, v in zip(means, variances, strict=True)
            ]
            return Mixture(torch.stack(logs, 1).log_softmax(1), laws, layout)
        w = [layout.expand(p, x) for p in posterior]
        mean = sum((p * m for p, m in zip(w, means, strict=True)), torch.zeros_like(x))
        variance = torch.zeros_like(x)
        for p, m, v in zip(w, means, variances, strict=True):
            variance += p * (v + (m - mean) ** 2)
        std = variance.sqrt().to(x_t.dtype)
        return Gaussian(mean.to(x_t.dtype), std, self.kernel.space, layout)


@final
class PmfOracle(Denoiser):
    """Data of L tokens with a joint probability table, under any categorical kernel.

    Returns the factorised law with the exact p(x_0i | x_t) of each token, float64. Behind a state
    that the process cannot reach (a sampler that shows several tokens at once may) the law is the
    pmf itself.

    Parameters
    ----------
    pmf : (k,) * L, normalised here, k at most the vocabulary: further tokens, such as the mask of
        `Absorbing`, have probability 0. States are (B, L); memory is B k^L.

    Raises
    ------
    ConfigError : no table of probabilities, or not a categorical kernel.
    """

    log_pmf: Tensor

    def __init__(self, kernel: TransitionKernel, pmf: Float[Tensor, "..."]) -> None:
        super().__init__()
        self.kernel = kernel
        if not isinstance(kernel, CategoricalKernel):
            raise ConfigError("a pmf needs a CategoricalKernel", value=type(kernel).__name__)
        table = torch.as_tensor(pmf, dtype=torch.float64)
        self.vocab = kernel.space.vocab
        if table.ndim < 1 or len(set(table.shape)) > 1 or table.shape[0] > self.vocab:
            raise ConfigError(
                "a joint pmf of L tokens has the shape (k,) * L",
                value=tuple(table.shape),
                limit=f"k up to {self.vocab}",
            )
        self.register_buffer("log_pmf", normalised(table).log())

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Categorical:
        x = tensor(x_t)
        k, length = self.log_pmf.shape[0], self.log_pmf.ndim
        if x.ndim != 2 or x.shape[1] != length:
            raise InputError("the states are (B, L)", value=tuple(x.shape), limit=f"L = {length}")
        likelihood = self._likelihood(x, t, layout, k)
        joint = self.log_pmf
        for i in range(length):
            along = [k if j == i else 1 for j in range(length)]
            joint = joint + likelihood[:, i].view(-1, *along)
        impossible = torch.isneginf(joint.flatten(1).logsumexp(1)).view(-1, *(1,) * length)
        joint = torch.where(impossible, self.log_pmf, joint)
        table = joint.new_full((*x.shape, self.vocab), -math.inf)
        for i in range(length):
            rest = [j + 1 for j in range(length) if j != i]
            table[:, i, :k] = joint.logsumexp(rest) if rest else joint
        return Categorical.from_logits(table, layout)

    def _likelihood(self, x_t: Tensor, t: Time, layout: Layout, k: int) -> Tensor:
        """(B, L, k): log q(x_t | x_0 = j) for each token."""
        columns = []
        for j in range(k):
            law = self.kernel.marginal(torch.full_like(x_t, j), t, layout)
            assert isinstance(law, Categorical)
            columns.append(law.log_probs.gather(-1, x_t[..., None]))
        return torch.cat(columns, -1)


@final
class PointEstimate(Denoiser):
    """Dirac(E[x_0 | x_t]) of another denoiser of real data: what DDPM and DDIM assume."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        _gaussian(denoiser.kernel)
        self.denoiser = denoiser
        self.kernel = denoiser.kernel

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(self, x_t: State, t: Time, layout: Layout, condition: Condition = None) -> Dirac:
        return Dirac(self.denoiser(x_t, t, layout, condition).mean, layout)


def normalised(p: Tensor) -> Tensor:
    """`p` normalised to sum to one."""
    if not bool((p >= 0).all()) or not float(p.sum()) > 0:
        raise ConfigError("probabilities are not negative", value=float(p.min()))
    return p / p.sum()


def _gaussian(kernel: TransitionKernel) -> GaussianKernel:
    if not isinstance(kernel, GaussianKernel):
        raise ConfigError("this oracle needs a GaussianKernel", value=type(kernel).__name__)
    return kernel
