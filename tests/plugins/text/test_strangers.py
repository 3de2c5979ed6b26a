"""What strangers bring: half characters, cut characters, tables, bare tokenizers, literal gaps."""

from __future__ import annotations

import json

import pytest

from unnoise.errors import ConfigError, InputError
from unnoise_text.byte_pairs import learned_tokenizer
from unnoise_text.canvas import canvas, given
from unnoise_text.characters import Characters
from unnoise_text.data import configure, read
from unnoise_text.documents import counted, documents
from unnoise_text.domain import Text
from unnoise_text.vocabulary import Subwords, read_tokenizer

LETTERS = Characters(" abcdefghijklmnopqrstuvwxyz", "fold")
CORPUS = ["the people of the united states in order to form a more perfect union " * 10]


@pytest.fixture(scope="module")
def whole() -> Subwords:
    return learned_tokenizer(CORPUS, 300, "error")


# ---- characters of a text that windows cut


@pytest.mark.parametrize(
    "text", ["日本語のテキスト" * 9, "naïve café – 12 €" * 7, "😀 the people 😀" * 5]
)
def test_characters_of_windows_add_up_to_those_of_the_document(whole, text):
    text *= 7
    tokens = whole.encode(text)
    for size in (1, 2, 3, 5, 7, 50):
        pieces = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        assert sum(map(whole.characters, pieces)) == len(text)


def test_characters_of_windows_with_a_fallback_to_bytes():
    from tokenizers import Tokenizer, decoders, models

    pieces = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), "a", "b"]
    model = models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>")
    model.byte_fallback = True
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    vocabulary = Subwords(tokenizer.to_str(), unknown=0)
    tokens = vocabulary.encode("a日b本")
    assert len(tokens) == 8
    assert sum(vocabulary.characters([t]) for t in tokens) == 4


def test_bits_per_character_count_the_documents_characters(tmp_path):
    text = "日本語の文章です。" * 40
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    configuration = configure(tmp_path, {"tokenizer": "bpe:258", "length": 8, "held_out": 0})
    windows = read(tmp_path, configuration, "train")
    windows.part = "validation"  # in order, without a shift
    items = [windows[i] for i in range(len(windows))]
    left = len(windows.tokens) - 8 * len(items)
    found = Text().units(configuration, items)["character"]
    assert 0 <= len(text) - found <= left


# ---- sources


def test_half_characters_are_refused_by_name(tmp_path, model):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n{"text": "half \\ud83d of it"}\n')
    with pytest.raises(InputError, match="line 2 holds half of a character"):
        list(documents(path))
    path.write_text('"\\udc00"\n')
    with pytest.raises(InputError, match="line 1 holds half of a character"):
        list(documents(path))
    path.write_text('{"text": "\\ud83d\\ude00 whole"}\n')
    assert list(documents(path)) == ["\U0001f600 whole"]
    for fields in ({"prompt": "a\ud800"}, {"template": "____:2\udfff"}, {"suffix": "\udc00"}):
        with pytest.raises(InputError, match="holds half of a character"):
            model.generate(**fields, steps=2)


@pytest.mark.parametrize("code", ["utf-16", "latin1"])
def test_text_of_another_code_is_named_with_the_way_back(tmp_path, code):
    (tmp_path / "a.txt").write_bytes("caf\xe9 au lait".encode(code))
    with pytest.raises(InputError, match=f"is not UTF-8.*iconv -f {code} -t utf-8"):
        list(documents(tmp_path))


