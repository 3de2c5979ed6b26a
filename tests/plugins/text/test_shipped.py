"""The bundle inside the wheel: small, safe, and able to fill gaps in English."""

from __future__ import annotations

import pytest
import torch

import unnoise
from unnoise import api
from unnoise.storage.bundle import read_bundle
from unnoise_text.domain import Text

TEMPLATE = "my fellow ____:20 , the state of our union is ____:12"


@pytest.fixture(scope="module")
def model():
    return api.load("text")


def test_it_is_small_and_says_what_it_is():
    bundle = read_bundle(Text.bundle)
    assert sum(f.stat().st_size for f in Text.bundle.iterdir()) < 10e6
    assert bundle.domain == "text"
    for entry in ("data", "licence", "split", "command"):
        assert bundle.card[entry]
    assert {value.dtype for value in bundle.state_dict.values()} == {torch.float16}


def test_what_is_given_comes_back_with_what_the_alphabet_lacks(model):
    out = model.generate(template=TEMPLATE, num_samples=2, seed=1)
    for text in out.samples:
        assert text.startswith("my fellow ")
        assert " , the state of our union is " in text
        assert set(text) <= set(" ,abcdefghijklmnopqrstuvwxyz")
    assert out.samples[0] != out.samples[1]
    assert out.samples == model.generate(template=TEMPLATE, num_samples=2, seed=1).samples


def test_it_writes_words_of_the_addresses(model):
    words = "the of and to in a that for states be government congress which our have by united"
    text = " ".join(model.generate(num_samples=4, seed=0).samples)
    common = sum(word in words.split() for word in text.split())
    assert common / len(text.split()) > 0.2  # letters at random: below 0.01


def test_it_knows_english_from_letters_in_any_other_order(model):
    english = "the united states and the people of this government have been called to peace"
    mixed = " ".join("".join(sorted(word)) for word in english.split())
    tokens = [torch.tensor(model.configuration.vocabulary.encode(t)) for t in (english, mixed)]
    nats = [model.bound([t], steps=200, evaluations=50).total.item() for t in tokens]
    assert nats[0] < 0.7 * nats[1]


def test_the_demo_asks_the_network_once_per_token_at_most():
    out = unnoise.generate("text", **Text.demo)
    assert len(out.samples) == Text.demo["num_samples"]
    assert out.provenance["evaluations"] <= 32
