"""Guidance against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from unnoise.denoise import ClassifierFree, ClassifierGuided, Denoiser
from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import (
    VE,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    ProductKernel,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import FiniteOracle, GaussianOracle, MixtureOracle, PointEstimate

F = torch.float64
CENTRES = torch.tensor([-1.0, 0.5, 2.0], dtype=F)  # of "none", class 1, class 2
VARIANCE = 0.3


class ByLabel(Denoiser):
    """One exact Gaussian for each label, 0 for "none"."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel
        self.calls = 0

    def forward(self, x_t, t, layout, condition=None):
        self.calls += 1
        mean = layout.expand(CENTRES[condition["label"]], x_t)
        return GaussianOracle(self.kernel, mean, VARIANCE)(x_t, t, layout)


NONE = {"label": torch.zeros(1, dtype=torch.int64)}
LABELS = {"label": torch.tensor([1, 2, 1])}


@pytest.mark.parametrize("schedule", [VPLinear(), VE(), Linear()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("scale", [-0.5, 0.3, 1.0, 3.0])
def test_equal_covariances_have_a_guided_gaussian(schedule, scale):
    # p(x|y)^s p(x)^(1 - s) of two Gaussians of one variance is the Gaussian between or beyond them,
    # at every t: its score is (alpha m - x_t) / (alpha^2 v + sigma^2), m = m_0 + s (m_y - m_0)
    kernel = GaussianKernel(Euclidean(), schedule)
    x, t = torch.tensor([[0.3], [-2.0], [5.0]], dtype=F), 0.6
    layout = Layout.dense(3, (1,), dtype=F)
    law = ClassifierFree(ByLabel(kernel), scale, NONE)(x, t, layout, LABELS)
    m = CENTRES[0] + scale * (CENTRES[LABELS["label"]] - CENTRES[0])[:, None]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    score = (alpha * law.mean - x) / sigma**2
    expected = (alpha * m - x) / (alpha**2 * VARIANCE + sigma**2)
    torch.testing.assert_close(score, expected)
    assert isinstance(law, Gaussian)
    assert law.std == GaussianOracle(kernel, 0.0, VARIANCE)(x, t, layout).std


def test_a_guided_prediction_stays_in_its_range_and_keeps_its_spread():
    kernel = GaussianKernel(Euclidean(), VPLinear())
    x, t, layout = (
        torch.tensor([[0.3], [-2.0], [5.0]], dtype=F),
        0.6,
        Layout.dense(3, (1,), dtype=F),
    )
    free = ClassifierFree(ByLabel(kernel), 4.0, NONE)(x, t, layout, LABELS)
    held = ClassifierFree(ByLabel(kernel), 4.0, NONE, clip=(-1.0, 1.5))(x, t, layout, LABELS)
    assert isinstance(held, Gaussian)
    assert bool(((free.mean < -1) | (free.mean > 1.5)).any())
    torch.testing.assert_close(held.mean, free.mean.clamp(-1.0, 1.5))
    assert held.std == free.std
    for bad in (GaussianKernel(ZeroCoM(), VPLinear()), CategoricalKernel(Tokens(3), Uniform())):
        with pytest.raises(ConfigError, match="range"):
            ClassifierFree(ByLabel(bad), 4.0, NONE, clip=(-1.0, 1.0))
    with pytest.raises(ConfigError, match="range"):
        ClassifierFree(ByLabel(kernel), 4.0, NONE, clip=(1.0, -1.0))


def test_guided_run_ends_in_the_guided_gaussian():
    # alpha(1) = 0 and the exact variance: every step is exact, so three are enough.
    # 30,000 points: the mean is within 5 standard errors, false alarm 6e-7; the variance too.
    kernel = GaussianKernel(Euclidean(), Linear())
    layout, condition = Layout.dense(2, (15_000,), dtype=F), {"label": torch.tensor([2, 2])}
    guided = ClassifierFree(ByLabel(kernel), 2.0, NONE)
    noise = NoiseSource(0, [0, 1])
    x = kernel.prior(layout).sample(noise)
    *_, last = Ancestral()(Diffusion(guided, layout, noise, condition), x, grids.uniform(kernel, 3))
    n = last.x.numel()
    assert abs(last.x.mean().item() - 5.0) < 5 * math.sqrt(VARIANCE / n)
    assert abs(last.x.var().item() / VARIANCE - 1) < 5 * math.sqrt(2 / n)


def test_scale_one_is_conditional_and_zero_unconditional():
    kernel = GaussianKernel(Euclidean(), VPLinear())
    model, layout = ByLabel(kernel), Layout.dense(3, (1,), dtype=F)
    x = torch.tensor([[0.3], [-2.0], [5.0]], dtype=F)
    none = {"label": torch.zeros(3, dtype=torch.int64)}
    for scale, condition in ((1.0, LABELS), (0.0, none)):
        model.calls = 0
        law = ClassifierFree(model, scale, NONE)(x, 0.4, layout, LABELS)
        assert model.calls == 1  # and costs no second call
        assert torch.equal(law.mean, model(x, 0.4, layout, condition).mean)


class Table(Denoiser):
    """Two fixed laws of tokens."""

    def __init__(self, kernel, laws):
        super().__init__()
        self.kernel, self.laws = kernel, laws

    def forward(self, x_t, t, layout, condition=None):
        return self.laws[int(condition["label"][0])]


def test_tokens_are_guided_in_log_probability():
    u = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=F)
    c = torch.tensor([[0.25, 0.5, 0.25, 0.0]], dtype=F)
    kernel = CategoricalKernel(Tokens(4), Uniform())
    model = Table(kernel, [Categorical(u.log()), Categorical(c.log())])
    x, layout = torch.tensor([0]), Layout.dense(1, dtype=torch.int64)
    one = {"label": torch.tensor([1])}
    law = ClassifierFree(model, 3.0, NONE)(x, 0.5, layout, one)
    w = torch.tensor([[0.25**3 / 0.5**2, 0.5**3 / 0.25**2, 0.25, 0]], dtype=F)
    torch.testing.assert_close(law.mean, w / w.sum())


def test_tokens_when_nothing_is_left():
    # the two rule each other out: the condition wins, and nothing is NaN
    laws = [Categorical(torch.tensor([p], dtype=F).log()) for p in ([1.0, 0.0], [0.0, 1.0])]
    model = Table(CategoricalKernel(Tokens(2), Uniform()), laws)
    law = ClassifierFree(model, 2.0, NONE)(
        torch.tensor([0]), 0.5, Layout.dense(1, dtype=torch.int64), {"label": torch.tensor([1])}
    )
    assert law.mean.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_tokens_that_either_prediction_rules_out(scale):
    u = torch.tensor([[0.5, 0.0, 0.5, 0.0]], dtype=F)
    c = torch.tensor([[0.2, 0.4, 0.0, 0.4]], dtype=F)
    model = Table(
        CategoricalKernel(Tokens(4), Uniform()), [Categorical(u.log()), Categorical(c.log())]
    )
    law = ClassifierFree(model, scale, NONE)(
        torch.tensor([0]), 0.5, Layout.dense(1, dtype=torch.int64), {"label": torch.tensor([1])}
    )
    torch.testing.assert_close(law.mean, torch.tensor([[1.0, 0, 0, 0]], dtype=F))


def test_products_and_points_are_guided_part_by_part():
    gaussian, tokens = GaussianKernel(Euclidean(), VE()), CategoricalKernel(Tokens(2), Uniform())
    kernel = ProductKernel({"x": gaussian, "k": tokens})

    class Both(Denoiser):
        def __init__(self):
            super().__init__()
            self.kernel = kernel
            states = [
                {"x": torch.tensor(s), "k": torch.tensor(k)} for s, k in ((1.0, 0), (-1.0, 1))
            ]
            self.by_label = [
                FiniteOracle(kernel, states, torch.tensor(p)) for p in ([0.5, 0.5], [0.9, 0.1])
            ]

        def forward(self, x_t, t, layout, condition=None):
            return self.by_label[int(condition["label"][0])](x_t, t, layout)

    layout = Layout.product(
        {"x": Layout.dense(1, dtype=F), "k": Layout.dense(1, dtype=torch.int64)}
    )
    x, one = (
        {"x": torch.tensor([0.2], dtype=F), "k": torch.tensor([1])},
        {"label": torch.tensor([1])},
    )
    model = Both()
    u, c = (model(x, 0.5, layout, {"label": torch.tensor([y])}) for y in (0, 1))
    law = ClassifierFree(model, 2.0, NONE)(x, 0.5, layout, one)
    torch.testing.assert_close(law.mean["x"], 2 * c.mean["x"] - u.mean["x"])
    w = c.mean["k"] ** 2 / u.mean["k"]
    torch.testing.assert_close(law.mean["k"], w / w.sum())


def two_class_log_prob(schedule, means, variance, y):
    """log p(y | x_t) for two Gaussians of equal weight and variance, in 1-D."""

    def value(x_t, t, layout, condition):
        a, s = layout.expand(schedule.alpha(t), x_t), layout.expand(schedule.sigma(t), x_t)
        total = a**2 * variance + s**2
        log_odds = ((x_t - a * means[1 - y]) ** 2 - (x_t - a * means[y]) ** 2) / (2 * total)
        return layout.sum(logsigmoid(log_odds))

    return value


@pytest.mark.parametrize("schedule", [VPLinear(), VE()], ids=lambda s: type(s).__name__)
def test_exact_classifier_turns_the_mixture_into_its_class(schedule):
    kernel, means, v = GaussianKernel(Euclidean(), schedule), [-1.0, 2.0], 0.25
    mixture = MixtureOracle(
        kernel, torch.ones(2), torch.tensor(means, dtype=F), torch.tensor([0.5, 0.5], dtype=F)
    )
    x, layout = torch.tensor([[-0.3], [1.7], [4.0]], dtype=F), Layout.dense(3, (1,), dtype=F)
    for y in (0, 1):
        guided = ClassifierGuided(mixture, 1.0, two_class_log_prob(schedule, means, v, y))
        exact = GaussianOracle(kernel, means[y], v)
        for t in (0.1, 0.5, 0.9, torch.tensor([0.1, 0.5, 0.9], dtype=F)):
            with torch.no_grad():  # as inside `generate`
                found = guided(x, t, layout).mean
            torch.testing.assert_close(found, exact(x, t, layout).mean)


def test_classifier_scale_zero_changes_nothing_and_points_stay_points():
    kernel, schedule = GaussianKernel(Euclidean(), VPLinear()), VPLinear()
    oracle = PointEstimate(GaussianOracle(kernel, 0.0, 1.0))
    x, layout = torch.tensor([[0.3], [1.0]], dtype=F), Layout.dense(2, (1,), dtype=F)
    guided = ClassifierGuided(oracle, 0.0, two_class_log_prob(schedule, [-1.0, 1.0], 1.0, 0))
    law = guided(x, 0.4, layout)
    assert isinstance(law, Dirac)
    torch.testing.assert_close(law.mean, oracle(x, 0.4, layout).mean)


def test_classifier_guidance_is_differentiable():
    kernel, schedule = GaussianKernel(Euclidean(), VPLinear()), VPLinear()
    means, v = [-1.0, 2.0], 0.25
    mixture = MixtureOracle(
        kernel, torch.ones(2), torch.tensor(means, dtype=F), torch.tensor([0.5, 0.5], dtype=F)
    )
    guided = ClassifierGuided(mixture, 1.0, two_class_log_prob(schedule, means, v, 1))
    x = torch.tensor([[0.3]], dtype=F, requires_grad=True)
    law = guided(x, 0.5, Layout.dense(1, (1,), dtype=F))
    (slope,) = torch.autograd.grad(law.mean.sum(), x)
    a, s = schedule.alpha(0.5), schedule.sigma(0.5)
    assert slope.item() == pytest.approx(a * v / (a**2 * v + s**2))  # of the class's Gaussian


def test_classifier_guidance_stays_on_the_space():
    kernel = GaussianKernel(ZeroCoM(), VPCosine())
    layout = Layout.ragged([2, 3], (2,), dtype=F)
    x = kernel.space.project(
        torch.randn(5, 2, dtype=F, generator=torch.Generator().manual_seed(0)), layout
    )
    guided = ClassifierGuided(
        GaussianOracle(kernel, 0.0, 1.0), 2.0, lambda x, t, layout, c: layout.sum(x**3)
    )
    kernel.space.validate(guided(x, 0.5, layout).mean, layout)


def test_classifier_guidance_needs_a_gradient_and_a_signal():
    def log_prob(x, t, layout, condition):
        return layout.sum(x)

    with pytest.raises(ConfigError, match="GaussianKernel"):
        ClassifierGuided(Table(CategoricalKernel(Tokens(2), Uniform()), []), 1.0, log_prob)
    flow = GaussianOracle(GaussianKernel(Euclidean(), Linear()), 0.0, 1.0)
    with pytest.raises(ConfigError, match="alpha is 0"):
        ClassifierGuided(flow, 1.0, log_prob)


def test_guidance_runs_under_ddim():
    # deterministic, equal covariances: guided DDIM is DDIM of the guided Gaussian, step by step
    kernel = GaussianKernel(Euclidean(), VPLinear())
    layout, grid = Layout.dense(3, (1,), dtype=F), grids.uniform(kernel, 7)
    x = torch.tensor([[0.3], [-2.0], [1.0]], dtype=F)
    guided = ClassifierFree(ByLabel(kernel), 2.5, NONE)
    means = CENTRES[0] + 2.5 * (CENTRES[LABELS["label"]] - CENTRES[0])[:, None]
    exact = GaussianOracle(kernel, means, VARIANCE)
    noise = NoiseSource(0, [0, 1, 2])
    ours = [s.x for s in DDIM()(Diffusion(PointEstimate(guided), layout, noise, LABELS), x, grid)]
    theirs = [s.x for s in DDIM()(Diffusion(PointEstimate(exact), layout, noise), x, grid)]
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs))
