"""Parametrizations: the exact target of each gives x_0 back; the loss is its squared error."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unnoise.denoise import (
    Clean,
    Flow,
    Joint,
    Logits,
    Masked,
    NetworkDenoiser,
    Noise,
    Preconditioned,
    Score,
    V,
)
from unnoise.distributions import Categorical, Dirac, Product
from unnoise.errors import ConfigError
from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Geometric,
    Linear,
    ProductKernel,
    SubVP,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM

F = torch.float64
TABLE = BetaTable.linear(50, 1e-3, 0.3)
SCHEDULES = [
    VPLinear(),
    VPCosine(-8, 8),
    SubVP(),
    VE(0.1, 20.0),
    Geometric(1e-3, 0.99, 1e-3),
    TABLE,
]
FLOW = Linear()  # alpha(1) = 0


class Fixed(nn.Module):
    """A network that knows its answer, and remembers what it was shown."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x, label, layout, condition):
        self.seen = (x, label, condition)
        return self.answer


def slope(f, t, h=1e-6):
    return (f(t + h) - f(t - h)) / (2 * h)


def target(parametrization, schedule, t, x0, eps):
    """What the network of the named parametrization is trained to put out, by its definition."""
    a, s = schedule.alpha(t), schedule.sigma(t)
    x_t = a * x0 + s * eps
    if isinstance(parametrization, Preconditioned):
        level, sd = s / a, parametrization.sigma_data
        skip = sd**2 / (level**2 + sd**2)
        return (x0 - skip * x_t / a) * (level**2 + sd**2) ** 0.5 / (level * sd)
    return {
        Noise: lambda: eps,
        Clean: lambda: x0,
        V: lambda: a * eps - s * x0,
        Score: lambda: -(x_t - a * x0) / s**2,
        Flow: lambda: slope(schedule.alpha, t) * x0 + slope(schedule.sigma, t) * eps,
    }[type(parametrization)]()


CASES = [
    (parametrization, schedule)
    for parametrization in (Noise(), Clean(), V(), Score(), Flow(), Preconditioned(0.7))
    for schedule in SCHEDULES
] + [(parametrization, FLOW) for parametrization in (Clean(), V(), Flow())]


def name(value):
    return type(value).__name__


