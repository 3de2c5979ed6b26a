"""Particles on products, ragged positions and mixtures, against closed forms."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from scipy import integrate, stats

sys.path.insert(0, str(Path(__file__).parents[1]))
from exact_pair import ExactPair, M, P, S, pair_kernel, pair_layout

from unnoise.conditioning import (
    SMC,
    All,
    Exact,
    Measurement,
    Part,
    Potential,
    Property,
    Restraint,
    Total,
    Tweedie,
    Within,
)
from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac, Gaussian, Mixture, Product
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, Uniform, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion
from unnoise.samplers.grids import Uniform as Even
from unnoise.spaces import Euclidean, Layout, ZeroCoM, tensor
from unnoise.testing import GaussianOracle, MixtureOracle

D = torch.float64
KERNEL = GaussianKernel(Euclidean(), VPCosine())


def walked(sampler, denoiser, layout, steps, seed=0):
    """The final states, and the last notes."""
    run = Diffusion(denoiser, layout, NoiseSource(seed, range(layout.batch)))
    x = run.kernel.prior(layout).sample(run.noise)
    for step in sampler(run, x, Even().times(run.kernel, steps)):
        x = step.x
    return x, dict(step.notes)


# --- mixtures

W, AT, WIDTH = torch.tensor([0.7, 0.3], dtype=D), torch.tensor([[-1.0], [2.0]], dtype=D), 0.5
Y, NOISE = 0.8, 1.0


def mixture() -> MixtureOracle:
    return MixtureOracle(KERNEL, W, AT, torch.full((2,), WIDTH, dtype=D), whole=True)


def mixture_posterior() -> tuple[float, float, float, float]:
    """log p(y), and mean, variance and the share of the first component given y."""
    total = WIDTH**2 + NOISE**2
    logs = W.log() + torch.distributions.Normal(AT[:, 0], math.sqrt(total)).log_prob(
        torch.tensor(Y)
    )
    share = logs.softmax(0)
    centre = AT[:, 0] + WIDTH**2 / total * (Y - AT[:, 0])
    mean = float((share * centre).sum())
    spread = WIDTH**2 * NOISE**2 / total + float((share * (centre - mean) ** 2).sum())
    return float(logs.logsumexp(0)), mean, spread, float(share[0])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_mixture_in_any_number_of_steps(steps):
    """With the law itself, neither the step nor the twist is an approximation."""
    n = 800
    evidence, mean, variance, share = mixture_posterior()
    y = Measurement(torch.tensor([[Y]], dtype=D), NOISE)
    x, notes = walked(SMC(y, 32, Exact()), mixture(), Layout.dense(n, (1,), dtype=D), steps)
    x = tensor(x)
    assert float(x.mean()) == pytest.approx(mean, abs=4.5 * math.sqrt(variance / n))
    first = float((x < 0.5).double().mean())
    assert first == pytest.approx(share, abs=0.05 + 4.5 * math.sqrt(share * (1 - share) / n))
    found = (notes["log_evidence"] - evidence).exp()
    assert float(found.mean()) == pytest.approx(
        1, abs=4.5 * float(found.std()) / math.sqrt(n) + 1e-9
    )


def test_the_evidence_is_unbiased_over_200_runs():
    """The mean of Z / p(y) over 200 independent runs, |z| < 4.06: 1 false alarm in 20,000 for each
    of the four, by the normal law. Of 16 particles, so that one run alone says little."""
    y = Measurement(torch.tensor([[2.0]], dtype=D), 0.5)
    normal = GaussianOracle(KERNEL, torch.zeros(1, dtype=D), torch.ones(1, dtype=D))
    for denoiser, exact in (
        (
            normal,
            float(torch.distributions.Normal(0.0, math.sqrt(1.25)).log_prob(torch.tensor(2.0))),
        ),
        (mixture(), None),
    ):
        measured = y if exact is not None else Measurement(torch.tensor([[Y]], dtype=D), NOISE)
        expected = mixture_posterior()[0] if exact is None else exact
        for steps in (3, 8):
            layout = Layout.dense(200, (1,), dtype=D)
            _, notes = walked(SMC(measured, 16, Exact()), denoiser, layout, steps, seed=steps)
            found = (notes["log_evidence"] - expected).exp()
            error = float(found.std()) / math.sqrt(200)
            assert abs(float(found.mean()) - 1) < 4.06 * error + 1e-9


def test_the_law_of_a_mixture():
    """Density by quadrature, moments by draws, a chain of four steps against the data's law."""
    layout = Layout.dense(1, (1,), dtype=D)
    laws = [Gaussian(torch.full((1, 1), m, dtype=D), s) for m, s in ((-1.0, 0.5), (2.0, 0.2))]
    law = Mixture(torch.tensor([[0.3, 0.7]], dtype=D).log(), laws, layout)
    density = lambda x: math.exp(float(law.log_prob(torch.tensor([[x]], dtype=D))))  # noqa: E731
    assert integrate.quad(density, -6, 6, points=[-1, 2])[0] == pytest.approx(1, abs=1e-6)
    assert float(law.mean) == pytest.approx(-0.3 + 1.4)
    assert float(law.mode) == 2.0
    with pytest.raises(InputError, match="no divergence"):
        law.kl(law)
    n = 4000
    x, _ = walked(Ancestral(), mixture(), Layout.dense(n, (1,), dtype=D), 4)

    def distribution(v):
        return sum(
            float(w) * stats.norm.cdf(v, float(m), WIDTH) for w, m in zip(W, AT[:, 0], strict=True)
        )

    # one false alarm in 10,000
    assert stats.kstest(tensor(x)[:, 0].numpy(), distribution).pvalue > 1e-4


