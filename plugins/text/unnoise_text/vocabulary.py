"""Vocabularies of pieces of words: tokenizers of the `tokenizers` library."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, ConfigError, InputError, UnnoiseError
from unnoise_text.characters import Outside, Reading, Vocabulary, lacking
from unnoise_text.folding import Folding

BPE: Final = "bpe:"


def _byte_level() -> dict[str, int]:
    """The byte that each character stands for in tokens of the byte level (Radford 2019): itself
    where it can be seen, else one from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in seen]
    return {chr(b): b for b in seen} | {chr(256 + k): b for k, b in enumerate(others)}


_PART: Final = "\ufffd"  # what a decoder makes of a part of a character
_CONFIGS: Final = ("config.json", "tokenizer_config.json")
_ROLES: Final = (
    ("[MASK]", "<mask>", "<|mask|>", "<MASK>", "[ MASK ]"),
    ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]", "<end>"),
)
_BYTES: Final = _byte_level()
_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@final
@dataclass(frozen=True)
class Subwords(Vocabulary):
    """A tokenizer of the `tokenizers` library, as its own JSON.

    Parameters
    ----------
    content : tokenizer.json.
    mask, unknown, end : numbers of special tokens, where it has them.
    outside : text that becomes the unknown token is an error; or it is folded, as for `Characters`,
        and what is unknown still becomes a space, is left out, or stays the unknown token ("map").

    Special tokens are no text: a text that holds "[MASK]" is read letter by letter.
    """

    content: str
    mask: int | None = None
    unknown: int | None = None
    end: int | None = None
    outside: Outside = "error"
    glued: bool = field(default=True, init=False)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.content)
        except Exception as error:  # the library raises bare Exceptions
            raise ConfigError("this is not a tokenizer.json", value=str(error)[:200]) from error
        if not tokenizer.get_vocab_size(with_added_tokens=False):
            raise ConfigError("this tokenizer has no tokens")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # as text, that is
        return tokenizer

    @cached_property
    def special(self) -> frozenset[int]:
        """Numbers of the tokens that are no text."""
        added = self._tokenizer.get_added_tokens_decoder()
        own = {self.mask, self.unknown, self.end} - {None}
        return frozenset({i for i, token in added.items() if token.special} | own)

    def number(self, token: str) -> int | None:
        """The number of a token by its name."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def name(self, number: int) -> str:
        """The name of a token."""
        return str(self._tokenizer.id_to_token(number))

    @property
    def separator(self) -> tuple[int, ...]:  # type: ignore[override]
        """The end-of-text token, or a new line, or a space: the first that there is."""
        if self.end is not None:
            return (self.end,)
        for text in "\n ":
            tokens = self._ids(text)
            if tokens and self.unknown not in tokens and self.decode(tokens) == text:
                return tuple(tokens)
        return ()

    @property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens that the tokenizer puts before and after a text."""
        plain = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return tuple(whole[:start]), tuple(whole[start + len(plain) :])
        return (), ()

    @cached_property
    def _size(self) -> int:
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def size(self) -> int:
        return self._size

    @property
    def hash(self) -> str:
        rule = f"{self.content}\0{self.mask}\0{self.unknown}\0{self.end}\0{self.outside}"
        return hashlib.sha256(rule.encode()).hexdigest()

    @cached_property
    def _folding(self) -> Folding:
        # of a mapped character nothing is known, and the unknown token says so
        rest = {"fold": None, "drop": "", "map": "\ufffd"}
        return Folding(self._knows, rest[self.outside])

    def _knows(self, text: str) -> bool:
        return self.unknown not in self._ids(text)

    def read(self, text: str) -> Reading:
        tokens, spans = self._encoded(text)
        if not spans:
            return Reading(text, tuple(tokens))
        if self.outside == "error":
            raise lacking(sorted({text[a:b].strip() for a, b in spans}))
        folding = self._folding
        folded = folding.joined(_replaced(text, spans, self._known))
        unseen = {c for a, b in spans for c in folding.lacking(text[a:b])}
        tokens, spans = self._encoded(folded)
        if self.outside != "map" and spans:  # words whose letters are known, but not together
            unseen |= {c for a, b in spans for c in folded[a:b] if not c.isspace()}
            folded = folding.joined(_replaced(folded, spans, lambda word: folding.rest))
            tokens = [i for i in self._ids(folded) if i != self.unknown]
        return Reading(folded, tuple(tokens), "".join(sorted(unseen)))

    def _known(self, word: str) -> str:
        """What stands for a word that is unknown: its small letters, if they are known together."""
        small = word.lower()
        return small if self._knows(small) else self._folding.marked(word)

    def _encoded(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens, and where in `text` the unknown ones come from."""
        tokenizer = self._tokenizer
        try:
            encoding = tokenizer.encode(text, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exceptions, here for want of a token
            raise InputError(
                "the tokenizer cannot read this text",
                value=text[:60],
                limit=str(error).partition("\n")[0][:200],
                fix="give the tokenizer a token for what it does not know",
            ) from error
        pairs = list(zip(encoding.ids, encoding.offsets, strict=True))
        no_text = self.special - {self.unknown}
        # A vocabulary may have a special token as a word of its own. Cut in two it is text.
        if cuts := [(a + b) // 2 for i, (a, b) in pairs if i in no_text and b > a + 1]:
            ids, spans = list[int](), list[tuple[int, int]]()
            for start, end in pairwise([0, *cuts, len(text)]):
                more, unknown = self._encoded(text[start:end])
                ids += more
                spans += [(start + a, start + b) for a, b in unknown]
            return ids, spans
        kept = [i for i, _ in pairs if i not in no_text]
        return kept, [span for i, span in pairs if i == self.unknown]

    def _ids(self, text: str) -> list[int]:
        return self._encoded(text)[0]

    def unsayable(self, vocab: int) -> tuple[int, ...]:
        there = set(self._tokenizer.get_vocab(with_added_tokens=True).values()) - self.special
        return tuple(i for i in range(vocab) if i not in there)

    def characters(self, tokens: Sequence[int]) -> int:
        begins = self._begins
        text = [i for i in tokens if i not in begins]
        return (len(self.decode(text)) if text else 0) + sum(begins.get(i, 0) for i in tokens)

    @cached_property
    def _begins(self) -> dict[int, int]:
        """Of tokens that are made of bytes: how many of these begin a character."""
        found = {}
        decoder = json.loads(self.content).get("decoder") or {}
        kinds = {decoder.get("type"), *(d.get("type") for d in decoder.get("decoders") or ())}
        for text, i in self._tokenizer.get_vocab(with_added_tokens=False).items():
            if i in self.special:
                continue
            if "ByteLevel" in kinds:
                found[i] = sum(_BYTES.get(c, 0) & 0xC0 != 0x80 for c in text)
            elif "ByteFallback" in kinds and (byte := _BYTE.fullmatch(text)):
                found[i] = int(int(byte[1], 16) & 0xC0 != 0x80)
        return found

    def pieces(self) -> list[str | None]:
        return self._pieces

    def bytes_of(self) -> list[bytes | None] | None:
        decoder = json.loads(self.content).get("decoder") or {}
        if decoder.get("type") == "ByteLevel":
            names = map(self.name, range(self.size))
            return [bytes(_BYTES[c] for c in n) if set(n) <= set(_BYTES) else None for n in names]
        alone = [self.decode([i]) for i in range(self.size)]
        both = zip(alone, self._pieces, strict=True)
        return None if any(a != b for a, b in both if b is not None) else super().bytes_of()

    @cached_property
    def _pieces(self) -> list[str | None]:
        first = next(i for i in range(self.size) if self.decode([i]).strip())
        before = self.decode([first])
        texts = self._tokenizer.decode_batch([[first, i] for i in range(self.size)])
        return [None if _PART in text else text.removeprefix(before) for text in texts]

    def spaced(self, vocab: int) -> Tensor | None:
        found = torch.zeros(vocab, dtype=torch.bool)
        found[: self.size] = torch.tensor([(t or "").startswith(" ") for t in self._pieces])
        return found if bool(found.any()) else None

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def read_tokenizer(folder: str | Path, outside: Outside) -> Subwords:
    """The tokenizer in a folder of transformers (`AutoTokenizer`), or in a tokenizer.json that is
    named, or alone in a folder; nothing is downloaded."""
    path = Path(folder)
    alone = path / "tokenizer.json"
    if path.is_file() and path.suffix == ".json":
        return _bare(path, outside)
    if not path.is_dir():
        raise InputError(
            "there is no such tokenizer",
            value=str(folder),
            limit=f"characters, {BPE}SIZE, a tokenizer.json, or a folder with one",
        )
    if alone.is_file() and not any((path / name).is_file() for name in _CONFIGS):
        return _bare(alone, outside)
    without_broken_torchaudio()
    from transformers import AutoTokenizer  # slow to import

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever transformers raises on files that it cannot read
        what = "this folder holds no tokenizer that transformers can read"
        raise not_loaded(path, what, error) from error
    return _fast(tokenizer, outside)


def tokenizer_of(tokenizer: Any, outside: Outside) -> Subwords:
    """The vocabulary of a tokenizer: of transformers, of `tokenizers`, or a file or folder."""
    without_broken_torchaudio()
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    if isinstance(tokenizer, str | Path):
        return read_tokenizer(tokenizer, outside)
    if isinstance(tokenizer, Tokenizer):
        return _roles(Subwords(tokenizer.to_str(), outside=outside))
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return _fast(tokenizer, outside)
    raise InputError(
        "this is no tokenizer",
        value=type(tokenizer).__name__,
        limit="one of transformers or tokenizers, or its folder",
    )


def _fast(tokenizer: Any, outside: Outside) -> Subwords:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "this tokenizer has no fast version",
            value=type(tokenizer).__name__,
            fix="save it as a folder with tokenizer.json",
        )
    return Subwords(
        backend.to_str(),
        mask=tokenizer.mask_token_id,
        unknown=tokenizer.unk_token_id,
        end=tokenizer.eos_token_id,
        outside=outside,
    )


def _bare(path: Path, outside: Outside) -> Subwords:
    """A tokenizer.json without what transformers writes beside it."""
    try:
        return _roles(Subwords(path.read_text(encoding="utf-8"), outside=outside))
    except (OSError, UnicodeDecodeError, ValueError, LookupError, ConfigError) as error:
        raise InputError(
            "this is no tokenizer.json", value=str(path), fix=str(error).splitlines()[0][:200]
        ) from error


def _roles(found: Subwords) -> Subwords:
    """Which of the special tokens is the mask, the unknown one and the end of a text, as their
    usual names say."""
    special = {found.name(i): i for i in sorted(found.special)}
    unknown = json.loads(found.content)["model"].get("unk_token")
    mask, end = (next((special[n] for n in names if n in special), None) for names in _ROLES)
    own = found.number(unknown) if isinstance(unknown, str) else None
    return replace(found, mask=mask, unknown=own, end=end)


def not_loaded(folder: Path, what: str, error: Exception) -> UnnoiseError:
    """What to raise for a folder that transformers refuses: `what`, or that it wants to run code
    of its own (an `auto_map` in a configuration)."""
    for name in _CONFIGS:
        path = folder / name
        if path.is_file() and b'"auto_map"' in path.read_bytes():
            return BundleError(
                "this folder brings code of its own, which is never run",
                value=str(path),
                limit="architectures and tokenizers of transformers itself",
                fix="use a model that needs no trust_remote_code",
            )
    said = (str(error).splitlines() or [""])[0][:200]
    return InputError(what, value=str(folder), fix=f"{type(error).__name__}: {said}")


def _replaced(text: str, spans: Sequence[tuple[int, int]], by: Callable[[str], str]) -> str:
    """`text` with its `spans`, in order, replaced."""
    found, at = list[str](), 0
    for a, b in spans:
        if b > at:  # several unknown bytes of one character have one span
            found += [text[at:a], by(text[a:b])]
            at = b
    return "".join([*found, text[at:]])
