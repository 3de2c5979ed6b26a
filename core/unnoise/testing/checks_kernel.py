"""What a `TransitionKernel` is checked for: the laws that follow from its four lines.

q(x_s | x_0) q(x_t | x_s) = q(x_t | x_0) q(x_s | x_t, x_0) ties marginal, transition and reverse
together, as densities at drawn states: with it the posterior is right to rounding, whatever the
family of distributions. Statistical checks compare draws of two ways to the same law.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.errors import InputError, UnnoiseError
from unnoise.kernels import CategoricalKernel, TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor
from unnoise.testing.examples import clean_state, copies, example_layout
from unnoise.testing.report import CheckFailed, Skip, require, within
from unnoise.testing.statistics import DRAWS, same_law, same_mean

_NATS: Final = 1e-4
"""How much log densities may differ. float64 closed forms reach 1e-9; quadratures do not."""
_ENDS: Final = 0.02
"""Nats per degree of freedom by which x_1 may still tell the data, for data of order 1."""


@final
@dataclass(frozen=True, eq=False)
class KernelCase:
    """A kernel, and the layout of a dense batch to check it on."""

    kernel: TransitionKernel
    given: Layout | None
    seed: int

    @property
    def layout(self) -> Layout:
        return example_layout(self.kernel.space) if self.given is None else self.given

    @property
    def x0(self) -> State:
        return clean_state(self.kernel, self.layout, self.seed)

    def noise(self, branch: int = 0, n: int | None = None) -> NoiseSource:
        return NoiseSource(self.seed, range(self.layout.batch if n is None else n), branch)

    def many(self) -> tuple[State, Layout]:
        """One clean state, many times."""
        return copies(self.x0, self.layout, DRAWS)

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Times s < t inside (0, 1], those of the kernel where it has steps."""
        wanted = ((0.3, 0.6), (0.1, 0.2), (0.05, 0.9), (0.7, 1.0))
        n = self.kernel.steps
        if n is None:
            return list(wanted)
        numbers = [(max(1, round(s * n)), round(t * n)) for s, t in wanted]
        found = dict.fromkeys((s / n, t / n) for s, t in numbers if s < t)
        if not found:
            raise Skip(f"a kernel of {n} steps has no two times inside (0, 1]")
        return list(found)


def chapman_kolmogorov(case: KernelCase) -> str:
    """Marginal, then transition, is marginal. Exact for categories and Gaussians."""
    said = []
    for s, t in case.pairs:
        first = case.kernel.marginal(case.x0, s, case.layout)
        direct = case.kernel.marginal(case.x0, t, case.layout)
        if isinstance(first, Categorical) and isinstance(direct, Categorical):
            said.append(_table_error(_pushed(case, first, s, t), direct, f"s = {s:g}, t = {t:g}"))
        elif isinstance(first, Gaussian) and isinstance(direct, Gaussian):
            said.append(_gaussian_error(case, first, direct, s, t))
    if not said:
        s, t = case.pairs[0]
        (x0, layout), noise = case.many(), case.noise(3, DRAWS)
        middle = case.kernel.marginal(x0, s, layout).sample(noise)
        two = case.kernel.transition(middle, s, t, layout).sample(noise)
        one = case.kernel.marginal(x0, t, layout).sample(noise)
        said.append(same_law(two, one, f"x_t by way of s = {s:g}, t = {t:g}"))
    return said[-1]


def bayes(case: KernelCase) -> str:
    """`reverse` against a Dirac is the posterior, as log densities at drawn states, and for
    categories at every state."""
    worst = 0.0
    for s, t in case.pairs:
        x0, layout, kernel = case.x0, case.layout, case.kernel
        before = kernel.marginal(x0, s, layout)
        x_s = before.sample(case.noise(1))
        after = kernel.transition(x_s, s, t, layout)
        x_t = after.sample(case.noise(2))
        posterior = kernel.reverse(x_t, Dirac(x0, layout), t, s, layout)
        evidence = kernel.marginal(x0, t, layout).log_prob(x_t)
        exact = before.log_prob(x_s) + after.log_prob(x_t) - evidence
        own = posterior.log_prob(x_s)
        difference = (own - exact).abs() / (1 + 1e-3 * exact.abs())
        require(
            bool(torch.isfinite(difference).all()),
            f"s = {s:g}, t = {t:g}: the posterior's log density is {own.tolist()}, not "
            f"{exact.tolist()}",
        )
        worst = max(worst, float(difference.max()))
        if isinstance(posterior, Categorical):
            worst = max(worst, _posterior_error(case, posterior, x_t, s, t))
    return within(worst, _NATS, "log density of the posterior: difference in nats")


