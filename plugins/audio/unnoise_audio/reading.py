"""Reading sound files: what a file may be, and what is done about every other file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError
from unnoise_audio.resampling import resampled_pieces
from unnoise_audio.samples import MOST_CHANNELS, check_rate, mixed, within

_BLOCK: Final = 1 << 20  # samples that are decoded at once
_CUT: Final = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN: Final = 0x7FFFFF00  # sizes from here on are written by programs that do not know theirs
_EIGHT: Final = ("PCM_U8", "PCM_S8", "ULAW", "ALAW")
_FLAT: Final = 4  # samples at full scale, one after the other, that no sound has


def load(path: str | Path) -> tuple[Float[Tensor, "channels samples"], int, tuple[str, ...]]:
    """A file whole: samples, their rate, and notes.

    Raises InputError, naming the file, where there is none, or it is empty, cut off, damaged, no
    sound, or has NaN.
    """
    with opened(path) as file:
        blocks = list(_blocks(file, str(path)))
        cut, more = within(torch.cat(blocks), repr(str(path)))
        return cut.T.contiguous(), file.samplerate, (*_said(file), *more, *_flat(cut))


def load_mono(path: str | Path, rate: int) -> tuple[Float[Tensor, " samples"], tuple[str, ...]]:
    """The mean of a file's channels at `rate`, a block at a time, and notes of what was done."""
    with opened(path) as file:
        notes = list(_said(file))

        def means() -> Iterator[Tensor]:
            for block in _blocks(file, str(path)):
                cut, more = within(block, repr(str(path)))
                notes.extend((*more, *_flat(cut)))
                yield mixed(cut.T)

        # filled as it is read: an hour is not held twice
        wave, place = torch.empty(-(-file.frames * rate // file.samplerate)), 0
        for piece in resampled_pieces(means(), file.samplerate, rate):
            wave[place : place + len(piece)] = piece[: len(wave) - place].clamp(-1, 1)
            place += len(piece)
        notes += changes(file.channels, file.samplerate, rate)
        return wave[:place], tuple(dict.fromkeys(notes))


def changes(channels: int, old: int, new: int) -> list[str]:
    """Notes of what `mono` does."""
    found = [f"{channels} channels mixed to one"] if channels > 1 else []
    if old != new:
        found.append(f"resampled from {old} to {new} Hz by torchaudio, 64 zero crossings")
    return found


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """An open sound file, its header checked. InputError names the file."""
    name = repr(str(path))
    if not Path(path).is_file():
        raise InputError(f"there is no file {name}")
    if not Path(path).stat().st_size:
        raise InputError(f"{name} is empty")
    try:
        with soundfile.SoundFile(str(path)) as file:
            _check(file, name)
            yield file
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a suffix of raw samples
        raise InputError(
            f"{name} cannot be read as sound: it is cut off, damaged or something else",
            value=str(error).rpartition(": ")[2],
            limit="wav, flac, ogg",
            fix="of a video, take the sound out first: ffmpeg -i VIDEO -vn SOUND.wav",
        ) from error


def _check(file: Any, name: str) -> None:
    cut = _CUT.search(file.extra_info)
    if cut and 0 < int(cut[1]) < _UNKNOWN and int(cut[1]) > int(cut[2]):
        raise InputError(
            f"{name} is cut off",
            value=f"{cut[2]} bytes of sound",
            limit=f"{cut[1]}, which its header says",
            fix="copy it again",
        )
    if not file.frames:
        raise InputError(f"{name} holds no sound", value="0 samples")
    check_rate(file.samplerate)
    if file.channels > MOST_CHANNELS:
        raise InputError(f"{name} has too many channels", value=file.channels, limit=MOST_CHANNELS)


def _blocks(file: Any, name: str) -> Iterator[Float[Tensor, "samples channels"]]:
    """What a file holds, decoded."""
    count = 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        count += len(block)
        yield torch.from_numpy(block)
    if count < file.frames:
        raise InputError(f"{name!r} is cut off", value=f"{count} samples", limit=file.frames)


def _said(file: Any) -> tuple[str, ...]:
    return ("read from 8 bits a sample",) if file.subtype in _EIGHT else ()


def _flat(block: Float[Tensor, "samples channels"]) -> tuple[str, ...]:
    """A note where the recording was too loud for its file: several samples at full scale."""
    full = (block.abs() >= 1 - 2**-15).float().T[:, None]
    if full.shape[-1] < _FLAT or not full.any():
        return ()
    runs = torch.nn.functional.avg_pool1d(full, _FLAT, 1) >= 1
    return ("clipped: several samples in a row at full scale",) if bool(runs.any()) else ()
