"""Canvases: gaps of free and given length, and what is given coming back as it was."""

from __future__ import annotations

import pytest

from unnoise.errors import InputError
from unnoise_text.byte_pairs import learned_tokenizer
from unnoise_text.canvas import canvas, fixed, given
from unnoise_text.characters import Characters
from unnoise_text.request import Request

LETTERS = Characters(" abcdefghijklmnopqrstuvwxyz", "drop")
TEXT = "my fellow citizens of the united states my fellow countrymen of the union is strong " * 20
PAIRS = learned_tokenizer([TEXT], 96, "drop")


def sizes(made):
    return [piece.size for piece in made.pieces]


def test_gaps_of_given_and_free_length():
    made = canvas("ab ____:3 c____", 20, LETTERS)
    assert sizes(made) == [3, 3, 2, 12]
    assert made.size == 20
    tokens, known = made.tensors()
    assert "".join("x" if k else "." for k in known.tolist()) == "xxx...xx............"
    assert LETTERS.decode(tokens[known].tolist()) == "ab  c"
    assert sizes(canvas("____a____b____", 10, LETTERS)) == [3, 1, 3, 1, 2]
    assert sizes(canvas("a____:2", 20, LETTERS)) == [1, 2]
    assert sizes(canvas("______", 5, LETTERS)) == [5]
    assert (fixed("a____:2", LETTERS), fixed("a____", LETTERS)) == (3, 0)


def test_a_gap_beside_a_gap():
    assert sizes(canvas("____:2____:3", 9, LETTERS)) == [2, 3]


@pytest.mark.parametrize(
    ("template", "length", "message"),
    [
        ("no gap here", 9, "the template has no gap"),
        ("three ___ only", 9, "the template has no gap"),
        ("", 9, "the template has no gap"),
        ("____:0", 9, "tokens of a gap"),
        ("____:99999999", 9, "tokens of a gap"),
        ("a long beginning ____", 9, "does not fit into the length"),
        ("abcdefghi____", 9, "does not fit into the length"),
        ("abc____:20", 9, "does not fit into the length"),
    ],
)
def test_templates_that_cannot_be_used(template, length, message):
    with pytest.raises(InputError, match=message):
        canvas(template, length, LETTERS)


@pytest.mark.parametrize("vocabulary", [LETTERS, PAIRS], ids=["characters", "pairs"])
def test_what_is_given_comes_back_character_for_character(vocabulary):
    # capitals and the comma are not in the vocabulary, and still come back
    made = canvas("My fellow ____:4 , of the UNION  is ____:3!", 60, vocabulary)
    gap = vocabulary.encode("strong strong")[:4]
    tokens = made.tensors()[0].tolist()
    for piece, start, end in made.spans():
        if piece.text is None:
            tokens[start:end] = (gap * 2)[: end - start]
    text = made.text(tokens, vocabulary)
    assert text.startswith("My fellow ")
    assert " , of the UNION  is " in text
    assert text.endswith("!")
    parts = made.parts(tokens, vocabulary)
    assert [known for _, known in parts] == [True, False, True, False, True]
    assert "".join(part for part, _ in parts) == text


def test_a_space_before_a_gap_is_not_doubled():
    made = canvas("my fellow ____:1 of", 20, PAIRS)
    space_word = PAIRS.encode(" citizens")
    assert PAIRS.decode(space_word) == " citizens"
    one = next(t for t in range(PAIRS.size) if PAIRS.decode([t]).startswith(" c"))
    tokens = made.tensors()[0].tolist()
    gap = next(start for piece, start, _ in made.spans() if piece.text is None)
    tokens[gap] = one
    assert made.text(tokens, PAIRS).startswith("my fellow c")


def test_beginning_and_end():
    made = given("we the", "union", 20, LETTERS)
    assert sizes(made) == [6, 9, 5]
    assert sizes(given(None, None, 7, LETTERS)) == [7]
    with pytest.raises(InputError, match="does not fit into the length"):
        given("a beginning that is long", None, 20, LETTERS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"template": "____", "prompt": "a"}, "a template says how the text begins"),
        ({"template": "____", "suffix": "a"}, "a template says how the text begins"),
        ({"prompt": ["a", "b"], "length": [3]}, "lists of a request"),
        ({"prompt": []}, "lists of a request"),
        ({"length": 0}, "length is out of range"),
        ({"length": 1 << 20}, "length is out of range"),
    ],
)
def test_requests_that_contradict_themselves(fields, message):
    with pytest.raises(InputError, match=message):
        Request(**fields)


def test_number_of_inputs():
    two = Request(prompt=["a", "b"], length=[3, 4]).inputs
    assert [(one["prompt"], one["length"]) for one in two] == [("a", 3), ("b", 4)]
    assert len(Request(prompt="a").inputs) == 1
