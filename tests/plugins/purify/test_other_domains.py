"""The same purifier over models that are not of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import unnoise
from unnoise.errors import InputError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.samplers import Checkpointed
from unnoise.spaces import Layout
from unnoise_purify.certificate import Smoothed
from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.draws import Pinned
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


@pytest.fixture(scope="module")
def latent():
    """An untrained model of pictures 10 x 12 through an autoencoder, whose output is not zero."""
    pytest.importorskip("unnoise_latent")
    from unnoise_latent.configuration import Configuration
    from unnoise_latent.domain import Latent

    configuration = Configuration(
        height=10,
        width=12,
        picture_channels=1,
        classes=("cat", "dog"),
        held_out=0,
        channels=4,
        widths=(8, 16),
        prior_width=16,
        prior_layers=1,
    )
    torch.manual_seed(0)
    domain = Latent()
    denoiser, codec = domain.build(configuration), domain.codec(configuration)
    with torch.no_grad():
        for module in (denoiser, codec):
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return Model(domain, denoiser.eval(), configuration, codec=codec.eval())


def test_pictures_are_purified_in_their_codes(latent):
    """Through the encoder, the diffusion of codes and the decoder: gradients, and `generate`."""
    pixels = pixels_of(latent)
    assert pixels.shape == (1, 10, 12)
    assert (pixels.low, pixels.high) == (0.0, 255.0)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(120, 3))
    defence = PurifiedClassifier(Purifier(latent, 0.5, steps=3), classifier, noise=Pinned(0))
    x = torch.rand(2, 1, 10, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = defence(x)
    (grad,) = torch.autograd.grad(found[:, 0].sum(), x)
    assert found.shape == (2, 3)
    assert float(grad.abs().max()) > 0
    again = defence.like(gradient=Full(Checkpointed()))(x)
    assert torch.equal(torch.autograd.grad(again[:, 0].sum(), x)[0], grad)
    out = unnoise.generate("purify", model=latent, images=x.detach(), strength=0.5, steps=3)
    assert [sample.size for sample in out.samples] == [(12, 10)] * 2
    purified = defence.purified(x.detach(), NoiseSource(0, range(2)))
    levels = np.array(out.samples[0], dtype=np.float32)
    assert np.abs(levels - 255 * purified[0, 0].numpy()).max() < 0.51
    with pytest.raises(InputError, match="codes"):
        Smoothed(Purifier(latent, 0.5), classifier)