def mixture_rule(case: KernelCase) -> str:
    """`reverse` against a spread law of x_0 is the average of the posteriors of its draws."""
    said = ""
    for s, t in case.pairs[:2]:
        spread = case.kernel.marginal(case.x0, case.pairs[-1][0], case.layout)
        x_t = case.kernel.marginal(case.x0, t, case.layout).sample(case.noise(1))
        mixed = _reverse_of_spread(case, x_t, spread, t, s, case.layout)
        if isinstance(mixed, Categorical) and isinstance(spread, Categorical):
            average = _averaged(case, spread, tensor(x_t), t, s)
            said = _table_error(average, mixed, f"s = {s:g}, t = {t:g}")
        else:
            said = _mixed_draws(case, t, s)
    return said


def time_zero_is_the_data(case: KernelCase) -> str:
    """q(x_0 | x_0) is x_0 itself, and so is the step back to 0 for a known x_0."""
    x0, layout = case.x0, case.layout
    start = case.kernel.marginal(x0, 0.0, layout).sample(case.noise())
    t = case.pairs[0][1]
    x_t = case.kernel.marginal(x0, t, layout).sample(case.noise(1))
    end = case.kernel.reverse(x_t, Dirac(x0, layout), t, 0.0, layout).sample(case.noise(2))
    error = max(_distance(x0, start), _distance(x0, end))
    return within(error, 1e-6, "distance of x_0 to the data")


def time_one_is_the_prior(case: KernelCase) -> str:
    """KL(q(x_1 | x_0) || prior) per degree of freedom is small for data of order 1."""
    end = case.kernel.marginal(case.x0, 1.0, case.layout)
    divergence = end.kl(case.kernel.prior(case.layout))
    dim = case.kernel.space.dim(case.layout).clamp(min=1)
    return within(float((divergence / dim).max()), _ENDS, "KL(q(x_1 | x_0) || prior) per dimension")


def samples_are_of_the_space(case: KernelCase) -> str | None:
    """Draws of marginal, transition, reverse and prior are states of the kernel's space."""
    layout, validate = case.layout, case.kernel.space.validate
    validate(case.kernel.prior(layout).sample(case.noise()), layout)
    for s, t in case.pairs:
        x_s = case.kernel.marginal(case.x0, s, layout).sample(case.noise(1))
        validate(x_s, layout)
        x_t = case.kernel.transition(x_s, s, t, layout).sample(case.noise(2))
        validate(x_t, layout)
        law = case.kernel.reverse(x_t, Dirac(case.x0, layout), t, s, layout)
        validate(law.sample(case.noise(3)), layout)
    return None


def samples_match_their_moments(case: KernelCase) -> str:
    """Draws have the mean and the standard deviation, or the frequencies, that the law says."""
    (x0, layout), noise = case.many(), case.noise(3, DRAWS)
    said = ""
    for s, t in case.pairs[:2]:
        law = case.kernel.marginal(x0, t, layout)
        x_t = law.sample(noise)
        said = _moments(law, x_t, layout, f"marginal at {t:g}")
        once = copies(x_t, layout, DRAWS)[0]
        back = case.kernel.reverse(once, Dirac(x0, layout), t, s, layout)
        _moments(back, back.sample(noise), layout, f"reverse to {s:g}")
    prior = case.kernel.prior(layout)
    _moments(prior, prior.sample(noise), layout, "prior")
    return said


