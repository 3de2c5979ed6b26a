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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unnoise.conditioning.laws import detached, joined, taken
from unnoise.conditioning.potentials import Potential, Proposal
from unnoise.conditioning.together import Apart, Nothing
from unnoise.conditioning.twists import Bootstrap, Twist, Usual
from unnoise.distributions import Categorical, Distribution, Gaussian, Mixture, Product
from unnoise.errors import ConfigError, NonFiniteError
from unnoise.kernels import TransitionKernel
from unnoise.samplers import Diffusion, Sampler, Step, Steps, Times, intervals
from unnoise.spaces import Layout, State, parts, tensor


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
        if self.potential is None:
            raise ConfigError("particles obey a potential", value=None, fix="pass potential=")
        wide = run.branches(self.particles)
        owner = torch.arange(run.layout.batch).repeat_interleave(self.particles)
        potential = self.potential.of(owner)
        kernel, layout = run.kernel, wide.layout
        began = float(grid[0])
        new = began == 1
        x_t = kernel.prior(layout).sample(wide.noise) if new else run.layout.pick(x, owner)
        law, psi, pull = self._look(wide, potential, x_t, began)
        cloud = _Cloud(run, self.particles, psi)
        for t, s in intervals(grid):
            if (places := cloud.resampled(self.resample)) is not None:
                x_t, psi = layout.pick(x_t, places), psi[places]
                law = taken(law, layout, places)
                pull = {n: tensor(_of(n, layout).pick(v, places)) for n, v in pull.items()}
            step = kernel.reverse(x_t, law.explicit(wide.noise), t, s, layout)
            proposal = _proposal(self.twist, step, law, pull, potential, layout, s)
            x_s = proposal.sample(wide.noise)
            change = _density(step, proposal, x_s)
            ahead: Distribution | None = None
            pull = {}
            if s > 0:
                ahead, psi_s, pull = self._look(wide, potential, x_s, s)
            else:
                psi_s = _checked(potential, potential.log(x_s, layout), layout)
            cloud.weigh(change + psi_s - psi)
            chosen = cloud.drawn() if s == float(grid[-1]) else cloud.heaviest()
            shown = law if ahead is None else ahead
            told = taken(shown, layout, chosen)
            sent = yield Step(s, layout.pick(x_s, chosen), told, cloud.notes)
            if sent is not None:
                raise ConfigError(
                    "particles and an observation do not go together",
                    fix="say what is known as a Measurement of these entries",
                )
            x_t, psi, law = x_s, psi_s, shown
        cloud.check(self.trust)

    def _look(
        self, wide: Diffusion, potential: Potential, x_t: State, t: float
    ) -> tuple[Distribution, Tensor, dict[str, Tensor]]:
        """(law of x_0, log psi, its gradient in the real parts of x_t) of all particles, some at a
        time."""
        laws, values = [], []
        pulls: dict[str, list[Tensor]] = {}
        for samples in torch.split(torch.arange(wide.layout.batch), self.at_once):
            part, seen = wide.take(samples), _named(wide.layout.pick(x_t, samples))
            real = {n: v.detach() for n, v in seen.items() if v.dtype.is_floating_point}
            steers = self.twist.steers and bool(real)
            with torch.set_grad_enabled(steers):
                if steers:
                    seen = seen | {name: v.requires_grad_() for name, v in real.items()}
                law = part(seen.get("", seen), t)
                believed = self.twist.law(law, wide.kernel, t)
                found = self.twist.log(potential.of(samples), believed, part.layout)
                value = _checked(potential, found, part.layout)
                if steers and value.requires_grad:
                    slopes = torch.autograd.grad(
                        value.sum(), list(real.values()), allow_unused=True
                    )
                    for (name, x), slope in zip(real.items(), slopes, strict=True):
                        slope = torch.zeros_like(x) if slope is None else slope
                        space = _of(name, wide.kernel).space
                        slope = tensor(space.project(slope, _of(name, part.layout)))
                        pulls.setdefault(name, []).append(slope.nan_to_num(0, 0, 0))
            laws.append(detached(law))
            values.append(value.detach())
        pull = {name: torch.cat(slopes) for name, slopes in pulls.items()}
        return joined(laws, wide.layout), torch.cat(values), pull


def _proposal(
    twist: Twist,
    step: Distribution,
    law: Distribution,
    pull: Mapping[str, Tensor],
    potential: Potential,
    layout: Layout,
    s: float,
    name: str = "",
) -> Distribution | Proposal:
    """What a step to time s is drawn from; of a product, part by part."""
    if isinstance(step, Product):
        laws = law.parts if isinstance(law, Product) else dict.fromkeys(step.parts, law)
        found: dict[str, Distribution | Proposal] = {}
        for part, one in step.parts.items():
            asked = potential.within(part)
            found[part] = (
                one
                if asked is None and part not in pull
                else _proposal(
                    twist, one, laws[part], pull, asked or Nothing(), layout[part], s, part
                )
            )
        return Apart(found)
    if isinstance(step, Categorical) and not isinstance(twist, Bootstrap):
        return potential.proposal(step, law, layout) or step
    if isinstance(step, Mixture) and s > 0:
        return step.each(lambda one: _steered(one, pull.get(name)))
    if not isinstance(step, Gaussian | Mixture):
        return step
    if isinstance(step, Gaussian) and not bool((torch.as_tensor(step.std) > 0).any()):
        return step
    if s == 0 and (posterior := potential.posterior(step, layout)) is not None:
        return posterior
    return _steered(step, pull.get(name))


def _steered(step: Distribution, pull: Tensor | None) -> Distribution:
    """N(m + c^2 pull, c^2)."""
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
    if isinstance(step, Product) and isinstance(proposal, Apart):
        state = parts(x, step.parts)
        total = torch.zeros((), dtype=torch.float64)
        for name, one in step.parts.items():
            total = total + _density(one, proposal.parts[name], state[name])
        return total
    return (step.log_prob(x) - proposal.log_prob(x)).double()


def _checked(potential: Potential, value: Tensor, layout: Layout) -> Tensor:
    """What a potential says of each sample, in float64."""
    if value.shape != (layout.batch,):
        raise ConfigError(
            f"{type(potential).__name__} is not one number for each sample",
            value=tuple(value.shape),
            limit=f"({layout.batch},)",
        )
    if bool(torch.isnan(value).any()):
        raise NonFiniteError("the potential is NaN", value=type(potential).__name__)
    return value.double()


def _named(x: State) -> dict[str, Tensor]:
    return {"": x} if isinstance(x, Tensor) else dict(x)


def _of(name: str, whole: Any) -> Any:
    """The part of this name of a layout or a kernel; "" for one that has no parts."""
    if not name:
        return whole
    return whole[name] if isinstance(whole, Layout) else whole.parts[name]
