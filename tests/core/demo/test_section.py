"""Which moments and samples a section shows, and what a fragment may be."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from unnoise.demo.section import check_fragment, moments, spread
from unnoise.errors import ConfigError
from unnoise.spaces import Layout
from unnoise.trajectory import Frame, Part


def _frames(times: list[float]) -> list[Frame]:
    def part(i: int) -> Part:
        return Part(torch.tensor([float(i)]), torch.zeros(1), Layout.dense(1))

    return [Frame(t, (part(i),)) for i, t in enumerate(times)]


def test_moments_are_spread_over_the_last_way():
    way = [1 - k / 50 for k in range(51)]
    chosen = [frame.t for frame in moments(_frames(way))]
    assert len(chosen) == 10
    assert (chosen[0], chosen[-1]) == (1.0, 0.0)
    gaps = [a - b for a, b in pairwise(chosen)]
    assert max(gaps) - min(gaps) <= 0.02 + 1e-9
    # a second diffusion after the first, and times that are visited again
    assert [f.x.item() for f in moments(_frames([1, 0.5, 0, 1, 0.4, 0]))] == [3, 4, 5]
    assert [f.x.item() for f in moments(_frames([1, 0.6, 0.3, 0.6, 0.3, 0]))] == [0, 3, 4, 5]
    assert [f.x.item() for f in moments(_frames([1]))] == [0]


def test_spread():
    assert spread(20) == [0, 6, 13, 19]
    assert spread(3) == [0, 1, 2]
    assert spread(1) == [0]


@pytest.mark.parametrize(
    "fragment",
    ["<div>", "</div>", "<b><i></b></i>", "<div/>", "a <!-- b", "<svg><g></svg>", 7, None],
)
def test_a_fragment_that_would_break_the_page_is_refused(fragment):
    with pytest.raises(ConfigError, match=r"Toy\.preview returned"):
        check_fragment(fragment, "Toy.preview")


@pytest.mark.parametrize(
    "fragment",
    ["", "words", '<img alt=""><br/>', "<svg><rect/><g></g></svg>", "<p>a &lt;b <!-- <i> --></p>"],
)
def test_a_sound_fragment_passes(fragment):
    assert check_fragment(fragment, "Toy.preview") == fragment
