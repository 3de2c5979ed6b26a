import math

import pytest
import torch

from unnoise.denoise import NetworkDenoiser, Noise
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.objectives import Absolute, Batch, Simple
from unnoise.spaces import Euclidean, Layout
from unnoise_audio.configuration import Configuration, Learned
from unnoise_audio.domain import Vocoder
from unnoise_audio.levels import SCHEDULES, Levels, on_schedule, schedule

OWN = Configuration(
    method="wavegrad",
    mel={"hop": 16, "window": 64, "fft": 64, "mels": 8},
    learned=Learned(scale=(1.0,), mean=0.0, spread=1.0),
)


@pytest.mark.parametrize(
    ("name", "steps", "last", "variance"),
    [
        ("linear-1000", 1000, 0.0813796, 0.993377),
        ("linear-6", 6, 0.985056, 0.029665),
        ("wg-6", 6, 0.4349, 0.8108),
        ("port-6", 6, 0.9636, 0.0714),
    ],
)
def test_the_constants_of_the_schedules(name, steps, last, variance):
    table = schedule(name)
    assert table.steps == steps
    assert table.alpha(1.0) == pytest.approx(last, abs=5e-5 if steps == 6 else 5e-8)
    prior = GaussianKernel(Euclidean(), table).prior(Layout.dense(1, (2,)))
    assert float(prior.std) ** 2 == pytest.approx(variance, abs=1e-4)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'wg-6'"):
        schedule("wg6")


@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_are_straight_between_those_of_the_table(name):
    table = SCHEDULES[name]
    levels, count = Levels(table), len(table.betas)
    for k in (0, 1, count // 2, count):
        assert levels.alpha(k / count) == pytest.approx(table.alpha(k / count), abs=1e-12)
    k = count // 2
    middle = (table.alpha(k / count) + table.alpha((k + 1) / count)) / 2
    assert levels.alpha((k + 0.5) / count) == pytest.approx(middle, abs=1e-12)
    t = torch.linspace(0.01, 1, 57, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(levels.alpha(t) ** 2 + levels.sigma(t) ** 2, torch.ones(57).double())
    (slope,) = torch.autograd.grad(levels.alpha(t).sum(), t, retain_graph=True)
    assert torch.allclose(slope, levels.d_alpha(t))
    (slope,) = torch.autograd.grad(levels.sigma(t).sum(), t)
    assert torch.allclose(slope, levels.d_sigma(t))
    assert levels.sigma(1 / count) == pytest.approx(math.sqrt(table.betas[0]), rel=1e-9)
    assert levels.alpha(0.0) == 1
    assert levels.sigma(0.0) == 0


def test_training_times_are_the_law_of_the_paper():
    """s uniform in 1 .. S and l uniform between l_{s-1} and l_s, against uniform times."""
    table = SCHEDULES["wg-6"]
    draws = torch.rand(200_000, generator=torch.Generator().manual_seed(0)).double()
    found = Levels(table).alpha(draws)
    edges = [table.alpha(k / 6) for k in range(7)]
    for s in range(6):
        inside = found[(found <= edges[s]) & (found > edges[s + 1])]
        assert len(inside) / len(found) == pytest.approx(1 / 6, abs=0.004)  # 5 sigma
        width = edges[s] - edges[s + 1]
        share = float((edges[s] - inside).mean() / width)
        assert share == pytest.approx(0.5, abs=0.008)


def test_the_time_of_a_level_is_its_inverse():
    levels = Levels()
    for t in (0.0, 1e-3, 0.1234, 0.5, 1.0):
        assert levels.time(levels.alpha(t)) == pytest.approx(t, abs=1e-9)
    with pytest.raises(ConfigError, match="level"):
        levels.time(0.01)


def test_the_output_depends_on_the_level_alone():
    torch.manual_seed(0)
    denoiser = Vocoder().build(OWN)
    x, mel = torch.randn(2, 3, 16), torch.randn(2, 3, 8)
    layout = Layout.dense(2, (3, 16))
    other = on_schedule(denoiser, "wg-6")
    assert other.kernel.steps == 6
    for k in range(1, 7):
        level = other.kernel.schedule.alpha(k / 6)
        t = denoiser.kernel.schedule.time(level)
        with torch.no_grad():
            a = denoiser(x, t, layout, {"mel": mel}).mean
            b = other(x, k / 6, layout, {"mel": mel}).mean
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    linear = GaussianKernel(Euclidean(), SCHEDULES["linear-1000"])
    timed = NetworkDenoiser(denoiser.network, linear, Noise())
    with pytest.raises(ConfigError, match="told the level"):
        on_schedule(timed, "wg-6")


def test_it_is_trained_on_the_mean_absolute_error_of_the_noise():
    torch.manual_seed(0)
    denoiser, layout = Vocoder().build(OWN), Layout.dense(2, (3, 16))
    assert Vocoder().objective(OWN) == Simple(Absolute())
    batch = Batch(torch.randn(2, 3, 16), layout, {"mel": torch.randn(2, 3, 8)})
    noise = NoiseSource(0, range(2))
    loss = Simple(Absolute())(denoiser, batch, noise)
    again = NoiseSource(0, range(2))
    t = 1 - again.times()
    levels = denoiser.kernel.schedule
    eps = again.normal(layout)
    alpha, sigma = (levels.alpha(t).view(2, 1, 1), levels.sigma(t).view(2, 1, 1))
    x_t = (alpha * batch.x0 + sigma * eps).float()
    output = denoiser.network(x_t, levels.alpha(t).float(), layout, batch.condition)
    torch.testing.assert_close(loss, (output - eps).abs().mean((1, 2)), rtol=1e-3, atol=1e-3)
