"""What a request asks for and nothing reads is refused: guidance to nothing, in every plugin."""

from __future__ import annotations

from typing import Any

import pytest

import unnoise
from unnoise.errors import InputError

NOWHERE: list[tuple[str, dict[str, Any], str]] = [
    ("images", {"guidance_scale": 2.0}, "there is none"),
    ("latent", {"guidance_scale": 2.0}, "there is none"),
    ("latent", {"guidance_scale": 2.0, "label": ["none", "none"]}, "there is none"),
    ("text", {"guidance_scale": 2.0, "length": 8}, "nothing is"),
    ("text", {"guidance_scale": 2.0, "template": "____:3"}, "nothing is"),
    ("text", {"particles": 4, "length": 8}, "there is none"),
    ("text2image", {"guidance_scale": 2.0}, "there is none"),
    ("text2image", {"guidance_scale": 2.0, "prompt": ["", " "]}, "there is none"),
]


@pytest.mark.parametrize(("name", "request_", "said"), NOWHERE, ids=str)
def test_it_is_refused(name: str, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        unnoise.generate(name, steps=1, **request_)


def test_what_leads_somewhere_is_not() -> None:
    """Scale 1 is the model's own law, and one prompt of several is enough."""
    unnoise.generate("images", steps=1, guidance_scale=1.0)
    unnoise.generate("latent", steps=1, guidance_scale=2.0, label=["none", "3"])
    unnoise.generate("text", steps=1, length=8, guidance_scale=1.0)
    unnoise.generate("text", steps=1, length=8, guidance_scale=2.0, suffix=" end")
