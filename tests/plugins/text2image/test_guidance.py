"""Guidance against closed forms."""

from __future__ import annotations

import pytest
import torch

from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.spaces import Euclidean, Layout, State, Time
from unnoise.testing.oracles import GaussianOracle
from unnoise_text2image.guidance import NEGATIVE, Clip, Guidance, Guided

KERNEL = GaussianKernel(Euclidean(), VPCosine())
X = torch.linspace(-2, 2, 12, dtype=torch.float64).view(2, 6)
LAYOUT = Layout.dense(2, (6,), dtype=torch.float64)
TOLD = {
    "mean": torch.tensor([[0.8], [-0.3]], dtype=torch.float64),
    f"{NEGATIVE}mean": torch.tensor([[-0.1], [0.2]], dtype=torch.float64),
}
VARIANCE = 0.4


class Means(Denoiser):
    """N(mean, VARIANCE), of a mean that the condition says."""

    kernel = KERNEL

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        assert set(condition) == {"mean"}
        return GaussianOracle(KERNEL, condition["mean"].expand(2, 6), VARIANCE)(x_t, t, layout)


def law(guidance: Guidance, t: float, clip=None):
    return Guided(Means(), guidance, clip)(X, t, LAYOUT, TOLD)


def of(mean: torch.Tensor, t: float):
    return GaussianOracle(KERNEL, mean.expand(2, 6), VARIANCE)(X, t, LAYOUT)


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_scale_1_is_the_prompt_and_scale_0_the_negative_prompt_exactly(t: float) -> None:
    for scale, name in ((1.0, "mean"), (0.0, f"{NEGATIVE}mean")):
        found, wanted = law(Guidance(scale), t), of(TOLD[name], t)
        assert torch.equal(found.mean, wanted.mean)
        assert found.std == wanted.std


@pytest.mark.parametrize("scale", [0.5, 3.0, 7.5])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_the_guided_score_of_gaussians_of_equal_covariance(scale: float, t: float) -> None:
    # grad log q_u + w (grad log q_c - grad log q_u) is the score of a Gaussian with the mean
    # m_u + w (m_c - m_u), of variance alpha^2 v + sigma^2
    alpha, sigma = float(KERNEL.schedule.alpha(t)), float(KERNEL.schedule.sigma(t))
    mean = torch.lerp(TOLD[f"{NEGATIVE}mean"], TOLD["mean"], scale)
    score = (alpha * mean - X) / (alpha**2 * VARIANCE + sigma**2)
    found = (alpha * law(Guidance(scale), t).mean - X) / sigma**2
    torch.testing.assert_close(found, score, rtol=1e-9, atol=1e-9)


def test_outside_its_interval_there_is_no_guidance() -> None:
    # strengths of the cosine schedule: sigma, close to sin(pi t / 2)
    guidance = Guidance(4.0, (0.3, 0.8))
    for t in (0.1, 0.95):
        assert torch.equal(law(guidance, t).mean, of(TOLD["mean"], t).mean)
    assert torch.equal(law(guidance, 0.4).mean, law(Guidance(4.0), 0.4).mean)


def test_rescaling_gives_the_spread_of_the_conditional_mean() -> None:
    c, plain = law(Guidance(1.0), 0.5).mean, law(Guidance(5.0), 0.5).mean
    whole = law(Guidance(5.0, rescale=1.0), 0.5).mean
    torch.testing.assert_close(whole.std(1), c.std(1))
    half = law(Guidance(5.0, rescale=0.5), 0.5).mean
    torch.testing.assert_close(half, (whole + plain) / 2)


def test_the_guided_mean_stays_in_the_range() -> None:
    assert law(Guidance(9.0), 0.9).mean.abs().max() > 1
    assert law(Guidance(9.0), 0.9, clip=Clip(-1.0, 1.0)).mean.abs().max() == 1


@pytest.mark.parametrize("wrong", [{"interval": (0.8, 0.3)}, {"interval": (0, 2)}, {"rescale": 2}])
def test_impossible_guidance_is_refused(wrong) -> None:
    with pytest.raises(ConfigError):
        Guidance(2.0, **wrong)


def test_evaluations_are_counted() -> None:
    assert [Guided(Means(), Guidance(w)).evaluations for w in (0.0, 1.0, 3.0)] == [1, 1, 2]
