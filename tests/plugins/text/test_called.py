"""Networks that the caller has built, guidance by what is given, and blocks before a suffix."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from small_lms import save_tokenizer

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.spaces import Layout, Tokens
from unnoise.testing import PmfOracle
from unnoise_text.guided import GuidedByText
from unnoise_text.masked_lm import masked_lm

F = torch.float64


class Own(nn.Module):
    """Logits that depend on all tokens, and on the place of each."""

    def __init__(self, wrap=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = nn.Embedding(16, 8), nn.Linear(8, 16)
        self.wrap, self.seen = wrap, []

    def forward(self, tokens):
        self.seen.append(tuple(tokens.shape))
        own = self.embed(tokens)
        logits = 3 * self.out(own.cumsum(1) / 4 + own.mean(1, keepdim=True))
        return type("Answer", (), {"logits": logits})() if self.wrap else logits


@pytest.fixture
def tokenizer(tmp_path):
    from transformers import AutoTokenizer

    save_tokenizer(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("wrap", [False, True])
def test_a_network_of_the_caller(tokenizer, wrap, tmp_path):
    network = Own(wrap)
    model = masked_lm(network, tokenizer, length=12)
    asked = {"prompt": ["we the", "we"], "length": [9, 5], "steps": 12, "seed": 2}
    out = model.generate(**asked)
    assert out.samples == model.generate(**asked, batch_size=1).samples
    assert [len(text.split()) for text in out.samples] == [9, 5]
    assert {shape[1] for shape in network.seen[1:]} == {9, 5}  # nothing is padded
    with pytest.raises(ConfigError, match="the network of this model was handed in"):
        model.save(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    found = model.bound([torch.tensor([5, 6, 7])], evaluations=3)
    assert torch.isfinite(found.total).all()


def test_shifted_logits(tokenizer):
    network, x = Own(), torch.tensor([[5, 4, 7, 4]])
    plain, shifted = (masked_lm(network, tokenizer, length=8, shift=s) for s in (False, True))
    layout = plain.denoiser.kernel.space.layout(x)
    rows = network(x)
    rows[..., 4] = -torch.inf
    for model, places in ((plain, (1, 3)), (shifted, (0, 2))):
        law = model.denoiser(x, 0.5, layout).log_probs
        for token, place in zip((1, 3), places, strict=True):
            torch.testing.assert_close(law[0, token], rows[0, place].log_softmax(-1))


def test_its_dtype_stays(tokenizer):
    network = Own().to(torch.bfloat16)
    model = masked_lm(network, tokenizer, length=8)
    out = model.generate(prompt="we", length=6, steps=6)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert len(out.samples[0].split()) == 6


def test_masks_by_number_and_name(tokenizer, tmp_path):
    bare = tokenizer.backend_tokenizer
    assert masked_lm(Own(), bare, length=8).configuration.known.mask == 4
    assert masked_lm(Own(), tmp_path, length=8, mask="[PAD]").configuration.known.mask == 0
    assert masked_lm(Own(), tokenizer, length=8, mask=15).configuration.known.mask == 15
    for mask in (16, "nothing"):
        with pytest.raises(InputError, match="needs a mask token"):
            masked_lm(Own(), tokenizer, length=8, mask=mask)
    with pytest.raises(InputError, match="this is no tokenizer"):
        masked_lm(Own(), 3, length=8)
    with pytest.raises(ConfigError, match="returns logits"):
        masked_lm(nn.Identity(), tokenizer, length=8, mask=4)


@pytest.mark.parametrize(
    ("asked", "error", "why"),
    [
        ({"length": 1}, ConfigError, "length"),
        ({"length": 10**9}, ConfigError, "length"),
        ({"length": True}, ConfigError, "length is a number"),
        ({"outside": "drp"}, ConfigError, "outside"),
        ({"mask": True}, InputError, "a number or a name"),
        ({"mask": 1.0}, InputError, "a number or a name"),
        ({"network": len}, InputError, "torch.nn.Module"),
    ],
)
def test_wrong_arguments(tokenizer, tmp_path, asked, error, why):
    given = {"network": Own(), "tokenizer": tokenizer, "length": 8, **asked}
    with pytest.raises(error, match=why):
        masked_lm(given.pop("network"), given.pop("tokenizer"), **given)


# ---- guidance

generator = torch.Generator().manual_seed(5)
PMF = torch.rand(3, 3, 3, generator=generator, dtype=F) ** 3
PMF = PMF / PMF.sum()


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guided_laws_by_enumeration(scale):
    # token 0 is given, token 1 was written by the run, token 2 is hidden
    oracle = PmfOracle(CategoricalKernel(Tokens(4), Absorbing(3)), PMF)
    guided = GuidedByText(oracle, scale)
    layout = Layout.dense(1, (3,), dtype=torch.int64)
    given = torch.tensor([[True, False, False]])
    for a, b in itertools.product(range(3), repeat=2):
        x = torch.tensor([[a, b, 3]])
        law = guided(x, 0.5, layout, {"given": given}).log_probs[0]
        own = PMF[a, b] / PMF[a, b].sum()
        others = PMF[:, b].sum(0) / PMF[:, b].sum()
        expected = others ** (1 - scale) * own**scale
        torch.testing.assert_close(law[2, :3].exp(), expected / expected.sum())
        assert law[0].argmax() == a
        assert law[1].argmax() == b
        rows = guided.at(x, 0.5, layout, x == 3, {"given": given})
        torch.testing.assert_close(rows[0], law[2])
    assert guided.evaluations == 2


def test_guidance_from_a_request(model, make_model):
    asked = {"prompt": "we the ", "steps": 24, "num_samples": 2, "seed": 1}
    plain = model.generate(**asked)
    one = model.generate(**asked, guidance_scale=1.0)
    assert one.samples == plain.samples
    assert one.provenance["evaluations"] == 2 * plain.provenance["evaluations"]
    assert model.generate(**asked, guidance_scale=4.0).samples != plain.samples
    with pytest.raises(ConfigError, match="needs the absorbing kernel"):
        make_model(kernel="uniform").generate(**asked, guidance_scale=2.0)


# ---- blocks


class Watched(nn.Module):
    """Keeps what a network is shown."""

    def __init__(self):
        super().__init__()
        self.own, self.shown = Own(), []

    def forward(self, tokens):
        self.shown.append(tokens.clone())
        return self.own(tokens)


def test_a_block_sees_what_is_given_after_it(tokenizer):
    network = Watched()
    model = masked_lm(network, tokenizer, length=12)
    asked = {"prompt": "we the", "suffix": "in order", "steps": 12, "seed": 1}
    fits = model.generate(**asked, length=12, block=4)
    shown = network.shown[1:]
    assert all(x[0, -2:].tolist() == [11, 12] for x in shown)
    assert fits.samples[0].endswith("in order")
    assert fits.provenance["evaluations"] == 8  # each gap token once
    # hidden tokens after a block stay hidden until their own
    assert (shown[0][0, 4:10] == 4).all()
    del network.shown[:]
    model.generate(**asked, length=40, block=4)
    sizes = [int((x == 12).sum()) for x in network.shown]
    assert max(x.shape[1] for x in network.shown) <= 12
    assert sizes[0] == 0  # out of sight
    assert sizes[-1] > 0
    near = [x for x in network.shown if 12 in x[0].tolist()]
    assert len(near) >= 6
