"""The classifier by the bound: exact of two Gaussians, and of the shipped digits."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from unnoise.codecs import Identity
from unnoise.denoise import Denoiser
from unnoise.distributions import Dirac
from unnoise.domain import Trained
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, VPCosine, VPLinear
from unnoise.spaces import Euclidean, tensor
from unnoise_purify.draws import Fresh, Pinned
from unnoise_purify.likelihood import LikelihoodClassifier
from unnoise_purify.pixels import Pixels, pixels_of

SHAPE = (1, 2, 3)


class Told(Denoiser):
    """E[x_0 | x_t] of x_0 ~ N(m, v), m said by the condition."""

    def __init__(self, kernel, variance):
        super().__init__()
        self.kernel, self.variance = kernel, variance

    def forward(self, x_t, t, layout, condition=None):
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        mean = condition["mean"]
        return Dirac(mean + gain * (tensor(x_t) - alpha * mean), layout)


def gaussians(schedule, variance):
    means = torch.rand(3, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    kernel = GaussianKernel(Euclidean(), schedule)
    model = Trained(cast(Any, None), Told(kernel, variance), None, codec=Identity())
    return model, means, [Pixels(SHAPE, 0.0, 1.0, {"mean": mean}) for mean in means]


@pytest.mark.parametrize("schedule", [VPCosine(), VPLinear()])
@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("strengths", [(0.2, 0.95), (0.02, 0.999)])
def test_differences_are_those_of_log_likelihoods(schedule, variance, strengths):
    """Times F, the part of the integral, whatever the noise: the midpoint rule is what is left."""
    model, means, classes = gaussians(schedule, variance)
    told = {"times": 64, "strengths": strengths, "noise": Fresh(3)}
    classifier = LikelihoodClassifier(model, classes, **told)
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    exact = -(x[:, None] - means[:, 0]).square().sum((2, 3, 4)) / (2 * variance)
    low, high = ((1 - s**2) / s**2 for s in reversed(strengths))
    part = 1 / (1 + low * variance) - 1 / (1 + high * variance)
    found = classifier(x)
    for a, b in ((0, 1), (1, 2)):
        want = part * (exact[:, a] - exact[:, b])
        torch.testing.assert_close(found[:, a] - found[:, b], want, rtol=5e-3, atol=5e-4)
    if strengths[0] == 0.02 and variance == 1:
        assert part > 0.99
        posterior = exact.softmax(1)
        torch.testing.assert_close(found.softmax(1), posterior, rtol=0, atol=0.01)


def test_the_gradient_is_that_of_the_log_likelihood_ratio():
    model, means, classes = gaussians(VPCosine(), 1.0)
    classifier = LikelihoodClassifier(model, classes, times=64, strengths=(0.02, 0.999))
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = classifier(x)
    (grad,) = torch.autograd.grad((found[:, 0] - found[:, 1]).sum(), x)
    # d/dx of (|x - m_1|^2 - |x - m_0|^2) / 2
    want = (means[0] - means[1]).expand_as(grad)
    torch.testing.assert_close(grad, want, rtol=0.02, atol=0.02)


def test_digits_are_told_apart(digits_model, pictures):
    x, labels = pictures
    classes = [pixels_of(digits_model, label=k) for k in range(10)]
    classifier = LikelihoodClassifier(digits_model, classes, times=2, noise=Pinned(0))
    with torch.no_grad():
        found = classifier(x)
        assert torch.equal(classifier(x), found)
        cooler = LikelihoodClassifier(
            digits_model, classes, times=2, noise=Pinned(0), temperature=10.0
        )
        torch.testing.assert_close(cooler(x), found / 10)
    assert torch.equal(found.argmax(1), labels)
    assert all(parameter.requires_grad for parameter in digits_model.denoiser.parameters())


def test_what_is_refused(digits_model):
    one = pixels_of(digits_model, label=0)
    with pytest.raises(InputError, match="two classes"):
        LikelihoodClassifier(digits_model, [one])
    with pytest.raises(InputError, match="strength"):
        LikelihoodClassifier(digits_model, [one, one], strengths=(0.2, 1.0))
    with pytest.raises(ConfigError, match="weaker"):
        LikelihoodClassifier(digits_model, [one, one], strengths=(0.9, 0.2))
    with pytest.raises(ConfigError, match="temperature"):
        LikelihoodClassifier(digits_model, [one, one], temperature=0.0)
    with pytest.raises(InputError, match="size"):
        LikelihoodClassifier(digits_model, [one, one])(torch.zeros(1, 1, 8, 8))