# --- ragged positions without a centre


def apart(target: float, scale: float):
    """Of points N(0, I) in space up to translation, the distance of two: density and log Z."""

    def weight(r: float) -> float:
        return stats.maxwell.pdf(r, scale=math.sqrt(2)) * stats.norm.pdf(target, r, scale)

    evidence = integrate.quad(weight, 0, 12, points=[target])[0]
    mean = integrate.quad(lambda r: r * weight(r), 0, 12, points=[target])[0] / evidence
    square = integrate.quad(lambda r: r * r * weight(r), 0, 12, points=[target])[0] / evidence
    return math.log(evidence), mean, square - mean**2


def test_a_distance_of_ragged_positions():
    kernel = GaussianKernel(ZeroCoM(), VPCosine())

    class Free(Denoiser):
        """Exact for points N(0, I) without a centre, 3 to 5 of them."""

        def __init__(self) -> None:
            super().__init__()
            self.kernel = kernel

        def forward(self, x_t, t, layout, condition=None):
            a, s = kernel.schedule.alpha(t), kernel.schedule.sigma(t)
            total = a * a + s * s
            return Gaussian(a / total * x_t, s / math.sqrt(total), kernel.space, layout)

    n, evidence = 300, apart(3.0, 0.3)
    layout = Layout.ragged([3 + k % 3 for k in range(n)], (3,), dtype=D)
    sampler = SMC(Restraint((0, 2), 3.0, 0.3), 32, Exact())
    x, notes = walked(sampler, Free(), layout, 6)
    kernel.space.validate(x, layout)
    first = layout.points.cumsum(0) - layout.points
    found = (tensor(x)[first] - tensor(x)[first + 2]).norm(dim=-1)
    assert float(found.mean()) == pytest.approx(
        evidence[1], abs=4.5 * math.sqrt(evidence[2] / n) + 0.02
    )
    assert float(found.var()) == pytest.approx(evidence[2], rel=0.45)
    ratio = (notes["log_evidence"] - evidence[0]).exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=4.5 * float(ratio.std()) / math.sqrt(n))
    # a sample is the same in any batch
    alone, _ = walked(sampler, Free(), Layout.ragged([3, 4], (3,), dtype=D), 6)
    torch.testing.assert_close(tensor(alone), tensor(x)[:7], atol=1e-9, rtol=0)


def test_a_condition_with_rows_of_its_own_is_refused():
    layout = Layout.ragged([2, 3], (3,), dtype=D)
    run = Diffusion(
        GaussianOracle(KERNEL, torch.zeros(1), torch.ones(1)),
        layout,
        NoiseSource(0, [0, 1]),
        {"bonds": torch.zeros(7)},
    )
    with pytest.raises(InputError, match="'bonds' has rows of its own"):
        run.branches(4)


# --- products


