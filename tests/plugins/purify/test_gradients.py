"""Gradients through a purification: exact, solved backwards, and replaced."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from exact_mixture import Mixture, trained

from unnoise.errors import ConfigError
from unnoise.kernels import GaussianKernel, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Checkpointed, Heun, grids
from unnoise.spaces import Euclidean, Layout
from unnoise_purify.gradients import GRADIENTS, Adjoint, Full, Identity, Surrogate, Unclamped
from unnoise_purify.pixels import pixels_of
from unnoise_purify.purifier import Purifier

F = torch.float64
LAYOUT = Layout.dense(3, (50,), dtype=F)


def purifier_of(schedule=VPLinear(), sampler=Ancestral(), steps=20, strength=0.5):  # noqa: B008
    kernel = GaussianKernel(Euclidean(), schedule)
    return Purifier(trained(Mixture(kernel, point=True)), strength, sampler, steps, grids.log_snr)


def inputs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, dtype=F, generator=generator)
    return x, torch.randn(3, 50, dtype=F, generator=generator)


def value_and_gradient(mode, purifier, seed=0):
    x, weights = inputs()
    x.requires_grad_()
    out = mode.purified(purifier, x, LAYOUT, None, NoiseSource(seed, range(3)))
    (found,) = torch.autograd.grad((out * weights).sum(), x)
    return out.detach(), found


@pytest.mark.parametrize("segment", [1, 3, 100])
@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(), Heun()])
def test_checkpointed_is_full_exactly(sampler, segment):
    purifier = purifier_of(sampler=sampler)
    value, expected = value_and_gradient(Full(), purifier)
    again, found = value_and_gradient(Full(Checkpointed(segment)), purifier)
    assert torch.equal(value, again)
    assert torch.equal(found, expected)


def test_full_is_the_derivative():
    """Central differences along a direction, under the same noise."""
    purifier = purifier_of()
    x, weights = inputs()
    _, found = value_and_gradient(Full(), purifier)
    generator = torch.Generator().manual_seed(1)
    way = torch.randn(3, 50, dtype=F, generator=generator)

    def loss(h):
        out = purifier(x + h * way, LAYOUT, noise=NoiseSource(0, range(3)))
        return float((out * weights).sum())

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert float((found * way).sum()) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "sampler", "steps"),
    [(VPLinear(), DDIM(), 50), (VPCosine(), DDIM(0.5), 100), (VPLinear(), Ancestral(), 200)],
)
def test_adjoint_is_full_within_a_thousandth(schedule, sampler, steps):
    """Six refinements, sampler and steps as stated; autograd goes through the same noise."""
    purifier = purifier_of(schedule, sampler, steps)
    value, expected = value_and_gradient(Full(), purifier)
    again, found = value_and_gradient(Adjoint(6), purifier)
    assert torch.equal(value, again)
    assert float((found - expected).norm() / expected.norm()) < 1e-3


def test_adjoint_without_refinement_is_of_first_order():
    errors = []
    for steps in (25, 50, 100):
        purifier = purifier_of(sampler=DDIM(), steps=steps)
        _, expected = value_and_gradient(Full(), purifier)
        _, found = value_and_gradient(Adjoint(), purifier)
        errors.append(float((found - expected).norm() / expected.norm()))
    orders = [a / b for a, b in pairwise(errors)]
    assert errors[-1] < 4e-3
    assert all(1.5 < order < 3 for order in orders), errors


def test_adjoint_of_other_samplers_and_laws_is_refused():
    purifier = purifier_of(sampler=Heun())
    with pytest.raises(ConfigError, match="ancestral"):
        Adjoint().check(purifier)
    with pytest.raises(ConfigError, match="ancestral"):
        value_and_gradient(Adjoint(), purifier)
    spread = replace(purifier_of(), model=trained(Mixture(GaussianKernel(Euclidean(), VPLinear()))))
    with pytest.raises(ConfigError, match="point"):
        value_and_gradient(Adjoint(), spread)


def test_surrogate_and_identity_keep_the_value():
    purifier = purifier_of()
    value, full = value_and_gradient(Full(), purifier)
    _, weights = inputs()
    again, found = value_and_gradient(Identity(), purifier)
    assert torch.equal(value, again)
    assert torch.equal(found, weights)
    again, found = value_and_gradient(Surrogate(4), purifier)
    assert torch.equal(value, again)
    _, few = value_and_gradient(Full(), replace(purifier, steps=4))
    assert torch.equal(found, few)
    assert not torch.allclose(found, full)
    with pytest.raises(ConfigError, match="fewer"):
        Surrogate(20).check(purifier)


def test_clamped_predictions_hide_nothing_from_the_unclamped_gradient(digits_model, pictures):
    """On a black background the prediction is clamped, and the gradient there is 0."""
    purifier = Purifier(digits_model, 0.3, steps=2)
    pixels = pixels_of(digits_model)
    data, grads, values = pixels.data(pictures[0][:1]), [], []
    for mode in (Full(), Unclamped()):
        x = data.clone().requires_grad_()
        told, layout = pixels.condition(1, x.device), pixels.layout(1, x)
        out = mode.purified(purifier, x, layout, told, NoiseSource(0, range(1)))
        values.append(out.detach())
        grads.append(torch.autograd.grad(out[:, :, :3].sum(), x)[0])
    assert torch.equal(*values)
    assert float(grads[0].norm()) < 0.5 * float(grads[1].norm())
    with pytest.raises(ConfigError, match="does not clamp"):
        Unclamped().check(purifier_of())


def test_without_a_gradient_all_modes_are_the_defence():
    purifier = purifier_of()
    x, _ = inputs()
    expected = purifier(x, LAYOUT, noise=NoiseSource(4, range(3)))
    for mode in GRADIENTS.values():
        if isinstance(mode, Unclamped):
            continue  # nothing is clamped here
        found = mode.purified(purifier, x, LAYOUT, None, NoiseSource(4, range(3)))
        assert torch.equal(found, expected)


def test_the_variance_of_a_mean_over_noise_falls_as_one_over_n():
    """Expectation over transformation: 1 / n, within five standard errors of a variance."""
    purifier = purifier_of(steps=10)
    _, weights = inputs()
    count = 1024
    x = inputs()[0][:1].expand(count, -1).clone().requires_grad_()
    layout = Layout.dense(count, (50,), dtype=F)
    out = purifier(x, layout, noise=NoiseSource(9, range(count)))
    (grads,) = torch.autograd.grad((out * weights[:1]).sum(), x)
    single = grads.var(0).sum()
    for n in (4, 16, 64):
        means = grads.view(count // n, n, -1).mean(1)
        error = 5 * (2 / (count // n - 1)) ** 0.5 / 50**0.5 * 2
        assert float(means.var(0).sum() * n / single) == pytest.approx(1, abs=error)
