"""Laws of levels against sums over all levels and scipy's logistic law."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

from unnoise.distributions import Bernoulli, DiscretisedLogistic, Gaussian
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.objectives import Quantised
from unnoise.spaces import Layout

ONE = Layout.dense(1, (1,), dtype=torch.float64)


def logistic(m: float, s: float, levels: int = 9, low: float = -1.0, high: float = 3.0):
    location, scale = (torch.tensor([[v]], dtype=torch.float64) for v in (m, s))
    return DiscretisedLogistic(location, scale, ONE, levels, low, high)


def masses(law) -> torch.Tensor:
    places = [law.low + k * law.step for k in range(law.levels)]
    return torch.cat([law.log_prob(torch.full((1, 1), y).double()).exp() for y in places])


SETTINGS = [(0.3, 0.5), (-0.9, 2.0), (7.0, 0.3), (-40.0, 0.2), (1.26, 0.01), (1.0, 50.0)]


@pytest.mark.parametrize(("m", "s"), SETTINGS)
def test_the_masses_are_those_of_the_rounded_logistic_law(m, s):
    law = logistic(m, s)
    found, whole = masses(law), stats.logistic(m, s)
    edges = [-math.inf, *(law.low + (k + 0.5) * law.step for k in range(8)), math.inf]
    wanted = torch.tensor([whole.cdf(b) - whole.cdf(a) for a, b in pairwise(edges)])
    torch.testing.assert_close(found, wanted.double(), atol=1e-12, rtol=0)
    places = torch.tensor([law.low + k * law.step for k in range(9)]).double()
    torch.testing.assert_close(law.mean[0, 0], (found * places).sum(), atol=1e-10, rtol=0)
    assert float(law.mode) == float(places[found.argmax()])
    below = found.cumsum(0)
    assert float(law.median) == float(places[int((below >= 0.5).nonzero()[0])])


def test_the_tails_are_finite_and_have_gradients():
    m = torch.tensor([[250.0]], requires_grad=True)
    law = DiscretisedLogistic(m, torch.tensor([[0.05]]), Layout.dense(1, (1,)))
    value = law.log_prob(torch.tensor([[3.0]]))
    assert float(value.detach()) == pytest.approx((3.5 - 250) / 0.05, rel=1e-4)
    value.sum().backward()
    assert float(m.grad) == pytest.approx(-1 / 0.05, rel=1e-4)


@pytest.mark.parametrize(
    "law",
    [
        logistic(0.4, 0.6),
        Bernoulli(torch.tensor([[0.8]]).double(), ONE, -1.0, 3.0),
    ],
)
def test_draws_follow_the_masses(law):
    n = 40_000
    layout = Layout.dense(n, (1,), dtype=torch.float64)
    if isinstance(law, Bernoulli):
        many = Bernoulli(law.logits.expand(n, 1), layout, law.low, law.high)
    else:
        many = DiscretisedLogistic(law.location.expand(n, 1), law.scale, layout, 9, -1.0, 3.0)
    x = many.sample(NoiseSource(0, range(n)))
    places = torch.tensor([law.low + k * law.step for k in range(law.levels)]).double()
    counts = (x == places).double().sum(0)
    assert float(counts.sum()) == n
    # five standard deviations each: a false alarm in two million
    p = masses(law)
    assert bool(((counts / n - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-6).all())


def test_bernoulli_in_closed_form():
    logits = torch.tensor([[0.3, -2.0, 60.0]], dtype=torch.float64)
    layout = Layout.dense(1, (3,), dtype=torch.float64)
    law, other = Bernoulli(logits, layout), Bernoulli(logits.flip(1), layout)
    p, q = torch.sigmoid(logits), torch.sigmoid(logits.flip(1))
    x = torch.tensor([[1.0, 0.0, 1.0]]).double()
    wanted = torch.log(p[0, 0]) + torch.log(1 - p[0, 1])
    torch.testing.assert_close(law.log_prob(x), wanted[None], atol=1e-12, rtol=0)
    middle = p[0, 1] * (p[0, 1] / q[0, 1]).log() + (1 - p[0, 1]) * ((1 - p) / (1 - q))[0, 1].log()
    ends = p[0, 0] * (p[0, 0]).log() + (1 - p[0, 0]) * ((1 - p[0, 0]).log() + 60) - p[0, 0] * 0
    assert float(law.kl(law)) == 0
    found = float(law.kl(other))
    last = 0.3 * -1 + math.log1p(math.exp(0.3))  # KL(1 || sigmoid(.3)) = -log sigmoid(.3)
    assert found == pytest.approx(float(middle + ends) + last, rel=1e-9)
    entropy = -(p * p.log() + (1 - p) * torch.log((1 - p).clamp(min=1e-300))).sum()
    assert float(law.entropy()) == pytest.approx(float(entropy), rel=1e-9)
    assert law.median.tolist() == [[1.0, 0.0, 1.0]]


def test_what_lies_between_levels_has_no_mass():
    assert float(logistic(0.0, 1.0).log_prob(torch.tensor([[0.25]]).double())) == -math.inf
    law = Bernoulli(torch.zeros(1, 1).double(), ONE)
    assert float(law.log_prob(torch.tensor([[0.5]]).double())) == -math.inf


def test_levels_are_those_of_the_data_or_refused():
    law, x = logistic(0.0, 1.0), torch.tensor([[0.5]]).double()
    found = Quantised(9, -1.0, 3.0).log_prob(law, x, ONE)
    torch.testing.assert_close(found, law.log_prob(x))
    with pytest.raises(InputError, match="other levels"):
        Quantised().log_prob(law, x, ONE)
    with pytest.raises(ConfigError, match="two numbers"):
        logistic(0.0, 1.0, levels=1)
    with pytest.raises(InputError, match="same two levels"):
        Bernoulli(torch.zeros(1, 1), ONE).kl(Gaussian(torch.zeros(1, 1)))