class Odd(Potential):
    """Three times as likely for category 1."""

    def log(self, x0, layout):
        return torch.where(tensor(x0) == 1, math.log(3.0), 0.0).double()

    def expected(self, law, layout):
        return (1 + 2 * law.log_probs[..., 1].exp()).log().double()


def test_a_product_of_a_number_and_a_category():
    """x | c normal, g = N(y; x, .4^2) (1 + 2 [c = 1]): all in closed form, with the chain's own
    error at 12 steps; the evidence beside the mean of g over the chain."""
    y, noise, steps, n = 0.5, 0.4, 12, 200
    spread = S**2 + noise**2
    weight = (
        P
        * torch.tensor([1.0, 3.0, 1.0], dtype=D)
        * torch.distributions.Normal(M, spread.sqrt()).log_prob(torch.tensor(y, dtype=D)).exp()
    )
    denoiser = ExactPair(pair_kernel(VPCosine(), Uniform()), together=False)
    potential = All([Part("x", Measurement(torch.tensor([y], dtype=D), noise)), Part("c", Odd())])
    own, _ = walked(Ancestral(), denoiser, pair_layout(4_000), steps, seed=7)
    g = potential.log(own, pair_layout(4_000)).exp()
    x, notes = walked(SMC(potential, 24), denoiser, pair_layout(n), steps)
    ratio = notes["log_evidence"].exp()
    error = math.hypot(float(ratio.std()) / math.sqrt(n), float(g.std()) / math.sqrt(4_000))
    assert float(ratio.mean()) == pytest.approx(float(g.mean()), abs=4.5 * error)
    assert float(ratio.mean()) == pytest.approx(float(weight.sum()), rel=0.2)
    shares = torch.bincount(x["c"], minlength=3)[:3].double() / n
    assert float((shares - weight / weight.sum()).abs().sum() / 2) < 0.15
    centre = (weight / weight.sum() * (M + S**2 / spread * (y - M))).sum()
    assert float(x["x"].mean()) == pytest.approx(float(centre), abs=0.12)


def test_parts_that_are_not_there():
    layout = pair_layout(2)
    x = {"x": torch.zeros(2, dtype=D), "c": torch.zeros(2, dtype=torch.int64)}
    part = Part("z", Within(0.0))
    with pytest.raises(InputError, match="no such part"):
        part.log(x, layout)
    with pytest.raises(InputError, match="no such part"):
        Part("x", Within(0.0)).log(x["x"], layout["x"])
    with pytest.raises(InputError, match="nothing is asked"):
        All([])


# --- several at once


def test_several_measurements_are_reckoned_with_one_after_the_other():
    """E g1 g2 of entries and of their sum: against the joint normal law."""
    layout = Layout.dense(1, (2,), dtype=D)
    law = Gaussian(torch.tensor([[0.2, -0.4]], dtype=D), 0.7, Euclidean(), layout)
    one = Measurement(torch.tensor([[0.5, 9.0]], dtype=D), 0.3, torch.tensor([True, False]))
    two = Total(1.0, 0.2)
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=D)
    spread = 0.49 * a @ a.T + torch.diag(torch.tensor([0.09, 0.04], dtype=D))
    normal = torch.distributions.MultivariateNormal(a @ law.mean[0], spread)
    expected = normal.log_prob(torch.tensor([0.5, 1.0], dtype=D))
    for both in (All([one, two]), All([two, one])):
        torch.testing.assert_close(both.expected(law, layout)[0], expected)
    assert All([two, two]).expected(law, layout) is None  # a total correlates entries
    point = Dirac(law.mean, layout)
    torch.testing.assert_close(
        All([one, two]).expected(point, layout), All([one, two]).log(law.mean, layout)
    )
    product = Product({"x": law})
    after = Part("x", one).posterior(product, Layout.product({"x": layout}))
    torch.testing.assert_close(after.parts["x"].mean, one.posterior(law, layout).mean)


def test_what_has_no_gradient_is_said():
    blind = Property(lambda x, layout: x[:, 0].detach(), 0.0, 1.0)
    with pytest.raises(ConfigError, match="no gradient to follow"):
        walked(SMC(blind, 4, Tweedie()), mixture(), Layout.dense(2, (1,), dtype=D), 3)
