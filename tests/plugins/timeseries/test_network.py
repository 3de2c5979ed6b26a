"""What enters the loss, and what the networks may see."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from small_series import SMALL, walk

from unnoise.denoise import Noise, V
from unnoise.noise import NoiseSource
from unnoise.objectives import Simple
from unnoise_timeseries import PUBLISHED
from unnoise_timeseries.cycles import calendar
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.network import CSDI
from unnoise_timeseries.timegrad import features, season_of

LOUD = 0.3


def shaken(denoiser: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(LOUD * torch.randn_like(parameter))
    return denoiser.eval()


def batch_of(frame: pd.DataFrame, **own: object):
    domain = TimeSeries()
    configuration = domain.configure(frame, {"held_out": 0.0, **own})
    data = domain.dataset(frame, configuration, "train")
    torch.manual_seed(0)
    batch = domain.collate([data[i] for i in range(6)]).encoded(domain.codec(configuration))
    return domain, shaken(domain.build(configuration)), batch


@pytest.mark.parametrize("parametrization", ["noise", "v"])
def test_the_loss_is_the_mean_square_over_the_targets(frame, parametrization):
    _, denoiser, batch = batch_of(frame, **SMALL, parametrization=parametrization)
    loss = Simple()(denoiser, batch, NoiseSource(0, range(6)))
    noise = NoiseSource(0, range(6))
    from unnoise.kernels import training_times

    t = training_times(denoiser.kernel, noise.times())
    eps = noise.normal(batch.layout)
    schedule = denoiser.kernel.schedule
    alpha, sigma = (v.float().view(-1, 1, 1) for v in (schedule.alpha(t), schedule.sigma(t)))
    x_t = alpha * batch.x0 + sigma * eps
    out = denoiser.output(x_t, t, batch.layout, batch.condition)
    target = eps if parametrization == "noise" else alpha * eps - sigma * batch.x0
    mask = batch.layout.mask
    for k in range(6):
        expected = ((out - target)[k][mask[k]] ** 2).mean()
        assert loss[k].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_gradient_is_zero_off_the_targets(frame):
    _, denoiser, batch = batch_of(frame, **SMALL)
    found = []
    kept = denoiser.network.forward

    def forward(*arguments):
        out = kept(*arguments)
        out.retain_grad()
        found.append(out)
        return out

    denoiser.network.forward = forward
    Simple()(denoiser, batch, NoiseSource(0, range(6))).sum().backward()
    gradient, mask = found[0].grad, batch.layout.mask
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).all()


@pytest.mark.parametrize("method", ["csdi", "timegrad"])
def test_missing_values_change_no_loss(frame, method):
    """What stands in the cells that nobody knows is never looked at."""
    own = {**SMALL, "method": method, "lags": (1,), "cells": 8, "hidden": 6}
    domain = TimeSeries()
    configuration = domain.configure(frame, {"held_out": 0.0, "prior": "bridge", **own})
    data = domain.dataset(frame, configuration, "train")
    denoiser = shaken(domain.build(configuration))
    losses = []
    for junk in (0.0, 1e6):
        torch.manual_seed(0)
        items, unknown = [], 0
        for values, target, more in (data[i] for i in range(12)):
            known = target | more["given"] if method == "csdi" else target
            unknown += int((~known).sum())
            items.append((torch.where(known, values, junk), target, more))
        assert unknown > 0
        batch = domain.collate(items).encoded(domain.codec(configuration))
        losses.append(Simple()(denoiser, batch, NoiseSource(0, range(12))))
    assert torch.equal(*losses)
    assert losses[0].std() > 0


@pytest.mark.parametrize("columns", [1, 3])
def test_csdi_with_the_shared_encoding_is_csdi(columns):
    torch.manual_seed(0)
    network = shaken(CSDI(columns, channels=8, layers=2, heads=2, time=16, step=16))
    given = torch.rand(1, 10, columns) < 0.6
    given[0, 0, 0] = False
    from unnoise.spaces import Layout

    layout = Layout.dense(4, (10, columns), mask=(~given).expand(4, -1, -1))
    x = layout.zero_padding(torch.randn(4, 10, columns))
    observed = torch.randn(1, 10, columns).expand(4, -1, -1) * given
    t = torch.tensor([0.2, 0.4, 0.6, 1.0])
    plain = {"observed": observed, "given": given.expand(4, -1, -1)}
    shared = {"observed": observed, "side": network.side(given).expand(4, -1, -1, -1)}
    a, b = network(x, t, layout, plain), network(x + 9.0 * given, t, layout, shared)
    torch.testing.assert_close(a, b)
    assert (a[given.expand(4, -1, -1)] == 0).all()
    assert a.std() > 1e-3


def test_a_layer_of_csdi_has_the_parts_of_the_paper():
    """Two transformers of 64 channels with inner width 64, and the projections around them."""
    network = CSDI(35)
    assert len(network.layers) == 4
    transformer = 3 * 64 * 64 + 3 * 64 + 64 * 64 + 64 + 2 * (64 * 64 + 64) + 4 * 64
    own = 128 * 64 + 64 + 2 * transformer + 2 * (64 * 128 + 128)
    assert sum(p.numel() for p in network.layers[0].parameters()) == own
    assert network.sides.weight.shape == (4 * 128, 128 + 16 + 1)


def test_csdi_as_published_is_a_configuration(frame):
    domain = TimeSeries()
    configuration = domain.configure(frame, {**SMALL, **PUBLISHED})
    denoiser = domain.build(configuration)
    assert configuration.steps == 50
    assert isinstance(denoiser.parametrization, Noise)
    network = denoiser.network
    assert network.input.in_features == 2  # what is observed, and the noisy targets
    assert {layer.over_time.dropout for layer in network.layers} == {0.1}
    own = domain.build(domain.configure(frame, SMALL))
    assert isinstance(own.parametrization, V)
    assert own.network.input.in_features == 4


def test_timegrad_sees_the_past_only():
    frame = walk(60)
    domain = TimeSeries()
    own = {"method": "timegrad", "window": 10, "lags": (1, 4), "cells": 8, "hidden": 6}
    configuration = domain.configure(frame, {"held_out": 0.0, **own})
    denoiser = shaken(domain.build(configuration))
    rows = torch.randn(1, 14, 2)
    changed = rows.clone()
    changed[:, 9] += 5.0  # row 5 of the window
    scale, dates = torch.ones(2), calendar(frame.index[4:14])
    a, b = (denoiser.network.read(features(x, scale, dates, (1, 4)))[0][0] for x in (rows, changed))
    assert torch.equal(a[:6], b[:6])
    assert (a[6:] != b[6:]).any(-1).all()


def test_the_calendar():
    times = pd.date_range("2024-01-01 06:00", periods=3, freq="12h")
    found = calendar(times)
    assert found.shape == (3, 6)
    assert found[0, 0] == pytest.approx(1.0)  # sin of a quarter turn: six o'clock
    assert found[1, 0] == pytest.approx(-1.0)
    assert (calendar(pd.RangeIndex(4)) == 0).all()


@pytest.mark.parametrize(
    ("frequency", "rows"),
    [("h", 24), ("10min", 144), ("D", 7), ("MS", 12), ("QS-DEC", 4), ("1", 1)],
)
def test_seasons(frequency, rows):
    assert season_of(frequency) == rows
