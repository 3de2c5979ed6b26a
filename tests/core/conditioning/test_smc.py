"""Particles against closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from unnoise.conditioning import (
    SMC,
    All,
    Bootstrap,
    Exact,
    Measurement,
    Potential,
    Property,
    Restraint,
    Spread,
    Total,
    Tweedie,
    Within,
    dps,
    pigdm,
)
from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.kernels import Absorbing, CategoricalKernel, GaussianKernel, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, Sampler
from unnoise.samplers.grids import Uniform
from unnoise.spaces import Euclidean, Layout, Tokens, tensor

D = torch.float64
KERNEL = GaussianKernel(Euclidean(), VPCosine())


class Normal(Denoiser):
    """Exact for entries N(0, 1); `point` keeps the mean alone."""

    def __init__(self, point: bool = False) -> None:
        super().__init__()
        self.kernel, self.point = KERNEL, point

    def forward(self, x_t, t, layout, condition=None):
        a, s = KERNEL.schedule.alpha(t), KERNEL.schedule.sigma(t)
        mean = a / (a * a + s * s) * x_t
        if self.point:
            return Dirac(mean, layout)
        return Gaussian(mean, s / math.sqrt(a * a + s * s), Euclidean(), layout)


class Mixture(Denoiser):
    """The mean given x_t of -1 and 2 with weights .7 and .3, each with standard deviation .5."""

    kernel = KERNEL

    def forward(self, x_t, t, layout, condition=None):
        a, s = KERNEL.schedule.alpha(t), KERNEL.schedule.sigma(t)
        total = a * a * 0.25 + s * s
        at = torch.tensor([-1.0, 2.0], dtype=x_t.dtype)
        of = x_t[..., None] - a * at
        share = (torch.tensor([0.7, 0.3]).log() - of**2 / (2 * total)).softmax(-1)
        return Dirac((share * (at + a * 0.25 / total * of)).sum(-1), layout)


def run(
    sampler: Sampler, denoiser: Denoiser, count: int, steps: int, shape=(1,), seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """The final states, and the last notes."""
    layout = Layout.dense(count, shape, dtype=D)
    of = Diffusion(denoiser, layout, NoiseSource(seed, range(count)))
    x = tensor(of.kernel.prior(layout).sample(of.noise))
    for step in sampler(of, x, Uniform().times(of.kernel, steps)):
        x = tensor(step.x)
    return x, dict(step.notes)


Y = Measurement(torch.full((1, 1), 2.0, dtype=D), 0.5)
EVIDENCE = -0.5 * (4 / 1.25 + math.log(2 * math.pi * 1.25))


@pytest.mark.parametrize("steps", [1, 2, 10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_normal_law_in_any_number_of_steps(steps):
    """x ~ N(0, 1), y = x + n = 2, n ~ N(0, .25): x | y ~ N(1.6, .2), log p(y) = -2.6305."""
    assert pytest.approx(-2.6305, abs=1e-4) == EVIDENCE
    n = 1000
    x, notes = run(SMC(Y, 64, Exact()), Normal(), n, steps)
    assert float(x.mean()) == pytest.approx(1.6, abs=5 * math.sqrt(0.2 / n))
    assert float(x.var()) == pytest.approx(0.2, abs=5 * 0.2 * math.sqrt(2 / n))
    found = (notes["log_evidence"] - EVIDENCE).exp()
    assert float(found.mean()) == pytest.approx(1, abs=5 * float(found.std()) / math.sqrt(n))


@pytest.mark.parametrize(
    "twist", [Tweedie(), Spread(), Bootstrap()], ids=lambda t: type(t).__name__
)
@pytest.mark.parametrize("denoiser", [Normal(point=True), Mixture()], ids=["normal", "mixture"])
def test_the_evidence_is_unbiased_whatever_the_twist(denoiser, twist):
    """Against the model's own walk, weighed: what is conditioned is what it samples."""
    # with less noise the weights of a poor twist have a tail that no test sees the end of
    wide = Measurement(torch.full((1, 1), 2.0, dtype=D), 1.0)
    n, steps = 800, 6
    own, _ = run(Ancestral(), denoiser, 20_000, steps, seed=9)
    layout = Layout.dense(len(own), (1,), dtype=D)
    g = wide.log(own, layout).exp()
    _, notes = run(SMC(wide, 24, twist), denoiser, n, steps)
    found = notes["log_evidence"].exp()
    error = math.hypot(float(found.std()) / math.sqrt(n), float(g.std()) / math.sqrt(len(g)))
    assert float(found.mean()) == pytest.approx(float(g.mean()), abs=4.5 * error)