def samples_match_log_prob(case: KernelCase) -> str:
    """For laws p and q, the mean of p / (p + q) under q is that of q / (p + q) under p: draws and
    log_prob belong to one law."""
    (x0, layout), noise = case.many(), case.noise(3, DRAWS)
    other = copies(clean_state(case.kernel, case.layout, case.seed + 7), case.layout, DRAWS)[0]
    (s, t), said = case.pairs[0], ""
    laws = [
        (case.kernel.marginal(x0, t, layout), case.kernel.marginal(other, t, layout)),
        (case.kernel.marginal(x0, t, layout), case.kernel.marginal(x0, s, layout)),
    ]
    for p, q in laws:
        x_p = p.sample(noise)
        x_q = q.sample(noise)
        under_q = torch.sigmoid(p.log_prob(x_q) - q.log_prob(x_q))
        under_p = torch.sigmoid(q.log_prob(x_p) - p.log_prob(x_p))
        said = same_mean(under_q, under_p, "difference of the two sides")
    return said


def divergence(case: KernelCase) -> str:
    """kl is >= 0, 0 on itself, and the mean of log p - log q under p (10 standard errors)."""
    (x0, layout), noise = case.many(), case.noise(3, DRAWS)
    s, t = case.pairs[0]
    p, q = case.kernel.marginal(x0, s, layout), case.kernel.marginal(x0, t, layout)
    own = float(p.kl(p).abs().max())
    require(own <= 1e-6, f"kl of a law to itself is {own:.3g}")
    exact = p.kl(q)
    require(bool((exact >= -1e-6).all()), f"a divergence is {float(exact.min()):.3g}")
    x = p.sample(noise)
    terms = (p.log_prob(x) - q.log_prob(x)).double()
    error = float(terms.std()) / math.sqrt(DRAWS)
    difference = abs(float(terms.mean() - exact.mean()))
    return within(difference, 10 * error + 1e-6, "kl against its definition")


def noise_belongs_to_the_sample(case: KernelCase) -> str | None:
    """Equal data get different noise in each place of a batch, and the noise of a sample number
    does not depend on the others."""
    x0, layout = copies(case.x0, case.layout, 8)
    t = case.pairs[-1][1]
    whole = case.kernel.marginal(x0, t, layout).sample(NoiseSource(case.seed, range(8)))
    if _distinct(case.kernel.prior(layout).sample(NoiseSource(case.seed, range(8)))) > 1:
        require(_distinct(whole) > 1, "all samples of a batch have the same noise")
    one, single = copies(case.x0, case.layout, 1)
    alone = case.kernel.marginal(one, t, single).sample(NoiseSource(case.seed, [5]))
    require(_distance(_row(whole, 5), _row(alone, 0)) < 1e-9, "a sample's noise depends on others")
    return None


def times_per_sample(case: KernelCase) -> str:
    """A tensor of times gives each sample what the float of its own time gives."""
    layout, x0 = case.layout, case.x0
    pairs = [case.pairs[k % len(case.pairs)] for k in range(layout.batch)]
    s, t = (torch.tensor([pair[i] for pair in pairs], dtype=torch.float64) for i in (0, 1))
    x_t = case.kernel.marginal(x0, t, layout).sample(case.noise(1))
    x_s = case.kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).sample(case.noise(2))
    together = [
        case.kernel.marginal(x0, t, layout).log_prob(x_t),
        case.kernel.transition(x_s, s, t, layout).log_prob(x_t),
        case.kernel.reverse(x_t, Dirac(x0, layout), t, s, layout).log_prob(x_s),
    ]
    worst = 0.0
    for k, (a, b) in enumerate(pairs):
        alone = [
            case.kernel.marginal(x0, b, layout).log_prob(x_t),
            case.kernel.transition(x_s, a, b, layout).log_prob(x_t),
            case.kernel.reverse(x_t, Dirac(x0, layout), b, a, layout).log_prob(x_s),
        ]
        for many, one in zip(together, alone, strict=True):
            worst = max(worst, abs(float(many[k] - one[k])) / (1 + 1e-3 * abs(float(one[k]))))
    return within(worst, 1e-6, "log densities: difference in nats")


