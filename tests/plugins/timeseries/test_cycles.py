"""Cycles of the calendar: found where they are, and told to the network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from small_series import SMALL, walk

import unnoise
from unnoise.errors import ConfigError, InputError
from unnoise.training.train import train
from unnoise_timeseries.cycles import calendar, cycles_of, places
from unnoise_timeseries.data import condition_of, configure
from unnoise_timeseries.domain import TimeSeries

QUICK = {"steps": 4, "batch_size": 4, "bound_samples": 0, "device": "cpu", "quiet": True}


def noise(rows: int, columns: int = 3, seed: int = 0, phi: float = 0.9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = np.zeros((rows, columns))
    for t in range(1, rows):
        z[t] = phi * z[t - 1] + np.sqrt(1 - phi**2) * rng.normal(size=columns)
    return z


def found(z: np.ndarray, index: pd.Index) -> tuple[str, ...]:
    return cycles_of([z], [index])


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.999])
def test_noise_has_no_cycle(phi):
    """White, red, and nearly a random walk: 60 frames, of which one in a thousand may show one."""
    index = pd.date_range("2024-01-01", periods=24 * 60, freq="h")
    shown = [found(noise(len(index), 3, seed, phi), index) for seed in range(60)]
    assert sum(map(bool, shown)) <= 1


@pytest.mark.parametrize(
    ("frequency", "rows", "cycles"),
    [
        ("h", 24 * 30, ("day",)),
        ("10min", 144 * 10, ("day",)),
        ("D", 400, ("week",)),
        ("B", 400, ("week",)),
        ("h", 24 * 7 * 12, ("day", "week")),
        ("MS", 120, ("year",)),
        ("D", 366 * 5, ("week", "year")),
    ],
)
def test_a_cycle_is_found_in_noise_and_with_holes(frequency, rows, cycles):
    index = pd.date_range("2020-03-01", periods=rows, freq=frequency)
    angles = calendar(index).numpy()
    z = noise(rows, 2, phi=0.5)
    for k, name in enumerate(("day", "week", "year")):
        if name in cycles:
            z[:, 1] += (0.9 if rows > 400 else 2.0) * angles[:, k]
    z /= z.std(0)
    z[np.random.default_rng(1).random(z.shape) < 0.3] = np.nan
    z[40:60, 1] = np.nan
    assert found(z, index) == cycles
    if frequency != "B":
        periods = pd.PeriodIndex(index, freq={"MS": "M"}.get(frequency, frequency))
        assert found(z, periods) == cycles
    assert found(z, pd.RangeIndex(rows)) == ()


def test_a_weekend_alone_is_a_week():
    index = pd.date_range("2024-01-01", periods=300, freq="D")
    z = noise(300, 1, phi=0.3) + 2.0 * np.asarray(index.day_of_week >= 5)[:, None]
    assert found(z / z.std(), index) == ("week",)


def test_the_place_in_a_cycle():
    times = pd.date_range("2024-01-01 06:00", periods=8, freq="6h")
    told = places(times, ("day", "year"))
    assert told.shape == (8, 4)
    assert told[0, 0] == pytest.approx(1.0)  # six o'clock
    torch.testing.assert_close(told[:4, [0, 2]], told[4:, [0, 2]])
    local = places(times.tz_localize("UTC").tz_convert("Asia/Tokyo"), ("day",))
    assert local[0, 0] == pytest.approx(np.sin(2 * np.pi * 15 / 24), abs=1e-6)


def daily(rows: int = 24 * 20) -> pd.DataFrame:
    frame = walk(rows)
    return frame + 6 * np.sin(2 * np.pi * frame.index.hour.to_numpy() / 24)[:, None]


def test_a_model_is_told_the_cycles_of_its_data_and_keeps_them(tmp_path):
    frame = daily()
    frame.iloc[100:124, 0] = np.nan
    train("timeseries", frame, tmp_path / "run", **SMALL, **QUICK)
    model = unnoise.load(tmp_path / "run")
    assert model.configuration.cycles == ("day",)
    assert model.denoiser.network.sides.in_features == 16 + 16 + 1 + 2  # time, feature, given
    with torch.no_grad():  # the last layer begins with zeros
        for parameter in model.denoiser.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
    first = model.generate(data=frame, num_samples=2, steps=3, seed=1).samples[0]
    later = frame.set_axis(frame.index + pd.Timedelta(hours=12))
    other = model.generate(data=later, num_samples=2, steps=3, seed=1).samples[0]
    assert first.notna().all(axis=None)
    assert np.abs(first.to_numpy() - other.to_numpy()).max() > 1e-3  # another time of the day
    shifted = frame.set_axis(frame.index + pd.Timedelta(days=3))
    same = model.generate(data=shifted, num_samples=2, steps=3, seed=1).samples[0]
    np.testing.assert_allclose(same.to_numpy(), first.to_numpy(), rtol=1e-5)
    short = frame.iloc[98:105]  # fewer rows than the window
    assert model.generate(data=short, num_samples=2, steps=3).samples[0].notna().all(axis=None)
    ahead = model.generate(data=frame, horizon=5, num_samples=2, steps=3).samples[0]
    assert len(ahead) == len(frame) + 5


def test_the_calendar_can_be_chosen_and_left_out():
    frame = daily()
    assert configure(frame, {**SMALL}).cycles == ("day",)
    assert configure(frame, {**SMALL, "calendar": ()}).cycles == ()
    assert configure(frame, {**SMALL, "calendar": ("week",)}).cycles == ("week",)
    assert configure(walk(480), SMALL).cycles == ()
    with pytest.raises(ConfigError, match="no calendar"):
        configure(frame.reset_index(drop=True), {**SMALL, "calendar": ("day",)})


def test_the_loss_sees_the_calendar_and_times_are_asked_for():
    frame, domain = daily(), TimeSeries()
    configuration = domain.configure(frame, SMALL)
    item = domain.dataset(frame, configuration, "train")[3]
    torch.testing.assert_close(item[2]["calendar"], places(frame.index[3:15], ("day",)))
    z = torch.zeros(12, 2)
    with pytest.raises(InputError, match="times of the rows"):
        condition_of(z, z > 0, configuration)