@pytest.mark.parametrize(("parametrization", "schedule"), CASES, ids=name)
def test_exact_target_gives_exact_x0_and_no_loss(parametrization, schedule):
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(3, 4, generator=g, dtype=F) for _ in range(2))
    kernel, layout = GaussianKernel(Euclidean(), schedule), Layout.dense(3, (4,), dtype=F)
    times = [0.03, 0.43, 0.97]  # off the steps of the table, where it has a slope
    rows = [
        target(parametrization, schedule, t, x0[i : i + 1], eps[i : i + 1])
        for i, t in enumerate(times)
    ]
    t = torch.tensor(times, dtype=F)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    x_t = alpha * x0 + sigma * eps
    exact = torch.cat(rows)
    denoiser = NetworkDenoiser(Fixed(exact), kernel, parametrization)
    law = denoiser(x_t, t, layout)
    assert isinstance(law, Dirac)
    torch.testing.assert_close(law.value, x0, rtol=1e-6, atol=1e-6)  # slopes by differences
    assert parametrization.loss(kernel, exact, x0, x_t, t, layout).max() < 1e-10
    for i, one in enumerate(times):
        single = NetworkDenoiser(Fixed(rows[i]), kernel, parametrization)
        law = single(x_t[i : i + 1], one, Layout.dense(1, (4,), dtype=F))
        torch.testing.assert_close(law.value, x0[i : i + 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("parametrization", "schedule"), CASES, ids=name)
def test_loss_is_the_mean_square_and_so_is_its_gradient(parametrization, schedule):
    g = torch.Generator().manual_seed(1)
    x0, eps, error = (torch.randn(2, 3, generator=g, dtype=F) for _ in range(3))
    kernel, layout = GaussianKernel(Euclidean(), schedule), Layout.dense(2, (3,), dtype=F)
    t = torch.tensor([0.21, 0.83], dtype=F)
    x_t = schedule.alpha(t)[:, None] * x0 + schedule.sigma(t)[:, None] * eps
    exact = torch.cat(
        [
            target(parametrization, schedule, u.item(), x0[i : i + 1], eps[i : i + 1])
            for i, u in enumerate(t)
        ]
    )
    output = (exact + error).requires_grad_()
    loss = parametrization.loss(kernel, output, x0, x_t, t, layout)
    torch.testing.assert_close(loss, (error**2).mean(1), rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    torch.testing.assert_close(gradient, 2 * error / 3, rtol=1e-6, atol=1e-6)


def test_loss_is_a_mean_over_what_is_real():
    # ragged: 1 and 3 rows; an error of 1 everywhere is a loss of 1 for each sample
    kernel, layout = GaussianKernel(Euclidean(), VE()), Layout.ragged([1, 3], (2,), dtype=F)
    x0 = torch.zeros(4, 2, dtype=F)
    t = torch.tensor([0.5, 0.7], dtype=F)
    loss = Clean().loss(kernel, x0 + 1, x0, x0, t, layout)
    torch.testing.assert_close(loss, torch.ones(2, dtype=F))
    mask = torch.tensor([[True, False, False], [True, True, True]])
    padded = Layout.dense(2, (3,), mask=mask, dtype=F)
    x0 = torch.zeros(2, 3, dtype=F)
    output = torch.where(mask, 1.0, 1e6).to(F)
    torch.testing.assert_close(
        Clean().loss(kernel, output, x0, x0, t, padded), torch.ones(2, dtype=F)
    )


def test_edm_coefficients_by_hand():
    # VE with sigma(t) = s: s = sd = 1/2 gives 1/2, sd / sqrt 2, sqrt 2, ln(1/2) / 4
    schedule = VE(0.125, 2.0)  # sigma(1/2) = 1/2
    c = Preconditioned(0.5).affine(schedule, 0.5)
    assert c.skip == pytest.approx(0.5)
    assert c.out == pytest.approx(0.5 / math.sqrt(2))
    assert c.scale == pytest.approx(math.sqrt(2))
    assert c.label == pytest.approx(math.log(0.5) / 4)
    # own setting: s = 2, sd = 1.5: sd^2 + s^2 = 6.25 = 2.5^2
    c = Preconditioned(1.5).affine(schedule, 1.0)
    assert tuple(c) == pytest.approx((0.36, 1.2, 0.4, math.log(2) / 4))
    tensors = Preconditioned(1.5).affine(schedule, torch.ones(2, dtype=F))
    assert [v.tolist() for v in tensors] == [pytest.approx([v, v]) for v in c]


def test_edm_shows_the_network_unit_variance_at_every_time():
    # x_0 with the stated standard deviation, under a schedule with signal loss
    kernel, schedule = GaussianKernel(Euclidean(), VPLinear()), VPLinear()
    for t in (0.05, 0.5, 1.0):
        std = math.sqrt(schedule.alpha(t) ** 2 * 0.49 + schedule.sigma(t) ** 2)
        network = Fixed(torch.zeros(1, 1, dtype=F))
        denoiser = NetworkDenoiser(network, kernel, Preconditioned(0.7))
        denoiser(torch.full((1, 1), std, dtype=F), t, Layout.dense(1, (1,), dtype=F))
        assert network.seen[0].item() == pytest.approx(1)
        level = schedule.sigma(t) / schedule.alpha(t)
        assert network.seen[1].item() == pytest.approx(math.log(level) / 4, rel=1e-6)


@pytest.mark.parametrize("parametrization", [Noise(), Score(), Preconditioned()], ids=name)
def test_no_signal_at_the_end_needs_another_target(parametrization):
    with pytest.raises(ConfigError, match="alpha is 0") as caught:
        NetworkDenoiser(Fixed(0), GaussianKernel(Euclidean(), FLOW), parametrization)
    assert "Clean, V or Flow" in str(caught.value)
    NetworkDenoiser(Fixed(0), GaussianKernel(Euclidean(), Linear(1e-3)), parametrization)


def test_parametrizations_fit_their_kernels():
    gaussian = GaussianKernel(Euclidean(), VE())
    tokens = CategoricalKernel(Tokens(3), Uniform())
    product = ProductKernel({"x": gaussian, "k": tokens})
    for parametrization, kernel in (
        (Noise(), tokens),
        (Clean(), product),
        (Logits(), gaussian),
        (Masked(2), gaussian),
        (Joint({"x": Noise()}), product),
        (Joint({"x": Noise(), "k": Noise()}), product),
        (Joint({"x": Noise(), "k": Logits()}), gaussian),
    ):
        with pytest.raises(ConfigError):
            NetworkDenoiser(Fixed(0), kernel, parametrization)
    NetworkDenoiser(Fixed(0), product, Joint({"x": Noise(), "k": Logits()}))
    # a mask is only a mask for the kernel that absorbs into it
    with pytest.raises(ConfigError, match="Absorbing"):
        NetworkDenoiser(Fixed(0), tokens, Masked(2))
    with pytest.raises(ConfigError, match="mask"):
        NetworkDenoiser(Fixed(0), CategoricalKernel(Tokens(3), Absorbing(1)), Masked(2))


def test_network_sees_state_label_and_condition():
    network = Fixed(torch.zeros(2, 3))
    denoiser = NetworkDenoiser(network, GaussianKernel(Euclidean(), VPLinear()), Noise())
    x, condition = torch.ones(2, 3), {"y": torch.tensor([1, 2])}
    denoiser(x, 0.25, Layout.dense(2, (3,)), condition)
    assert network.seen[0] is x
    assert network.seen[1].dtype == torch.float32
    assert network.seen[1].tolist() == [0.25, 0.25]
    assert network.seen[2] is condition
    denoiser(x, torch.tensor([0.5, 0.75], dtype=F), Layout.dense(2, (3,)))
    assert network.seen[1].dtype == torch.float32
    assert network.seen[1].tolist() == [0.5, 0.75]


def test_clip():
    kernel, layout = GaussianKernel(Euclidean(), VPLinear()), Layout.dense(1, (3,))
    x = torch.tensor([[-3.0, 0.5, 3.0]])
    free = NetworkDenoiser(Fixed(x), kernel, Clean())(x, 0.5, layout)
    assert free.value.tolist() == [[-3.0, 0.5, 3.0]]
    clipped = NetworkDenoiser(Fixed(x), kernel, Clean(), clip=(-1.0, 1.0))(x, 0.5, layout)
    assert clipped.value.tolist() == [[-1.0, 0.5, 1.0]]
    points = GaussianKernel(ZeroCoM(), VE())
    tokens = CategoricalKernel(Tokens(3), Uniform())
    for other, parametrization in ((points, Clean()), (tokens, Logits())):
        with pytest.raises(ConfigError, match="clip"):
            NetworkDenoiser(Fixed(x), other, parametrization, clip=(-1.0, 1.0))
    with pytest.raises(ConfigError, match="clip"):
        NetworkDenoiser(Fixed(x), kernel, Clean(), clip=(1.0, -1.0))


def test_logits_and_their_loss():
    kernel = CategoricalKernel(Tokens(2), Uniform())
    layout = Layout.dense(1, (2,), dtype=torch.int64)
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(4), 0.0]]], dtype=F)
    x_t, x0 = torch.tensor([[0, 0]]), torch.tensor([[1, 1]])
    law = NetworkDenoiser(Fixed(logits), kernel, Logits())(x_t, 0.5, layout)
    torch.testing.assert_close(law.mean, torch.tensor([[[0.25, 0.75], [0.8, 0.2]]], dtype=F))
    loss = Logits().loss(kernel, logits, x0, x_t, 0.5, layout)
    assert loss.item() == pytest.approx(-(math.log(0.75) + math.log(0.2)) / 2)


