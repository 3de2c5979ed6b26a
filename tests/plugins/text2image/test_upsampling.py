"""The small picture of an upsampler, its noise, and the law it leads to."""

from __future__ import annotations

import pytest
import torch

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution, Gaussian
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, ConditionDropout, Objective
from unnoise.samplers import DDIM, Diffusion, walk
from unnoise.spaces import Euclidean, Layout, State, Time, tensor
from unnoise_text2image.upsampling import Augmented, augmented, reduced

KERNEL = GaussianKernel(Euclidean(), VPCosine())
F = torch.float64


class Enlarging(Denoiser):
    """x_0 ~ N(0, 1) in each of the 2 x 2 pixels under one of the small picture, which is their mean
    (with noise of strength s): the exact law of x_0 given x_t and `low`, in closed form. In the
    basis of the mean m (times 2, so of unit variance) and the three orthogonal details,

        details | x_t        ~ N(alpha d_t / (alpha^2 + sigma^2), ..)
        2 m | x_t, low       precisions add: 1 + alpha^2 / sigma^2 + (1 - s^2) / (4 s^2).
    """

    kernel = KERNEL

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        x = tensor(x_t)
        alpha, sigma = float(KERNEL.schedule.alpha(t)), float(KERNEL.schedule.sigma(t))
        low, s = condition["low"], float(condition["level"][0])
        m_t = reduced(x, 2)
        if s == 0:
            mean = low
        else:
            gain = (1 - s**2) ** 0.5
            precision = 4 + 4 * alpha**2 / sigma**2 + gain**2 / s**2
            mean = (4 * alpha / sigma**2 * m_t + gain / s**2 * low) / precision
        up = torch.nn.functional.interpolate
        details = x - up(m_t, scale_factor=2.0, mode="nearest")
        centre = up(mean, scale_factor=2.0, mode="nearest") + alpha * details / (
            alpha**2 + sigma**2
        )
        return Gaussian(centre, torch.zeros((), dtype=F), KERNEL.space, layout)


def drawn(level: float, n: int, sampler, steps: int = 200):
    small = torch.tensor([[[[0.7, -1.2]]]], dtype=F).expand(n, 1, 1, 2)
    told = {"low": small, "level": torch.full((n,), level, dtype=F)}
    layout, noise = Layout.dense(n, (1, 2, 4), dtype=F), NoiseSource(0, range(n))
    run = Diffusion(Enlarging(), layout, noise, told)
    x = KERNEL.prior(layout).sample(noise)
    for step in walk(sampler, run, x, torch.linspace(1, 0, steps + 1, dtype=F)):
        x = step.x
    return tensor(x), small


def test_without_noise_the_conditional_law_is_the_closed_form() -> None:
    # given the means of 2 x 2 pixels, x_0 is N(mean, I - J / 4) there: means to the last digit, a
    # variance of 3/4, and -1/4 between two pixels of one square; five standard errors
    n = 1500
    x, small = drawn(0.0, n, DDIM(), steps=100)
    torch.testing.assert_close(reduced(x, 2), small, atol=1e-9, rtol=0)
    blocks = x.view(-1, 2, 2, 2).permute(0, 2, 1, 3).reshape(-1, 2, 4)
    for k in range(2):
        covariance = torch.cov(blocks[:, k].T)
        wanted = torch.eye(4, dtype=F) - 0.25
        assert (covariance - wanted).abs().max() < 5 * 0.75 * (2 / n) ** 0.5 + 0.02
        assert (blocks[:, k].mean(0) - small[0, 0, 0, k]).abs().max() < 5 * (0.75 / n) ** 0.5


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_with_noise_the_small_picture_is_known_up_to_it(level: float) -> None:
    # 2 m ~ N(0, 1) seen as low = sqrt(1 - s^2) m + s e: a Gaussian posterior of precision
    # 4 + (1 - s^2) / s^2 for m
    n = 1500
    x, small = drawn(level, n, DDIM(), steps=100)
    gain, precision = (1 - level**2) ** 0.5, 4 + (1 - level**2) / level**2
    m = reduced(x, 2)
    mean = gain / level**2 * small[:1] / precision
    assert (m.mean(0) - mean[0]).abs().max() < 5 * (1 / precision / n) ** 0.5
    # steps of 1/100 leave an error of a part in fifty of the variance
    assert (m.var(0) * precision - 1).abs().max() < 5 * (2 / n) ** 0.5 + 0.02


def test_the_mean_of_squares() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert reduced(x, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert reduced(x, 1) is x


def test_without_noise_nothing_is_drawn() -> None:
    small, noise = torch.ones(3, 1, 2, 2, dtype=F), NoiseSource(0, range(3))
    assert augmented(small, torch.zeros(3), noise) is small
    layout = Layout.dense(3, (4,), dtype=F)
    assert torch.equal(noise.normal(layout), NoiseSource(0, range(3)).normal(layout))


@pytest.mark.parametrize("level", [0.3, 0.9])
def test_augmentation_has_its_law(level: float) -> None:
    n = 10_000
    small = torch.full((n, 1, 1, 1), 0.8, dtype=F)
    found = augmented(small, torch.full((n,), level, dtype=F), NoiseSource(0, range(n)))
    wanted = (1 - level**2) ** 0.5 * 0.8
    assert abs(float(found.mean()) - wanted) <= 5 * level / n**0.5
    assert abs(float(found.std(unbiased=False)) - level) <= 5 * level / (2 * n) ** 0.5


class Seen(Objective):
    """Keeps the batch that it is shown."""

    batch: Batch

    def __call__(self, denoiser: Denoiser, batch: Batch, noise: NoiseSource) -> torch.Tensor:
        self.batch = batch
        return noise.uniform(Layout.dense(batch.layout.batch))


def test_training_draws_a_level_for_each_picture_and_drops_captions_alone() -> None:
    n = 4000
    seen = Seen()
    none = {"ids": torch.zeros(1, 2, dtype=torch.int64)}
    objective = ConditionDropout(Augmented(seen, 0.5), 0.2, none)
    low = torch.ones(n, 3, 2, 2)
    told = {"ids": torch.ones(n, 2, dtype=torch.int64), "low": low, "level": torch.zeros(n)}
    batch = Batch(torch.zeros(n, 3, 4, 4), Layout.dense(n, (3, 4, 4)), told)
    objective(Enlarging(), batch, NoiseSource(0, range(n)))
    found = seen.batch.condition
    level = found["level"]
    assert level.min() >= 0
    assert level.max() <= 0.5
    assert abs(float(level.mean()) - 0.25) < 5 * 0.5 / (12 * n) ** 0.5
    noise = (found["low"] - (1 - level**2).sqrt().view(-1, 1, 1, 1)) / level.view(-1, 1, 1, 1)
    assert abs(float(noise.var()) - 1) < 5 * (2 / noise.numel()) ** 0.5
    dropped = float((found["ids"] == 0).all(1).float().mean())
    assert abs(dropped - 0.2) < 5 * (0.2 * 0.8 / n) ** 0.5
    assert torch.equal(batch.condition["low"], low)


@pytest.mark.parametrize("largest", [-0.1, 1.0, float("nan")])
def test_an_impossible_noise_is_refused(largest: float) -> None:
    with pytest.raises(ConfigError, match="strength"):
        Augmented(Seen(), largest)
