"""Gaps that follow a pattern: always valid, whatever is given around them."""

from __future__ import annotations

import json
import re
import sys

import pytest

from unnoise import api
from unnoise.errors import InputError, PluginError
from unnoise_text.patterns import language

pytest.importorskip("outlines_core")

SIGNS = ' abcdefghijklmnopqrstuvwxyz0123456789-@.{}[]:,"'
DATE = r"(january|may|june) [a-z]{3,6} twenty (one|two|three)"
BRACKETS = r"(\[(\[(\[\])*\])*\])+"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture
def of_signs(make_model):
    """An untrained model of letters, digits and brackets."""
    return make_model(SIGNS, length=32)


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        ({}, "", ""),
        ({"prompt": "it was in "}, "it was in ", ""),
        ({"prompt": "it was in", "suffix": " that he came"}, "it was in", " that he came"),
        ({"template": "on ____ he came"}, "on ", " he came"),
        ({"template": "on ____:6"}, "on ", ""),
    ],
)
def test_what_comes_matches_as_a_whole(given, before, after):
    pattern = f"( |){DATE}" if before.endswith("in") else DATE
    out = api.generate("text", pattern=pattern, num_samples=2, particles=2, seed=1, **given)
    for text in out.samples:
        assert text.startswith(before)
        assert text.endswith(after)
        assert re.fullmatch(pattern, text.removeprefix(before).removesuffix(after))
    assert out.provenance["sampled"][0]["least_effective"] >= 1
    assert "Language" in out.provenance["sampler"]


def test_a_sample_is_the_same_in_any_batch():
    asked = {"pattern": DATE, "seed": 3, "particles": 4}
    many = api.generate("text", num_samples=3, **asked).samples
    assert api.generate("text", num_samples=3, batch_size=1, **asked).samples == many
    assert len(set(many)) > 1


@pytest.mark.parametrize(
    "pattern", [r"\d{4}-\d\d-\d\d", r"[a-z]{2,5}(\.[a-z]+)?@[a-z]{2,6}\.(com|org)", BRACKETS]
)
def test_dates_addresses_and_brackets(of_signs, pattern):
    out = of_signs.generate(pattern=pattern, num_samples=40, particles=2)
    assert all(re.fullmatch(pattern, text) for text in out.samples)
    assert len(set(out.samples)) > 10 or pattern == BRACKETS


def test_json(of_signs):
    asked = {"num_samples": 20, "particles": 2, "length": 30}
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        for text in of_signs.generate(json_schema=schema, **asked).samples:
            found = json.loads(text)
            assert set(found) == {"name", "age"}
            assert type(found["age"]) is int
            assert len(found["name"]) <= 4
    with pytest.raises(InputError, match="no schema"):
        of_signs.generate(json_schema="{", num_samples=1)


def test_every_way_to_write_a_text_counts():
    """ "the" is one token, or two, or three, of the vocabulary of byte pairs."""
    model = api.load("text")
    vocabulary, known = model.configuration.vocabulary, model.configuration.known
    found = language("the", vocabulary, known.vocab, 1)
    ways = [n for n, yes in enumerate(found.lengths(5).tolist()) if yes]
    assert ways[-1] == 3
    assert len(ways) >= 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"pattern": "(ab"}, "the pattern is not one"),
        ({"pattern": "[0-9]{4}"}, "cannot be written"),
        ({"pattern": "a", "json_schema": "{}"}, "leave one out"),
        ({"pattern": "a", "order": "confidence"}, "filled by particles"),
        ({"pattern": "a", "block": 4}, "filled by particles"),
        ({"pattern": "a", "template": "a ____ b ____"}, "one gap"),
        ({"pattern": "a", "template": "a ____:3w b"}, "one gap"),
        ({"pattern": "a", "length": 3}, "this number of tokens"),
        ({"pattern": "[a-z]{60}", "prompt": "of the " * 63}, "so few tokens"),
        ({"pattern": "a", "sampler": "ancestral"}, "walk in their own way"),
    ],
)
def test_what_cannot_be_done_is_said(asked, said):
    with pytest.raises(InputError, match=said):
        api.generate("text", **asked)


def test_other_noise_and_no_library(make_model, monkeypatch):
    with pytest.raises(InputError, match="absorbing"):
        make_model(kernel="uniform").generate(pattern="a")
    monkeypatch.setitem(sys.modules, "outlines_core", None)
    language.cache_clear()
    with pytest.raises(PluginError, match=r"unnoise-text\[patterns\]"):
        make_model().generate(pattern="a")
