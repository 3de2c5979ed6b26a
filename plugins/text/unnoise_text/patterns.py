r"""Gaps that follow a pattern: a regular expression, or the shape of a JSON value.

    \d{4}-\d\d-\d\d    {"type": "object", "properties": {"name": {"type": "string"}, ..}}

The expression becomes an automaton over bytes, and with the bytes of each token one over the
tokens of the vocabulary (the library outlines-core does both). `Language` of the core draws from
the model's law given that the gap is accepted: whatever comes is valid, and particles correct the
law for what the network thinks of its own choices. Every way to write a text in tokens counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, final

import torch
from torch import Tensor

from unnoise.conditioning import Language
from unnoise.denoise import Condition, Denoiser
from unnoise.distributions import Categorical, one_hot_log
from unnoise.domain import Task
from unnoise.errors import ConfigError, InputError, PluginError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_text.canvas import Canvas
from unnoise_text.characters import Vocabulary

SHOWN: Final = "shown"
KNOWN: Final = "known"
_SPACED: Final = " (?:{})"
_FAR: Final = 1024  # tokens that a message looks for


def expression(pattern: str | None, schema: str | Mapping[str, Any] | None) -> str | None:
    """The regular expression that a request means. InputError for a schema that is none."""
    if schema is None:
        return pattern
    text = schema if isinstance(schema, str) else json.dumps(schema)
    _library()
    from outlines_core.json_schema import build_regex_from_schema

    try:
        found: str = build_regex_from_schema(text)
    except Exception as error:  # the library raises ValueError, TypeError and its own
        raise InputError(
            "json_schema is no schema that can become a pattern",
            value=text[:60],
            fix=str(error).splitlines()[0][:200],
        ) from error
    return found


@lru_cache(maxsize=16)
def language(pattern: str, vocabulary: Vocabulary, vocab: int, hidden: int) -> Language:
    """Of the texts that match a pattern, as rows of tokens.

    Raises InputError for an expression that cannot be read, or that the vocabulary cannot write.
    """
    _library()
    from outlines_core import Index
    from outlines_core import Vocabulary as Pieces

    pieces: dict[bytes, list[int]] = {}
    for token, text in enumerate(_bytes(vocabulary, vocab)):
        if text:
            pieces.setdefault(text, []).append(token)
    try:
        index = Index(pattern, Pieces(vocab, pieces))
    except ValueError as error:
        what = "cannot be written in this vocabulary" if "incompat" in str(error) else "is not one"
        raise InputError(
            f"the pattern {what}", value=pattern[:60], fix=str(error).splitlines()[0][:200]
        ) from error
    moves = index.get_transitions()
    sizes = torch.tensor([len(to) for to in moves.values()])
    before = torch.tensor(list(moves)).repeat_interleave(sizes)
    tokens = torch.tensor([v for to in moves.values() for v in to])
    after = torch.tensor([b for to in moves.values() for b in to.values()])
    edges = torch.stack([before, tokens, after], 1)[tokens < vocab]
    return Language.from_edges(
        edges, index.get_final_states(), vocab, index.get_initial_state(), hidden
    )


def _library() -> None:
    try:
        import outlines_core  # noqa: F401
    except ImportError as error:
        raise PluginError(
            "patterns need the library outlines-core", fix="pip install 'unnoise-text[patterns]'"
        ) from error


def _bytes(vocabulary: Vocabulary, vocab: int) -> list[bytes | None]:
    """What each token adds to a text; None for those that are no text."""
    never = set(vocabulary.unsayable(vocab))
    found = vocabulary.bytes_of()
    if found is None:
        raise ConfigError(
            "what a token of this vocabulary adds to a text depends on where it stands",
            value=type(vocabulary).__name__,
            fix="patterns are for byte-level and character vocabularies",
        )
    return [None if k in never or k >= len(found) else found[k] for k in range(vocab)]


def the_gap(canvas: Canvas) -> int:
    """The place of its one gap. InputError where there are others, or it is measured."""
    gaps = [k for k, piece in enumerate(canvas.pieces) if piece.text is None]
    if len(gaps) != 1 or canvas.pieces[gaps[0]].unit:
        raise InputError(
            "a pattern is for one gap, of tokens",
            value=f"{len(gaps)} gap(s)",
            fix="leave one, and no unit of it",
        )
    return gaps[0]


@final
@dataclass(frozen=True, eq=False)
class Matching:
    """What a gap of a canvas may hold, and the numbers of tokens that it may have."""

    canvas: Canvas
    language: Language
    sizes: tuple[int, ...]

    def drawn(self, seed: int, number: int) -> Canvas:
        """The canvas of a sample: one of the sizes, evenly, by the sample's own number."""
        u = NoiseSource(seed, [number], branch=1).uniform(Layout.dense(1, ()))
        gap, size = the_gap(self.canvas), self.sizes[int(u * len(self.sizes))]
        pieces = list(self.canvas.pieces)
        pieces[gap] = replace(pieces[gap], size=size)
        return replace(self.canvas, pieces=tuple(pieces))