def wrong_times_are_refused(case: KernelCase) -> str | None:
    """Times outside [0, 1] and s >= t are an InputError."""
    x0, layout, kernel = case.x0, case.layout, case.kernel
    s, t = case.pairs[0]
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("marginal at t = 1.5", lambda: kernel.marginal(x0, 1.5, layout)),
        ("marginal at t = -0.5", lambda: kernel.marginal(x0, -0.5, layout)),
        ("a transition from t to s < t", lambda: kernel.transition(x0, t, s, layout)),
        ("reverse from s to t > s", lambda: kernel.reverse(x0, Dirac(x0, layout), s, t, layout)),
    ]
    for what, call in wrong:
        try:
            call()
        except InputError:
            continue
        raise CheckFailed(f"{what} is no InputError")
    return None


CHECKS: Final[tuple[Callable[[KernelCase], str | None], ...]] = (
    chapman_kolmogorov,
    bayes,
    mixture_rule,
    time_zero_is_the_data,
    time_one_is_the_prior,
    samples_are_of_the_space,
    samples_match_their_moments,
    samples_match_log_prob,
    divergence,
    noise_belongs_to_the_sample,
    times_per_sample,
    wrong_times_are_refused,
)


def _gaussian_error(case: KernelCase, first: Gaussian, direct: Gaussian, s: float, t: float) -> str:
    """The moments of a Gaussian pushed through a transition that is linear entry by entry."""
    direction = tensor(case.kernel.space.project(torch.ones_like(first.mean), case.layout))
    if float(direction.abs().max()) < 1e-6:  # a constant is no direction of this space
        direction = tensor(first.mean) - tensor(first.mean).mean()
    step = case.kernel.transition(first.mean, s, t, case.layout)
    moved = case.kernel.transition(first.mean + direction, s, t, case.layout)
    if not isinstance(step, Gaussian) or not isinstance(moved, Gaussian):
        raise CheckFailed(f"the transition is a {type(step).__name__}, the marginal a Gaussian")
    safe = torch.where(direction.abs() > 1e-6, direction, torch.ones_like(direction))
    ratio = torch.where(direction.abs() > 1e-6, (moved.mean - step.mean) / safe, torch.nan)
    variance = _scale(step) ** 2 + ratio**2 * _scale(first) ** 2
    size = 1 + float(torch.as_tensor(direct.std).max())
    mean = float((step.mean - direct.mean).abs().max()) / size
    spread = float((variance.sqrt() - _scale(direct)).abs().nan_to_num(0).max()) / size
    return within(max(mean, spread), 1e-6, f"s = {s:g}, t = {t:g}: error of mean and std, relative")


def _scale(law: Gaussian) -> Tensor:
    return torch.as_tensor(law.scale).expand(law.mean.shape)


def _kernel(case: KernelCase) -> CategoricalKernel:
    if not isinstance(case.kernel, CategoricalKernel):
        raise Skip("tables of categories belong to CategoricalKernel")
    return case.kernel


def _pushed(case: KernelCase, first: Categorical, s: float, t: float) -> Tensor:
    """sum_j q(x_s = j | x_0) q(x_t | x_s = j), token by token."""
    total = torch.zeros_like(first.log_probs, dtype=torch.float64)
    for j in range(first.log_probs.shape[-1]):
        state = torch.full(first.log_probs.shape[:-1], j)
        law = case.kernel.transition(state, s, t, case.layout)
        assert isinstance(law, Categorical)
        total += first.log_probs[..., j, None].exp() * law.log_probs.exp()
    return total


def _averaged(case: KernelCase, spread: Categorical, x_t: Tensor, t: float, s: float) -> Tensor:
    """sum_i p0_i reverse(x_t, i), token by token, over the i from which x_t can be reached.

    The others have no posterior; what the law gives them is shared among the rest.
    """
    total = torch.zeros_like(spread.log_probs, dtype=torch.float64)
    for i in range(spread.log_probs.shape[-1]):
        state = torch.full(x_t.shape, i)
        reached = case.kernel.marginal(state, t, case.layout)
        assert isinstance(reached, Categorical)
        possible = reached.log_probs.gather(-1, x_t[..., None]) > -math.inf
        law = case.kernel.reverse(x_t, Dirac(state, case.layout), t, s, case.layout)
        assert isinstance(law, Categorical)
        weighted = spread.log_probs[..., i, None].exp() * law.log_probs.exp()
        total += torch.where(possible, weighted, 0.0)
    return total / total.sum(-1, keepdim=True)


