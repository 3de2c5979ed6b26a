"""Progressive distillation against the closed form of Gaussian data, METHODS section 6."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from unnoise.denoise import Clean, Denoiser, NetworkDenoiser
from unnoise.distributions import Dirac
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    LearnedSchedule,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch
from unnoise.objectives.distillation import Distillation, distilled_target
from unnoise.samplers import DDIM, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, Tokens

ONE = Layout.dense(1, (1,), dtype=torch.float64)


class Gain(Denoiser):
    """E[x_0 | x_t] = gain(t) x_t: of N(0, v) data, or a table of gains at the student's times."""

    def __init__(self, kernel, variance=None, table=None):
        super().__init__()
        self.kernel, self.variance, self.table = kernel, variance, table

    def forward(self, x_t, t, layout, condition=None):
        if self.table is None:
            alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
            gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        else:
            gain = self.table[t]
        return Dirac(layout.expand(gain, x_t) * x_t, layout)


def steps_gain(denoiser, steps):
    """What DDIM with `steps` equal steps multiplies x_1 by."""
    x = torch.ones(1, 1, dtype=torch.float64)
    grid = grids.uniform(denoiser.kernel, steps)
    *_, last = DDIM()(Diffusion(denoiser, ONE, NoiseSource(0, [0])), x, grid)
    return last.x.item()


@pytest.mark.parametrize(
    ("steps", "gain"),
    [(1, 1.1e-5), (2, 0.200002), (4, 0.333438), (8, 0.411373), (16, 0.453927), (32, 0.476458),
     (64, 0.488094), (128, 0.494012), (256, 0.496997), (1024, 0.499248)],
)  # fmt: skip
def test_undistilled_gain(steps, gain):
    kernel = GaussianKernel(Euclidean(), VPCosine())
    assert steps_gain(Gain(kernel, variance=0.25), steps) == pytest.approx(gain, abs=1e-6)


@pytest.mark.parametrize(
    ("schedule", "variance", "kept"), [(VPCosine(), 0.25, 0.49924755), (VPLinear(), 2.0, None)]
)
def test_every_halving_keeps_the_teacher(schedule, variance, kept):
    kernel = GaussianKernel(Euclidean(), schedule)
    teacher = Gain(kernel, variance=variance)
    steps, first = 1024, steps_gain(teacher, 1024)
    assert kept is None or first == pytest.approx(kept, abs=1e-6)
    one = torch.ones(1, 1, dtype=torch.float64)
    while steps > 1:
        steps //= 2
        table = {
            (i + 1) / steps: distilled_target(teacher, one, (i + 1) / steps, i / steps, ONE).item()
            for i in range(steps)
        }
        teacher = Gain(kernel, table=table)
        assert steps_gain(teacher, steps) == pytest.approx(first, abs=1e-6)


