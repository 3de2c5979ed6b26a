"""Data: every format, the split by document, windows, and everything that is refused."""

from __future__ import annotations

import json

import pytest
import torch

from unnoise.errors import ConfigError, InputError
from unnoise_text.data import configure, read
from unnoise_text.documents import documents

TEXTS = ["we the people", "of the united states", "in order to form", "a more perfect union"]


def write_jsonl(path, key="text"):
    path.write_text("\n".join(json.dumps({key: text}) for text in [*TEXTS, ""]) + "\n\n")


def test_plain_files_and_folders(tmp_path):
    for k, text in enumerate(TEXTS):
        (tmp_path / f"{k}.txt").write_text(text)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "notes.rst").write_text("not data")
    assert list(documents(tmp_path)) == TEXTS
    assert list(documents(tmp_path / "2.txt")) == [TEXTS[2]]


@pytest.mark.parametrize(("key", "field"), [("text", None), ("content", None), ("body", "body")])
def test_jsonl(tmp_path, key, field):
    write_jsonl(tmp_path / "a.jsonl", key)
    assert list(documents(tmp_path / "a.jsonl", field)) == TEXTS


def test_jsonl_of_strings(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, TEXTS)))
    assert list(documents(tmp_path / "a.jsonl")) == TEXTS


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"n": [1, 2, 3, 4, 5], "text": [*TEXTS, None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert list(documents(tmp_path)) == TEXTS
    with pytest.raises(InputError, match="field 'n' is not text"):
        list(documents(tmp_path, "n"))
    (tmp_path / "b.parquet").write_text("no")
    with pytest.raises(InputError, match="not a parquet file"):
        list(documents(tmp_path / "b.parquet"))


def test_saved_data_sets(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "saved")
    assert list(documents(tmp_path / "saved")) == TEXTS


def test_a_saved_data_set_without_datasets(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(InputError, match="pip install datasets"):
        list(documents(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "the data hold no text"),
        ("a.txt", b" \n\n", "the data hold no text"),
        ("a.txt", b"caf\xe9", "not UTF-8"),
        ("a.doc", b"text", "this is no text file"),
        ("a.jsonl", b"{text", "line 1 is not JSON"),
        ("a.jsonl", b'{"body": "x"}', "no field text or content or document"),
        ("a.jsonl", b'{"text": 3}', "field 'text' is not text"),
        ("a.jsonl", b"[1]", "not an object"),
        ("a.jsonl", b'"\xe9"', "not UTF-8"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(documents(tmp_path / name))


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        list(documents(tmp_path / "nothing"))
    with pytest.raises(InputError, match="holds no text files"):
        list(documents(tmp_path))


def parts(source, **options):
    configuration = configure(source, {"length": 8, **options})
    vocabulary = configuration.vocabulary
    both = [read(source, configuration, part) for part in ("train", "validation")]
    return configuration, [vocabulary.decode(part.tokens.tolist()) for part in both], both


def test_whole_documents_are_held_out(tmp_path):
    for k, text in enumerate(TEXTS):
        (tmp_path / f"{k}.txt").write_text(text)
    configuration, (train, held_out), _ = parts(tmp_path, held_out=2)
    assert train == "we the people in order to form"
    assert held_out == "of the united states a more perfect union"
    assert configuration.held_out == 2
    assert parts(tmp_path)[0].held_out == 1
    assert parts(tmp_path, held_out=0)[1][1] == ""
    with pytest.raises(ConfigError, match="no document to train on"):
        parts(tmp_path, held_out=4)


def test_the_last_tenth_of_a_single_document(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefghij" * 20)
    _, (train, held_out), _ = parts(tmp_path)
    assert (train, held_out) == ("abcdefghij" * 18, "abcdefghij" * 2)


def test_windows(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefghij" * 21)
    configuration, (text, _), (train, held_out) = parts(tmp_path)
    assert (len(text), len(train), len(held_out)) == (189, 23, 2)
    decode = configuration.vocabulary.decode
    assert decode(held_out[0].tolist()) == "jabcdefg"  # held out: in order, without a shift
    assert decode(held_out[1].tolist()) == "hijabcde"
    torch.manual_seed(0)
    found = [decode(train[22].tolist()) for _ in range(50)]
    assert {len(w) for w in found} == {8}
    assert len(set(found)) > 3
    assert all(w in text for w in found)
    with pytest.raises(IndexError):
        train[23]


def test_less_text_than_a_window(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    _, _, (train, held_out) = parts(tmp_path, held_out=0)
    assert (len(train), len(held_out)) == (1, 0)
    assert train[0].shape == (3,)


def test_the_alphabet_is_that_of_the_data_or_given(tmp_path):
    (tmp_path / "a.txt").write_text("abc abd!")
    assert configure(tmp_path, {}).known.alphabet == " !abcd"
    with pytest.raises(InputError, match="outside the vocabulary; got '!'"):
        parts(tmp_path, alphabet=" abcd")
    assert parts(tmp_path, alphabet=" abcd", outside="drop", held_out=0)[1][0] == "abc abd"
    with pytest.raises(InputError, match="not one token is left"):
        parts(tmp_path, alphabet="xy", outside="drop", held_out=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "bpe:many"}, "bpe needs a size"),
        ({"tokenizer": "bpe:128", "alphabet": "ab"}, "an alphabet belongs to"),
        ({"tokenizers": "x"}, "did you mean 'tokenizer'"),
        ({"length": 1}, "'length'"),
        ({"width": 10, "heads": 3}, "width is a multiple of heads"),
        ({"goal": "masked", "kernel": "uniform"}, "masked belongs to the absorbing kernel"),
        ({"goal": "score_entropy", "kernel": "nearest"}, "score_entropy needs"),
        ({"goal": "score_entropy", "chain": 10}, "score_entropy needs"),
        ({"kernel": "matrix"}, "transitions belong together"),
    ],
)
def test_options_that_cannot_be_used(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        configure(folder, options)


def test_an_unknown_tokenizer(folder):
    with pytest.raises(InputError, match="there is no such tokenizer"):
        configure(folder, {"tokenizer": "nowhere"})


def test_byte_pairs_of_the_training_part(folder):
    asked = {"tokenizer": "bpe:128", "outside": "drop"}
    configuration, (train, held_out), (tokens, _) = parts(folder, **asked)
    expected = [p.read_text() for k, p in enumerate(sorted(folder.iterdir())) if k not in (9, 19)]
    assert train == " ".join(expected)
    assert len(held_out) > 100
    assert len(tokens.tokens) < len(train) / 2
    assert configuration.known.vocab == configuration.vocabulary.size
