"""Gaps of words and of characters: exact, and their law by enumeration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_lms import save_network, save_tokenizer

from unnoise import api
from unnoise.errors import InputError
from unnoise_text.masked_lm import load_masked_lm
from unnoise_text.units import measured

F = torch.float64


@pytest.mark.parametrize(("before", "after"), [("my fellow ", " of"), ("war and", ""), ("", " x")])
def test_words_and_characters_of_byte_pairs(before, after):
    model = api.load("text")
    for amount, unit, number in ((4, "w", lambda t: len(t.split())), (13, "c", len)):
        template = f"{before}____:{amount}{unit}{after}"
        out = model.generate(template=template, num_samples=3, seed=2)
        gaps = [t.removeprefix(before).removesuffix(after) for t in out.samples]
        assert [number(gap) for gap in gaps] == [amount] * 3
        assert any(f"____:{amount}{unit} has {amount}" in n for n in out.provenance["notes"])


def test_characters_of_characters_and_words_about(model):
    out = model.generate(template="we ____:7c of", num_samples=3)
    assert all(len(t) == 3 + 7 + 3 for t in out.samples)
    out = model.generate(template="we ____:3w", num_samples=2, length=24)
    assert "about 3 words" in " ".join(out.provenance["notes"])


def test_words_of_whole_words(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path)
    out = load_masked_lm(tmp_path).generate(template="we ____:5w of", num_samples=4)
    assert all(len(text.split()) == 7 for text in out.samples)


def test_units_are_filled_a_token_at_a_time(model):
    for asked in ({"order": "confidence"}, {"block": 4}, {"steps": 2}, {"grid": "quadratic"}):
        with pytest.raises(InputError, match="a token at a time"):
            model.generate(template="we ____:5c", **asked)
    with pytest.raises(InputError, match="already fixes its sampler"):
        model.generate(template="we ____:5c", sampler="ancestral")
    with pytest.raises(InputError, match="words of a gap"):
        model.generate(template="we ____:0w")
    # a unit is the end of a word
    assert model.generate(template="____:{2}war").samples[0].endswith("war")


def test_the_law_of_the_last_and_of_any_token():
    weights = torch.tensor([1, 2, 3, -1])
    p = torch.tensor([0.2, 0.5, 0.2, 0.1], dtype=F)
    for left in (1, 2, 3):
        law = measured(p.log(), weights, left, 1).exp()
        assert law.tolist() == [float(w == left) for w in weights.tolist()]
    law = measured(p.log(), weights, 4, 2).exp()
    own = p[:3] / p[:3].sum()
    mean = (own * weights[:3]).sum()
    spread = (own * (weights[:3] - mean) ** 2).sum()
    expected = own * torch.exp(-((4 - weights[:3] - mean) ** 2) / 2 / spread)
    torch.testing.assert_close(law[:3], expected / expected.sum())


@pytest.mark.parametrize("weights", [[0, 1, 1, -1], [1, 2, 3, -1], [2, 3, 4, -1]])
@pytest.mark.parametrize("hidden", [1, 2, 3, 6])
def test_every_way_ends_at_the_number(weights, hidden):
    generator = torch.Generator().manual_seed(hidden)
    own = torch.tensor(weights)
    possible = own[own >= 0]
    for left in range(hidden * int(possible.min()), hidden * int(possible.max()) + 1):
        for _ in range(5):
            p = torch.rand(4, generator=generator, dtype=F).softmax(-1)
            lacking = left
            for h in range(hidden, 0, -1):
                law = measured(p.log(), own, lacking, h).exp()
                lacking -= int(own[torch.multinomial(law, 1, generator=generator)])
            assert lacking == 0