def test_many_particles_have_the_posterior_of_the_walk():
    own, _ = run(Ancestral(), Mixture(), 40_000, 8, seed=9)
    weight = Y.log(own, Layout.dense(len(own), (1,), dtype=D)).softmax(0)
    mean = float((weight * own[:, 0]).sum())
    spread = float((weight * (own[:, 0] - mean) ** 2).sum())
    x, notes = run(SMC(Y, 64, Spread()), Mixture(), 600, 8)
    assert float(x.mean()) == pytest.approx(mean, abs=0.08)
    assert float(x.var()) == pytest.approx(spread, rel=0.25)
    assert bool((notes["least_effective"] <= notes["effective"] + 1e-9).all())


def test_a_poor_twist_shows_in_the_least_effective_size():
    """Seen at the end alone, it would look well."""
    _, poor = run(SMC(Y, 256, Tweedie()), Normal(point=True), 40, 10)
    _, good = run(SMC(Y, 256, Exact()), Normal(), 40, 10)
    assert float(poor["least_effective"].mean()) < 0.4 * 256
    assert float(poor["least_effective"].mean()) < 0.5 * float(good["least_effective"].mean())
    with pytest.raises(NonFiniteError, match="came down to too few"):
        run(SMC(Y, 64, Tweedie(), trust=0.9), Normal(point=True), 4, 10)


@pytest.mark.parametrize("resample", [0.0, 1.0])
def test_a_sample_is_the_same_in_any_batch(resample):
    whole, notes = run(SMC(Y, 16, Tweedie(), resample), Normal(point=True), 5, 6)
    layout = Layout.dense(1, (1,), dtype=D)
    alone = Diffusion(Normal(point=True), layout, NoiseSource(0, [3]))
    x = KERNEL.prior(layout).sample(alone.noise)
    grid = Uniform().times(KERNEL, 6)
    *_, last = SMC(Y, 16, Tweedie(), resample, at_once=3)(alone, x, grid)
    torch.testing.assert_close(tensor(last.x)[0], whole[3])
    torch.testing.assert_close(last.notes["log_evidence"][0], notes["log_evidence"][3])


def test_a_matrix_and_some_entries():
    """Blurred entries: the posterior mean against linear algebra."""
    a = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], dtype=D)
    y = torch.tensor([[1.0, -0.5]], dtype=D)
    exact = a.T @ torch.linalg.solve(a @ a.T + 0.09 * torch.eye(2, dtype=D), y[0])
    x, notes = run(SMC(Measurement(y, 0.3, a), 32, Exact()), Normal(), 600, 6, (3,))
    torch.testing.assert_close(x.mean(0), exact, atol=0.1, rtol=0)
    law = torch.distributions.MultivariateNormal(
        torch.zeros(2, dtype=D), a @ a.T + 0.09 * torch.eye(2, dtype=D)
    )
    found = (notes["log_evidence"] - law.log_prob(y[0])).exp()
    assert float(found.mean()) == pytest.approx(1, abs=5 * float(found.std()) / math.sqrt(600))
    where = torch.tensor([True, False, True])
    seen = torch.tensor([[2.0, math.pi, -1.0]], dtype=D)
    x, _ = run(SMC(Measurement(seen, 0.5, where), 4, Exact()), Normal(), 2000, 1, (3,))
    expected = torch.tensor([1.6, 0.0, -0.8], dtype=D)
    torch.testing.assert_close(x.mean(0), expected, atol=0.1, rtol=0)


def test_totals_and_bounds():
    x, notes = run(SMC(Total(3.0, 0.1), 32, Exact()), Normal(), 600, 6, (4,))
    assert float(x.sum(1).mean()) == pytest.approx(3 * 4 / 4.01, abs=0.04)
    law = torch.distributions.Normal(0.0, math.sqrt(4.01))
    found = (notes["log_evidence"] - float(law.log_prob(torch.tensor(3.0)))).exp()
    assert float(found.mean()) == pytest.approx(1, abs=5 * float(found.std()) / math.sqrt(600))
    x, notes = run(SMC(Within(1.0, 2.0), 32, Exact()), Normal(), 600, 6)
    assert bool(((x >= 1) & (x <= 2)).all())
    share = 0.5 * (math.erf(2 / math.sqrt(2)) - math.erf(1 / math.sqrt(2)))
    found = notes["log_evidence"].exp() / share
    assert float(found.mean()) == pytest.approx(1, abs=5 * float(found.std()) / math.sqrt(600))


def test_pigdm_is_exact_where_its_width_is_right_and_dps_is_not():
    n = 2000
    exact, _ = run(Ancestral(), pigdm(Normal(point=True), Y), n, 60)
    assert float(exact.mean()) == pytest.approx(1.6, abs=0.06)
    assert float(exact.var()) == pytest.approx(0.2, abs=0.03)
    wrong, _ = run(Ancestral(), dps(Normal(point=True), Y), n, 60)
    assert abs(float(wrong.var()) - 0.2) > 0.04


WORDS = list(itertools.product(range(2), repeat=3))
PMF = torch.tensor([0.02, 0.2, 0.1, 0.08, 0.25, 0.05, 0.2, 0.1], dtype=D)


