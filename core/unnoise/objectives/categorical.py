"""Objectives and bounds of tokens with a continuous clock: the limit of infinitely many steps.

For the absorbing kernel the bound's rate is the cross-entropy of the hidden tokens,

    int_0^1 -alpha' / (1 - alpha) E sum over hidden i of -log p(x_0i | x_t) dt        (Sahoo 2024),

with sigma = -log alpha the same as int dsigma / expm1(sigma) CE. The integrand depends on t through
the number of hidden tokens alone when the network does, and what is left is the order-agnostic
bound, D / n sum over n hidden ones of -log p(x_0i | the others), n uniform on 1 .. D
(Hoogeboom 2022). For the uniform kernel it is the score entropy (Lou 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.denoise import Denoiser, NetworkDenoiser, Ratio, entropy_rate, score_entropy
from unnoise.distributions import Categorical, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, TransitionKernel, corruption_of
from unnoise.noise import NoiseSource
from unnoise.objectives.base import Objective
from unnoise.objectives.batch import Batch
from unnoise.objectives.bound import Bound
from unnoise.objectives.weighted import raw_law
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout, State, Time, tensor


@final
@dataclass(frozen=True)
class MaskedDiffusion(Objective):
    """The continuous bound of the absorbing kernel, nats per degree of freedom: cross-entropy of
    the hidden tokens times -alpha' / (1 - alpha), t uniform (Sahoo 2024, MDLM).

    Times are spread evenly over consecutive sample numbers.
    """

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        corruption = _absorbing(denoiser.kernel)
        _continuous(denoiser.kernel)
        layout, t = batch.layout, _times(batch, noise)
        x_t = denoiser.kernel.noisy(batch.x0, t, layout, noise)
        law = raw_law(denoiser, x_t, t, layout, batch)
        hidden = tensor(x_t) == corruption.mask
        loss = cross_entropy(law, tensor(batch.x0), hidden, layout)
        return entropy_rate(denoiser.kernel, t) * loss / layout.sizes


@final
@dataclass(frozen=True)
class ScoreEntropy(Objective):
    """The continuous bound of the absorbing and uniform kernels, without its prior term, nats per
    degree of freedom: the denoising score entropy times its rate, t uniform (Lou 2024, SEDD).

    For the `Ratio` parametrization; any other law of x_0 is turned into its ratios. Times are
    spread evenly over consecutive sample numbers.
    """

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        kernel, layout = denoiser.kernel, batch.layout
        _continuous(kernel)
        t = _times(batch, noise)
        x_t = kernel.noisy(batch.x0, t, layout, noise)
        if isinstance(denoiser, NetworkDenoiser) and isinstance(denoiser.parametrization, Ratio):
            output: State = denoiser.output(x_t, t, layout, batch.condition)
        else:
            law = _categorical(raw_law(denoiser, x_t, t, layout, batch))
            output = Ratio().output(kernel, law, x_t, t, layout)
        loss = score_entropy(kernel, output, batch.x0, x_t, t, layout)
        return entropy_rate(kernel, t) * loss / layout.sizes


@final
@dataclass(frozen=True)
class OrderAgnosticLoss(Objective):
    """The order-agnostic bound, nats per degree of freedom: the mean cross-entropy of n hidden
    tokens, n uniform on 1 .. D (Hoogeboom 2022, ARDM), for the absorbing kernel.

    Numbers are spread evenly over consecutive sample numbers. A network that sees the time is told
    that at which n / D of the tokens are hidden on average.
    """

    def __call__(
        self, denoiser: Denoiser, batch: Batch, noise: NoiseSource
    ) -> Float[Tensor, " batch"]:
        layout = batch.layout
        sizes = layout.sizes.double()
        number = torch.ceil((1 - noise.times().to(layout.device)) * sizes).clamp(min=1)
        return _hidden_loss(denoiser, batch, number, noise) / number


def continuous_bound(
    run: Diffusion,
    x0: State,
    *,
    evaluations: int = 100,
) -> Bound:
    """Estimate the bound of infinitely many steps, for absorbing and uniform kernels: nats, (B,).

        KL(q(x_1 | x_0) || prior) + int_0^1 rate(t) E score entropy(x_0, x_t) dt

    with the law of the run: unbiased, one draw of x_t at each of `evaluations` stratified times
    t = u^2, u uniform. (At uniform times the variance is infinite: a token that has moved costs
    about 1 / t, and has moved with probability t.) `reconstruction` is 0: the integral goes down to
    the data.

    Raises
    ------
    ConfigError : another kernel, or one with a discrete clock, which has `bound`.
    """
    kernel, layout, noise = run.kernel, run.layout, run.noise
    _continuous(kernel)
    if evaluations < 1:
        raise InputError("evaluations is at least 1", value=evaluations)
    before = run.evaluations
    prior = kernel.marginal(x0, 1.0, layout).kl(kernel.prior(layout)).double()
    one, terms = Layout.dense(layout.batch, device=layout.device), []
    for e in range(evaluations):
        u = 1 - (e + noise.uniform(one)) / evaluations
        t = u**2
        x_t = kernel.noisy(x0, t, layout, noise)
        law = _categorical(run(x_t, t))
        rate = 2 * u * entropy_rate(kernel, t)
        terms.append(rate * _law_entropy(kernel, law, x0, x_t, t, layout))
    table = torch.stack(terms)
    n = evaluations
    error = torch.full_like(table[0], torch.inf)
    if n > 1:
        error = (table.diff(dim=0).square().sum(0) / (2 * n * (n - 1))).sqrt()
    none, spent = torch.zeros_like(error), run.evaluations - before
    return Bound(prior, table.mean(0), none, error, spent, "probability")


def loss_curve(
    denoiser: Denoiser, batch: Batch, noise: NoiseSource, evaluations: int | None = None
) -> Float64[Tensor, " tokens"]:
    """(D,) the mean of -log p of one more token when i = 0 .. D - 1 random ones are visible, nats:
    what `unnoise.samplers.parallel_schedule` needs. Its sum is the order-agnostic bound.

    Parameters
    ----------
    evaluations : numbers i at which it is measured, evenly spaced, both ends included; between them
        it is interpolated. All of them by default.

    Raises
    ------
    InputError : samples of different sizes.
    """
    sizes = batch.layout.sizes
    d = int(sizes[0])
    if bool((sizes != d).any()):
        raise InputError("a loss curve is of samples of one size", value=sizes.tolist()[:8])
    n = d if evaluations is None else min(evaluations, d)
    if n < min(2, d):
        raise InputError("evaluations is at least 2", value=evaluations)
    visible = torch.linspace(0, d - 1, n, dtype=torch.float64).round()
    found = []
    with torch.no_grad():
        for i in visible.tolist():
            number = torch.full_like(sizes, d - int(i), dtype=torch.float64)
            found.append((_hidden_loss(denoiser, batch, number, noise) / number).mean())
    values, i = torch.stack(found).cpu(), torch.arange(d, dtype=torch.float64)
    if n == 1:
        return values
    right = torch.searchsorted(visible, i).clamp(1, n - 1)
    share = (i - visible[right - 1]) / (visible[right] - visible[right - 1])
    return torch.lerp(values[right - 1], values[right], share)


def cross_entropy(
    law: Distribution, x0: Tensor, where: Tensor, layout: Layout
) -> Float64[Tensor, " batch"]:
    """(B,) the sum of -log p(x_0) over the tokens of `where`, nats."""
    found = _categorical(law).log_probs.gather(-1, x0[..., None])[..., 0].double()
    return -layout.sum(torch.where(where, found, 0.0))


def _hidden_loss(denoiser: Denoiser, batch: Batch, number: Tensor, noise: NoiseSource) -> Tensor:
    """(B,) cross-entropy of `number` (B,) tokens, chosen at random, given the others."""
    corruption, layout, x0 = _absorbing(denoiser.kernel), batch.layout, tensor(batch.x0)
    place = layout.ranks(noise.uniform(layout))
    hidden = place < torch.as_tensor(layout.expand(number, place.double()))
    x_t = layout.zero_padding(x0.masked_fill(hidden, corruption.mask))
    t = corruption.time_hidden(number / layout.sizes)
    law = raw_law(denoiser, x_t, t, layout, batch)
    return cross_entropy(law, x0, hidden, layout)


def _law_entropy(
    kernel: TransitionKernel, law: Categorical, x0: State, x_t: State, t: Time, layout: Layout
) -> Tensor:
    """(B,) the score entropy of a law; the cross-entropy for `Absorbing`, without its tables."""
    corruption = corruption_of(kernel)
    if isinstance(corruption, Absorbing):
        hidden = tensor(x_t) == corruption.mask
        return cross_entropy(law, tensor(x0), hidden, layout)
    output = Ratio().output(kernel, law, x_t, t, layout)
    return score_entropy(kernel, output, x0, x_t, t, layout)


def _times(batch: Batch, noise: NoiseSource) -> Float64[Tensor, " batch"]:
    return 1 - noise.times().to(batch.layout.device)


def _absorbing(kernel: TransitionKernel) -> Absorbing:
    corruption = corruption_of(kernel)
    if not isinstance(corruption, Absorbing):
        raise ConfigError(
            "this objective needs a CategoricalKernel with Absorbing",
            value=type(corruption).__name__,
            fix="use ScoreEntropy() or Hybrid()",
        )
    return corruption


def _continuous(kernel: TransitionKernel) -> None:
    if kernel.steps is not None:
        raise ConfigError(
            "a continuous clock is needed",
            value=f"{kernel.steps} steps",
            fix="use VariationalBound(), or bound()",
        )


def _categorical(law: Distribution) -> Categorical:
    if not isinstance(law, Categorical):
        raise ConfigError("a Categorical law of x_0 is needed", value=type(law).__name__)
    return law
