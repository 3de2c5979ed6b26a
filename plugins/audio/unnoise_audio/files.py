"""What a request leaves in its folder: sounds, and pictures of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import soundfile

from unnoise.storage.files import replace_file
from unnoise_audio.pictures import figure_of, png
from unnoise_audio.sound import Audio

_PART: Final = re.compile(r"(.+)\.\d+")
_BLOCK: Final = 1 << 20


def write(sample: Audio, folder: Path, stem: str) -> Path:
    """STEM.wav (16 bits) and STEM.png."""
    replace_file(folder / f"{stem}.png", png(figure_of(sample)))
    return sample.save(folder / f"{stem}.wav")


def gather(paths: Sequence[Path]) -> list[Path]:
    """The parts 00000.wav, 00000.1.wav, ... of each sound made one file, 00000.wav, a block at a
    time. Pictures stay those of the parts."""
    parts: dict[str, list[Path]] = {}
    for path in paths:
        found = _PART.fullmatch(path.stem)
        parts.setdefault(found[1] if found else path.stem, []).append(path)
    return [_joined(group) for group in parts.values()]


def _joined(group: Sequence[Path]) -> Path:
    first, *rest = group
    if not rest:
        return first
    whole = first.with_suffix(".whole")
    with soundfile.SoundFile(first) as file:
        rate, channels = file.samplerate, file.channels
    with soundfile.SoundFile(whole, "w", rate, channels, "PCM_16", format="WAV") as target:
        for path in group:
            with soundfile.SoundFile(path) as part:
                while len(block := part.read(_BLOCK, dtype="int16")):
                    target.write(block)
    whole.replace(first)
    for path in rest:
        path.unlink()
    return first
