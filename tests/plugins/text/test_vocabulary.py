"""Vocabularies: round trips, characters that they lack, hashes, what cannot be one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unnoise.errors import BundleError, ConfigError, InputError
from unnoise_text.byte_pairs import learned_tokenizer
from unnoise_text.characters import Characters
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.vocabulary import Subwords, read_tokenizer

LETTERS = " abcdefghijklmnopqrstuvwxyz"
TEXT = "the people of the united states and the people of the world in peace and in war " * 20


@pytest.fixture(scope="module")
def pairs() -> Subwords:
    return learned_tokenizer([TEXT], 64, "map")


def test_characters_round_trip():
    vocabulary = Characters(LETTERS)
    tokens = vocabulary.encode(TEXT)
    assert (len(tokens), min(tokens), vocabulary.size) == (len(TEXT), 0, 27)
    assert vocabulary.decode(tokens) == TEXT
    assert vocabulary.decode([1, 27, 2]) == "ab"  # the mask is no text


def test_characters_outside():
    with pytest.raises(InputError, match="outside the vocabulary; got '!A'"):
        Characters(LETTERS).encode("A cat!")
    assert Characters(LETTERS, "map").encode("a!c") == [1, 0, 3]
    drop = Characters(LETTERS, "drop")
    assert drop.decode(drop.encode("a cat , b!")) == "a cat b"
    assert drop.encode("!!") == []


def test_characters_that_are_no_alphabet():
    for alphabet in ("a", "aa", ""):
        with pytest.raises(ConfigError, match="two different characters"):
            Characters(alphabet)
    with pytest.raises(ConfigError, match="replacement is one character of the alphabet"):
        Characters("ab", "map")


def test_hash_knows_every_rule():
    made = [
        Characters(LETTERS),
        Characters(LETTERS + "."),
        Characters(LETTERS, "drop"),
        Characters(LETTERS, "map"),
        Characters(LETTERS, "map", "a"),
    ]
    assert len({vocabulary.hash for vocabulary in made}) == len(made)


def test_byte_pairs_are_lossless_and_shorter(pairs):
    tokens = pairs.encode(TEXT)
    assert pairs.decode(tokens) == TEXT
    assert len(tokens) < len(TEXT) / 2
    assert pairs.size <= 64
    assert pairs.mask not in tokens
    # pieces of a text join up to the text
    assert pairs.decode(tokens[:7]) + pairs.decode(tokens[7:]) == TEXT


def test_byte_pairs_are_the_same_again(pairs):
    assert learned_tokenizer([TEXT], 64, "map").hash == pairs.hash


def test_byte_pairs_outside(pairs):
    with pytest.raises(InputError, match="outside the vocabulary"):
        replace(pairs, outside="error").encode("the people, all")
    drop = learned_tokenizer([TEXT], 64, "drop")
    assert drop.decode(drop.encode("the people , and")) == "the people and"
    mapped = learned_tokenizer([TEXT], 64, "map")
    assert mapped.unknown in mapped.encode("the people , and")


def test_separators(pairs):
    assert pairs.decode(pairs.separator) == " "
    assert Characters("ab\n ").separator == (2,)
    assert Characters("ab").separator == ()


@pytest.mark.parametrize(("size", "outside"), [(3, "drop"), (257, "error"), (1 << 30, "drop")])
def test_sizes_of_byte_pairs(size, outside):
    with pytest.raises(ConfigError, match="size of a vocabulary"):
        learned_tokenizer([TEXT], size, outside)


def test_byte_pairs_begin_with_every_byte():
    whole = learned_tokenizer([TEXT], 300, "error")
    every = "".join(map(chr, [*range(0x20, 0x180), 0x4E2D, 0x1F600]))
    assert whole.decode(whole.encode(every)) == every
    assert len(whole.encode(TEXT)) < len(TEXT) / 2
    assert whole.unknown is None


def test_a_folder_of_transformers(tmp_path, pairs):
    from transformers import PreTrainedTokenizerFast

    (tmp_path / "tokenizer.json").write_text(pairs.content)
    PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), mask_token="[ MASK ]", unk_token="[ UNK ]"
    ).save_pretrained(tmp_path / "saved")
    read = read_tokenizer(tmp_path / "saved", "error")
    assert (read.mask, read.unknown, read.end) == (pairs.mask, pairs.unknown, None)
    assert read.encode(TEXT) == pairs.encode(TEXT)


def test_unknown_tokenizer_files(tmp_path):
    with pytest.raises(InputError, match="there is no such tokenizer"):
        read_tokenizer(tmp_path / "nothing", "error")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"this is no tokenizer\.json"):
        read_tokenizer(tmp_path, "error")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="no tokenizer that transformers can read"):
        read_tokenizer(tmp_path, "error")
    with pytest.raises(ConfigError, match=r"not a tokenizer\.json"):
        Subwords("{}").encode("a")


def test_a_bundle_with_another_vocabulary_is_refused():
    vocabulary = Characters(LETTERS)
    learned = Learned(alphabet=LETTERS, hash=vocabulary.hash, vocab=28)
    assert Configuration(learned=learned).vocabulary.encode("a") == [1]
    changed = learned.model_copy(update={"alphabet": LETTERS[::-1]})
    with pytest.raises(BundleError, match="not the one that this model was made with"):
        _ = Configuration(learned=changed).vocabulary
    small = learned.model_copy(update={"vocab": 26})
    with pytest.raises(BundleError, match="larger than the network's"):
        _ = Configuration(learned=small).vocabulary
    with pytest.raises(ConfigError, match="no vocabulary"):
        _ = Configuration().vocabulary


def test_tokens_after_others(pairs):
    tokens = pairs.encode("the people of")
    for cut in range(len(tokens)):
        before, after = tokens[:cut], tokens[cut:]
        assert pairs.decode(before) + pairs.decode_after(before, after) == "the people of"
    assert torch.tensor(tokens).max() < pairs.size