def test_masked_carries_over_and_never_predicts_the_mask():
    kernel = CategoricalKernel(Tokens(3), Absorbing(1))
    layout = Layout.dense(1, (3,), dtype=torch.int64)
    logits = torch.tensor([[[0.0, 9.0, math.log(3)]] * 3], dtype=F)
    x_t = torch.tensor([[1, 0, 2]])
    law = NetworkDenoiser(Fixed(logits), kernel, Masked(1))(x_t, 0.5, layout)
    assert isinstance(law, Categorical)
    expected = torch.tensor([[[0.25, 0, 0.75], [1, 0, 0], [0, 0, 1]]], dtype=F)
    torch.testing.assert_close(law.mean, expected)
    leaf = logits.clone().requires_grad_()
    loss = Masked(1).loss(kernel, leaf, torch.tensor([[2, 0, 2]]), x_t, 0.5, layout)
    assert loss.item() == pytest.approx(-math.log(0.75) / 3)  # what is seen costs nothing
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    expected = torch.zeros(1, 3, 3, dtype=F)
    expected[0, 0] = torch.tensor([0.25, 0.0, -0.25]) / 3
    torch.testing.assert_close(gradient, expected)


def test_joint_sums_its_parts():
    gaussian, tokens = (
        GaussianKernel(Euclidean(), VPLinear()),
        CategoricalKernel(Tokens(2), Uniform()),
    )
    kernel = ProductKernel({"x": gaussian, "k": tokens})
    layout = Layout.product(
        {"x": Layout.dense(2, (3,), dtype=F), "k": Layout.dense(2, (1,), dtype=torch.int64)}
    )
    g = torch.Generator().manual_seed(0)
    x0 = {"x": torch.randn(2, 3, generator=g, dtype=F), "k": torch.tensor([[0], [1]])}
    x_t = {"x": torch.randn(2, 3, generator=g, dtype=F), "k": torch.tensor([[1], [1]])}
    output = {
        "x": torch.randn(2, 3, generator=g, dtype=F),
        "k": torch.randn(2, 1, 2, generator=g, dtype=F),
    }
    t = torch.tensor([0.3, 0.6], dtype=F)
    parts = {"x": Preconditioned(), "k": Logits()}
    alone = {
        n: p.loss(kernel.parts[n], output[n], x0[n], x_t[n], t, layout[n]) for n, p in parts.items()
    }
    plain = Joint(parts).loss(kernel, output, x0, x_t, t, layout)
    torch.testing.assert_close(plain, alone["x"] + alone["k"])
    weighted = Joint(parts, {"k": 0.25}).loss(kernel, output, x0, x_t, t, layout)
    torch.testing.assert_close(weighted, alone["x"] + 0.25 * alone["k"])
    network = Fixed(output)
    law = NetworkDenoiser(network, kernel, Joint(parts))(x_t, t, layout)
    assert isinstance(law, Product)
    torch.testing.assert_close(
        law.mean["x"], Preconditioned().law(gaussian, output["x"], x_t["x"], t, layout["x"]).mean
    )
    # each part scales its own input; the label is the time itself
    torch.testing.assert_close(
        network.seen[0]["x"], Preconditioned().inputs(gaussian, x_t["x"], t, layout["x"])
    )
    assert network.seen[0]["k"] is x_t["k"]
    torch.testing.assert_close(network.seen[1], t.float())
    with pytest.raises(ConfigError, match="weights"):
        NetworkDenoiser(network, kernel, Joint(parts, {"typo": 2.0}))
