"""Closed alphabets: what they fold, what they cannot see, and what is said of it."""

from __future__ import annotations

import string
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_lms import SPECIAL, WORDS, save_network, save_tokenizer

from unnoise.cli import main
from unnoise.errors import InputError
from unnoise_text.byte_pairs import learned_tokenizer
from unnoise_text.canvas import canvas, given
from unnoise_text.characters import Characters
from unnoise_text.folding import DIGITS, Folding
from unnoise_text.masked_lm import load_masked_lm

SMALL = " " + string.ascii_lowercase
CORPUS = ["the congress of the united states of america in war and peace " * 20, " ".join(DIGITS)]
CORPUS.append(" ".join(string.ascii_lowercase))


def closed(outside):
    """Both kinds of closed alphabet."""
    return [Characters(SMALL, outside), learned_tokenizer(CORPUS, 96, outside)]


@pytest.mark.parametrize("kind", [0, 1], ids=["characters", "pairs"])
@pytest.mark.parametrize(
    ("text", "read", "unseen"),
    [
        ("The Congress", "the congress", ""),
        ("of 1945", "of one nine four five ", ""),
        ("of 1945 and", "of one nine four five and", ""),
        ("Élan, naïve; Ærø", "elan naive aeroe"[:11] + "aero", ",;"),
        ("don’t — stop!", "don t stop ", "!—’"),
        ("war\nand\tpeace", "war and peace", ""),
        ("٣ kings", " three kings", ""),
        ("日本 war", " war", "日本"),
        ("the congress", "the congress", ""),
    ],
)
def test_what_is_folded(kind, text, read, unseen):
    vocabulary = closed("fold")[kind]
    reading = vocabulary.read(text)
    assert (reading.text, reading.unseen) == (read, unseen)
    assert vocabulary.decode(reading.tokens) == read
    assert list(reading.tokens) == vocabulary.encode(text) == vocabulary.encode(read)


@pytest.mark.parametrize("kind", [0, 1], ids=["characters", "pairs"])
def test_a_capital_is_never_lost(kind):
    for outside in ("fold", "drop", "map"):
        vocabulary = closed(outside)[kind]
        for letter in string.ascii_uppercase:
            tokens = vocabulary.encode(f"x {letter}x")
            assert vocabulary.decode(tokens) == f"x {letter.lower()}x"


@pytest.mark.parametrize("kind", [0, 1], ids=["characters", "pairs"])
def test_the_rest_is_a_space_nothing_or_the_replacement(kind):
    read = [closed(o)[kind].read("The war; and (peace)").text for o in ("fold", "drop")]
    assert read == ["the war and peace ", "the war and peace"]
    assert closed("drop")[kind].read("a , b!").text == "a b"
    mapped = closed("map")[kind]
    assert mapped.read("war;").unseen == ";"
    assert len(mapped.encode("war;")) > len(mapped.encode("war"))


def test_an_alphabet_of_capitals_and_one_without_spaces():
    assert Characters(string.ascii_uppercase + " ", "fold").read("war 7").text == "WAR SEVEN "
    assert Characters(SMALL + "0123456789", "fold").read("In 1945").text == "in 1945"
    assert Characters("abc", "fold").read("a b; C").text == "abc"
    assert Characters(string.ascii_lowercase, "fold").read("x1y").text == "xoney"


def test_a_word_that_is_known_as_a_whole_only(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path)
    model = load_masked_lm(tmp_path, outside="fold")
    reading = model.configuration.vocabulary.read("We THE senate, people")
    assert reading.text.split() == ["we", "the", "people"]
    assert set("senate") <= set(reading.unseen)
    out = model.generate(template="We, the ____:2 OF States", steps=2)
    assert out.samples[0].startswith("We, the ")
    assert out.samples[0].endswith(" OF States")
    assert any("reads 'We, the' as 'we the'" in note for note in out.provenance["notes"])


def test_folding_is_found_once():
    asked = []
    table = Folding(lambda c: asked.append(c) or c in SMALL, None)
    for _ in range(3):
        assert table.fold("AÉ AÉ") == "ae ae"
    assert len(asked) < 30


