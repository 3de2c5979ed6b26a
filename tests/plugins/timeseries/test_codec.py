"""Series as states: round trips, the units of a bound, and what training draws from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unnoise.errors import InputError
from unnoise.model import Model
from unnoise.spaces import Layout
from unnoise.testing import Example, GaussianOracle, parametrize_with_checks
from unnoise_timeseries.bridge import bridge
from unnoise_timeseries.codec import codec_of
from unnoise_timeseries.configuration import Configuration, Learned
from unnoise_timeseries.data import Windows, collate, condition_of, configure, read
from unnoise_timeseries.domain import TimeSeries, kernel_of

F64 = torch.float64
PHI = 0.8
KNOWN = {
    "columns": ("a", "b"),
    "mean": (1000.0, -2.0),
    "scale": (40.0, 0.01),
    "frequency": "D",
    "aware": False,
    "dates": False,
    "limit": 4.0,
    "memory": (PHI, 0.0),
    "reach": 5.0,
}


def configured(**own) -> Configuration:
    own = {"window": 4, "held_out": 0.0, "prior": "bridge", **own}
    return Configuration(learned=Learned(**KNOWN), **own)


def told(configuration: Configuration, batch: int = 3, rows: int = 4) -> tuple:
    """Measurements, layout of the hidden cells, and condition."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(batch, rows, 2, generator=generator)
    given = torch.rand(batch, rows, 2, generator=generator) < 0.5
    given[:, 0, 0], given[:, 1] = True, False
    x = z.double() * torch.tensor(KNOWN["scale"]) + torch.tensor(KNOWN["mean"], dtype=F64)
    layout = Layout.dense(batch, (rows, 2), mask=~given, dtype=F64)
    if configuration.method == "timegrad":
        return x, layout, {"level": z.abs().mean(1) + 0.1}
    return x, layout, condition_of(z * given, given, configuration)


KINDS = [{}, {"prior": "standard"}, {"method": "timegrad", "lags": (1,)}]


def examples() -> list[Example]:
    found = []
    for own in KINDS:
        configuration = configured(**own)
        x, layout, condition = told(configuration)
        codec, told_of = codec_of(configuration), {"layout": layout, "data": x}
        if own.get("prior") != "standard":
            told_of["condition"] = condition
        # the kit cuts the layout's own padding away, and then asks for cells that are given
        open_cells = {"padding_is_ignored": "cells that are given have no state"}
        found.append(Example(codec, told_of, open_cells if not own else {}))
    return found


@parametrize_with_checks(examples())
def test_conformance(check):
    check()


@pytest.mark.parametrize("own", KINDS)
def test_there_and_back(own):
    configuration = configured(**own)
    x, layout, condition = told(configuration)
    codec = codec_of(configuration)
    found = codec.encode(x, layout, condition)
    assert found.state.dtype == found.layout.dtype == torch.float32
    back = codec.decode(found.state, found.layout, condition).mode
    assert back.dtype == F64
    torch.testing.assert_close(back, layout.zero_padding(x), rtol=1e-6, atol=1e-6)


def test_the_bridge_is_the_codecs():
    configuration = configured()
    x, layout, condition = told(configuration)
    m, s = bridge(condition["observed"], condition["given"], torch.tensor(KNOWN["memory"]))
    z = (x - torch.tensor(KNOWN["mean"], dtype=F64)) / torch.tensor(KNOWN["scale"], dtype=F64)
    z = z.float()
    state = codec_of(configuration).encode(x, layout, condition).state
    hidden = layout.mask
    assert torch.equal(state[hidden], ((z - m) / s)[hidden])


@pytest.mark.parametrize("prior", ["bridge", "standard"])
def test_a_bound_is_in_the_units_of_the_columns(prior):
    """With states N(0, 1), which an exact denoiser knows, a hidden measurement is normal with mean
    + scale m and scale s, and its bound is minus the log of that density."""
    configuration, domain = configured(prior=prior), TimeSeries()
    denoiser = GaussianOracle(kernel_of(configuration), 0.0, 1.0)
    model = Model(domain, denoiser, configuration)
    x, layout, condition = told(configuration, 1)
    copies, target = 300, layout.mask[0]
    own = {name: value[0] for name, value in condition.items()}
    found = model.bound([(x[0], target, own)] * copies, steps=50, evaluations=None).total
    mean, scale = (torch.tensor(KNOWN[name], dtype=F64) for name in ("mean", "scale"))
    m, s = torch.zeros(4, 2, dtype=F64), torch.ones(4, 2, dtype=F64)
    if prior == "bridge":
        m, s = own["guess"].double(), own["spread"].double()
    law = torch.distributions.Normal((mean + scale * m)[target], (scale * s)[target])
    truth = -float(law.log_prob(x[0][target]).sum())
    error = float(found.std()) / math.sqrt(copies)
    assert abs(float(found.mean()) - truth) < 5 * error + 1e-3
    assert abs(float((scale * s)[target].log().sum())) > 1  # the units matter


def test_training_draws_measurements(frame):
    configuration = configure(frame, {"window": 12, "prior": "bridge"})
    data = Windows(read(frame, configuration), configuration, "train")
    batch = collate([data[k] for k in range(4)])
    values = frame.to_numpy(dtype=np.float64)
    assert batch.x0.dtype == F64
    real = batch.x0[batch.layout.mask].numpy()
    assert np.isin(real, values).all()


def test_a_condition_that_says_nothing_is_refused():
    configuration = configured()
    x, layout, _ = told(configuration)
    with pytest.raises(InputError, match="guess"):
        codec_of(configuration).encode(x, layout, {})
