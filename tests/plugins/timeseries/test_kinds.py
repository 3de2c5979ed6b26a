"""Counts, shares and what has bounds: the maps, their densities, and frames that are filled."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from small_series import SMALL, walk

import unnoise
from unnoise.cli import main
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise.testing import Example, GaussianOracle, parametrize_with_checks
from unnoise_timeseries import DiffusionForecaster, DiffusionImputer
from unnoise_timeseries.data import configure
from unnoise_timeseries.domain import TimeSeries, kernel_of
from unnoise_timeseries.files import median_of
from unnoise_timeseries.frames import FrameError, table
from unnoise_timeseries.kinds import Support, Supported, kinds_of, supports_of

NETWORK = {k: v for k, v in SMALL.items() if k != "window"}
QUICK = {
    "window": 12, "steps": 8, "num_samples": 9, "sampling_steps": 4, "verbose": False,
    "device": "cpu", "options": NETWORK, "batch_size": 8,
}  # fmt: skip
Imputer = partial(DiffusionImputer, **QUICK)
SUPPORTS = (
    Support(),
    Support(whole=True, low=0.0),
    Support(low=0.0, low_edge=0.1),
    Support(low=0.0, high=1.0, low_edge=0.01, high_edge=0.01),
    Support(whole=True, low=0.0, high=3.0),
    Support(high=5.0, high_edge=0.5),
)
ROW = [-2.5, 4.0, 0.0, 0.3, 3.0, 4.0]


def data(rows: int = 6) -> tuple[torch.Tensor, Layout]:
    x = torch.tensor(ROW, dtype=torch.float64).expand(rows, 1, -1).contiguous()
    return x, Layout.dense(rows, x.shape[1:], dtype=torch.float64)


def examples() -> list[Example]:
    x, layout = data()
    spread = torch.tensor([0.0, 2.0, 0.7, 0.9, -1.0, -3.0], dtype=torch.float64)
    mixed = torch.cat([x[:3], x[:3] + spread], 0)
    # the kit asks for draws that may be anywhere: these stay in their bins; their masses and
    # densities are summed up below
    ends = {"log_density_follows_the_draws": "draws of a bin have ends"}
    return [Example(Supported(SUPPORTS), {"layout": layout, "data": mixed}, ends)]


@parametrize_with_checks(examples())
def test_conformance(check):
    check()


def test_data_come_back_through_any_draw():
    x, layout = data(500)
    codec = Supported(SUPPORTS)
    found = codec.encode(x, layout, None, NoiseSource(0, range(500)))
    assert torch.isfinite(found.state).all()
    torch.testing.assert_close(codec.decode(found.state, layout).mode, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("column", range(1, 6))
def test_a_law_of_the_line_has_masses_and_densities_that_add_up_to_one(column):
    """sum of p(x) over the masses, and its integral over the rest, for w ~ N(0.3, 0.8)."""
    own = SUPPORTS[column]
    law = torch.distributions.Normal(
        torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    )
    codec = Supported((own,))

    def density(x: torch.Tensor, draws: int) -> torch.Tensor:
        """E_y p(w) dw/dy: the encoded log p(w) + log_density, its exponential averaged."""
        many = x.repeat_interleave(draws)[:, None, None]
        layout = Layout.dense(len(many), (1, 1), dtype=torch.float64)
        found = codec.encode(many, layout, None, NoiseSource(0, range(len(many))))
        logs = law.log_prob(found.state[:, 0, 0]) + found.log_density
        return logs.exp().view(-1, draws).mean(1)

    if own.whole:
        levels = torch.arange(0, 4 if own.high else 40, dtype=torch.float64)
        total, exact = float(density(levels, 800).sum()), 1.0
    else:
        low = -60.0 if own.low is None else own.low + own.low_edge
        high = 60.0 if own.high is None else own.high - own.high_edge
        grid = torch.linspace(low, high, 20_001, dtype=torch.float64)
        grid = (grid[1:] + grid[:-1]) / 2
        total, exact = float(density(grid, 1).mean() * (high - low)), 1.0
        ends = [end for end in (own.low, own.high) if end is not None]
        total += float(density(torch.tensor(ends, dtype=torch.float64), 4000).sum())
    assert total == pytest.approx(exact, abs=0.02)


def test_whatever_the_state_is_samples_stay_within_their_bounds():
    z = torch.tensor([-1e4, -60.0, -1.0, 0.0, 2.3, 60.0, 1e4], dtype=torch.float64)
    layout = Layout.dense(7, (1, 6), dtype=torch.float64)
    x = Supported(SUPPORTS).decode(z[:, None, None].expand(layout.shape), layout).mode[:, 0]
    assert torch.isfinite(x).all()
    for j, own in enumerate(SUPPORTS):
        assert own.low is None or (x[:, j] >= own.low).all()
        assert own.high is None or (x[:, j] <= own.high).all()
        assert not own.whole or (x[:, j] == x[:, j].round()).all()


def test_what_lies_at_a_bound_is_a_mass_when_it_was_seen_there():
    rain = np.array([[0.0, 0.2], [0.0, 0.5], [0.3, 0.4], [2.0, 0.9]])
    wet, share = supports_of([rain], [("non-negative", 0.0, None), ("share", 0.0, 1.0)])
    assert wet.low_edge == pytest.approx(0.3)
    assert share.low_edge == pytest.approx(0.0002)
    assert share.high_edge == pytest.approx(0.0001)


def test_a_bound_of_counts_is_of_their_probability():
    """w ~ N(m, s): -log p(x) <= the bound, and close to it where a bin is narrow in w."""
    counts = pd.DataFrame({"a": np.arange(60) % 17 + 20.0}, pd.RangeIndex(60))
    own = {"window": 4, "kinds": {"a": "count"}, "prior": "standard", "held_out": 0.0}
    configuration, domain = configure(counts, own), TimeSeries()
    model = Model(domain, GaussianOracle(kernel_of(configuration), 0.0, 1.0), configuration)
    x = torch.tensor([[22.0], [25.0], [30.0], [33.0]], dtype=torch.float64)
    target = torch.tensor([[False], [True], [True], [False]])
    told = {"observed": torch.zeros(4, 1), "given": ~target}
    found = model.bound([(x, target, told)] * 300, steps=50, evaluations=None).total
    known = configuration.known
    law = torch.distributions.Normal(known.mean[0], known.scale[0])
    ends = torch.tensor([[25.0, 26.0], [30.0, 31.0]], dtype=torch.float64).log()
    truth = -float((law.cdf(ends[:, 1]) - law.cdf(ends[:, 0])).log().sum())
    error = float(found.std()) / math.sqrt(300)
    assert truth - 4 * error < float(found.mean()) < truth + 0.02 + 4 * error


def test_kinds_are_found_by_the_dtype():
    frame = walk(20)
    frame["n"] = pd.array(np.arange(20) % 7, dtype="UInt8")
    frame["i"] = pd.array(np.arange(20) - 9, dtype="Int64")
    frame["whole"] = np.arange(20)
    found = kinds_of(table(frame), {}, {"a": (None, 100.0)})
    assert found == [
        ("plain", None, 100.0), ("plain", None, None), ("count", 0.0, 255.0),
        ("integer", None, None), ("plain", None, None),
    ]  # fmt: skip
    assert kinds_of(table(frame), {"n": "plain"}, {})[2] == ("plain", None, None)


def typed(rows: int = 80) -> pd.DataFrame:
    frame = walk(rows)
    rng = np.random.default_rng(0)
    frame["visits"] = rng.poisson(3.0, rows).astype(float)
    frame["rain"] = np.where(rng.random(rows) < 0.6, 0.0, 0.1 + rng.gamma(1.0, 3.0, rows).round(1))
    frame["share"] = rng.beta(0.7, 0.7, rows)
    frame["angle"] = rng.uniform(-90, 90, rows)
    frame["small"] = pd.array(rng.integers(0, 8, rows), dtype="UInt8")
    frame["signed"] = pd.array(rng.integers(-3, 4, rows), dtype="Int8")
    for j in range(2, frame.shape[1]):
        frame.iloc[10 + j : 22 + j, j] = pd.NA if j > 5 else np.nan
    return frame


KINDS = {"visits": "count", "rain": "non-negative", "share": "share"}


def within(drawn: pd.DataFrame) -> None:
    assert drawn.notna().all(axis=None)
    assert (drawn[["visits", "rain", "share", "small"]] >= 0).all(axis=None)
    assert (drawn["share"] <= 1).all()
    assert drawn["angle"].between(-90, 90).all()
    for name in ("visits", "small", "signed"):
        values = drawn[name].to_numpy(dtype=float)
        assert (values == np.rint(values)).all()
    assert not ((drawn["rain"] > 0) & (drawn["rain"] < 0.1)).any()


def test_samples_of_a_rough_network_keep_to_kinds_and_bounds(tmp_path):
    """Eight steps of training, and then noise in the weights."""
    frame = typed()
    model = Imputer(kinds=KINDS, bounds={"angle": (-90, 90)})
    model.set_params(options={**model.options, "prior": "bridge"}).fit(frame)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.model_.denoiser.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    drawn = model.sample(9)
    within(drawn)
    assert drawn["small"].max() <= 12  # half as much as was seen, and no 255
    filled = model.transform(frame)
    within(filled)
    assert (filled.dtypes == frame.dtypes).all()
    seen = frame.notna()
    assert (filled[seen] == frame[seen]).sum().sum() == seen.sum().sum()
    model.model_.save(tmp_path / "kept")
    again = unnoise.load(tmp_path / "kept").generate(data=frame, num_samples=4, steps=4)
    for sample in again.samples:
        within(pd.DataFrame(sample))


def test_forecasts_keep_to_kinds_and_bounds():
    frame = typed()
    options = {"lags": (1,), "cells": 8, "hidden": 8}
    quick = QUICK | {"options": options}
    model = DiffusionForecaster(kinds=KINDS, bounds={"angle": (-90, 90)}, **quick).fit(frame)
    within(model.sample(9, 6))
    within(model.predict(6))


def test_plain_columns_are_as_before():
    frame = walk(60)
    frame.iloc[10:14, 0] = np.nan
    plain = Imputer().fit(frame)
    said = Imputer(kinds={"a": "plain"}).fit(frame)
    assert plain.model_.configuration.known.supports == ()
    pd.testing.assert_frame_equal(plain.transform(frame), said.transform(frame))


def test_a_count_that_is_learned_has_the_law_of_the_counts():
    """Independent Poisson counts: without neighbours that tell anything, a network of few steps is
    near the marginal law, whose masses the codec keeps."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": rng.poisson(0.8, 600).astype(float)}, pd.RangeIndex(600))
    frame.iloc[::7] = np.nan
    model = Imputer(kinds={"n": "count"}, num_samples=40).set_params(steps=150).fit(frame)
    drawn = model.sample(40)["n"].unstack(0)[frame["n"].isna()].to_numpy()
    found = np.array([(drawn == k).mean() for k in range(4)])
    true = np.array([math.exp(-0.8) * 0.8**k / math.factorial(k) for k in range(4)])
    assert np.abs(found - true).max() < 0.12
    assert found[0] > 0.3


