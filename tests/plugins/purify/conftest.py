"""Tests of the purify plugin share the modules beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("unnoise_images")


@pytest.fixture(scope="session")
def digits_model():
    """The shipped model of digits."""
    import unnoise

    return unnoise.load("images")


@pytest.fixture(scope="session")
def pictures(digits_model):
    """Four pictures of digits in [0, 1], which the shipped model made, and their labels."""
    labels = [3, 7, 0, 1]
    out = digits_model.generate(label=labels, steps=10, seed=5)
    return (out.states / 2 + 0.5).clamp(0, 1), torch.tensor(labels)
