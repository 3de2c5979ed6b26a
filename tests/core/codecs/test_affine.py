"""Affine codecs: their arithmetic, their density, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.codecs import Affine, Chain, Identity, ProductCodec, Whitening
from unnoise.distributions import Categorical, Dirac, Gaussian, Product
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.spaces import Layout, ZeroCoM
from unnoise.testing import core_examples, parametrize_with_checks

F64 = torch.float64


@parametrize_with_checks(
    [Identity(), *core_examples.affine_codecs(), *core_examples.whitening_codecs()]
)
def test_conformance(check):
    check()


def test_levels_keep_the_usual_arithmetic():
    x = torch.arange(256.0)[:, None]
    codec = Affine.onto(0.0, 255.0)
    z, _ = codec.embed(x, Layout.dense(256, (1,)))
    assert torch.equal(z, x / 127.5 - 1)
    back = codec.decode(z, Layout.dense(256, (1,))).mode
    assert torch.equal(back, (z + 1) * 127.5)
    assert torch.equal(back.round(), x)


def test_measurements_are_scaled_in_their_own_precision():
    x = 1e6 + torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    codec = Affine(mean=1e6, scale=2.0, data=F64, state=torch.float32)
    layout = Layout.dense(4, (3,), dtype=F64)
    found = codec.encode(x, layout)
    assert found.state.dtype == found.layout.dtype == torch.float32
    assert torch.equal(found.state, ((x - 1e6) / 2).float())
    back = codec.decode(found.state, found.layout)
    assert back.mode.dtype == F64
    torch.testing.assert_close(back.mode, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_density_in_units_of_the_data(scale):
    """Of N(m, scale^2) data, through the codec that standardises them: exact."""
    x = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(1)) * 4
    layout = Layout.dense(5, (2,), dtype=F64)
    found = Affine(1.5, scale, shift=0.25).encode(x, layout)
    standard = Gaussian(torch.full((5, 2), -0.25, dtype=F64), 1.0, layout=layout)
    truth = Gaussian(torch.full((5, 2), 1.5, dtype=F64), scale, layout=layout).log_prob(x)
    torch.testing.assert_close(standard.log_prob(found.state) + found.log_density, truth)


def test_density_of_padded_and_ragged_batches_counts_what_is_real():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    padded = Layout.dense(2, (3, 2), mask=mask, dtype=F64)
    codec = Affine(scale=(2.0, 5.0))
    found = codec.encode(torch.ones(2, 3, 2, dtype=F64), padded)
    per_point = -math.log(10.0)
    assert found.log_density.tolist() == pytest.approx([2 * per_point, per_point])
    ragged = Layout.ragged([2, 1], (2,), dtype=F64)
    found = codec.encode(torch.ones(3, 2, dtype=F64), ragged)
    assert found.log_density.tolist() == pytest.approx([2 * per_point, per_point])


def test_density_in_a_constrained_space_counts_degrees_of_freedom():
    x = torch.tensor([[[1.0, 2.0], [-1.0, -2.0]]], dtype=F64)
    layout = Layout.dense(1, (2, 2), dtype=F64)
    found = Affine(scale=3.0, space=ZeroCoM()).encode(x, layout)
    assert found.log_density.tolist() == pytest.approx([-2 * math.log(3.0)])
    with pytest.raises(ConfigError, match="one scale"):
        Affine(scale=(3.0, 1.0), space=ZeroCoM()).encode(x, layout)


def test_whitening_is_the_density_of_the_prior_that_it_stands_for():
    """N(0, I) of the state is N(mean, scale^2) of the data, mean and scale per sample and entry."""
    generator = torch.Generator().manual_seed(3)
    x, mean = (torch.randn(3, 4, 2, generator=generator, dtype=F64) for _ in range(2))
    scale = 0.1 + torch.rand(3, 4, 2, generator=generator, dtype=F64)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [True, True, True, False]])
    layout = Layout.dense(3, (4, 2), mask=mask, dtype=F64)
    scale = scale * mask[..., None]  # nothing is left open where nothing is asked
    condition = {"m": mean, "s": scale}
    found = Whitening("m", "s").encode(x, layout, condition)
    standard = Gaussian(torch.zeros(3, 4, 2, dtype=F64), 1.0, layout=layout)
    clean = scale.where(mask[..., None], 1.0)
    truth = Gaussian(mean, clean, layout=layout).log_prob(x)
    torch.testing.assert_close(standard.log_prob(found.state) + found.log_density, truth)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 2), (3, 4, 2)])
def test_an_entry_of_the_condition_has_one_row_per_sample(shape):
    scale = 1 + torch.rand(shape, dtype=F64, generator=torch.Generator().manual_seed(4))
    x = torch.ones(3, 4, 2, dtype=F64)
    layout = Layout.dense(3, (4, 2), dtype=F64)
    found = Whitening(scale="s").encode(x, layout, {"s": scale})
    wide = scale.view(3, *(1,) * (3 - scale.ndim), *shape[1:]).expand(3, 4, 2)
    torch.testing.assert_close(found.state, 1 / wide)
    ragged = Layout.ragged([2, 1, 2], (2,), dtype=F64)
    if len(shape) < 3:
        found = Whitening(scale="s").encode(torch.ones(5, 2, dtype=F64), ragged, {"s": scale})
        own = scale[ragged.index].view(5, -1)
        torch.testing.assert_close(found.state, (1 / own).expand(5, 2))


def test_what_cannot_be_scaled_is_refused():
    layout, x = Layout.dense(2, (3,), dtype=F64), torch.ones(2, 3, dtype=F64)
    for bad in (0.0, -1.0):
        with pytest.raises(ConfigError, match="scale is positive"):
            Affine(scale=bad)
    with pytest.raises(ConfigError, match="finite"):
        Affine(mean=math.nan)
    with pytest.raises(ConfigError, match="range"):
        Affine.onto(1.0, 1.0)
    with pytest.raises(InputError, match="broadcast"):
        Affine(scale=(1.0, 2.0)).encode(x, layout)
    with pytest.raises(InputError, match="'s'"):
        Whitening(scale="s").encode(x, layout, {"other": x})
    with pytest.raises(InputError, match="one row per sample"):
        Whitening(scale="s").encode(x, layout, {"s": x[:1]})
    with pytest.raises(InputError, match="scale is positive"):
        Whitening(scale="s").encode(x, layout, {"s": 0 * x})
    with pytest.raises(NonFiniteError, match="mean"):
        Whitening("m").encode(x, layout, {"m": x * math.nan})
    with pytest.raises(NonFiniteError):
        Affine().encode(x * math.nan, layout)
    with pytest.raises(InputError, match="shape"):
        Affine().encode(x[:1], layout)
    with pytest.raises(InputError, match="floating point"):
        Affine().embed(x.long(), Layout.dense(2, (3,), dtype=torch.int64))


@pytest.mark.parametrize("per_entry", [False, True])
def test_from_the_statistics_of_the_data(per_entry):
    x = torch.randn(6, 5, 2, dtype=F64, generator=torch.Generator().manual_seed(5))
    x = x * torch.tensor([3.0, 0.1]) + torch.tensor([7.0, -2.0])
    mask = torch.arange(5) < torch.tensor([5, 4, 3, 2, 1, 5])[:, None]
    layout = Layout.dense(6, (5, 2), mask=mask, dtype=F64)
    found = Affine.of(x, layout, per_entry=per_entry).encode(x, layout)
    real = found.state[mask]
    axes = 0 if per_entry else (0, 1)
    assert real.mean(axes).abs().max() < 1e-12
    assert (real.std(axes, correction=0) - 1).abs().max() < 1e-12
    with pytest.raises(InputError, match="spread"):
        Affine.of(torch.full((4, 2), 0.1), per_entry=per_entry)


def test_laws_through_a_codec():
    layout = Layout.dense(2, (3,), dtype=F64)
    z = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.1]], dtype=F64)
    chain = Chain(Affine(1.0, 2.0), Affine(scale=(1.0, 2.0, 4.0)))
    pushed = chain.push(Gaussian(z, torch.tensor([0.5, 0.1], dtype=F64), layout=layout), layout)
    unit = torch.tensor([2.0, 4.0, 8.0], dtype=F64)
    torch.testing.assert_close(pushed.mean, 1.0 + unit * z)
    torch.testing.assert_close(pushed.scale, unit * torch.tensor([[0.5], [0.1]], dtype=F64))
    tokens = Categorical(torch.zeros(2, 3, 1), layout)
    with pytest.raises(ConfigError, match="closed form"):
        chain.push(tokens, layout)
    both = Layout.product({"a": layout, "b": layout})
    product = ProductCodec({"a": Affine(scale=3.0), "b": Identity()})
    law = product.push(Product({"a": Dirac(z, layout), "b": tokens}), both)
    assert isinstance(law, Product)
    torch.testing.assert_close(law.parts["a"].mode, 3 * z)
    assert law.parts["b"] is tokens
    with pytest.raises(InputError, match="its parts"):
        product.push(Product({"a": tokens}), both)
