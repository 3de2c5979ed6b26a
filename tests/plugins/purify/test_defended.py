"""A classifier behind a purifier, as attacks see it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import Checkpointed, Heun
from unnoise_purify import PurifiedClassifier, Purifier
from unnoise_purify.digits import digits
from unnoise_purify.draws import Fresh, Pinned, numbered
from unnoise_purify.gradients import Adjoint, Full


@pytest.fixture(scope="module")
def defence(digits_model):
    return PurifiedClassifier(Purifier(digits_model, 0.3, steps=2), digits(), noise=Pinned(0))


def test_purified_digits_are_what_they_were(defence, pictures):
    x, labels = pictures
    assert defence(x).argmax(1).tolist() == labels.tolist()
    purified = defence.purified(x, NoiseSource(0, range(4)))
    assert purified.shape == x.shape
    assert float(purified.min()) >= 0
    assert float(purified.max()) <= 1
    assert float((purified - x).abs().mean()) > 1e-3


def test_pinned_noise_is_the_same_and_fresh_is_not(defence, pictures):
    x, _ = pictures
    assert torch.equal(defence(x), defence(x))
    one, two = (defence.like(noise=Fresh(5)) for _ in range(2))
    first, second = one(x), one(x)
    assert not torch.equal(first, second)
    assert torch.equal(two(x), first)
    assert torch.equal(two(x), second)


def test_numbered_noise_belongs_to_a_picture_and_a_query(defence, pictures):
    x, _ = pictures
    whole = defence.logits(x, numbered(1, [4, 5, 6, 7], query=2))
    some = defence.logits(x[2:], numbered(1, [6, 7], query=2))
    assert torch.allclose(whole[2:], some, atol=1e-4)
    other = defence.logits(x[2:], numbered(1, [6, 7], query=3))
    assert not torch.allclose(some, other, atol=1e-4)


def test_votes_are_the_mean_of_probabilities(defence, pictures):
    x, _ = pictures
    three = defence.like(votes=3)
    found = three.logits(x[:1], NoiseSource(2, range(3))).softmax(1)
    each = defence.logits(x[:1].expand(3, -1, -1, -1), NoiseSource(2, range(3))).softmax(1)
    assert torch.allclose(found[0], each.mean(0), atol=1e-5)


def test_gradients_reach_the_picture_and_nothing_else(digits_model, defence, pictures):
    x, labels = pictures
    grads = []
    for mode in (Full(), Full(Checkpointed())):
        mine = x.clone().requires_grad_()
        loss = nn.functional.cross_entropy(defence.like(gradient=mode)(mine), labels)
        loss.backward()
        grads.append(mine.grad)
    assert torch.equal(*grads)
    assert float(grads[0].abs().max()) > 0
    assert all(p.grad is None for p in defence.parameters())
    shared = list(digits_model.denoiser.parameters())
    assert all(p.requires_grad and p.grad is None for p in shared)


def test_training_mode_does_not_reach_it(defence):
    assert not defence.train().training
    assert not any(m.training for m in defence.modules())


def test_bad_pictures_are_refused(defence):
    good = torch.rand(2, 1, 28, 28)
    for bad, message in (
        (good * 255, "outside of"),
        (good - 0.5, "outside of"),
        (torch.full_like(good, float("nan")), "outside of"),
        (torch.rand(2, 1, 32, 32), "another size"),
        (torch.rand(2, 3, 28, 28), "another size"),
        (good[0], "batch, channels"),
        ((good * 255).byte(), "floating"),
    ):
        with pytest.raises(InputError, match=message):
            defence(bad)


def test_bad_classifiers_are_refused(defence):
    for classifier in (nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(784, 1))):
        with pytest.raises(InputError, match=r"logits|classes"):
            defence.like(classifier=classifier)
    with pytest.raises(InputError, match="does not take"):
        defence.like(classifier=nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))


def test_bad_settings_are_refused(digits_model, defence):
    for strength in (0.0, 1.0, 1e-9, -1.0, float("nan")):
        with pytest.raises(InputError, match="strength"):
            Purifier(digits_model, strength)
    with pytest.raises(InputError, match="steps"):
        Purifier(digits_model, 0.5, steps=0)
    with pytest.raises(ConfigError, match="vote"):
        defence.like(votes=0)
    with pytest.raises(ConfigError, match="ancestral"):
        PurifiedClassifier(Purifier(digits_model, 0.3, Heun()), digits(), gradient=Adjoint())


def test_a_model_that_is_not_gaussian_is_refused():
    import unnoise

    pytest.importorskip("unnoise_text")
    with pytest.raises(InputError, match="Gaussian"):
        Purifier(unnoise.load("text"), 0.3)
