"""Attacks on defences whose answer is known: linear classifiers, and one that is random."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise_purify.attacks import (
    L2,
    PGD,
    Adaptive,
    CrossEntropy,
    Doubt,
    Linf,
    LowFrequency,
    Margin,
    RandomNoise,
    Square,
    Towards,
    Transfer,
    norm_named,
)
from unnoise_purify.attacks.pgd import through
from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.digits import digits
from unnoise_purify.draws import numbered
from unnoise_purify.gradients import Full, Identity
from unnoise_purify.purifier import Purifier

NORMS = [Linf(), L2()]


@pytest.fixture(scope="module")
def linear():
    """Two classes by the sign of w x + b, on grey pictures in which no attack meets 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(49, generator=generator)
    layer = nn.Linear(49, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(49), w]))
        layer.bias.copy_(torch.tensor([0.0, -0.5 * float(w.sum())]))
    return nn.Sequential(nn.Flatten(), layer), w


def grey(count=6):
    generator = torch.Generator().manual_seed(1)
    return 0.5 + 0.05 * torch.randn(count, 1, 7, 7, generator=generator)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", [CrossEntropy(), Margin(), Doubt()])
def test_against_a_linear_classifier_the_optimum_is_found(linear, norm, loss):
    """l_inf: eps sign(w), l_2: eps w / |w|: the margin falls by eps |w|_1 or eps |w|_2."""
    network, w = linear
    x, eps = grey(), 0.1
    y = network(x).argmax(1)
    found = PGD(norm, eps, Full(), 20, 1, loss=loss).run(network, x, y, range(6), 0)
    best = eps * (w.abs().sum() if norm == Linf() else w.norm())
    margins = network(x)[:, 1].abs()
    after = network(found.pictures)[:, 1] * torch.where(y == 1, 1, -1)
    assert torch.allclose(margins - after, best.expand(6), rtol=2e-2)
    assert float(norm.size(found.pictures - x).max()) <= eps * (1 + 1e-5)
    assert len(found.trace.loss) == 20
    assert found.trace.loss[-1] > found.trace.loss[0]


@pytest.mark.parametrize("norm", NORMS)
def test_attacks_stay_in_the_ball_and_among_pictures(linear, norm):
    network, _ = linear
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(4, 1, 7, 7, generator=generator).round()  # black and white alone
    y = torch.zeros(4, dtype=torch.int64)
    attacks = [
        PGD(norm, 0.3, Full(), 3, 1),
        PGD(norm, 0.3, Full(), 3, 1, subspace=LowFrequency(3)),
        PGD(norm, 0.3, Full(), 3, 1, momentum=0.5),
        Adaptive(norm, 0.3, Full(), 3, 1, judges=2),
        RandomNoise(norm, 0.3),
        Transfer(norm, 0.3, 3),
    ]
    if norm == Linf():
        attacks.append(Square(0.3, 20))
    for attack in attacks:
        found = attack.run(network, x, y, range(4), 0).pictures
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
        assert 0.01 < float(norm.size(found - x).max()) <= 0.3 * (1 + 1e-5)


def test_losses_are_the_logarithms_that_they_say():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    y, targets = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 0, 1])
    p = logits.softmax(1)
    own = p[torch.arange(6), y]
    assert torch.allclose(Doubt()(logits, y), (1 - own).log(), atol=1e-6)
    each = p[torch.arange(6), targets.repeat_interleave(2)]  # two draws of each of three pictures
    assert torch.allclose(Towards(targets)(logits, y), each.log(), atol=1e-6)


class Ridges(nn.Module):
    """Sure of class 0 where the first pixel is below .5, of class 2 where the last is above .55."""

    def forward(self, x):
        first, last = x[:, 0, 0, 0], x[:, 0, -1, -1]
        return 40 * torch.stack([0.5 - first, torch.zeros_like(first), last - 0.55], 1)


def test_the_best_of_several_ascents_is_kept_for_each_picture():
    """Class 1 answers from the middle; the nearest hill is out of reach, another is not."""
    x = torch.full((2, 1, 3, 3), 0.52)
    x[1, 0, 0, 0], x[1, 0, -1, -1] = 0.59, 0.47  # .09 from class 0, .08 from class 2
    y = torch.ones(2, dtype=torch.int64)
    network = Ridges()
    assert torch.equal(network(x).argmax(1), y)
    found = Adaptive(Linf(), 0.1, Full(), 10, 1, judges=2).run(network, x, y, range(2), 0)
    assert (network(found.pictures).argmax(1) != y).all()
    assert Adaptive(Linf(), 0.1, Full(), 10, 1).name.startswith("adaptive, 5 ascents of 10")
    with pytest.raises(ConfigError, match="judges"):
        Adaptive(Linf(), 0.1, Full(), 10, 1, judges=0)
    with pytest.raises(ConfigError, match="steps"):
        Adaptive(Linf(), 0.1, Full(), 0, 1)


