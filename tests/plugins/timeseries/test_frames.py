"""Frames in and out, and every kind of frame that cannot be used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from unnoise.errors import InputError
from unnoise_timeseries.codec import measured, standardised
from unnoise_timeseries.configuration import Learned
from unnoise_timeseries.frames import FrameError, extended, filled, matching, table
from unnoise_timeseries.windows import (
    check_leakage,
    cut,
    statistics,
    window_starts,
)

HOURS = pd.date_range("2024-03-30", periods=6, freq="h")


def good() -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(6.0), "b": [1, 2, np.nan, 4, 5, 6]}, index=HOURS)


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    found = good().astype({column: object})
    found.iloc[row, found.columns.get_loc(column)] = value
    return found


BAD = {
    "a word": (changed("b", 3, "high"), "column 'b'.*'high' at row 3"),
    "infinity": (good().replace(4.0, np.inf), "column 'a' has an infinity.*row 4"),
    "categories": (good().astype({"a": "category"}), "column 'a' holds categories"),
    "truth": (good().assign(c=True), "column 'c' holds truth values"),
    "dates": (good().assign(c=HOURS), "column 'c'"),
    "complex": (good().astype({"a": complex}), "column 'a'"),
    "unsorted": (good().iloc[[0, 2, 1, 3, 4, 5]], "not in order.*row 2"),
    "duplicate": (good().iloc[[0, 1, 1, 2, 3]], "there twice.*row 2"),
    "irregular": (good().iloc[[0, 1, 2, 4, 5]], "not equally spaced.*row 3.*asfreq"),
    "words as index": (good().set_axis(list("abcdef")), "neither times nor whole numbers"),
    "a missing time": (good().set_axis([*HOURS[:-1], pd.NaT]), "missing time.*row 5"),
    "no rows": (good().iloc[:0], "0 sample"),
    "no columns": (good()[[]], "0 feature"),
    "two of a name": (good().set_axis(["a", "a"], axis=1), "two columns"),
    "zones": (
        good().set_axis([t.tz_localize("UTC" if i else "CET") for i, t in enumerate(HOURS)]),
        "zones are mixed",
    ),
    "three levels": (
        pd.concat({1: pd.concat({2: good()})}),
        "two index levels",
    ),
}


@pytest.mark.parametrize(("frame", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_frame_is_refused_with_column_and_row(frame, said):
    with pytest.raises(FrameError, match=said) as caught:
        table(frame)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("index", [
    pd.RangeIndex(5, 11), pd.Index([2, 4, 6, 8, 10, 12]), HOURS, HOURS.tz_localize("CET"),
    pd.date_range("2024-01-31", periods=6, freq="ME"),
    pd.period_range("2024-01", periods=6, freq="M"),
])  # fmt: skip
def test_regular_indexes_and_how_they_go_on(index):
    found = table(good().set_axis(index))
    longer = extended(found, 3)
    assert len(longer.frame) == 9
    assert longer.frame.index[:6].equals(index) or list(longer.frame.index[:6]) == list(index)
    assert longer.holes.sum() == 1 + 6
    assert longer.frequency == found.frequency


def test_a_change_of_the_clock_is_no_gap():
    index = pd.date_range("2024-03-30 20:00", periods=6, freq="h", tz="Europe/Berlin")
    assert table(good().set_axis(index)).frequency == "h"


def test_a_panel():
    panel = pd.concat({"x": good(), "y": good().iloc[1:]}, names=["name", "time"])
    found = table(panel)
    assert [one.name for one in found.series] == ["x", "y"]
    assert [len(one.rows) for one in found.series] == [6, 5]
    assert extended(found, 2).frame.index.names == ["name", "time"]
    with pytest.raises(FrameError, match=r"series 'y'.*not equally spaced"):
        table(pd.concat({"x": good(), "y": good().iloc[[0, 1, 3, 4]]}))
    with pytest.raises(FrameError, match="different frequencies"):
        table(pd.concat({"x": good(), "y": good().iloc[::2]}))


def test_filling_keeps_index_columns_and_dtypes():
    frame = pd.DataFrame(
        {
            "single": np.array([0.1, np.nan, 0.3], dtype="float32"),
            "whole": pd.array([1, 2, None], dtype="Int64"),
            "plain": np.array([7, 8, 9]),
            "nullable": pd.array([0.1, None, 0.3], dtype="Float64"),
        },
        index=pd.RangeIndex(3, name="row"),
    )
    out = filled(table(frame), np.array([0.25, 1.5, 4.6]))
    assert out.dtypes.equals(frame.dtypes)
    assert out.index.equals(frame.index)
    assert out.index.name == "row"
    assert out["single"].tolist()[0] == np.float32(0.1)
    assert out["single"].tolist()[1] == 0.25
    assert out["whole"].tolist() == [1, 2, 5]
    assert out["nullable"].tolist() == [0.1, 1.5, 0.3]
    assert frame.isna().to_numpy().sum() == 3  # the frame itself is left alone


def test_a_frame_must_be_like_the_one_that_was_fitted():
    assert matching(good(), ["a", "b"], "h", False).columns == ("a", "b")
    for frame, said in (
        (good()[["a"]], "missing .*'b'"),
        (good().assign(c=1.0), "unknown .*'c'"),
        (good()[["b", "a"]], "another order"),
        (good().iloc[::2], "another frequency"),
        (good().tz_localize("UTC"), "time zone"),
    ):
        with pytest.raises(FrameError, match=said):
            matching(frame, ["a", "b"], "h", False)


def test_nothing_leaks_from_the_held_out_part():
    rows, length, share = 100, 12, 0.25
    border = cut(rows, share)
    train = window_starts(rows, length, share, "train")
    held = window_starts(rows, length, share, "validation")
    assert max(train) + length == border
    assert min(held) == border
    spans = [[(s, s + length - 1) for s in part] for part in (train, held)]
    check_leakage(*spans)
    with pytest.raises(InputError, match="measure memory"):
        check_leakage([(0, border)], [(border, rows)])


def test_statistics_come_from_the_training_part(frame):
    from unnoise_timeseries.domain import TimeSeries

    small = {"window": 10, "held_out": 0.25}
    one = TimeSeries().configure(frame, small).known
    wild = frame.copy()
    wild.iloc[60:] = 1e6
    assert TimeSeries().configure(wild, small).known == one
    part = frame.iloc[:60]
    assert one.mean == pytest.approx(tuple(part.mean()))
    assert one.scale == pytest.approx(tuple(part.std(ddof=0)))


def test_what_is_held_out_is_what_was_asked_for(frame):
    from unnoise_timeseries.domain import TimeSeries

    assert TimeSeries().configure(frame, {"window": 10}).held_out == 0.0  # eight rows are too few
    assert TimeSeries().configure(frame, {"window": 8}).held_out == 0.1
    with pytest.raises(FrameError, match="held-out part has fewer rows"):
        TimeSeries().configure(frame, {"window": 10, "held_out": 0.1})


def test_constant_and_empty_columns():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, np.nan]])
    mean, scale = statistics([values], ["a", "b"])
    assert scale[1] == 0.0
    frequency: dict[str, object] = {"frequency": "D", "aware": False, "dates": False}
    known = Learned(columns=("a", "b"), mean=mean, scale=scale, limit=1.0, **frequency)
    assert measured(np.array([[0.3, 77.0]]), known)[0, 1] == 5.0
    there_and_back = measured(standardised(values, known), known)
    np.testing.assert_allclose(there_and_back[:, 0], values[:, 0], rtol=1e-6)
    with pytest.raises(InputError, match="column 'b' has no value"):
        statistics([values * [1, np.nan]], ["a", "b"])
