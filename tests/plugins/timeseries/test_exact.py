"""The plugin's own path with exact denoisers against closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from exact_series import (
    ExactHead,
    ar1_covariance,
    conditional,
    learned,
    window_model,
)
from scipy import stats

from unnoise.model import Model
from unnoise.spaces import Layout
from unnoise_timeseries import metrics
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.domain import TimeSeries, kernel_of
from unnoise_timeseries.timegrad import start

HOLES = {
    "scattered": [2, 5, 9, 10],
    "a block": [4, 5, 6, 7, 8],
    "the end": [12, 13, 14, 15],
    "both ends": [0, 1, 14, 15],
}


def draw(covariance: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.linalg.cholesky(covariance) @ rng.normal(size=len(covariance))


def with_holes(x: np.ndarray, unknown: list[int], columns: int = 1) -> pd.DataFrame:
    known = np.ones(len(x), bool)
    known[unknown] = False
    values = np.where(known, x, np.nan).reshape(-1, columns)
    return pd.DataFrame(values, columns=[f"c{k}" for k in range(columns)])


def filled(model: Model, frame: pd.DataFrame, count: int, **request: object) -> np.ndarray:
    out = model.generate(data=frame, num_samples=count, batch_size=4000, **request)
    holes = frame.isna().to_numpy()
    return np.stack([s.to_numpy()[holes] for s in out.samples])


def crps_of_normal(mean: np.ndarray, std: np.ndarray, y: np.ndarray) -> np.ndarray:
    z = (y - mean) / std
    terms = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    return std * terms


def windows() -> Iterator[Any]:
    """All of them; by default each hole once, and each phi with each prior."""
    quick = {
        ("scattered", 0.5, "bridge"),
        ("a block", 0.9, "bridge"),
        ("the end", 0.5, "standard"),
        ("both ends", 0.9, "standard"),
    }
    for hole, phi, prior in product(HOLES, (0.5, 0.9), ("bridge", "standard")):
        marks = () if (hole, phi, prior) in quick else (pytest.mark.slow,)
        yield pytest.param(phi, HOLES[hole], prior, marks=marks, id=f"{hole}, {phi}, {prior}")


@pytest.mark.parametrize(("phi", "unknown", "prior"), windows())
def test_an_ar1_window(phi, unknown, prior):
    covariance = ar1_covariance(16, phi)
    x = draw(covariance, seed=len(unknown))
    frame = with_holes(x, unknown)
    mean, rest = conditional(covariance, frame["c0"].notna().to_numpy(), x)
    count = 4000
    made = filled(window_model(covariance, 16, 1, prior=prior), frame, count)
    error = np.sqrt(np.diag(rest) / count)
    assert (np.abs(made.mean(0) - mean) < 4.5 * error).all()
    spread = np.sqrt(np.outer(np.diag(rest), np.diag(rest)))
    assert np.abs(np.cov(made.T) - rest).max() < 0.02 * 1.0 + 4.5 * spread.max() / np.sqrt(count)
    expected = crps_of_normal(mean, np.sqrt(np.diag(rest)), x[unknown]).mean()
    found = metrics.fair_crps(made, x[unknown])
    assert found == pytest.approx(expected, rel=0.03)


def test_a_gaussian_process_of_two_variables():
    """A window of 8 rows x 2 columns with a covariance that couples them."""
    rows = np.exp(-0.5 * ((np.arange(8)[:, None] - np.arange(8)) / 2.0) ** 2) + 0.05 * np.eye(8)
    covariance = np.kron(rows, np.array([[1.0, 0.7], [0.7, 1.0]]))
    x = draw(covariance, 3)
    unknown = [4, 5, 6, 8, 13, 14, 15]  # of rows x columns, flattened
    frame = with_holes(x, unknown, columns=2)
    mean, rest = conditional(covariance, frame.notna().to_numpy().ravel(), x)
    made = filled(window_model(covariance, 8, 2), frame, 4000)
    assert np.abs(made.mean(0) - mean).max() < 0.06
    assert np.abs(np.cov(made.T) - rest).max() < 0.08


def test_windows_are_stitched_as_if_there_were_one():
    """Holes over and beside the borders of five windows: the joint law is that of the whole."""
    phi, rows = 0.8, 40
    whole = ar1_covariance(rows, phi)
    x = draw(whole, 7)
    unknown = [3, 10, 11, 12, 13, 19, 20, 21, 28, 36, 39]
    frame = with_holes(x, unknown)
    mean, rest = conditional(whole, frame["c0"].notna().to_numpy(), x)
    model = window_model(ar1_covariance(16, phi), 16, 1, overlap=8)
    made = filled(model, frame, 4000)
    assert np.abs(made.mean(0) - mean).max() < 0.05
    assert np.abs(np.cov(made.T) - rest).max() < 0.05


def test_a_hole_of_three_windows_has_no_seam():
    """Increments inside the hole have the variance 2 (1 - phi) everywhere, borders included."""
    phi, rows = 0.9, 60
    x = draw(ar1_covariance(rows, phi), 1)
    unknown = list(range(4, 52))
    model = window_model(ar1_covariance(16, phi), 16, 1, overlap=8)
    made = filled(model, with_holes(x, unknown), 3000)
    spread = np.diff(made, axis=1).std(0)[:36]  # beyond it the far end is seen
    assert spread == pytest.approx(np.sqrt(1 - phi**2), rel=0.13, abs=0)
    assert spread[8:].std() < 0.03 * spread.mean()


def test_few_evaluations_are_as_good_as_fifty():
    covariance = ar1_covariance(16, 0.9)
    x = draw(covariance, 2)
    frame = with_holes(x, HOLES["a block"])
    _, rest = conditional(covariance, frame["c0"].notna().to_numpy(), x)
    model = window_model(covariance, 16, 1)
    assert model.defaults["steps"] <= 15
    few = np.abs(np.cov(filled(model, frame, 4000).T) - rest).max()
    many = filled(model, frame, 4000, steps=50, sampler="ancestral", grid="uniform")
    assert few < np.abs(np.cov(many.T) - rest).max() + 0.01


def test_what_is_observed_is_the_same_for_all_samples_and_the_encoding_is_shared(model, frame):
    calls = []
    network = model.denoiser.network
    kept = network.side
    network.side = lambda given: calls.append(tuple(given.shape)) or kept(given)
    try:
        model.generate(data=frame, num_samples=5, steps=4)
    finally:
        del network.side
    assert calls
    assert {shape[0] for shape in calls} == {1}  # one row each, whatever the number of samples
    segments_with_holes = len(calls)
    out = model.generate(data=frame, num_samples=1, steps=4)
    assert out.provenance["evaluations"] == 4 * segments_with_holes


def test_observed_cells_come_back_to_the_bit(model, frame):
    frame = frame * (1 / 3)  # no short decimals
    seen = frame.notna().to_numpy()
    for sample in model.generate(data=frame, num_samples=3, steps=3).samples:
        assert sample.index.equals(frame.index)
        assert list(sample.columns) == ["a", "b"]
        assert sample.dtypes.equals(frame.dtypes)
        assert sample.notna().all().all()
        assert sample.to_numpy()[seen].tobytes() == frame.to_numpy()[seen].tobytes()
        np.testing.assert_array_equal(sample.holes, ~seen)


A = np.array([[0.7, 0.2], [-0.3, 0.6]])
Q = np.array([[0.5, 0.2], [0.2, 0.4]])


def timegrad(lags: tuple[int, ...] = (1,)) -> Model:
    own = {"method": "timegrad", "window": 8, "lags": lags, "held_out": 0.0}
    configuration = Configuration(learned=learned(2), **own)
    denoiser = ExactHead(kernel_of(configuration), A, Q)
    return Model(
        TimeSeries(),
        denoiser,
        configuration,
        TimeSeries().defaults(configuration),
    )


# a step of DDPM from a point prediction leaves out the spread of x_0: its paths are too narrow
DDPM = {"sampler": "ancestral", "steps": 100, "grid": "uniform"}


@pytest.mark.parametrize(
    ("request_", "error"), [({}, 0.05), pytest.param(DDPM, 0.15, marks=pytest.mark.slow)]
)
def test_var1_paths_have_the_known_covariance(request_, error):
    rng = np.random.default_rng(5)
    x = np.zeros((30, 2))
    for t in range(1, 30):
        x[t] = A @ x[t - 1] + np.linalg.cholesky(Q) @ rng.normal(size=2)
    x[-1] = (3.0, -2.0)
    frame = pd.DataFrame(x, columns=["c0", "c1"])
    horizon, count = 4, 8000
    out = timegrad().generate(
        data=frame, horizon=horizon, num_samples=count, batch_size=4000, **request_
    )
    made = np.stack([s.to_numpy() for s in out.samples])
    assert out.samples[0].index.tolist() == [30, 31, 32, 33]
    mean, covariance = x[-1], np.zeros((2, 2))
    for h in range(horizon):
        mean, covariance = A @ mean, A @ covariance @ A.T + Q
        limit = 4.5 * np.sqrt(np.diag(covariance) / count) + 0.005
        assert (np.abs(made[:, h].mean(0) - mean) < limit).all()
        assert np.abs(np.cov(made[:, h].T) - covariance).max() < error * covariance.max()
    lagged = np.cov(made[:, 0].T, made[:, 1].T)[:2, 2:]  # Cov(x_1, x_2) = Q A^T
    assert np.abs(lagged - Q @ A.T).max() < 0.05


def test_a_row_starts_from_what_the_head_expects():
    """x_1 is not N(0, I): after beta 1e-4 .. 0.1 there is alpha_bar = 0.0056 left of x_0."""
    model = timegrad()
    schedule = model.denoiser.kernel.schedule
    assert schedule.alpha(1.0) ** 2 == pytest.approx(0.0056, abs=5e-5)
    hidden = torch.tensor([[[2.0, -1.0, 0.0, 0.0]]])  # the last row, in units of scale 1
    begin = start(model, Layout.dense(1, (1, 2)), {"hidden": hidden})
    expected = A @ np.array([2.0, -1.0])
    assert begin.t == 1.0
    assert begin.corrupt
    assert np.abs(begin.value[0, 0].numpy() - expected).max() < 0.0056 * np.abs(expected).max()


def test_the_quadratic_table_leaves_nothing():
    configuration = Configuration(window=8, learned=learned(1))
    alpha_bar = kernel_of(configuration).schedule.alpha(1.0) ** 2
    assert alpha_bar == pytest.approx(3.354e-5, rel=1e-3)