def test_draws_at_once_are_the_same_draws(digits_model, pictures):
    """However many are computed together, and with votes."""
    x, y = pictures[0][:2], pictures[1][:2]
    purifier = Purifier(digits_model, 0.4, steps=1)
    for votes in (1, 2):
        defence = PurifiedClassifier(purifier, digits(), votes=votes)
        found = [
            PGD(Linf(), 0.1, Full(), 1, 3, at_once=n).expected(defence, x, y, range(5, 7), 2, 1)
            for n in (1, 2, 3)
        ]
        for loss, grad in found[1:]:
            assert torch.allclose(loss, found[0][0], rtol=1e-4, atol=1e-6)
            assert torch.allclose(
                grad, found[0][1], rtol=1e-3, atol=1e-6 + 1e-3 * float(grad.abs().max())
            )


def test_what_is_drawn_belongs_to_the_picture(linear):
    network, _ = linear
    x = grey()
    y = network(x).argmax(1)
    for attack in (PGD(L2(), 0.2, Full(), 2, 1), RandomNoise(Linf(), 0.1), Square(0.1, 5)):
        whole = attack.run(network, x, y, range(6), 3).pictures
        part = attack.run(network, x[4:], y[4:], range(4, 6), 3).pictures
        assert torch.allclose(whole[4:], part, atol=1e-6)
        other = attack.run(network, x, y, range(6), 4).pictures
        assert not torch.allclose(whole, other)


def test_low_frequencies_are_a_projection():
    space = LowFrequency(3)
    d = torch.randn(2, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    once = space.onto(d)
    assert torch.allclose(space.onto(once), once, atol=1e-6)
    assert torch.linalg.matrix_rank(once[0, 0]) <= 3
    flat = torch.full((1, 1, 8, 6), 0.4)
    assert torch.allclose(space.onto(flat), flat, atol=1e-6)
    for norm in NORMS:
        inside = space.within(d, norm, 0.1)
        assert torch.allclose(space.onto(inside), inside, atol=1e-6)
        assert float(norm.size(inside).max()) <= 0.1 * (1 + 1e-6)


def test_the_search_finds_what_needs_no_gradient(linear):
    network, _ = linear
    x = grey()
    y = network(x).argmax(1)
    loss = Margin()
    before = loss(network(x), y)
    after = loss(network(Square(0.1, 300).run(network, x, y, range(6), 0).pictures), y)
    assert bool((after > before + 0.3).all())


def test_gradients_are_averaged_over_draws_of_the_noise(digits_model, pictures):
    """The mean over n single draws is the expectation that is taken, draw by draw."""
    x, y = pictures[0][:2], pictures[1][:2]
    defence = PurifiedClassifier(Purifier(digits_model, 0.3, steps=1), digits())
    attack = PGD(Linf(), 0.1, Full(), 1, 3)
    loss, grad = attack.expected(defence, x, y, range(2), 5, step=2)
    singles = []
    for j in range(3):
        mine = x.clone().requires_grad_()
        logits = defence.logits(mine, numbered(5, range(2), 2 * 3 + j))
        own = nn.functional.cross_entropy(logits, y, reduction="none")
        singles.append((own.detach(), torch.autograd.grad(own.sum(), mine)[0]))
    assert torch.allclose(loss, sum(one for one, _ in singles) / 3, atol=1e-5)
    expected = sum(one for _, one in singles) / 3
    assert float((grad - expected).norm() / expected.norm()) < 1e-3
    same, other = attack.expected(through(defence, Identity()), x, y, range(2), 5, step=2)
    assert torch.allclose(same, loss, atol=1e-5)
    assert float((other - grad).norm() / grad.norm()) > 0.1


def test_nonsense_is_refused():
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="eps"):
            PGD(Linf(), wrong, Full(), 1, 1)
    with pytest.raises(ConfigError, match="steps"):
        PGD(Linf(), 0.1, Full(), 0, 1)
    with pytest.raises(ConfigError, match="eot"):
        PGD(Linf(), 0.1, Full(), 1, 0)
    with pytest.raises(InputError, match="no such norm"):
        norm_named("l_7")
    assert norm_named("Linf") == Linf()
    with pytest.raises(InputError, match="too many"):
        numbered(0, [1 << 24], 0)
    assert len(numbered(0, [1, 2], 3, votes=2).ids) == 4
    assert isinstance(numbered(0, [0], 0), NoiseSource)
