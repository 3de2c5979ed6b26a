"""The hierarchical autoencoder: the kit's laws of codecs, its posterior group by group, gradients,
and pictures of sizes that no power of two divides."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.codecs import DiagonalGaussian
from unnoise.errors import InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise.testing import check_codec
from unnoise_latent.configuration import Configuration
from unnoise_latent.heads import head_of
from unnoise_latent.vae import Hierarchical

KINDS = {
    "logistic": {"likelihood": "logistic"},
    "bernoulli": {"likelihood": "bernoulli"},
    "categorical": {"likelihood": "categorical", "binarise": "threshold"},
    "gaussian": {"likelihood": "gaussian"},
}


def made(kind: str = "logistic", size: tuple[int, int, int] = (1, 12, 10)) -> Hierarchical:
    configuration = Configuration(**KINDS[kind])
    torch.manual_seed(0)
    codec = Hierarchical(size, head_of(configuration), 2, 4, (8, 16))
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return codec.eval()


def data(codec: Hierarchical, n: int = 3) -> tuple[torch.Tensor, Layout]:
    torch.manual_seed(1)
    x = torch.randint(0, codec.head.levels, (n, *codec.size)).to(codec.head.dtype)
    return x, Layout.dense(n, codec.size, dtype=x.dtype)


@pytest.mark.parametrize("kind", list(KINDS))
def test_conformance(kind):
    codec = made(kind)
    x, layout = data(codec)
    check_codec(codec, layout=layout, data=x)


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 9, 17), (1, 8, 8)])
def test_sizes_are_padded_inside_and_cut_back(size):
    codec = made(size=size)
    x, layout = data(codec)
    found = codec.encode(x, layout, None, NoiseSource(0, range(3)))
    assert tuple(found.state.shape) == (3, 4, math.ceil(size[1] / 4), math.ceil(size[2] / 4))
    assert codec.data_layout(found.layout).shape == layout.shape
    assert codec.decode(found.state, found.layout).log_prob(x).shape == (3,)


def test_the_posterior_is_that_of_each_group_given_those_before():
    codec = made()
    x, layout = data(codec)
    found = codec.encode(x, layout, None, NoiseSource(0, range(3)))
    h = codec.encoder(codec._scaled(x))
    s = codec.constant.expand(3, -1, -1, -1)
    total = torch.zeros(3, dtype=torch.float64)
    for group, z in zip(codec.groups, found.state.chunk(2, 1), strict=True):
        law = DiagonalGaussian(axis=1).law(group.numbers(h, s), Layout.dense(3, z.shape[1:]))
        total += law.log_prob(z)
        s = group(s, z)
    torch.testing.assert_close(found.log_posterior, total)
    gain = codec.decode(found.state, found.layout).log_prob(x).double()
    torch.testing.assert_close(found.log_density, gain - total, rtol=1e-5, atol=1e-3)


def test_a_group_sees_the_draw_of_the_group_before():
    codec = made()
    x, layout = data(codec)
    first = codec.encode(x, layout, None, NoiseSource(0, range(3))).state
    second = codec.encode(x, layout, None, NoiseSource(1, range(3))).state
    h = codec.encoder(codec._scaled(x))
    numbers = []
    for z in (first, second):
        s = codec.groups[0](codec.constant.expand(3, -1, -1, -1), z[:, :2])
        numbers.append(codec.groups[1].numbers(h, s))
    assert float((numbers[0] - numbers[1]).detach().abs().max()) > 1e-4


def test_gradients_reach_every_weight_through_the_draw():
    codec = made()
    x, layout = data(codec)
    found = codec.encode(x, layout, None, NoiseSource(0, range(3)))
    (found.state.square().sum() - found.log_density.sum()).backward()
    without = [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert without == []


def test_pictures_and_latents_of_other_shapes_are_refused():
    codec = made()
    with pytest.raises(InputError, match="pictures of another size"):
        codec.encode(torch.zeros(2, 1, 10, 12), Layout.dense(2, (1, 10, 12)))
    with pytest.raises(InputError, match="latents of another shape"):
        codec.decode(torch.zeros(2, 5, 3, 3), Layout.dense(2, (5, 3, 3)))
    x, layout = data(codec)
    with pytest.raises(InputError, match="wrong shape"):
        codec.encode(x[:1], layout)


def test_latents_that_are_not_finite_are_an_error():
    codec = made()
    x, layout = data(codec)
    z = torch.full((3, 4, 3, 3), math.nan)
    with pytest.raises(NonFiniteError, match="latents"):
        codec.decode(z, codec.state_layout(layout))
    with torch.no_grad():
        codec.groups[1].posterior.bias[0] = math.inf
    with pytest.raises(NonFiniteError, match="latents"):
        codec.embed(x, layout, None, NoiseSource(0, range(3)))
