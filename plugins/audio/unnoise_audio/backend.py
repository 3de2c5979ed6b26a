"""torchaudio, whose compiled part is not needed and often does not load."""

from __future__ import annotations

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import PluginError

without_broken_torchaudio()
try:
    from torchaudio import functional, transforms
except ImportError as error:
    raise PluginError(
        "torchaudio cannot be imported, which computes spectrograms and resamples",
        value=str(error),
        fix="pip install torchaudio",
    ) from error

__all__ = ["functional", "transforms"]