def test_what_the_model_reads_is_said_with_the_result(make_model, tmp_path, capsys):
    model = make_model(outside="fold")
    out = model.generate(template="The 3 ____:3 of, us", length=24, num_samples=2, steps=2)
    assert all(t.startswith("The 3 ") and t.endswith(" of, us") for t in out.samples)
    assert out.provenance["notes"] == [
        "the model reads 'The 3 ' as 'the three '",
        "the model reads ' of, us' as ' of us' and sees nothing of ',' in ' of, us'",
    ]
    assert "notes" not in model.generate(prompt="we the", suffix="us", steps=2).provenance
    model.save(tmp_path / "model")
    words = ["generate", "text", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main([*words, "--prompt", "We", "--suffix", "u", "--steps", "2"]) == 0
    assert "note: the model reads 'We' as 'we'" in capsys.readouterr().err


def test_a_request_may_read_in_another_way_than_the_model(model):
    with pytest.raises(InputError, match="outside='fold' writes them"):
        model.generate(prompt="We the", steps=2)
    out = model.generate(prompt="We the", suffix="!", outside="fold", steps=2)
    assert out.samples[0].startswith("We the")
    assert out.samples[0].endswith("!")
    assert len(out.provenance["notes"]) == 2


# ---- special strings are text


def test_special_strings_are_plain_text():
    for outside in ("error", "fold", "drop", "map"):
        pairs = learned_tokenizer([*CORPUS, "[MASK] [ MASK ] [UNK] " * 200], 300, outside)
        for text in ("the [MASK] of", "[ MASK ]", "[UNK][MASK]", "[ UNK ]"):
            tokens = pairs.encode(text)
            assert not {pairs.mask, pairs.unknown} & set(tokens), (outside, text)
            assert pairs.decode(tokens) == text


def test_a_special_token_that_is_a_word_of_the_vocabulary_is_cut_in_two(tmp_path):
    # WordPiece finds "[MASK]" among its words when nothing parts the brackets from it
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*SPECIAL, "the", "[MA", "##SK]", "SK]", "[CL", "S]"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    from unnoise_text.vocabulary import Subwords

    tokenizer.add_special_tokens(SPECIAL)
    vocabulary = Subwords(tokenizer.to_str(), mask=4, unknown=1, outside="map")
    assert vocabulary.encode("the [MASK] the") == [5, 6, 8, 5]
    assert not set(vocabulary.encode("[CLS] [SEP] [PAD] [MASK]")) & {0, 2, 3, 4}


def test_documents_of_special_strings_train(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    for k in range(4):
        (data / f"{k}.txt").write_text("we [MASK] the [UNK] people [CLS] of [PAD] " * 30)
    out = tmp_path / "run"
    tiny = ["--width=16", "--depth=1", "--heads=2", "--length=16", "--batch-size=4", "--steps=2"]
    quick = ["--validation-batches=1", "--bound-samples=2", "--bound-evaluations=2"]
    words = ["train", "text", "--data", str(data), "--out", str(out), "--tokenizer=bpe:280"]
    assert main([*words, *tiny, *quick]) == 0
    assert "inf" not in capsys.readouterr().out


def test_a_mask_in_a_prompt_is_given_and_not_a_gap(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path, [*WORDS, "[", "]"])
    model = load_masked_lm(tmp_path, outside="drop")
    out = model.generate(template="we [MASK] the ____:2 of", steps=2)
    assert out.samples[0].startswith("we [MASK] the ")
    assert model.configuration.known.mask not in out.states[0].tolist()


# ---- what may stand in a gap


def test_gaps_hold_text_only(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path)  # 13 of the network's 16 tokens
    model = load_masked_lm(tmp_path)
    for sampler in ("first-hitting", "ancestral", "confidence"):
        out = model.generate(length=12, num_samples=40, steps=4, sampler=sampler, temperature=3)
        found = set(torch.as_tensor(out.states).flatten().tolist())
        assert found <= set(range(5, 13))
        assert len(found) > 4
        assert all(len(text.split()) == 12 for text in out.samples)


def test_gaps_of_other_kernels_hold_text_only(make_model):
    model = make_model(kernel="uniform")
    known = model.configuration.known.model_copy(update={"vocab": 40})
    model = make_model(kernel="uniform", learned=known)
    out = model.generate(num_samples=20, steps=4)
    assert int(torch.as_tensor(out.states).max()) < 27
    assert all(len(text) == 24 for text in out.samples)


def test_a_gap_after_a_space_begins_with_a_word(tmp_path):
    vocabulary = learned_tokenizer(CORPUS, 96, "fold")
    spaced = vocabulary.spaced(96)
    assert spaced[vocabulary.encode("x war")[-1]] or vocabulary.decode([int(spaced.nonzero()[0])])
    assert all(
        vocabulary.decode_after([5], [i])[:1] == " " for i in spaced.nonzero().flatten().tolist()
    )
    one = canvas("war ____:2", 9, vocabulary)
    assert one.pieces[1].spaced
    assert not canvas("war____:2", 9, vocabulary).pieces[1].spaced
    assert not given("war\n", None, 9, learned_tokenizer(CORPUS, 280, "error")).pieces[1].spaced


# ---- the end of a text


def end_model(make_model):
    """A model of four tokens beside end and mask, for which documents end."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from unnoise_text.configuration import Learned
    from unnoise_text.vocabulary import Subwords

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["a", "b", "c", "<end>"])}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<end>"])
    own = Subwords(tokenizer.to_str(), end=3)
    known = Learned(tokenizer=own.content, end=3, hash=own.hash, vocab=5, ends=True)
    return make_model(learned=known), make_model(learned=known.model_copy(update={"ends": False}))


def test_a_text_may_end_where_the_model_knows_its_end(make_model):
    ends, endless = end_model(make_model)
    asked = {"prompt": "a b", "num_samples": 30, "steps": 24, "temperature": 4.0}
    sizes = {len(text.split()) for text in ends.generate(**asked).samples}
    assert len(sizes) > 4
    assert min(sizes) >= 2
    assert {len(text.split()) for text in endless.generate(**asked).samples} == {24}
    # in the middle of a text nothing ends
    between = ends.generate(template="a ____:8 b", num_samples=30, temperature=4.0)
    assert {len(text.split()) for text in between.samples} == {10}
    assert not (torch.as_tensor(between.states) == 3).any()
