"""Diffusion in a learned latent space: pictures through autoencoders, and their likelihoods."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__version__ = "0.1.0"

EXAMPLES: Final = tuple(Path(__file__).parent / "examples" / f"{name}.png" for name in ("a", "b"))
"""Two held-out digits, for a first reconstruction."""