def matching(
    pattern: str, canvas: Canvas, vocabulary: Vocabulary, mask: int, vocab: int, longest: int | None
) -> Matching:
    """`longest` : tokens of the whole text that the network sees; None where the canvas's own size
    is meant. Raises InputError: see `language`, `the_gap`; no size is possible."""
    # the space before a gap may belong to its first token
    own = _SPACED.format(pattern) if canvas.pieces[the_gap(canvas)].spaced else pattern
    found = language(own, vocabulary, vocab, mask)
    return Matching(canvas, found, tuple(_sizes(found, canvas, longest)))


def task_for(language: Language, task: Task, steps: Any) -> Task:
    """`task` of canvases whose gaps obey a language: what is given is shown from the start."""
    seen = task.observation
    assert seen is not None
    shown, known = tensor(seen.value), tensor(seen.mask)
    where = ~known if task.layout.mask is None else ~known & task.layout.mask
    told = {**(task.condition or {}), SHOWN: shown, KNOWN: known}
    obeyed = replace(language, where=where)
    return replace(task, observation=None, condition=told, potential=obeyed, steps=steps)


def _sizes(of: Language, canvas: Canvas, longest: int | None) -> list[int]:
    """Tokens that the gap may have: its own number, or from the fewest that match to twice as many,
    as far as the text fits."""
    size = canvas.pieces[the_gap(canvas)].size
    most = size if longest is None else longest - (canvas.size - size)
    possible = of.lengths(max(most, 1))
    found = torch.nonzero(possible).flatten().tolist() if longest else [size]
    found = [n for n in found if n > 0 and bool(possible[n])]
    found = [n for n in found if n <= 2 * found[0]]
    if not found:
        least = next((n for n, yes in enumerate(of.lengths(_FAR).tolist()) if yes and n), None)
        raise InputError(
            "nothing that matches the pattern has so few tokens"
            if longest
            else "nothing that matches the pattern has this number of tokens",
            value=f"{most} tokens",
            limit=f"at least {least} tokens" if least else None,
            fix="shorten what is given" if longest else "leave the length out",
        )
    return found


@final
class Showing(Denoiser):
    """A denoiser that always sees what is given, whatever noise hides it: condition["known"]
    (B, L) says where, condition["shown"] (B, L) what."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.kernel = denoiser, denoiser.kernel

    @property
    def evaluations(self) -> int:
        return self.denoiser.evaluations

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Categorical:
        told = dict(condition or {})
        known, shown = told.pop(KNOWN), told.pop(SHOWN)
        seen = torch.where(known, shown, tensor(x_t))
        law = self.denoiser(seen, t, layout, told or None)
        assert isinstance(law, Categorical)
        own: Tensor = torch.where(
            known[..., None], one_hot_log(shown, law.log_probs), law.log_probs
        )
        return Categorical(own, law.layout)
