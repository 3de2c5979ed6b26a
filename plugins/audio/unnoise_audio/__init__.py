"""Audio for unnoise: mel spectrograms to speech by diffusion, in a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"
__all__ = ["EXAMPLE", "Audio", "MelConfiguration", "front_end", "mel_spectrogram", "save_mel"]

EXAMPLE: Final = Path(__file__).parent / "example.flac"
"""A sentence of the Russian voice that no model of ours was trained on (Debian festvox-ru 0.5,
BSD-like licence)."""

if TYPE_CHECKING:
    from unnoise_audio.front_ends import front_end
    from unnoise_audio.inputs import save_mel
    from unnoise_audio.mel import MelConfiguration, mel_spectrogram
    from unnoise_audio.sound import Audio

_PLACES: Final = {
    "Audio": "sound",
    "MelConfiguration": "mel",
    "front_end": "front_ends",
    "mel_spectrogram": "mel",
    "save_mel": "inputs",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