def _posterior_error(
    case: KernelCase, posterior: Categorical, x_t: State, s: float, t: float
) -> float:
    """The largest difference of probabilities to q(x_s | x_0) q(x_t | x_s) / q(x_t | x_0)."""
    joint = case.kernel.marginal(case.x0, s, case.layout)
    assert isinstance(joint, Categorical)
    table = joint.log_probs.exp().double().clone()
    for j in range(table.shape[-1]):
        state = torch.full(table.shape[:-1], j)
        law = case.kernel.transition(state, s, t, case.layout)
        assert isinstance(law, Categorical)
        table[..., j] *= law.log_probs.gather(-1, tensor(x_t)[..., None])[..., 0].exp()
    exact = table / table.sum(-1, keepdim=True)
    return float((posterior.log_probs.exp() - exact).abs().max())


def _table_error(table: Tensor, law: Categorical, what: str) -> str:
    error = float((table - law.log_probs.double().exp()).abs().max())
    return within(error, 1e-6, f"{what}: error of the probabilities")


def _reverse_of_spread(
    case: KernelCase, x_t: State, spread: Distribution, t: float, s: float, layout: Layout
) -> Distribution:
    try:
        return case.kernel.reverse(x_t, spread, t, s, layout)
    except UnnoiseError as error:
        raise Skip(f"reverse takes no {type(spread).__name__} as a law of x_0") from error


def _mixed_draws(case: KernelCase, t: float, s: float) -> str:
    """Draws of `reverse` against a spread law, and of posteriors of draws of that law."""
    (x0, layout), noise = case.many(), case.noise(3, DRAWS)
    spread = case.kernel.marginal(x0, case.pairs[-1][0], layout)
    x_t = copies(
        case.kernel.marginal(case.x0, t, case.layout).sample(case.noise(1)), case.layout, DRAWS
    )[0]
    mixed = _reverse_of_spread(case, x_t, spread, t, s, layout).sample(noise)
    point = Dirac(spread.sample(noise), layout)
    drawn = case.kernel.reverse(x_t, point, t, s, layout).sample(noise)
    return same_law(mixed, drawn, f"s = {s:g}, t = {t:g}")


def _moments(law: Distribution, x: State, layout: Layout, what: str) -> str:
    """Exact tests: a normal and a chi-square quantile, and frequencies by Hoeffding."""
    parts = getattr(law, "parts", None)
    if parts is not None and isinstance(x, dict):
        said = [_moments(parts[n], x[n], layout[n], f"{what}, {n}") for n in x]
        return said[-1]
    if isinstance(law, Categorical):
        expected = law.log_probs.double().exp().mean(0)
        counts = torch.nn.functional.one_hot(tensor(x), expected.shape[-1]).double().mean(0)
        limit = math.sqrt(math.log(2 * expected.numel() / 1e-10) / (2 * len(tensor(x))))
        return within(float((counts - expected).abs().max()), limit, f"{what}: frequencies")
    if not isinstance(law, Gaussian):
        raise Skip(f"the moments of a {type(law).__name__} are not known to the kit")
    z = (tensor(x) - law.mean) / _scale(law)
    n, dim = len(z), law.space.dim(layout).double().mean() / z[0].numel()
    # 7 standard errors: 2.6e-12 for a normal mean; of a mean of squares, below 1e-10 for n > 1000
    mean = float(z.mean(0).abs().max()) * math.sqrt(n)
    require(mean <= 7, f"{what}: a mean is off by {mean:.3g} standard errors, allowed: 7")
    square = float((z.square().mean() / dim - 1).abs()) * math.sqrt(n * dim * z[0].numel() / 2)
    return within(square, 7, f"{what}: variance, in standard errors")


def _distinct(x: State) -> int:
    rows = torch.cat([part.reshape(len(part), -1).double() for part in _parts(x)], 1)
    return len(torch.unique(rows, dim=0))


def _parts(x: State) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def _row(x: State, k: int) -> State:
    return {n: v[k] for n, v in x.items()} if isinstance(x, dict) else x[k]


def _distance(a: State, b: State) -> float:
    pairs = zip(_parts(a), _parts(b), strict=True)
    return max(float((p.double() - q.double()).abs().max()) for p, q in pairs)
