"""A sampler that is checked, and denoisers to run it on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import torch
from torch import Tensor, nn

from unnoise.denoise import Condition, Denoiser, Energy
from unnoise.distributions import Categorical, Dirac, Distribution
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    TransitionKernel,
    Uniform,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Sampler, Step, grids
from unnoise.spaces import Layout, State, Time, Tokens, tensor
from unnoise.testing.examples import example_layout
from unnoise.testing.ode_problem import VP
from unnoise.testing.oracles import GaussianOracle, PmfOracle, PointEstimate
from unnoise.testing.report import Skip

MEAN, STD = 0.5, 0.6  # of the Gaussian data
PMF: Final = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.25, 0.03], [0.10, 0.05, 0.15]])


@final
@dataclass(frozen=True, eq=False)
class SamplerCase:
    """A sampler, and a denoiser to run it on where the kit has none for its kernel."""

    sampler: Sampler
    given: Denoiser | None
    layout: Layout | None
    seed: int

    @property
    def denoisers(self) -> list[Denoiser]:
        """The exact denoisers that it runs on, each of a kernel of another kind."""
        if self.given is not None:
            return [self.given]
        any_kind = self.sampler.denoiser is Denoiser  # then the law of an energy adds nothing
        among = [d for d in exact_denoisers() if not (any_kind and isinstance(d, Energy))]
        found = [d for d in among if fits(self.sampler, d)]
        if not found:
            kind = self.sampler.denoiser
            what = "denoiser" if kind is Denoiser else kind.__name__
            raise Skip(
                f"the kit has no {what} for a {self.sampler.requires.__name__}; pass denoiser="
            )
        return found

    def batch(self, denoiser: Denoiser, n: int) -> Layout:
        """The layout of n samples."""
        if self.layout is not None:
            if self.layout.batch < n:
                raise Skip(f"`layout` has fewer than {n} samples")
            return self.layout.take(torch.arange(n))[0]
        if self.given is not None:
            return example_layout(denoiser.kernel.space, n)
        if isinstance(denoiser.kernel.space, Tokens):
            return Layout.dense(n, (2,), dtype=torch.int64)
        return Layout.dense(n, (32,), dtype=torch.float64)  # Langevin steps rely on norms

    def steps(
        self,
        denoiser: Denoiser,
        n: int,
        *,
        steps: int = 8,
        seed: int | None = None,
        first: int = 0,
        x: State | None = None,
        condition: Condition = None,
    ) -> Generator[Step, State | None, None]:
        """A run of samples `first` .. first + n - 1, from the prior of `self.seed`."""
        layout = self.batch(denoiser, n)
        noise = NoiseSource(self.seed + 1 if seed is None else seed, range(first, first + n))
        run = Diffusion(denoiser, layout, noise, condition)
        return self.walk(run, self.begin(denoiser, n, first) if x is None else x, steps)

    def begin(self, denoiser: Denoiser, n: int, first: int = 0) -> State:
        """States of the prior."""
        ids = range(first, first + n)
        return denoiser.kernel.prior(self.batch(denoiser, n)).sample(NoiseSource(self.seed, ids))

    def walk(self, run: Diffusion, x: State, steps: int) -> Generator[Step, State | None, None]:
        grid = grids.uniform(run.kernel, min(steps, run.kernel.steps or steps))
        return self.sampler(run, x, grid)

    def run(self, denoiser: Denoiser, n: int, **how: int) -> State:
        with torch.no_grad():
            *_, last = self.steps(denoiser, n, **how)  # type: ignore[arg-type]
        return last.x


@final
class Seen:
    """The calls of a denoiser, and what it was told in each."""

    def __init__(self) -> None:
        self.told: list[Condition] = []
        self.times: list[Time] = []
        self.batches: list[int] = []

    def add(self, t: Time, layout: Layout, condition: Condition) -> None:
        self.told.append(condition)
        self.times.append(t)
        self.batches.append(layout.batch)

    @property
    def calls(self) -> int:
        return len(self.times)


def watched(denoiser: Denoiser) -> tuple[Denoiser, Seen]:
    """The same, and what will be seen of its calls. An `Energy` stays one: its network is seen."""
    seen = Seen()
    if isinstance(denoiser, Energy):
        network = _WatchedNetwork(denoiser.network, seen)
        return Energy(network, denoiser.kernel, denoiser.width), seen
    return _Watched(denoiser, seen), seen


@final
class _Watched(Denoiser):
    def __init__(self, denoiser: Denoiser, seen: Seen) -> None:
        super().__init__()
        self.denoiser, self.kernel, self.seen = denoiser, denoiser.kernel, seen

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        self.seen.add(t, layout, condition)
        return self.denoiser(x_t, t, layout, condition)


@final
class _WatchedNetwork(nn.Module):
    def __init__(self, network: nn.Module, seen: Seen) -> None:
        super().__init__()
        self.network, self.seen = network, seen

    def forward(
        self, x_t: State, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        self.seen.add(label, layout, condition)
        found: Tensor = self.network(x_t, label, layout, condition)
        return found


@final
class Certain(Denoiser):
    """Knows the data: the state `x0`, whatever it is shown; real ones moved by the condition."""

    def __init__(self, kernel: TransitionKernel, x0: Tensor) -> None:
        super().__init__()
        self.kernel, self.x0 = kernel, x0

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        x0 = layout.zero_padding(self.x0.expand(layout.shape)).to(tensor(x_t).dtype)
        if not isinstance(self.kernel, CategoricalKernel):
            return Dirac(x0, layout)
        logits = torch.full((*x0.shape, self.kernel.space.vocab), -torch.inf, dtype=torch.float64)
        return Categorical(logits.scatter_(-1, x0[..., None], 0.0), layout)


@final
class Each(Denoiser):
    """Entries that are independent and alike, exactly, in batches of any layout: N(0, std^2), or
    tokens of the probabilities `pmf`."""

    def __init__(self, kernel: TransitionKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.real = None
        if isinstance(kernel, GaussianKernel):
            self.real = PointEstimate(GaussianOracle(kernel, 0.0, STD**2))

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        x = tensor(x_t)
        if self.real is not None:
            return self.real(x, t, layout)
        assert isinstance(self.kernel, CategoricalKernel)
        logits = torch.full((*x.shape, self.kernel.space.vocab), -torch.inf, dtype=torch.float64)
        for j, p in enumerate(PMF.sum(1).tolist()):
            law = self.kernel.marginal(torch.full_like(x, j), t, layout)
            assert isinstance(law, Categorical)
            reached = law.log_probs.gather(-1, x[..., None])[..., 0].double()
            logits[..., j] = reached + torch.tensor(p).log()
        return Categorical.from_logits(logits, layout)


@final
class Density(nn.Module):
    """f of the `Energy` of entries N(mean, STD^2), whose width is STD:
    F_t = -|x - alpha mean|^2 / (2 (alpha^2 STD^2 + sigma^2))."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = mean

    def forward(
        self, x_t: State, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        x, t, schedule = tensor(x_t), label.double(), VP.schedule
        sigma2 = torch.as_tensor(schedule.sigma(t)) ** 2
        alpha = torch.as_tensor(schedule.alpha(t))
        away = (x - layout.expand(alpha, x) * self.mean).square()
        return -layout.sum(away) * (sigma2 + STD**2) / (2 * (alpha**2 * STD**2 + sigma2))


def density(mean: float) -> Energy:
    """The energy of entries N(mean, STD^2)."""
    return Energy(Density(mean), VP, STD)


@cache
def exact_denoisers() -> tuple[Denoiser, ...]:
    """Exact denoisers of kernels of several kinds."""
    tokens = Tokens(4)  # the mask of `Absorbing` is the last
    return (
        GaussianOracle(VP, MEAN, STD**2),
        PmfOracle(CategoricalKernel(tokens, Absorbing(3)), PMF),
        PmfOracle(CategoricalKernel(tokens, Uniform()), PMF),
        density(MEAN),
    )


def fits(sampler: Sampler, denoiser: Denoiser) -> bool:
    """By what the sampler declares, not by its own answer."""
    kernel = denoiser.kernel
    if not isinstance(kernel, sampler.requires) or not isinstance(denoiser, sampler.denoiser):
        return False
    return not isinstance(kernel, CategoricalKernel) or isinstance(
        kernel.corruption, sampler.corruption
    )


def called(denoiser: Denoiser) -> str:
    kernel = denoiser.kernel
    found = f"{type(denoiser).__name__} of a {type(kernel).__name__}"
    if isinstance(kernel, CategoricalKernel):
        return f"{found} with {type(kernel.corruption).__name__}"
    return found


def point(denoiser: Denoiser) -> Denoiser:
    """Deterministic samplers draw the variance of a Gaussian law; a point has none."""
    return PointEstimate(denoiser) if isinstance(denoiser, GaussianOracle) else denoiser


def copy(x: State) -> State:
    return {n: v.clone() for n, v in x.items()} if isinstance(x, dict) else x.clone()


def row(x: State, k: int) -> State:
    return {n: v[k] for n, v in x.items()} if isinstance(x, dict) else x[k]


def distance(a: State, b: State) -> float:
    if isinstance(a, dict) and isinstance(b, dict):
        return max(distance(a[name], b[name]) for name in a)
    return float((tensor(a).double() - tensor(b).double()).abs().max())
