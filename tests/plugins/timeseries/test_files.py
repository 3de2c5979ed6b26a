"""Loaders, baselines and pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_series import walk

from unnoise.errors import InputError
from unnoise_timeseries import baselines, loaders, plots
from unnoise_timeseries.evaluation import hidden
from unnoise_timeseries.frames import FrameError, table


@pytest.mark.parametrize("suffix", [".csv", ".csv.xz", ".parquet", ".xlsx"])
def test_tables(tmp_path, frame, suffix):
    path = tmp_path / f"data{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    elif suffix == ".xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(path, index_label="time")
    else:
        frame.to_csv(path, index_label="time")
    found = table(loaders.load(path))
    assert found.frequency == "h"
    assert found.columns == ("a", "b")
    exact = 0 if suffix != ".xlsx" else 1e-14  # whose writer rounds
    np.testing.assert_allclose(found.series[0].values, frame.to_numpy(), rtol=exact)


def test_times_from_parts_and_marks_of_missing(tmp_path):
    path = tmp_path / "air.csv"
    rows = [f"{i},2014,1,1,{i},{v}" for i, v in enumerate(("3", "NA", "?", "", "5.5"))]
    path.write_text("\n".join(["No,year,month,day,hour,pm", *rows]))
    found = loaders.load(path, time=["year", "month", "day", "hour"], columns=["pm"])
    assert found.index[2] == pd.Timestamp("2014-01-01 02:00")
    np.testing.assert_array_equal(found["pm"], [3, np.nan, np.nan, np.nan, 5.5])


def test_a_panel_of_a_file(tmp_path):
    path = tmp_path / "panel.csv"
    panel = pd.concat({"x": walk(5), "y": walk(6)}, names=["place", "time"])
    panel.to_csv(path)
    found = table(loaders.load(path, time="time", series="place"))
    assert [len(one.rows) for one in found.series] == [5, 6]


def test_physionet(tmp_path):
    head = "Time,Parameter,Value\n00:00,RecordID,1\n00:00,Age,54\n"
    (tmp_path / "1.txt").write_text(head + "00:07,HR,73\n00:37,HR,77\n01:37,Temp,35.1\n")
    (tmp_path / "2.txt").write_text(head + "47:10,HR,60\n03:00,pH,-1\n")
    found = loaders.load(tmp_path)
    assert found.shape == (96, 2)
    assert list(found.columns) == ["HR", "Temp"]
    assert found.loc[("1", 0), "HR"] == 77
    assert found.loc[("2", 47), "HR"] == 60
    assert found.notna().sum().sum() == 3
    (tmp_path / "3.txt").write_text(head + "00:07;HR\n")
    with pytest.raises(InputError, match=r"3.txt line 4"):
        loaders.load(tmp_path)


def test_files_that_cannot_be_read(tmp_path):
    for name, content, said in (
        ("a.csv", "", "cannot be read"),
        ("a.parquet", "PAR1", "cannot be read"),
        ("a.xlsx", "no", "cannot be read"),
        ("a.dat", "1", "kind of file"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=said):
            loaders.load(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        loaders.load(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no PhysioNet"):
        loaders.load(tmp_path / "empty")
    (tmp_path / "t.csv").write_text("time,a\n2024-01-01,1\nlater,2\n")
    with pytest.raises(FrameError, match="'later' at row 1"):
        loaders.load(tmp_path / "t.csv", time="time")
    with pytest.raises(InputError, match="no column 'date'"):
        loaders.load(tmp_path / "t.csv", time="date")


def test_baselines():
    index = pd.date_range("2024", periods=8, freq="h")
    frame = pd.DataFrame({"a": [np.nan, 1.0, 2.0, np.nan, 4.0, np.nan, np.nan, 10.0]}, index=index)
    found = {name: f(frame, 3)["a"].tolist() for name, f in baselines.BASELINES.items()}
    assert found["linear interpolation"] == [1, 1, 2, 3, 4, 6, 8, 10]
    assert found["last value"] == [1, 1, 2, 2, 4, 4, 4, 10]
    assert found["seasonal naive"] == [1, 1, 2, 3, 4, 2, 8, 10]
    assert found["mean of the time of day"] == [1, 1, 2, 3, 4, 2, 8, 10]


def test_hidden_cells_are_observed_and_as_many_as_asked():
    observed = np.random.default_rng(0).random((200, 4)) < 0.9
    some = hidden(observed, "random", 0.1, 1, 0)
    assert some.sum() == round(0.1 * observed.sum())
    blocks = hidden(observed, "block", 0.1, 12, 0)
    assert 0 <= blocks.sum() - round(0.1 * observed.sum()) <= 12
    for mask in (some, blocks):
        assert not (mask & ~observed).any()
    with pytest.raises(InputError, match="longer than"):
        hidden(observed, "block", 0.1, 300, 0)


def test_pictures():
    rng = np.random.default_rng(0)
    frame = walk(100)
    frame.iloc[40:60, 0] = np.nan
    holes = frame.isna().to_numpy()
    picture = plots.fan(frame, holes, rng.normal(10, 1, (30, 20)))
    assert [axis.get_title(loc="left") for axis in picture.axes] == ["a"]
    low, high = picture.axes[0].get_xlim()
    assert plots.png(picture)[:4] == b"\x89PNG"
    assert high - low < 70 / 24 + 1  # the surroundings of the hole, not all rows
    samples, truth = rng.normal(size=(300, 4000)), rng.normal(size=4000)
    line = plots.calibration(samples, truth).axes[0].lines[1]
    assert np.abs(line.get_xdata() - line.get_ydata()).max() < 0.03
    both = plots.calibration([samples, 0.5 * samples], [truth, truth], ["right", "too sure"])
    assert (both.axes[0].lines[2].get_ydata()[5:-5] < both.axes[0].lines[1].get_ydata()[5:-5]).all()


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_two_columns_of_one_name(tmp_path, ending):
    if ending == ".xlsx":
        pytest.importorskip("openpyxl")
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "a"])
    path = tmp_path / f"x{ending}"
    (frame.to_csv if ending == ".csv" else frame.to_excel)(path, index=False)
    with pytest.raises(InputError, match=r"two columns of .* have one name; got 'a'"):
        loaders.load(path)


def test_the_cell_that_is_no_number_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,five\n4,6\n")
    with pytest.raises(FrameError, match="got \"'five' at row 1"):
        table(loaders.load(tmp_path / "x.csv"))