@pytest.mark.parametrize(
    ("kinds", "bounds", "error", "said"),
    [
        ({"a": "share"}, {}, FrameError, r"column 'a'.*row 0"),
        ({"b": "count"}, {}, FrameError, r"column 'b'.*whole numbers"),
        ({"c": "count"}, {}, ConfigError, "kinds and bounds are of columns"),
        ({"a": "ratio"}, {}, ConfigError, "kinds"),
        ({}, {"a": (3, 3)}, ConfigError, "hold nothing"),
    ],
)
def test_what_contradicts_the_data_is_said_before_the_fit(monkeypatch, kinds, bounds, error, said):
    monkeypatch.delattr("unnoise_timeseries.fitting.train")
    with pytest.raises(error, match=said):
        Imputer(kinds=kinds, bounds=bounds).fit(walk(40))


def test_a_later_value_out_of_its_bounds_is_refused():
    frame = walk(60)
    model = Imputer(bounds={"a": (-1000, 30)}).fit(frame)
    frame.iloc[3, 0] = 31.0
    frame.iloc[5, 0] = np.nan
    with pytest.raises(InputError, match=r"column 'a'.*row 3"):
        model.transform(frame)


def test_a_median_of_whole_numbers_is_whole():
    drawn = np.array([[1.0, 1.0], [2.0, 1.5]])
    assert median_of(drawn).tolist() == [2.0, 1.25]


def test_the_command_line_says_them(tmp_path):
    typed().iloc[:, :6].to_csv(tmp_path / "data.csv")
    words = ["train", "timeseries", "--data", str(tmp_path / "data.csv"), "--quiet"]
    words += ["--out", str(tmp_path / "run"), "--steps", "2", "--batch-size", "4"]
    words += ["--device", "cpu", "--bound-samples", "2"]
    for name, value in SMALL.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--kinds.visits", "count", "--kinds.rain", "non-negative"]
    words += ["--bounds.angle", "-90", "90", "--bounds.share", "0", "none"]
    assert main(words) == 0
    known = unnoise.load(tmp_path / "run").configuration.known
    assert [(s.whole, s.low, s.high) for s in known.supports[2:]] == [
        (True, 0.0, None), (False, 0.0, None), (False, 0.0, None), (False, -90.0, 90.0),
    ]  # fmt: skip
