"""A tiny model of characters, and folders of text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unnoise.model import Model
from unnoise_text.characters import Characters
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.domain import Text

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
TINY = {"width": 16, "depth": 1, "heads": 2, "length": 24}
WORDS = ["we", "the", "people", "of", "these", "united", "states", "in", "order", "to", "form"]


def sentences(seed: int, count: int) -> str:
    """`count` words in a random order."""
    chosen = torch.randint(len(WORDS), (count,), generator=torch.Generator().manual_seed(seed))
    return " ".join(WORDS[i] for i in chosen.tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty documents of 60 words each."""
    root = tmp_path / "texts"
    root.mkdir()
    for k in range(20):
        (root / f"{k:02}.txt").write_text(sentences(k, 60), encoding="utf-8")
    return root


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """A function that builds an untrained model of small letters whose output is not flat."""

    def make(alphabet: str = ALPHABET, **options: object) -> Model:
        vocabulary = Characters(alphabet, **{k: options[k] for k in ("outside",) if k in options})
        extra = int(options.get("kernel", "absorbing") == "absorbing")
        learned = Learned(alphabet=alphabet, hash=vocabulary.hash, vocab=vocabulary.size + extra)
        configuration = Configuration(**{"learned": learned, **TINY, **options})
        torch.manual_seed(0)
        domain = Text()
        denoiser = domain.build(configuration)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return Model(
            domain,
            denoiser.eval(),
            configuration,
            domain.defaults(configuration),
        )

    return make


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()
