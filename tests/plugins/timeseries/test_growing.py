"""A fit that stops where nothing is left to learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_series import SMALL, walk

import unnoise
from unnoise.denoise import UnitVariance
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise_timeseries import DiffusionImputer, metrics
from unnoise_timeseries.baselines import interpolation
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.growing import few
from unnoise_timeseries.standard import StandardNormal

NETWORK = {k: v for k, v in SMALL.items() if k != "window"}
QUICK = {"num_samples": 50, "verbose": False, "device": "cpu", "random_state": 0}


def holed(rows: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    whole, rng = walk(rows), np.random.default_rng(5)
    away = rng.random(whole.shape) < 0.2
    away[100:120, 0] = True
    return whole, whole.mask(away), away


def test_an_autoregression_leaves_nothing_to_a_network(capsys):
    whole, frame, away = holed(800)
    model = DiffusionImputer(window=96, steps=20, options=NETWORK, batch_size=8, **QUICK).fit(frame)
    report = model.report_
    assert report.steps > 0
    assert not report.network
    assert report.network_crps > 0.95 * report.law_crps
    assert "the law is the answer" in str(report)
    assert isinstance(model.model_.denoiser, StandardNormal)
    assert model.model_.card["choice"]["network"] is False
    units = whole.to_numpy().std(0)[np.nonzero(away)[1]]
    truth = whole.to_numpy()[away] / units
    drawn = model.sample(50).to_numpy().reshape(50, *whole.shape)[:, away] / units
    straight = interpolation(frame).to_numpy()[away] / units
    assert metrics.mae(drawn, truth) < np.abs(straight - truth).mean()
    assert metrics.coverage(drawn, truth, 0.9) == pytest.approx(0.9, abs=0.07)
    assert capsys.readouterr() == ("", "")


def test_a_law_alone_is_saved_and_loaded(tmp_path):
    _, frame, _ = holed(120)
    model = DiffusionImputer(window=12, steps=0, **QUICK).fit(frame)
    assert model.report_.steps == 0
    model.model_.save(tmp_path / "kept")
    assert not list(tmp_path.glob("kept/*.pkl"))
    again = unnoise.load(tmp_path / "kept")
    assert again.configuration.law == model.model_.configuration.law
    same = DiffusionImputer.from_model(again, **QUICK)
    pd.testing.assert_frame_equal(same.transform(frame), model.transform(frame))
    # an exact denoiser: its draws do not depend on the steps but for the noise they use
    many = again.generate(data=frame, num_samples=64, steps=8).samples
    spread = np.stack([s.to_numpy() for s in many])[:, 100:120, 0].std(0).mean()
    one = again.generate(data=frame, num_samples=64).samples
    assert spread == pytest.approx(
        np.stack([s.to_numpy() for s in one])[:, 100:120, 0].std(0).mean(), rel=0.15
    )


def test_an_untrained_network_is_the_law():
    """Its output is zero: window by window it draws what the law draws of the whole series."""
    _, frame, _ = holed(160)
    domain = TimeSeries()
    configuration = domain.configure(frame, {"held_out": 0.0, **SMALL, "window": 48})
    network = few(Model(domain, domain.build(configuration), configuration))
    assert isinstance(network.denoiser, UnitVariance)
    own = configuration.model_copy(update={"layers": 0})
    law = Model(domain, domain.build(own), own, domain.defaults(own))
    drawn = []
    for model in (network, law):
        samples = model.generate(data=frame, num_samples=300).samples
        drawn.append(np.stack([s.to_numpy() for s in samples])[:, frame.isna().to_numpy()])
    spread = drawn[1].std(0)
    # 300 draws each: 4.5 standard errors of a difference of means, of some 80 cells
    assert (np.abs(drawn[0].mean(0) - drawn[1].mean(0)) < 4.5 * spread * (2 / 300) ** 0.5).all()
    assert drawn[0].std(0) / spread == pytest.approx(1, abs=0.25)


def test_minutes_and_networks_that_do_not_fit():
    _, frame, _ = holed(60)
    imputer = DiffusionImputer(window=12, steps=5, options=NETWORK, **QUICK)
    with pytest.raises(InputError, match="minutes"):
        imputer.fit(frame, minutes=0)
    assert imputer.fit(frame, minutes=0.001).report_.steps == 0
    with pytest.raises(ConfigError, match="no network to train"):
        unnoise.train("timeseries", walk(60), "runs/none", layers=0, window=12)
    with pytest.raises(ConfigError, match="classical law"):
        unnoise.train("timeseries", walk(60), "runs/none", layers=0, prior="standard")


@pytest.mark.slow
@pytest.mark.xfail(reason="the error of the judged difference is too large to keep the network")
def test_a_product_of_columns_is_learned():
    """c = a b + noise: no linear law sees it, given a and b."""
    rng, x = np.random.default_rng(0), np.zeros((3000, 2))
    for t in range(1, len(x)):
        x[t] = 0.95 * x[t - 1] + 0.31 * rng.normal(size=2)
    whole = np.c_[x, x[:, 0] * x[:, 1] + 0.1 * rng.normal(size=len(x))]
    index = pd.date_range("2024-01-01", periods=len(x), freq="h")
    frame = pd.DataFrame(whole, index, list("abc"))
    frame = frame.mask(rng.random(frame.shape) < 0.2)
    model = DiffusionImputer(steps=1500, **QUICK).fit(frame)
    assert model.report_.network
    assert model.report_.network_crps < 0.93 * model.report_.law_crps
