"""What the checks of kernels work with: a case, and the ways to a law that are compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.errors import UnnoiseError
from unnoise.kernels import TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, parts, tensor
from unnoise.testing.examples import clean_state, copies, example_layout
from unnoise.testing.report import FALSE_ALARM, CheckFailed, Skip, require, within
from unnoise.testing.statistics import DRAWS, same_law

_PIECE = 256  # draws at a time


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


def gaussian_error(case: KernelCase, first: Gaussian, direct: Gaussian, s: float, t: float) -> str:
    """Error of the moments of x_t when those of x_s are pushed through the transition."""

    def step(x: Tensor) -> Distribution:
        return case.kernel.transition(x, s, t, case.layout)

    return averaged_gaussian(case, first, direct, step, f"s = {s:g}, t = {t:g}")


def averaged_gaussian(
    case: KernelCase,
    over: Gaussian,
    whole: Gaussian,
    step: Callable[[Tensor], Distribution],
    what: str,
) -> str:
    """Error of `whole` as the average of step(x) over x ~ `over`, for laws that are Gaussian and
    linear in x, entry by entry: the mean at the mean, and variance + slope^2 variance of x."""
    direction = tensor(case.kernel.space.project(torch.ones_like(over.mean), case.layout))
    if float(direction.abs().max()) < 1e-6:  # a constant is no direction of this space
        direction = tensor(over.mean) - tensor(over.mean).mean()
    here, moved = step(over.mean), step(over.mean + direction)
    if not isinstance(here, Gaussian) or not isinstance(moved, Gaussian):
        raise CheckFailed(f"{what}: a {type(here).__name__} cannot average to a Gaussian")
    known = direction.abs() > 1e-6
    slope = torch.where(
        known, (moved.mean - here.mean) / torch.where(known, direction, 1.0), torch.nan
    )
    variance = _scale(here) ** 2 + slope**2 * _scale(over) ** 2
    size = 1 + float(torch.as_tensor(whole.std).max())
    mean = float((here.mean - whole.mean).abs().max()) / size
    spread = float((variance.sqrt() - _scale(whole)).abs().nan_to_num(0).max()) / size
    return within(max(mean, spread), 1e-6, f"{what}: error of mean and std, relative")


def _scale(law: Gaussian) -> Tensor:
    return torch.as_tensor(law.scale).expand(law.mean.shape)


def pushed(case: KernelCase, first: Categorical, s: float, t: float) -> Tensor:
    """sum_j q(x_s = j | x_0) q(x_t | x_s = j), token by token."""
    total = torch.zeros_like(first.log_probs, dtype=torch.float64)
    for j in range(first.log_probs.shape[-1]):
        state = torch.full(first.log_probs.shape[:-1], j)
        law = case.kernel.transition(state, s, t, case.layout)
        assert isinstance(law, Categorical)
        total += first.log_probs[..., j, None].exp() * law.log_probs.exp()
    return total


def averaged(case: KernelCase, spread: Categorical, x_t: Tensor, t: float, s: float) -> Tensor:
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


def posterior_error(
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


def table_error(table: Tensor, law: Categorical, what: str) -> str:
    error = float((table - law.log_probs.double().exp()).abs().max())
    return within(error, 1e-6, f"{what}: error of the probabilities")


def reverse_of_spread(
    case: KernelCase, x_t: State, spread: Distribution, t: float, s: float, layout: Layout
) -> Distribution:
    try:
        return case.kernel.reverse(x_t, spread, t, s, layout)
    except UnnoiseError as error:
        raise Skip(f"reverse takes no {type(spread).__name__} as a law of x_0") from error


def mixed_draws(case: KernelCase, t: float, s: float) -> str:
    """Draws of `reverse` against a spread law, and of posteriors of draws of that law."""
    start = case.kernel.marginal(case.x0, t, case.layout).sample(case.noise(1))
    mixed, drawn = [], []
    for first in range(0, DRAWS, _PIECE):  # laws may be large mixtures
        x0, layout = copies(case.x0, case.layout, _PIECE)
        x_t, _ = copies(start, case.layout, _PIECE)
        noise = NoiseSource(case.seed, range(first, first + _PIECE), 3)
        spread = case.kernel.marginal(x0, case.pairs[-1][0], layout)
        mixed.append(reverse_of_spread(case, x_t, spread, t, s, layout).sample(noise))
        point = Dirac(spread.sample(noise), layout)
        drawn.append(case.kernel.reverse(x_t, point, t, s, layout).sample(noise))
    return same_law(_joined(mixed), _joined(drawn), f"s = {s:g}, t = {t:g}")


def _joined(states: list[State]) -> State:
    first = states[0]
    if isinstance(first, dict):
        return {name: torch.cat([parts(x)[name] for x in states]) for name in first}
    return torch.cat([tensor(x) for x in states])


def moments(law: Distribution, x: State, layout: Layout, what: str) -> str:
    """Exact tests: a normal and a chi-square quantile, and frequencies by Hoeffding."""
    laws = getattr(law, "parts", None)
    if laws is not None and isinstance(x, dict):
        said = [moments(laws[n], x[n], layout[n], f"{what}, {n}") for n in x]
        return said[-1]
    if isinstance(law, Categorical):
        expected = law.log_probs.double().exp().mean(0)
        counts = torch.nn.functional.one_hot(tensor(x), expected.shape[-1]).double().mean(0)
        limit = math.sqrt(math.log(2 * expected.numel() / FALSE_ALARM) / (2 * len(tensor(x))))
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


def distinct(x: State) -> int:
    rows = torch.cat([part.reshape(len(part), -1).double() for part in _parts(x)], 1)
    return len(torch.unique(rows, dim=0))


def _parts(x: State) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def row(x: State, k: int) -> State:
    return {n: v[k] for n, v in x.items()} if isinstance(x, dict) else x[k]


def distance(a: State, b: State) -> float:
    pairs = zip(_parts(a), _parts(b), strict=True)
    return max(float((p.double() - q.double()).abs().max()) for p, q in pairs)
