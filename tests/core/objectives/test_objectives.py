"""Training losses: what they average, which times they cover, and that batches do not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unnoise.denoise import Clean, Joint, Logits, NetworkDenoiser, Noise, V
from unnoise.errors import ConfigError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    Matrices,
    ProductKernel,
    VPLinear,
    training_times,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import Absolute, Batch, ConditionDropout, Objective, Simple, Squared
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import GaussianOracle

F = torch.float64


class Exact(nn.Module):
    """Data N(0, v): E[eps | x_t] = sigma x_t / (alpha^2 v + sigma^2)."""

    def __init__(self, schedule, v):
        super().__init__()
        self.schedule, self.v, self.labels, self.conditions = schedule, v, [], []

    def forward(self, x, label, layout, condition):
        self.labels.append(label)
        self.conditions.append(condition)
        t = label.double()
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        return (s / (a**2 * self.v + s**2))[:, None].to(x.dtype) * x


class Logit3(nn.Module):
    def forward(self, x, label, layout, condition):
        return torch.zeros(*x.shape, 3)


def test_simple_averages_the_posterior_variance_over_time():
    # E|eps - E[eps|x_t]|^2 = alpha^2 v / (alpha^2 v + sigma^2), over uniform t. Times are spread
    # evenly, so 4,096 consecutive samples of 64 entries leave an error of the noise only.
    schedule, v = VPLinear(), 0.25
    model = NetworkDenoiser(Exact(schedule, v), GaussianKernel(Euclidean(), schedule), Noise())
    g = torch.Generator().manual_seed(0)
    x0 = 0.5 * torch.randn(4096, 64, generator=g, dtype=F)
    batch = Batch(x0, Layout.dense(4096, (64,), dtype=F))
    loss = Simple()(model, batch, NoiseSource(0, range(4096)))
    assert loss.shape == (4096,)
    t = (torch.arange(100_000, dtype=F) + 0.5) / 100_000
    a2 = schedule.alpha(t) ** 2
    expected = (a2 * v / (a2 * v + 1 - a2)).mean().item()
    # each loss is a mean of 64 squares of variance below 1: standard error < sqrt(2 / 64 / 4096)
    assert abs(loss.mean().item() - expected) < 5 * math.sqrt(2 / 64 / 4096)


def test_the_absolute_error_averages_the_posterior_deviation():
    # E|eps - E[eps|x_t]| = sqrt(2/pi) times the posterior's standard deviation, of a Gaussian
    schedule, v = VPLinear(), 0.25
    model = NetworkDenoiser(Exact(schedule, v), GaussianKernel(Euclidean(), schedule), Noise())
    x0 = 0.5 * torch.randn(4096, 64, generator=torch.Generator().manual_seed(0), dtype=F)
    batch = Batch(x0, Layout.dense(4096, (64,), dtype=F))
    loss = Simple(Absolute())(model, batch, NoiseSource(0, range(4096)))
    t = (torch.arange(100_000, dtype=F) + 0.5) / 100_000
    a2 = schedule.alpha(t) ** 2
    expected = (2 / math.pi * a2 * v / (a2 * v + 1 - a2)).sqrt().mean().item()
    assert abs(loss.mean().item() - expected) < 5 * math.sqrt(1 / 64 / 4096)
    squared = Simple(Squared())(model, batch, NoiseSource(0, range(4096)))
    assert torch.equal(squared, Simple()(model, batch, NoiseSource(0, range(4096))))


def test_categories_have_no_target_for_another_error():
    kernel = CategoricalKernel(Tokens(3), Matrices.discretised_gaussian(3, (0.1,) * 8))
    model = NetworkDenoiser(Logit3(), kernel, Logits())
    batch = Batch(torch.zeros(2, 4, dtype=torch.long), Layout.dense(2, (4,), dtype=torch.long))
    with pytest.raises(ConfigError, match="Gaussian parametrization"):
        Simple(Absolute())(model, batch, NoiseSource(0, range(2)))


def test_every_step_is_trained_once_in_every_t():
    # the trap: t = T left out, or t = 1 wrapped around
    kernel = CategoricalKernel(Tokens(3), Matrices.discretised_gaussian(3, (0.1,) * 8))
    t = training_times(kernel, NoiseSource(5, range(80)).times())
    counts = torch.bincount((t * 8).round().long(), minlength=9)
    assert counts[0] == 0
    assert counts[1:].min() >= 9  # of 10 each: low discrepancy
    assert counts[1:].max() <= 11
    torch.testing.assert_close((t * 8).round() / 8, t, rtol=0, atol=0)
    ends = training_times(kernel, torch.tensor([0.0, 1 - 1e-12], dtype=F))
    assert ends.tolist() == [1.0, 1 / 8]
    continuous = GaussianKernel(Euclidean(), VPLinear())
    t = training_times(continuous, torch.tensor([0.0, 0.25], dtype=F))
    assert t.tolist() == [1.0, 0.75]


def test_a_loss_belongs_to_its_sample():
    schedule = BetaTable.linear(20)
    model = NetworkDenoiser(Exact(schedule, 1.0), GaussianKernel(Euclidean(), schedule), V())
    x0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=F)
    together = Simple()(model, Batch(x0, Layout.dense(5, (3,), dtype=F)), NoiseSource(2, range(5)))
    for i in range(5):
        batch = Batch(x0[i : i + 1], Layout.dense(1, (3,), dtype=F))
        alone = Simple()(model, batch, NoiseSource(2, [i]))
        torch.testing.assert_close(alone[0], together[i])


def test_the_gradient_reaches_the_network():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.tensor(0.5, dtype=F))

        def forward(self, x, label, layout, condition):
            return self.a * x

    model = NetworkDenoiser(Scale(), GaussianKernel(Euclidean(), Linear()), Clean())
    x0 = torch.randn(400, 50, generator=torch.Generator().manual_seed(0), dtype=F)
    batch = Batch(x0, Layout.dense(400, (50,), dtype=F))
    # E(x_0 - a x_t)^2 = 1 - 2 a alpha + a^2 (alpha^2 + sigma^2); over t: 1 - a + 2/3 a^2
    model.network.a.data.fill_(0.75)
    loss = Simple()(model, batch, NoiseSource(0, range(400))).mean()
    assert loss.item() == pytest.approx(1 - 0.75 + 2 / 3 * 0.75**2, abs=0.03)
    loss.backward()
    assert model.network.a.grad.item() == pytest.approx(0.0, abs=0.06)  # the minimum is 3/4


def test_ragged_and_joint_batches():
    at, kind = GaussianKernel(ZeroCoM(), VPLinear()), CategoricalKernel(Tokens(3), Absorbing(2))
    kernel = ProductKernel({"at": at, "kind": kind})

    class Network(nn.Module):
        def forward(self, x, label, layout, condition):
            return {"at": x["at"], "kind": torch.zeros(*x["kind"].shape, 3, dtype=F)}

    model = NetworkDenoiser(Network(), kernel, Joint({"at": Noise(), "kind": Logits()}))
    counts = [2, 4]
    layout = Layout.product(
        {
            "at": Layout.ragged(counts, (3,), dtype=F),
            "kind": Layout.ragged(counts, dtype=torch.int64),
        }
    )
    x0 = {"at": torch.zeros(6, 3, dtype=F), "kind": torch.tensor([0, 1, 0, 0, 1, 1])}
    loss = Simple()(model, Batch(x0, layout), NoiseSource(0, [0, 1]))
    assert loss.shape == (2,)
    # equal logits cost log 3; noise predicted as x_t = sigma eps costs (1 - sigma)^2 eps^2
    t = training_times(kernel, NoiseSource(0, [0, 1]).times())
    eps = ZeroCoM().project(NoiseSource(0, [0, 1]).normal(layout["at"]), layout["at"])
    sigma = VPLinear().sigma(t)
    square = layout["at"].sum(eps**2) / layout["at"].sizes
    torch.testing.assert_close(loss, math.log(3) + (1 - sigma) ** 2 * square)


def test_dropped_conditions():
    schedule = VPLinear()
    network = Exact(schedule, 1.0)
    model = NetworkDenoiser(network, GaussianKernel(Euclidean(), schedule), Noise())
    n = 4000
    label = {"y": torch.arange(n), "z": torch.ones(n, 2)}
    batch = Batch(torch.zeros(n, 1, dtype=F), Layout.dense(n, (1,), dtype=F), label)
    none = {"y": torch.tensor([-1]), "z": torch.zeros(1, 2)}
    for p in (0.0, 0.2, 1.0):
        loss = ConditionDropout(Simple(), p, none)(model, batch, NoiseSource(0, range(n)))
        assert loss.shape == (n,)
        seen = network.conditions[-1]
        dropped = seen["y"] == -1
        assert torch.equal(seen["y"][~dropped], torch.arange(n)[~dropped])
        assert torch.equal(seen["z"], (~dropped)[:, None].expand(n, 2).float())  # all parts at once
        # binomial, 5 standard deviations: false alarm 6e-7
        assert abs(dropped.sum().item() - n * p) <= 5 * math.sqrt(n * p * (1 - p))
    assert torch.equal(label["y"], torch.arange(n))  # the batch itself is untouched
    one = Batch(batch.x0[:1], Layout.dense(1, (1,), dtype=F), {n: v[7:8] for n, v in label.items()})
    ConditionDropout(Simple(), 0.2, none)(model, one, NoiseSource(0, [7]))
    again = ConditionDropout(Simple(), 0.2, none)
    again(model, batch, NoiseSource(0, range(n)))
    assert network.conditions[-2]["y"][0] == network.conditions[-1]["y"][7]


def test_condition_dropout_errors():
    none = {"y": torch.tensor([-1])}
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match="probability"):
            ConditionDropout(Simple(), p, none)
    schedule = VPLinear()
    model = NetworkDenoiser(Exact(schedule, 1.0), GaussianKernel(Euclidean(), schedule), Noise())
    x0, layout = torch.zeros(2, 1, dtype=F), Layout.dense(2, (1,), dtype=F)
    for condition in (None, {"other": torch.zeros(2)}):
        with pytest.raises(ConfigError, match="condition"):
            ConditionDropout(Simple(), 0.1, none)(
                model, Batch(x0, layout, condition), NoiseSource(0, [0, 1])
            )


def test_condition_dropout_leaves_what_it_does_not_name():
    class Seen(Objective):
        def __call__(self, denoiser, batch, noise):
            self.condition = batch.condition
            return batch.x0[:, 0]

    n = 400
    seen, x0 = Seen(), torch.zeros(n, 1, dtype=F)
    told = {"y": torch.ones(n), "low": torch.arange(n)}
    batch = Batch(x0, Layout.dense(n, (1,), dtype=F), told)
    oracle = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 1.0)
    none = {"y": torch.tensor([-1.0])}
    ConditionDropout(seen, 0.5, none)(oracle, batch, NoiseSource(0, range(n)))
    assert torch.equal(seen.condition["low"], told["low"])
    assert set(seen.condition["y"].tolist()) == {-1.0, 1.0}


def test_only_networks_are_trained():
    oracle = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.0, 1.0)
    batch = Batch(torch.zeros(1, 1), Layout.dense(1, (1,)))
    with pytest.raises(ConfigError, match="NetworkDenoiser"):
        Simple()(oracle, batch, NoiseSource(0, [0]))


def test_a_batch_moves_whole():
    layout = Layout.product({"x": Layout.dense(1, (2,)), "k": Layout.dense(1, dtype=torch.int64)})
    batch = Batch(
        {"x": torch.zeros(1, 2), "k": torch.zeros(1).long()}, layout, {"y": torch.ones(1)}
    )
    moved = batch.to("meta")
    assert {v.device.type for v in (*moved.x0.values(), moved.condition["y"])} == {"meta"}
    assert moved.layout.device.type == "meta"
    plain = Batch(torch.zeros(1, 2), Layout.dense(1, (2,))).to("meta")
    assert (plain.x0.device.type, plain.condition) == ("meta", None)
