"""Segments keep each row once, and what is given to one was made before."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unnoise.errors import InputError
from unnoise.windows import block, segments


@given(st.integers(1, 40), st.integers(0, 200), st.data())
def test_segments_keep_each_row_once(length, more, data):
    overlap = data.draw(st.integers(0, length - 1))
    rows = length + more
    found = segments(rows, length, overlap)
    assert [row for part in found for row in range(part.fresh, part.keep)] == list(range(rows))
    for part, after in pairwise(found):
        assert part.start <= part.fresh <= part.keep <= part.end
        assert part.end - after.start >= overlap
        # hands change in the middle of what they share
        assert abs((part.keep - after.start) - (part.end - part.keep)) <= 1
    assert {part.length for part in found} == {length}
    assert found[-1].end == rows


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 80))
def test_blocks_are_written_from_left_to_right(rows, size, length):
    length = max(length, size)
    made = 0
    for start in range(0, rows, size):
        part = block(rows, start, start + size, length)
        assert part.fresh == made
        assert part.end == part.keep == min(start + size, rows)
        assert part.start == max(0, part.end - length)
        made = part.keep
    assert made == rows
    past = block(rows, rows + size, rows + 2 * size, length)
    assert past.fresh == past.end == rows


def test_what_cannot_be_cut():
    with pytest.raises(InputError, match="fewer rows"):
        segments(3, 4, 1)
    with pytest.raises(InputError, match="overlap"):
        segments(9, 4, 4)
