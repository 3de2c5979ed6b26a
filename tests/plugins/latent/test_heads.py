"""What decoders say of pictures: each head's law against its formula, and the median that is
shown."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.distributions import Categorical, Gaussian
from unnoise.errors import InputError
from unnoise.objectives import Categories, Quantised
from unnoise.spaces import Euclidean, Layout
from unnoise_latent.configuration import Configuration
from unnoise_latent.heads import head_of, median

LAYOUT = Layout.dense(2, (1, 2, 3))


def output(head) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, head.outputs, 2, 3)


def test_bernoulli():
    head = head_of(Configuration(likelihood="bernoulli"))
    numbers = output(head)
    x = torch.randint(0, 2, (2, 1, 2, 3)).float()
    wanted = -torch.nn.functional.binary_cross_entropy_with_logits(numbers, x, reduction="none")
    torch.testing.assert_close(head.law(numbers, LAYOUT).log_prob(x), wanted.flatten(1).sum(1))
    assert head.data_type == Quantised(2, 0.0, 1.0)


@pytest.mark.parametrize("likelihood", ["logistic", "gaussian"])
def test_locations_and_scales_are_in_halves_of_the_range(likelihood):
    head = head_of(Configuration(likelihood=likelihood))
    numbers = output(head)
    law = head.law(numbers, LAYOUT)
    location = law.mean if isinstance(law, Gaussian) else law.location
    scale = law.std if isinstance(law, Gaussian) else law.scale
    torch.testing.assert_close(location, 127.5 + 127.5 * numbers[:, :1])
    torch.testing.assert_close(scale, 127.5 * numbers[:, 1:].exp())
    assert head.data_type == Quantised(256, 0.0, 255.0)


@pytest.mark.parametrize(("binarise", "levels"), [("none", 256), ("threshold", 2)])
def test_categorical(binarise, levels):
    head = head_of(Configuration(likelihood="categorical", binarise=binarise))
    numbers = output(head)
    assert numbers.shape[1] == levels
    x = torch.randint(0, levels, (2, 1, 2, 3))
    wanted = -torch.nn.functional.cross_entropy(numbers, x[:, 0], reduction="none")
    law = head.law(numbers, LAYOUT)
    torch.testing.assert_close(law.log_prob(x), wanted.flatten(1).sum(1))
    assert head.data_type == Categories()


def test_an_output_of_another_shape_is_refused():
    for likelihood in ("bernoulli", "logistic", "categorical", "gaussian"):
        head = head_of(Configuration(likelihood=likelihood))
        with pytest.raises(InputError, match="another shape"):
            head.law(torch.zeros(2, head.outputs + 1, 2, 3), LAYOUT)


def test_what_is_shown_is_the_median():
    logits = torch.tensor([[-1.0, 2.0]])
    one = Layout.dense(1, (2,))
    bernoulli = head_of(Configuration(likelihood="bernoulli"))
    law = bernoulli.law(logits[:, :, None, None].view(1, 1, 1, 2), Layout.dense(1, (1, 1, 2)))
    assert median(law).flatten().tolist() == [0.0, 1.0]
    probabilities = torch.tensor([[[0.2, 0.2, 0.6], [0.4, 0.2, 0.4]]])
    assert median(Categorical(probabilities.log(), one)).tolist() == [[2, 1]]
    assert median(Gaussian(logits, 1.0, Euclidean(), one)).tolist() == logits.tolist()
    logistic = head_of(Configuration())
    numbers = torch.tensor([0.1, math.log(0.5)]).view(1, 2, 1, 1)
    found = median(logistic.law(numbers, Layout.dense(1, (1, 1, 1))))
    assert float(found) == round(127.5 * 1.1)
