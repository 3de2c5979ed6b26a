"""Tables as people have them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from small_series import SMALL, walk

import unnoise
from unnoise.errors import InputError, UnnoiseError
from unnoise.model import Model
from unnoise_timeseries import PUBLISHED, DiffusionForecaster, DiffusionImputer
from unnoise_timeseries.files import levels_of
from unnoise_timeseries.frames import FrameError, filled, table
from unnoise_timeseries.loaders import load
from unnoise_timeseries.timegrad import season_of

QUICK = {"num_samples": 5, "verbose": False, "device": "cpu", "sampling_steps": 3}
NETWORK = {k: v for k, v in SMALL.items() if k != "window"}


@pytest.fixture(scope="module")
def imputer(run: Path) -> DiffusionImputer:
    return DiffusionImputer.from_model(run, **QUICK)


def fresh() -> DiffusionImputer:
    return DiffusionImputer(window=12, steps=3, options=NETWORK, **QUICK)


def holed(rows: int = 40) -> pd.DataFrame:
    frame = walk(rows)
    frame.iloc[10:14, 0] = np.nan
    frame.iloc[20, 1] = np.nan
    return frame


def test_a_zone_with_summer_time_goes_to_disk_and_back(tmp_path: Path):
    frame = holed(60)
    frame.index = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    summer = fresh().fit(frame)
    assert summer.transform(frame).index.equals(frame.index)
    frame.to_csv(tmp_path / "data.csv")
    for name, data in (("file", str(tmp_path / "data.csv")), ("frame", frame)):
        out = summer.model_.generate(data=data, num_samples=3, steps=2)
        out.save(tmp_path / name)
        found = load(tmp_path / name / "filled.csv")
        assert (found.index == frame.index).all()
        assert found.notna().all().all()
    lines = (tmp_path / "frame" / "filled.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(time) for time in frame.index]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (["13/01/2020", "14/01/2020", "15/01/2020"], "2020-01-13"),
        (["01/13/2020 1:00 PM", "01/13/2020 2:00 PM", "01/13/2020 3:00 PM"], "2020-01-13 13:00"),
        (["30.12.24", "31.12.24", "01.01.25"], "2024-12-30"),
        (["30-11-2024", "01-12-2024", "02-12-2024"], "2024-11-30"),
    ],
)
def test_days_before_months_where_only_that_makes_sense(tmp_path, text, read):
    pd.DataFrame({"when": text, "v": [1.0, 2.0, np.nan]}).to_csv(tmp_path / "x.csv", index=False)
    found = load(tmp_path / "x.csv")
    assert found.index[0] == pd.Timestamp(read)
    table(found)


def test_dates_that_are_good_in_both_orders_are_refused(tmp_path):
    text = ["01/01/2020", "01/02/2020", "01/03/2020"]  # three days, or three months
    pd.DataFrame({"when": text, "v": 1.0}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(FrameError, match="day first or month first"):
        load(tmp_path / "x.csv")


def test_times_that_are_a_column_are_no_variable(tmp_path):
    frame = walk(30).reset_index(names="when")
    with pytest.raises(FrameError, match=r"'when' holds times.*set_index"):
        table(frame)
    seconds = frame.assign(when=1_700_000_000 + 60 * np.arange(30))
    with pytest.raises(FrameError, match=r"'when' counts on.*unit='s'"):
        table(seconds)
    table(seconds.assign(when=np.arange(30)))  # a trend is one
    seconds.to_csv(tmp_path / "x.csv", index=False)
    assert table(load(tmp_path / "x.csv", time="when")).columns == ("a", "b")


def test_truth_values_among_objects_are_no_numbers():
    mixed = np.array([True, False, None] * 3 + [True], dtype=object)
    with pytest.raises(FrameError, match="True at row 0"):
        table(walk(10).assign(b=mixed))


def test_a_masked_array_has_holes(imputer):
    array = np.ma.masked_array(walk(40).to_numpy().copy(), mask=False)
    array[10:14, 0] = np.ma.masked
    array.data[10:14, 0] = -999.0
    assert np.isnan(table(array).series[0].values[10:14, 0]).all()
    model = fresh().fit(array)
    assert np.abs(model.transform(array)).max() < 100


def test_a_series_comes_back_as_a_series():
    series = holed()["a"]
    found = fresh().fit_transform(series)
    assert isinstance(found, pd.Series)
    assert found.name == "a"
    assert found.index.equals(series.index)
    assert found.notna().all()


def test_counts_stay_in_their_dtype():
    frame = holed()
    frame["b"] = pd.array(np.clip(np.arange(40) % 7 - 4, 0, None), dtype="UInt8")
    frame.loc[frame.index[[3, 21]], "b"] = pd.NA
    found = table(frame)
    for wrong, kept in ((-3.2, 0), (400.0, 255)):
        out = filled(found, np.full(int(found.holes.sum()), wrong))
        assert out["b"].iloc[3] == kept
        assert out["b"].dtype == "UInt8"


def test_fewer_rows_than_a_window(imputer):
    short = holed().iloc[8:15]
    found = imputer.transform(short)
    assert found.index.equals(short.index)
    assert found.notna().all().all()
    seen = short.notna()
    assert (found[seen] == short[seen]).sum().sum() == seen.sum().sum()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sampler": "ddin"}, "ddin"),
        ({"sampler": "first-hitting"}, "sampler"),
        ({"num_samples": 0}, "num_samples"),
        ({"device": "tpu9"}, "device"),
        ({"sampling_steps": 0}, "steps"),
        ({"random_state": -1}, "seed"),
    ],
)
def test_settings_are_checked_before_the_fit(monkeypatch, wrong, said):
    monkeypatch.delattr("unnoise_timeseries.fitting.train")
    with pytest.raises(UnnoiseError, match=said):
        DiffusionImputer(window=12, verbose=False, **wrong).fit(walk(60))


def test_a_series_without_a_value_is_found_before_the_fit(monkeypatch):
    monkeypatch.delattr("unnoise_timeseries.fitting.train")
    panel = pd.concat({"x": walk(60), "y": walk(60) * np.nan}, names=["place", "time"])
    with pytest.raises(FrameError, match="every value of series 'y'"):
        DiffusionImputer(window=12, verbose=False).fit(panel)


def test_the_published_options_can_be_copied():
    one = DiffusionImputer(options=PUBLISHED)
    for same in (clone(one), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert same.options == PUBLISHED


@pytest.mark.parametrize(
    ("frequency", "rows"),
    [("s", 60), ("30s", 120), ("min", 60), ("5min", 288), ("h", 24), ("D", 7), ("ms", 1)],
)
def test_a_season_does_not_ask_for_a_day_of_seconds(frequency, rows):
    assert season_of(frequency) == rows


def test_one_draw_serves_the_median_samples_and_quantiles(imputer, monkeypatch):
    frame, runs, generate = holed(), [], Model.generate_iter

    def counted(self, **request):
        runs.append(request)
        return generate(self, **request)

    monkeypatch.setattr(Model, "generate_iter", counted)
    state = dict(imputer.__dict__)
    middle = imputer.transform(frame)
    drawn = imputer.sample(5, frame)
    imputer.sample(3, frame)
    imputer.quantiles([0.5], frame)
    assert len(runs) == 1
    assert imputer.__dict__ == state
    cells = np.stack([drawn.loc[k].to_numpy()[10:14, 0] for k in range(5)])
    assert middle.to_numpy()[10:14, 0] == pytest.approx(np.median(cells, axis=0))
    imputer.transform(frame + 1)
    assert len(runs) == 2


def test_nothing_is_printed_when_nothing_is_wanted(capfd):
    fresh().fit_transform(holed())
    assert capfd.readouterr() == ("", "")


def test_intervals_of_few_samples_are_wide_enough(imputer):
    """n + 1 draws of one law are exchangeable: the last one lies between the others' quantiles at
    p and 1 - p with probability 1 - 2 p."""
    drawn = np.random.default_rng(0).normal(size=(20, 20_000))
    low, high = levels_of(drawn[:19], [0.05, 0.95])
    inside = float(((low <= drawn[19]) & (drawn[19] <= high)).mean())
    assert inside == pytest.approx(0.9, abs=0.01)
    with pytest.warns(UserWarning, match="draw at least 19"):
        imputer.quantiles([0.05, 0.95], holed())
    with pytest.raises(InputError, match="between 0 and 1"):
        imputer.quantiles([5, 95], holed())


def test_a_score_and_a_frames_notes(imputer):
    frame = holed(80)
    frame.attrs = {"unit": "degrees"}
    assert imputer.transform(frame).attrs == {"unit": "degrees"}
    score = imputer.score(frame)
    assert -10 < score < 0
    assert imputer.score(frame) == score
    forecaster = DiffusionForecaster.from_model(imputer.model_, **QUICK)
    assert -20 < forecaster.score(walk(60)) < 0


def test_an_estimator_from_elsewhere(imputer, run):
    assert imputer.n_features_in_ == 2
    assert list(imputer.get_feature_names_out()) == ["a", "b"]
    with pytest.raises(InputError, match="has seen no frame"):
        imputer.sample(2)
    same = DiffusionImputer.from_model(unnoise.load(run), **QUICK)
    pd.testing.assert_frame_equal(same.transform(holed()), imputer.transform(holed()))
    with pytest.raises(InputError, match="images"):
        DiffusionImputer.from_model("images")
