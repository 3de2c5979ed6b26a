"""Certificates: against the exact radius of a linear classifier, and of the shipped digits."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import norm

from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise_purify.attacks import L2, PGD
from unnoise_purify.certificate import Smoothed, certify, radius
from unnoise_purify.digits import digits
from unnoise_purify.gradients import Full
from unnoise_purify.purifier import Purifier


def linear(w, sigma):
    """Of two classes by the sign of w x, under noise of standard deviation sigma."""

    def noisy(x, noise):
        drawn = noise.normal(Layout.dense(len(x), x.shape[1:]))
        score = ((x + sigma * drawn) * w).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)

    return noisy


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_of_a_linear_classifier_the_radius_is_the_distance(sigma):
    """Smoothing leaves it as it is: p = Phi(distance / sigma), r = distance; from n draws the
    certified radius is below, by what the confidence bound costs."""
    w = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    distances = torch.tensor([-1.2, -0.4, 0.3, 1.0]) * sigma
    x = distances.view(-1, 1, 1, 1) * w / 5
    draws = 2000
    found = certify(
        linear(w, sigma), x, sigma, numbers=range(4), draws=draws, alpha=1e-3, batch=4000
    )
    for one, distance in zip(found, distances.tolist(), strict=True):
        assert one.answer == int(distance > 0)
        exact = abs(distance)
        p = norm.cdf(exact / sigma)
        assert one.radius <= exact
        # six standard deviations of the share, and of the bound below it
        slack = 6 * (p * (1 - p) / draws) ** 0.5 / norm.pdf(exact / sigma) * sigma
        assert one.radius >= exact - 2 * slack


def test_the_bound_in_numbers():
    """All of 1000: p >= 0.001^(1/1000), as Cohen's 3.8 sigma of 100,000."""
    assert radius(1000, 1000, 0.5, 1e-3) == pytest.approx(0.5 * norm.ppf(1e-3**1e-3), rel=1e-9)
    assert radius(100_000, 100_000, 1.0, 1e-3) == pytest.approx(3.8115, abs=1e-3)
    assert radius(50, 100, 0.5, 1e-3) == 0


def test_without_a_majority_it_abstains():
    w = torch.ones(1, 1, 1, 2)
    (one,) = certify(linear(w, 1.0), torch.zeros(1, 1, 1, 2), 1.0, numbers=[0], draws=200)
    assert one.answer is None
    assert one.radius == 0


def test_draws_do_not_depend_on_the_batch():
    w = torch.ones(1, 1, 1, 2)
    x = torch.full((1, 1, 1, 2), 0.3)
    told = {"numbers": [7], "draws": 100, "choosing": 10, "seed": 3}
    one, two = (certify(linear(w, 1.0), x, 1.0, **told, batch=size) for size in (7, 200))
    assert one == two


def test_digits_are_certified_and_no_attack_goes_below(digits_model, pictures):
    """Inside of the certified ball the smoothed classifier keeps its answer."""
    x, y = pictures[0][:2], pictures[1][:2]
    smoothed = Smoothed(Purifier(digits_model, 0.45), digits())
    # a state is 2 x - 1: the noise of pictures is half of rho = .45 / sqrt(1 - .45^2)
    assert smoothed.sigma == pytest.approx(0.5 * 0.45 / (1 - 0.45**2) ** 0.5, rel=1e-4)
    found = certify(smoothed.noisy, x, smoothed.sigma, numbers=range(2), draws=60, choosing=10)
    assert [one.answer for one in found] == y.tolist()
    least = min(one.radius for one in found)
    assert 0.1 < least < 3.1 * smoothed.sigma
    attack = PGD(L2(), least, Full(), 3, 1)
    attacked = attack.run(smoothed.voting(2), x, y, range(2), 0).pictures
    again = certify(
        smoothed.noisy, attacked, smoothed.sigma, numbers=range(2), draws=20, choosing=30, seed=9
    )
    assert [one.answer for one in again] == y.tolist()


def test_nonsense_is_refused(digits_model):
    for wrong in ({"draws": 0}, {"alpha": 0.0}, {"choosing": 0}):
        with pytest.raises(InputError, match="certificate"):
            certify(linear(1.0, 1.0), torch.zeros(1, 1, 1, 1), 1.0, numbers=[0], **wrong)