class Enumerated(Denoiser):
    """p(x_0^i | visible tokens) of three tokens 0, 1 with the law PMF; 2 is the mask."""

    kernel = CategoricalKernel(Tokens(3), Absorbing(2))

    def forward(self, x_t, t, layout, condition=None):
        words = torch.tensor(WORDS)
        fits = ((x_t[:, None] == words) | (x_t[:, None] == 2)).all(-1)
        weight = torch.where(fits, PMF, 0.0)
        one = torch.nn.functional.one_hot(words, 3).double()
        return Categorical.from_logits(torch.einsum("bw,wik->bik", weight, one).log(), layout)


class Even(Potential):
    """Four times as likely where the number of ones is even."""

    def log(self, x0, layout):
        return torch.where(tensor(x0).sum(-1) % 2 == 0, math.log(4.0), 0.0).double()


def test_tokens_by_enumeration():
    even = torch.tensor([sum(word) % 2 == 0 for word in WORDS])
    target = PMF * torch.where(even, 4.0, 1.0)
    n, denoiser = 800, Enumerated()
    layout = Layout.dense(n, (3,), dtype=torch.int64)
    of = Diffusion(denoiser, layout, NoiseSource(0, range(n)))
    x = denoiser.kernel.prior(layout).sample(of.noise)
    # one token at a time, so that the walk has the joint law itself
    grid = Uniform().times(denoiser.kernel, 30)
    *_, last = SMC(Even(), 32, Bootstrap())(of, x, grid)
    many = Layout.dense(6_000, (3,), dtype=torch.int64)
    walk = Diffusion(denoiser, many, NoiseSource(5, range(6_000)))
    *_, plain = Ancestral()(walk, denoiser.kernel.prior(walk.layout).sample(walk.noise), grid)
    index = torch.tensor([4, 2, 1])
    own = torch.bincount((tensor(plain.x) * index).sum(-1), minlength=8).double() / 6_000
    assert float((own - PMF).abs().sum() / 2) < 0.04
    found = last.notes["log_evidence"].exp()
    assert float(found.mean()) == pytest.approx(float(target.sum()), rel=0.04)
    counts = torch.bincount((tensor(last.x) * index).sum(-1), minlength=8).double() / n
    assert float((counts - target / target.sum()).abs().sum() / 2) < 0.07


def test_a_distance_a_property_and_both():
    """Against the formula, of samples with as many points and of ragged ones."""
    normal = torch.distributions.Normal(2.0, 0.3)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    near = Restraint((0, 1), 2.0, 0.3)
    ragged = Layout.ragged([2, 3], (3,), dtype=D)
    expected = normal.log_prob(torch.stack([(x[0] - x[1]).norm(), (x[2] - x[3]).norm()]))
    torch.testing.assert_close(near.log(x, ragged), expected)
    dense = Layout.dense(1, (5, 3), dtype=D)
    torch.testing.assert_close(near.log(x[None], dense), expected[:1])
    with pytest.raises(InputError, match="no such point"):
        Restraint((0, 2), 2.0, 0.3).log(x, ragged)
    wide = Property(lambda x, layout: x.sum((1, 2)), 2.0, 0.3)
    both = All([near, wide]).log(x[None], dense)
    torch.testing.assert_close(both, expected[:1] + normal.log_prob(x.sum()))


def test_what_cannot_be_done_is_said():
    layout, x, wide = Layout.dense(2, (1,), dtype=D), torch.zeros(2, 1), torch.ones(2, 5)
    for make, said in (
        (lambda: Measurement(torch.zeros(1, 1), 0.0), "has noise"),
        (lambda: Measurement(torch.tensor([[math.nan]]), 1.0), "finite"),
        (lambda: Measurement(torch.zeros(1, 3), 1.0).log(x, layout), "another shape"),
        (lambda: Measurement(torch.zeros(1, 2), 1.0, wide).log(x, layout), "another size"),
        (lambda: Within(2.0, 1.0), "nothing between"),
        (lambda: Property(lambda x, layout: x[:, 0], 1.0, 0.0), "positive"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            make()
    with pytest.raises(ConfigError, match="one number for each sample"):
        run(SMC(Property(lambda x, layout: x, 1.0, 1.0), 4), Normal(point=True), 2, 3)
    with pytest.raises(ConfigError, match="no expectation in closed form"):
        run(SMC(Property(lambda x, layout: x[:, 0], 1.0, 1.0), 4, Exact()), Normal(), 2, 3)
    with pytest.raises(NonFiniteError, match="no particle of a sample obeys"):
        run(SMC(Within(50.0, 60.0), 4, Bootstrap()), Normal(), 2, 3)
    with pytest.raises(ConfigError, match="two particles"):
        SMC(Y, 1)
    with pytest.raises(NonFiniteError, match="potential is NaN"):
        run(SMC(Property(lambda x, layout: x[:, 0] * math.nan, 1.0, 1.0), 4), Normal(True), 2, 3)