def test_tables_and_markdown(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"we, the\npeople"\n2,of\n3,\n')
    (tmp_path / "b.tsv").write_text("text\tid\nunited\t1\n")
    (tmp_path / "c.md").write_text("# states\n")
    assert list(documents(tmp_path)) == ["we, the\npeople", "of", "united", "# states\n"]
    with pytest.raises(InputError, match="has no field body"):
        list(documents(tmp_path / "a.csv", "body"))
    (tmp_path / "a.csv").write_text('text\n"open')
    with pytest.raises(InputError, match="is no table"):
        list(documents(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(InputError, match="not UTF-8"):
        list(documents(tmp_path / "a.csv"))


def test_a_bare_tokenizer(tmp_path, whole):
    file = tmp_path / "own.json"
    file.write_text(whole.content)
    (tmp_path / "tokenizer.json").write_text(whole.content)
    for source in (file, tmp_path, tmp_path / "tokenizer.json"):
        found = read_tokenizer(source, "error")
        assert (found.mask, found.unknown, found.encode("the")) == (
            whole.mask,
            None,
            whole.encode("the"),
        )
    content = json.loads(whole.content)
    content["added_tokens"].append({**content["added_tokens"][0], "id": 300, "content": "</s>"})
    file.write_text(json.dumps(content))
    assert read_tokenizer(file, "error").end == 300
    file.write_text("{}")
    with pytest.raises(InputError, match="this is no tokenizer"):
        read_tokenizer(file, "error")


@pytest.mark.parametrize("outside", ["fold", "drop", "map"])
def test_what_a_vocabulary_lacks_of_the_data_is_said(tmp_path, outside):
    (tmp_path / "a.txt").write_text("a b, c! " * 200)
    asked = {"alphabet": "ab ", "outside": outside, "length": 8, "held_out": 0}
    with pytest.warns(UserWarning, match=r"37\.5% of the characters of the train part"):
        read(tmp_path, configure(tmp_path, asked), "train")


# ---- gaps


def test_line_ends_before_a_gap_are_seen(whole):
    for text in ("the people\n", "the people \n", "the\t", "the\n\n", "the  "):
        piece = given(text, None, 30, whole).pieces[0]
        assert whole.decode(piece.tokens) == text.removesuffix(" ")
    # and a space that a gap begins with stays, unless it is the one that was given
    word = [t for t in range(300) if (whole.pieces()[t] or "").startswith(" p")][:1]
    for text, joined in (("the\n", "the\n p"), ("the ", "the p"), ("the", "the p")):
        made = canvas(f"{text}____:1", 30, whole)
        tokens = [*made.pieces[0].tokens, *word]
        assert made.text(tokens, whole).startswith(joined)


@pytest.mark.parametrize(
    ("template", "sizes", "text"),
    [
        (r"a \____ b ____:2", [8, 2], "a ____ b "),
        (r"\______:3 ____:1", [9, 1], "______:3 "),
        (r"a\\____:2", [2, 2], "a\\"),
        (r"a\\\____ ____:2", [7, 2], "a\\____ "),
        ("a ___ b ____:1", [8, 1], "a ___ b "),
    ],
)
def test_literal_gaps(template, sizes, text):
    pieces = canvas(template, 20, Characters("ab _:3\\", "error")).pieces
    assert pieces[0].text == text
    assert pieces[1].size == sizes[1]
    assert pieces[0].size == len(text)


@pytest.mark.parametrize(
    ("size", "tokens", "after"),
    [
        ("2.", 2, "."),
        ("2, b", 2, ", b"),
        ("2w.", None, "."),
        ("{2}b", 2, "b"),
        ("{2}3", 2, "3"),
        ("{2c}b", None, "b"),
        ("2-b", 2, "-b"),
        ("2 2", 2, " 2"),
        (":b", None, "::b"),
        (" b", None, ": b"),
        ("b", None, ":b"),
        ("{b}", None, ":{b}"),
    ],
)
def test_sizes_of_gaps(size, tokens, after):
    made = canvas(f"a____:{size}", 20, Characters("abw _:23,.-{}", "error")).pieces
    assert made[1].text is None
    assert tokens is None or made[1].size == tokens
    assert made[-1].text == after


@pytest.mark.parametrize(
    "size",
    ["3x", "3W", "3wc", "3words", "3.5w", "3,5", "-3", "+3", "1e3", "0x3", "w", "c", "3é", "{3x}",
     "0", "0w", "9" * 5000, "{70000c}"],
)  # fmt: skip
def test_what_is_no_size_of_a_gap(size):
    with pytest.raises(InputError, match=r"gap (has|are)") as caught:
        canvas(f"a ____:{size} b", 20, LETTERS)
    assert caught.value.limit
    assert caught.value.fix


def test_no_gap_but_a_literal_one():
    with pytest.raises(InputError, match="the template has no gap"):
        canvas(r"\____", 9, LETTERS)


def test_a_gap_that_fills_the_window_says_so(model):
    said = "tokens, all that is left of 24: ____:20 has 20, and length is that of the whole text"
    for template, sizes in (
        ("we ____", "the gap has 21"),
        ("____", "the gap has 24"),
        ("____ we", "the gap has 21"),
        ("____ we ____:4 ____", "gaps have 8 and 7"),
    ):
        out = model.generate(template=template, steps=2)
        assert out.provenance["notes"] == [f"{sizes} {said}"]
    for fields in ({"template": "we ____", "length": 9}, {"prompt": "we"}, {"template": "____:3"}):
        assert "notes" not in model.generate(**fields, steps=2).provenance


# ---- tables that would lose something, and what a parser gives up on


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", "text,text\nab,cd\n", "have one name; got 'text'"),
        ("a.csv", "id,text\n1,hello\n2,hello, world\n", "line 3 has another number of cells"),
        ("a.tsv", "id\ttext\n1\n", "line 2 has another number of cells"),
        ("a.jsonl", "[" * 100_000, "is not JSON: it is nested too deeply"),
        ("a.jsonl", '{"text": ' + "1" * 5000 + "}", "a number has too many digits"),
    ],
)
def test_rows_that_would_lose_something(tmp_path, name, content, why):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=why):
        list(documents(tmp_path / name))


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.warns(UserWarning, match="were left out: b.txt"):
        assert counted(tmp_path) == 1


def test_tokenizers_that_cannot_read(tmp_path):
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    Tokenizer(models.BPE()).save(str(path))
    with pytest.raises(InputError, match="no tokens"):
        read_tokenizer(path, "error")
    Tokenizer(models.WordLevel({"a": 0, "b": 1})).save(str(path))  # and none for other words
    found = read_tokenizer(path, "error")
    assert found.read("a").tokens == (0,)
    with pytest.raises(InputError, match="cannot read this text; got 'c'"):
        found.read("c")


def test_fewer_byte_pairs_than_asked_for():
    with pytest.warns(UserWarning, match="tokens only, 5000 were asked for"):
        learned_tokenizer(["ab ab"], 5000, "error")
    with pytest.raises(ConfigError) as error:
        learned_tokenizer(["ab"], 1 << 30, "error")
    assert not error.value.fix  # a closed alphabet would not help


@pytest.mark.parametrize("number", [1, 5])
def test_a_model_of_elsewhere_is_judged_on_everything(tmp_path, number):
    for k in range(number):
        (tmp_path / f"{k}.txt").write_text("abc " * 10)
    asked = {"alphabet": "abc ", "length": 8}
    own = configure(tmp_path, asked)
    elsewhere = own.model_copy(update={"held_out": None})
    whole = sum(len(w) for w in (read(tmp_path, own, "train"), read(tmp_path, own, "validation")))
    assert len(read(tmp_path, elsewhere, "validation").tokens) == 40 * number + number - 1
    assert whole <= len(read(tmp_path, elsewhere, "validation"))
    none = own.model_copy(update={"held_out": 0})
    assert len(read(tmp_path, none, "validation")) == 0
