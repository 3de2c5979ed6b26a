"""Chains and products of codecs."""

from __future__ import annotations

import pytest
import torch

from unnoise.codecs import Affine, Chain, Identity, ProductCodec
from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise.testing import core_examples, parametrize_with_checks

F64 = torch.float64


@parametrize_with_checks([*core_examples.chain_codecs(), *core_examples.product_codecs()])
def test_conformance(check):
    check()


def test_the_terms_of_a_chain_add():
    """Scaled codes bound the evidence as the codes do: N(0, I) of codes is N(0, 25 I) of theirs."""
    (linear,) = core_examples.autoencoder_codecs()
    layout = Layout.dense(3, (3,), dtype=F64)
    x = NoiseSource(0, range(3)).normal(layout)
    plain = linear.encode(x, layout, None, NoiseSource(1, range(3)))
    scaled = Chain(linear, Affine(scale=0.2)).encode(x, layout, None, NoiseSource(1, range(3)))
    one, five = (
        Gaussian(torch.zeros(3, 2, dtype=F64), std, layout=found.layout).log_prob(found.state)
        for std, found in ((1.0, plain), (5.0, scaled))
    )
    torch.testing.assert_close(five + scaled.log_density, one + plain.log_density)
    gain = linear.decode(plain.state, plain.layout).log_prob(x)
    torch.testing.assert_close(plain.log_density + plain.log_posterior, gain)
    torch.testing.assert_close(scaled.log_density + scaled.log_posterior, gain)
    assert Chain(Affine(), Identity()).encode(x, layout).log_posterior is None
    back = Chain(linear, Affine(scale=0.2)).decode(scaled.state, scaled.layout)
    torch.testing.assert_close(back.mean, linear.decode(plain.state, plain.layout).mean)


def test_only_the_first_of_a_chain_may_be_stochastic():
    (linear,) = core_examples.autoencoder_codecs()
    with pytest.raises(ConfigError, match="all codecs but the first"):
        Chain(Affine(), linear)
    assert not Chain(linear, Affine()).invertible
    assert Chain(Affine(), Identity()).invertible


def test_a_product_adds_the_terms_of_its_parts():
    (example,) = core_examples.product_codecs()
    codec, layout, data = example.subject, example.arguments["layout"], example.arguments["data"]
    found = codec.encode(data, layout, None, NoiseSource(0, range(3)))
    own = codec.codecs["where"].encode(
        data["where"], layout["where"], None, NoiseSource(0, range(3))
    )
    torch.testing.assert_close(found.log_density, own.log_density)
    torch.testing.assert_close(found.log_posterior, own.log_posterior)
    assert torch.equal(found.state["what"], data["what"])
    assert found.layout["where"].shape == (3, 4, 2)
    law = codec.decode(found.state, found.layout)
    assert law.mode["where"].shape == (3, 4, 3)
    with pytest.raises(ConfigError, match="one part"):
        ProductCodec({})
    with pytest.raises(InputError, match="product state"):
        codec.encode(data["where"], layout)


def test_the_identity_checks_what_it_is_given():
    layout = Layout.dense(2, (3,))
    with pytest.raises(InputError, match="shape"):
        Identity().encode(torch.zeros(2, 2), layout)
    with pytest.raises(NonFiniteError):
        Identity().encode(torch.full((2, 3), torch.inf), layout)
