"""The same purifier over models that are not of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unnoise
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import Checkpointed
from unnoise.spaces import Layout
from unnoise_purify.gradients import Full
from unnoise_purify.pixels import pixels_of
from unnoise_purify.purifier import Purifier

TEMPERATURE, ROWS, AT = 2, 96, slice(40, 46)


@pytest.fixture(scope="module")
def series():
    """A window of the shipped example: measurements, the cells in question, what the model of
    series is told of the others, and the model."""
    pytest.importorskip("unnoise_timeseries")
    from unnoise_timeseries import EXAMPLE
    from unnoise_timeseries.codec import scaled
    from unnoise_timeseries.data import condition_of
    from unnoise_timeseries.domain import table_of
    from unnoise_timeseries.request import Request

    model = unnoise.load("timeseries")
    found = table_of(Request(data=str(EXAMPLE)), model.configuration)
    values = torch.from_numpy(np.nan_to_num(found.series[0].values[:ROWS]))[None]
    known = torch.from_numpy(np.isfinite(found.series[0].values[:ROWS]))[None]
    doubted = torch.zeros_like(known)
    doubted[:, AT, TEMPERATURE] = known[:, AT, TEMPERATURE]
    given = known & ~doubted
    z = scaled(values, model.configuration.known).masked_fill(~given, 0.0)
    told = condition_of(z, given, model.configuration)
    layout = Layout.dense(1, values.shape[1:], mask=doubted, dtype=torch.float64)
    return values, doubted, layout, told, model


def test_an_anomaly_is_taken_out_of_a_series(series):
    """A thermometer that jumps by 40 degrees for six hours; the other cells are given."""
    values, doubted, layout, told, model = series
    broken = torch.where(doubted, values + 40, values)
    gaps = []
    for strength in (0.3, 0.999):
        purifier = Purifier(model, strength, steps=5)
        found = purifier(layout.zero_padding(broken), layout, told, noise=NoiseSource(0, range(1)))
        assert found.dtype == torch.float64
        gaps.append(float((found - values)[doubted].abs().mean()))
    assert gaps[1] < 4 < gaps[0]


def test_gradients_reach_the_series(series):
    values, doubted, layout, told, model = series
    purifier = Purifier(model, 0.3, steps=2)
    grads = []
    for mode in (Full(), Full(Checkpointed())):
        x = layout.zero_padding(values).requires_grad_()
        out = mode.purified(purifier, x, layout, told, NoiseSource(0, range(1)))
        (grad,) = torch.autograd.grad(out[doubted].sum(), x)
        grads.append(grad)
    assert torch.equal(*grads)
    assert float(grads[0][doubted].abs().min()) > 0
    assert float(grads[0][~doubted].abs().max()) == 0


def test_a_model_of_series_is_none_of_pictures(series):
    with pytest.raises(InputError, match="data"):
        pixels_of(series[-1])
