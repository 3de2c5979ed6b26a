"""dtype=: the network of every plugin in half precision, and nothing else; or an error of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import unnoise
from unnoise.errors import ConfigError

SOUND = (np.sin(np.arange(8000) / 10).astype(np.float32) / 2, 16_000)
REQUESTS: dict[str, dict[str, Any]] = {
    "audio": {"source": SOUND, "steps": 2, "project": 2},
    "images": {"label": 3, "steps": 3},
    "latent": {"label": "3", "steps": 3},
    "purify": {"images": np.zeros((28, 28), np.uint8), "steps": 2},
    "text2image": {"prompt": "red apple", "steps": 2, "upsampler_steps": 1},
}
TOLERANCE = {"bfloat16": 0.1, "float16": 0.02}


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_samples_are_nearly_the_same(name: str, dtype: str) -> None:
    request = REQUESTS[name]
    whole, half = (unnoise.generate(name, **request, dtype=d).states for d in ("float32", dtype))
    assert half.dtype == torch.float32
    assert not torch.equal(whole, half)
    assert (whole - half).abs().max() < TOLERANCE[dtype] * max(1.0, float(whole.abs().max()))


def test_what_a_plan_does_by_itself_is_not_halved() -> None:
    """Sound is made of the same states by the same operations."""
    assert not torch.is_autocast_enabled("cpu")
    out = unnoise.generate("audio", **REQUESTS["audio"], dtype="bfloat16")
    assert out.samples[0].waveform.dtype == torch.float32


@pytest.mark.parametrize("sampler", ["first-hitting", "ancestral", "entropy-bound", "confidence"])
def test_text(sampler: str) -> None:
    """The network is asked for some of its rows, too."""
    for dtype in TOLERANCE:
        out = unnoise.generate(
            "text", prompt="the ", length=12, steps=12, sampler=sampler, dtype=dtype
        )
        assert out.samples[0].startswith("the ")


def test_distances_need_their_digits() -> None:
    with pytest.raises(ConfigError, match="float32"):
        unnoise.generate("molecules", smiles="CC", steps=2, dtype="bfloat16")
