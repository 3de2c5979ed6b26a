"""Which moments and samples a section shows, and what a fragment may be."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from unnoise.demo.moments import change, moments, spread
from unnoise.demo.section import check_fragment
from unnoise.errors import ConfigError
from unnoise.spaces import Layout
from unnoise.trajectory import Frame, Part


def _frames(times: list[float], places: list[float] | None = None) -> list[Frame]:
    """Points on a circle: the place is the way along it."""

    def part(i: int) -> Part:
        angle = torch.tensor(float(i if places is None else places[i]) / 50)
        return Part(
            torch.stack([angle.cos(), angle.sin()])[None], torch.zeros(1), Layout.dense(1, (2,))
        )

    return [Frame(t, (part(i),)) for i, t in enumerate(times)]


def _shown(times: list[float], places: list[float] | None = None) -> list[float]:
    chosen = moments(_frames(times, places), [0])
    return [round(50 * float(torch.atan2(f.x[0, 1], f.x[0, 0])), 2) for f in chosen]


def test_moments_are_spread_over_the_last_way():
    way = [1 - k / 50 for k in range(51)]
    chosen = [frame.t for frame in moments(_frames(way), [0])]
    assert len(chosen) == 10
    assert (chosen[0], chosen[-1]) == (1.0, 0.0)
    gaps = [a - b for a, b in pairwise(chosen)]
    assert max(gaps) - min(gaps) <= 0.02 + 1e-9
    # a second diffusion after the first, and times that are visited again
    assert _shown([1, 0.5, 0, 1, 0.4, 0]) == [3, 4, 5]
    assert _shown([1, 0.6, 0.3, 0.6, 0.3, 0]) == [0, 3, 4, 5]
    assert _shown([1]) == [0]


def test_moments_are_where_something_changes():
    times = [1 - k / 100 for k in range(101)]
    late = [0.0] * 80 + [float(k) for k in range(21)]  # nothing happens for four fifths of the time
    chosen = _shown(times, late)
    assert chosen[0] == 0
    assert chosen[1:] == sorted(set(chosen[1:]))
    assert len(chosen) == 10
    # two that are alike are one, also where there are fewer frames than moments
    assert _shown([1, 0.8, 0.6, 0.4, 0.2, 0], [0, 0.01, 0.02, 0.5, 0.99, 1]) == [0, 0.5, 1]
    assert _shown([1, 0.5, 0], [2, 2, 2]) == [2]


def test_change():
    words = torch.tensor([1, 2, 3, 4])
    assert change(words, torch.tensor([1, 2, 0, 0])) == 0.5
    assert change(torch.tensor([3.0, 3.0]), torch.tensor([-1.0, -1.0])) == 2
    assert change(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 1.0])) == 0  # smaller, and the same
    assert change(torch.zeros(4), torch.full((4,), 2.0)) == 1  # silence, then something
    both = {"a": words, "b": torch.zeros(4)}
    assert change(both, {"a": words, "b": torch.ones(4)}) == 1


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
