"""Sequential Monte Carlo: exact conditioning of any denoiser, in the limit of many particles.

The model's own walk p(x_1) prod p(x_s | x_t) is weighed by g(x_0). Particles follow proposals
r(x_s | x_t) and carry

    w_s = w_t  p(x_s | x_t) psi_s(x_s) / (r(x_s | x_t) psi_t(x_t)),        psi_0 = g,

with twists psi_t ~ E[g(x_0) | x_t] that see what comes (Wu 2023, TDS). The weights at the end make
sums over the particles those of p(x_0 | g), and the mean weight is an unbiased estimate of the
evidence Z = E g(x_0), whatever the twist. Where x_s has the law N(m, c^2), the proposal is
N(m + c^2 grad log psi_t, c^2); in the step to x_0 it is the law itself times g, where that has a
closed form; of tokens it is p(x_s | x_t), or that times what g is expected to be (`Language`). When
the effective sample size (sum w)^2 / sum w^2 falls below a share of the particles, they are drawn
anew in proportion to their weights, evenly spaced (systematic resampling).

How far to trust it: not the effective sample size at the end, which a poor twist can leave large
when all particles come from a few ancestors, but its least value on the way. Both are in the notes
of the steps, with the evidence; the error of the evidence is that of repeated runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unnoise.conditioning.potentials import Potential, Proposal
from unnoise.conditioning.twists import Bootstrap, Twist, Usual
from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.kernels import TransitionKernel
from unnoise.samplers import Diffusion, Sampler, Step, Steps, Times, intervals
from unnoise.spaces import Layout, State, tensor


@final
@dataclass(frozen=True, eq=False)
class SMC(Sampler):
    """Ancestral sampling with particles: `particles` of each sample, of which one is drawn.

    A particle's noise is a branch of its sample's own: sample 3 of seed 5 is the same in any batch.
    Steps yield the heaviest particle so far; notes are "log_evidence", "effective" (the effective
    sample size, at most `particles`) and "least_effective", each (B,). It starts from the prior;
    what comes in as x is used where a run begins half-way.

    Attributes
    ----------
    potential : log g; left out where a request or a task brings it (`potential=`).
    particles : for each sample, at least 2.
    twist : what is reckoned with on the way.
    resample : share of the particles below which the effective sample size is mended.
    trust : share of the particles that the least effective sample size must reach, else
        NonFiniteError; 0 asks for nothing.
    at_once : states that the network sees at once: bounds memory, changes no sample beyond
        rounding.
    """

    requires: ClassVar[type] = TransitionKernel

    potential: Potential | None = None
    particles: int = 64
    twist: Twist = field(default_factory=Usual)
    resample: float = 0.5
    trust: float = 0.0
    at_once: int = 256

    def __post_init__(self) -> None:
        if self.particles < 2:
            raise ConfigError(
                "there are at least two particles", value=self.particles, limit=">= 2"
            )
        for name, share in (("resample", self.resample), ("trust", self.trust)):
            if not 0 <= share <= 1:
                raise ConfigError(
                    f"{name} is a share of the particles", value=share, limit="0 to 1"
                )

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        if run.layout.index is not None or run.layout.fields:
            raise InputError(
                "particles are for dense states", fix="pad them, or guide with dps() or pigdm()"
            )
        wide = run.branches(self.particles)
        owner = torch.arange(run.layout.batch).repeat_interleave(self.particles)
        if self.potential is None:
            raise ConfigError("particles obey a potential", value=None, fix="pass potential=")
        potential = self.potential.of(owner)
        kernel, layout = run.kernel, wide.layout
        began = float(grid[0])
        x_t = kernel.prior(layout).sample(wide.noise) if began == 1 else tensor(x)[owner]
        law, psi, pull = self._look(wide, potential, tensor(x_t), began)
        cloud = _Cloud(run, self.particles, psi)
        for t, s in intervals(grid):
            if (places := cloud.resampled(self.resample)) is not None:
                x_t, psi = tensor(x_t)[places], psi[places]
                law, pull = _taken(law, places), None if pull is None else pull[places]
            step = kernel.reverse(x_t, law.explicit(wide.noise), t, s, layout)
            proposal = self._proposal(step, law, pull, potential, layout, s)
            x_s = proposal.sample(wide.noise)
            change = _density(step, proposal, x_s)
            ahead, pull_s = None, None
            if s > 0:
                ahead, psi_s, pull_s = self._look(wide, potential, tensor(x_s), s)
            else:
                psi_s = potential.log(x_s, layout).double()
            cloud.weigh(change + psi_s - psi)
            chosen = cloud.drawn() if s == float(grid[-1]) else cloud.heaviest()
            shown = law if ahead is None else ahead
            sent = yield Step(s, tensor(x_s)[chosen], _taken(shown, chosen), cloud.notes)
            if sent is not None:
                raise ConfigError(
                    "particles and an observation do not go together",
                    fix="say what is known as a Measurement of these entries",
                )
            x_t, psi, pull = x_s, psi_s, pull_s
            law = shown
        cloud.check(self.trust)

    def _look(
        self, wide: Diffusion, potential: Potential, x_t: Tensor, t: float
    ) -> tuple[Distribution, Tensor, Tensor | None]:
        """(law of x_0, log psi, its gradient in x_t) of all particles, some at a time."""
        laws, values, pulls = [], [], []
        real = x_t.dtype.is_floating_point
        for samples in torch.split(torch.arange(wide.layout.batch), self.at_once):
            part, rows = wide.take(samples)
            of = potential.of(samples)
            with torch.set_grad_enabled(self.twist.steers and real):
                seen = x_t[rows].detach()
                if self.twist.steers and real:
                    seen.requires_grad_()
                law = part(seen, t)
                believed = self.twist.law(law, wide.kernel, t)
                value = self.twist.log(of, believed, part.layout).double()
                if value.shape != (len(samples),):
                    raise ConfigError(
                        f"{type(self.potential).__name__} is not one number for each sample",
                        value=tuple(value.shape),
                        limit=f"({len(samples)},)",
                    )
                if self.twist.steers and real and value.requires_grad:
                    (slope,) = torch.autograd.grad(value.sum(), seen)
                    pulls.append(tensor(wide.kernel.space.project(slope, part.layout)))
            laws.append(_detached(law))
            values.append(value.detach())
        psi = torch.cat(values)
        if bool(torch.isnan(psi).any()):
            raise NonFiniteError("the potential is NaN", value=f"at t = {t:.3g}")
        pull = torch.cat(pulls).nan_to_num(0, 0, 0) if pulls else None
        return _joined(laws, wide.layout), psi, pull

    def _proposal(
        self,
        step: Distribution,
        law: Distribution,
        pull: Tensor | None,
        potential: Potential,
        layout: Layout,
        s: float,
    ) -> Distribution | Proposal:
        if isinstance(step, Categorical) and not isinstance(self.twist, Bootstrap):
            return potential.proposal(step, law, layout) or step
        if isinstance(step, Gaussian) and not bool((torch.as_tensor(step.std) > 0).any()):
            return step
        if s == 0 and (found := potential.posterior(step, layout)) is not None:
            return found
        if pull is None or not isinstance(step, Gaussian):
            return step
        mean = step.mean + (torch.as_tensor(step.scale) ** 2 * pull).to(step.mean)
        return replace(step, mean=mean)


class _Cloud:
    """The weights of the particles of a batch, (B, P), and what they say."""

    def __init__(self, run: Diffusion, particles: int, psi: Tensor) -> None:
        self.run, self.particles = run, particles
        self.weights = psi.view(-1, particles)
        self.before = torch.zeros(run.layout.batch, dtype=torch.float64)
        self.least = torch.full_like(self.before, float(particles))
        self._possible()

    def weigh(self, change: Tensor) -> None:
        self.weights = self.weights + change.view_as(self.weights)
        self._possible()
        self.least = torch.minimum(self.least, self.effective)

    @property
    def effective(self) -> Float[Tensor, " batch"]:
        """(sum w)^2 / sum w^2."""
        double = (2 * self.weights).logsumexp(1)
        return (2 * self.weights.logsumexp(1) - double).exp()

    @property
    def log_evidence(self) -> Float[Tensor, " batch"]:
        return self.before + self.weights.logsumexp(1) - math.log(self.particles)

    @property
    def notes(self) -> dict[str, Tensor]:
        return {
            "log_evidence": self.log_evidence,
            "effective": self.effective,
            "least_effective": self.least,
        }

    def resampled(self, share: float) -> Int64[Tensor, " all"] | None:
        """Places of the particles that go on, those of the samples that need it drawn anew; None
        where none does."""
        fresh = self._systematic(self.particles)  # drawn always: others' need takes no noise away
        poor = self.effective < share * self.particles
        self.least = torch.minimum(self.least, self.effective)
        if not bool(poor.any()):
            return None
        first = torch.arange(len(poor))[:, None] * self.particles
        places = first + torch.arange(self.particles)
        places[poor] = (first + fresh)[poor]
        self.before = torch.where(poor, self.log_evidence, self.before)
        self.weights = torch.where(poor[:, None], 0.0, self.weights)
        return places.flatten()

    def drawn(self) -> Int64[Tensor, " batch"]:
        """The place of one particle of each sample, in proportion to the weights."""
        return torch.arange(len(self.weights)) * self.particles + self._systematic(1)[:, 0]

    def heaviest(self) -> Int64[Tensor, " batch"]:
        return torch.arange(len(self.weights)) * self.particles + self.weights.argmax(1)

    def check(self, trust: float) -> None:
        poor = self.least < trust * self.particles
        if bool(poor.any()):
            raise NonFiniteError(
                "the particles of a sample came down to too few on the way",
                value=f"{float(self.least.min()):.1f} of {self.particles} effective ones",
                limit=f">= {trust * self.particles:g}",
                fix="more particles, more steps, a better twist, or a wider potential",
            )

    def _systematic(self, number: int) -> Int64[Tensor, "batch number"]:
        """Evenly spaced draws with one uniform number for each sample."""
        noise = self.run.noise
        u = noise.uniform(Layout.dense(len(self.weights), (), dtype=torch.float64))
        shares = self.weights.softmax(1).cumsum(1)
        at = (torch.arange(number) + u[:, None]) / number * shares[:, -1:]
        found = torch.searchsorted(shares, at.contiguous(), right=True)
        return found.clamp(max=self.particles - 1)

    def _possible(self) -> None:
        lost = ~torch.isfinite(self.weights.logsumexp(1))
        if bool(lost.any()):
            raise NonFiniteError(
                "no particle of a sample obeys the potential",
                value=f"samples {torch.nonzero(lost).flatten().tolist()[:8]} of the batch",
                fix="more particles, or a potential that the model's samples can satisfy",
            )


def _density(step: Distribution, proposal: Distribution | Proposal, x: State) -> Tensor:
    """(N,) log p(x) - log r(x)."""
    if proposal is step:
        return torch.zeros((), dtype=torch.float64)
    return step.log_prob(x) - proposal.log_prob(x)


def _taken(law: Distribution, places: Tensor) -> Distribution:
    """The law of some samples of a dense batch."""
    if isinstance(law, Dirac):
        return Dirac(tensor(law.value)[places], _layout(law.layout, places))
    if isinstance(law, Gaussian):
        std = law.std
        if isinstance(std, Tensor) and std.ndim:
            std = std[places]
        return Gaussian(law.mean[places], std, law.space, _layout(law.layout, places))
    if isinstance(law, Categorical):
        return Categorical(law.log_probs[places], _layout(law.layout, places))
    raise ConfigError("particles cannot follow this law", value=type(law).__name__)


def _layout(layout: Layout | None, places: Tensor) -> Layout | None:
    return None if layout is None else layout.take(places)[0]


def _detached(law: Distribution) -> Distribution:
    if isinstance(law, Dirac):
        return Dirac(tensor(law.value).detach(), law.layout)
    if isinstance(law, Gaussian):
        std = law.std.detach() if isinstance(law.std, Tensor) else law.std
        return Gaussian(law.mean.detach(), std, law.space, law.layout)
    return law


def _joined(laws: Sequence[Distribution], layout: Layout) -> Distribution:
    """One law of pieces of a batch."""
    first = laws[0]
    if isinstance(first, Categorical):
        tables = [law.log_probs for law in laws if isinstance(law, Categorical)]
        return Categorical(torch.cat(tables), layout)
    mean = torch.cat([tensor(law.mean) for law in laws])
    if isinstance(first, Dirac):
        return Dirac(mean, layout)
    if isinstance(first, Gaussian):
        std = first.std
        if isinstance(std, Tensor) and std.ndim:
            pieces = [law.std for law in laws if isinstance(law, Gaussian)]
            std = torch.cat([piece for piece in pieces if isinstance(piece, Tensor)])
        return Gaussian(mean, std, first.space, layout)
    raise ConfigError("particles cannot follow this law", value=type(first).__name__)
