"""A folder of captioned pictures, and small untrained models of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.compat import without_broken_torchaudio
from unnoise.model import Model
from unnoise_text2image.domain import Text2Image

LENGTH = 10
COLOURS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}
THINGS = ("apple", "heart", "flag")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve 16 x 16 pictures, a thing in a colour each, with two captions."""
    root = tmp_path / "pictures"
    root.mkdir()
    with open(root / "captions.jsonl", "w") as table:
        for n, thing in enumerate(THINGS):
            for name, colour in COLOURS.items():
                picture = Image.new("RGB", (16, 16), "white")
                picture.paste(colour, (2 + n, 2, 14, 14 - n))
                path = f"{name}-{thing}.png"
                picture.save(root / path)
                captions = [f"{name} {thing}", f"a {thing} in {name}"]
                split = "validation" if (name, thing) == ("black", "flag") else "train"
                table.write(json.dumps({"path": path, "captions": captions, "split": split}) + "\n")
    return root


@pytest.fixture
def make_model(folder: Path) -> Callable[..., Model]:
    """A function that builds an untrained model whose output is not zero."""

    def make(**options: object) -> Model:
        domain = Text2Image()
        small = {
            "widths": (8, 16),
            "blocks": (1, 1),
            "upsampler_widths": (8, 8, 16),
            "upsampler_blocks": (1, 1, 1),
            "text_width": 16,
            "text_layers": 1,
            "text_heads": 2,
            "length": 8,
            "vocabulary": 96,
        }
        configuration = domain.configure(folder, {"stage": "cascade", **small, **options})
        torch.manual_seed(0)
        denoiser = domain.build(configuration)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return Model(domain, denoiser.eval(), configuration, domain.defaults(configuration))

    return make


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()


@pytest.fixture
def picture() -> Image.Image:
    """16 x 16 of noise."""
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="session")
def clip() -> dict[str, Any]:
    """A CLIPTextModel with random weights and its tokenizer of letters, "re" and "red"."""
    without_broken_torchaudio()
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(97 + k) for k in range(26)]
    pieces = [*letters, *[f"{a}</w>" for a in letters], "re", "red</w>"]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={piece: k for k, piece in enumerate(pieces)},
        merges=[("r", "e"), ("re", "d</w>")],
        model_max_length=LENGTH,
    )
    configuration = CLIPTextConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=len(pieces) - 2,
        eos_token_id=len(pieces) - 1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CLIPTextModel(configuration).eval()
    return {"text_encoder": encoder, "tokenizer": tokenizer}
