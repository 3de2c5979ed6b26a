"""Operators by name, against other software and by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from unnoise.conditioning import Blur, Downsample, operator_named
from unnoise.errors import InputError
from unnoise.spaces import Euclidean, Layout

D = torch.float64


def test_a_blur_is_scipys_away_from_the_edges_and_keeps_constants():
    x = torch.randn(2, 3, 40, 36, generator=torch.Generator().manual_seed(0), dtype=D)
    layout = Euclidean().layout(x)
    found = operator_named("blur(2)")(x, layout)
    expected = torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, 2, 2), truncate=4.0))
    torch.testing.assert_close(found[..., 9:-9, 9:-9], expected[..., 9:-9, 9:-9])
    ones = torch.ones(1, 28, 28, dtype=D)
    torch.testing.assert_close(Blur(3.5)(ones, Euclidean().layout(ones)), ones)


def test_downsampling_is_the_mean_of_squares():
    x = torch.arange(16.0).view(1, 4, 4)
    found = operator_named(" downsample( 2 )")(x, Euclidean().layout(x))
    assert found.tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    assert Downsample(4).size(28, 8) == (7, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blurr(2)", "blur"),
        ("blur", "takes one number"),
        ("blur(two)", "takes one number"),
        ("blur(1, 2)", "takes one number"),
        ("blur(True)", "takes one number"),
        ("blur(0)", "has a width"),
        ("blur(1e9)", "has a width"),
        ("downsample(1)", "whole number"),
        ("downsample(2.5)", "whole number"),
        ("__import__('os')", "no such operator"),
        ("", "no such operator"),
    ],
)
def test_words_that_are_no_operator(text, said):
    with pytest.raises(InputError, match=said):
        operator_named(text)


def test_states_that_it_is_not_for():
    x = torch.zeros(2, 5)
    with pytest.raises(InputError, match="dense states"):
        Blur(1.0)(x, Euclidean().layout(x))
    with pytest.raises(InputError, match="divides both axes"):
        Downsample(3)(torch.zeros(1, 4, 6), Layout.dense(1, (4, 6)))