class Slope(nn.Module):
    """x -> w(t) x with a free w at each of N times."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.w = nn.Parameter(torch.zeros(steps, dtype=torch.float64))

    def forward(self, x, label, layout, condition):
        return self.w[(label * self.steps).round().long() - 1][:, None] * x


def loss_and_gradient(steps: int, weights: Tensor) -> tuple[Tensor, Tensor]:
    kernel = GaussianKernel(Euclidean(), VPLinear())
    student = NetworkDenoiser(Slope(steps), kernel, Clean(), clip=(-0.1, 0.1))
    student.network.w.data = weights.clone()
    x0 = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = Batch(x0, Euclidean().layout(x0))
    objective = Distillation(Gain(kernel, variance=1.7), steps)
    losses = objective(student, batch, NoiseSource(3, range(64)))
    assert losses.shape == (64,)
    losses.sum().backward()
    return losses.detach(), student.network.w.grad


def test_the_loss_vanishes_at_the_target_only():
    steps = 4
    teacher = Gain(GaussianKernel(Euclidean(), VPLinear()), variance=1.7)
    one = torch.ones(1, 1, dtype=torch.float64)
    exact = torch.stack(
        [
            distilled_target(teacher, one, (i + 1) / steps, i / steps, ONE)[0, 0]
            for i in range(steps)
        ]
    )
    losses, gradient = loss_and_gradient(steps, exact)
    assert losses.max() < 1e-12
    assert gradient.abs().max() < 1e-5
    losses, gradient = loss_and_gradient(steps, exact + 0.1)
    # every one of the student's times is trained, and the clipping of samples hides no gradient
    assert (losses > 1e-4).all()
    assert (gradient > 1e-3).all()


def test_the_last_step_is_the_teachers_last_prediction():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    teacher = Gain(kernel, variance=0.25)
    x = torch.tensor([[0.7]], dtype=torch.float64)
    half = kernel.bridge(x, teacher(x, 0.5, ONE), 0.5, 0.25, ONE, eta=0.0).mean
    want = teacher(half, 0.25, ONE).mean
    got = distilled_target(teacher, x, 0.5, 0.0, ONE)
    assert math.isclose(got.item(), want.item(), rel_tol=1e-12)


def test_the_target_lies_where_the_teacher_is_clipped_to():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    layout = Layout.dense(500, (3,), dtype=torch.float64)

    class Clipped(Denoiser):
        def __init__(self):
            super().__init__()
            self.kernel = kernel

        def forward(self, x_t, t, layout, condition=None):
            return Dirac((9 * torch.sin(7 * x_t)).clamp(-1, 1), layout)

    noise = NoiseSource(0, range(500))
    x, s = noise.normal(layout), noise.times() * 0.9
    target = distilled_target(Clipped(), x, s + 0.1, s, layout)
    assert target.abs().max() <= 1 + 1e-12
    assert (target.abs() < 0.99).any()


@pytest.mark.parametrize("steps", [1, 3, 64])
def test_times_are_the_samplers_own(steps):
    for schedule in (VPCosine(), BetaTable.linear(1000)):
        kernel, seen = GaussianKernel(Euclidean(), schedule), set()

        class Watched(Gain):
            def forward(self, x_t, t, layout, condition=None):
                seen.update(t.tolist())  # noqa: B023 (called in this turn of the loop)
                return super().forward(x_t, t, layout, condition)

        x0 = torch.zeros(400, 1, dtype=torch.float64)
        batch = Batch(x0, Euclidean().layout(x0))
        objective = Distillation(Watched(kernel, variance=1.0), steps)
        objective(Gain(kernel, variance=1.0), batch, NoiseSource(0, range(400)))
        assert seen == set(grids.uniform(kernel, 2 * steps)[:-1].tolist())
        assert seen >= set(grids.uniform(kernel, steps)[:-1].tolist())


def test_a_learned_schedule_stays():
    schedule = LearnedSchedule()
    kernel = GaussianKernel(Euclidean(), schedule)
    student = NetworkDenoiser(Slope(2), kernel, Clean())
    x0 = torch.ones(8, 1, dtype=torch.float64)
    teacher = copy.deepcopy(student).requires_grad_(False)
    objective = Distillation(teacher, 2)
    student.network.w.data += 0.5
    batch = Batch(x0, Euclidean().layout(x0))
    objective(student, batch, NoiseSource(0, range(8))).sum().backward()
    assert student.network.w.grad.abs().min() > 0
    learned = list(student.learned.parameters())
    assert learned
    assert all(p.grad is None for p in learned)


def test_bad_input():
    kernel = GaussianKernel(Euclidean(), VPCosine())
    with pytest.raises(ConfigError, match="at least one step"):
        Distillation(Gain(kernel, variance=1.0), 0)
    with pytest.raises(ConfigError, match="GaussianKernel"):
        Distillation(Gain(CategoricalKernel(Tokens(3), Absorbing(2))), 4)
    table = GaussianKernel(Euclidean(), BetaTable.linear(1000))
    with pytest.raises(InputError, match="1000 steps"):
        Distillation(Gain(table, variance=1.0), 512)
