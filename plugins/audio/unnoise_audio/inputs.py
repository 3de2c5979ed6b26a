"""What a request gives, made ready: the mel of each sound, as the model wants it, or given mels,
which must have been made as the model's own are."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unnoise.errors import InputError
from unnoise.storage.reading import json_of
from unnoise_audio.front_ends import check, named, refuse
from unnoise_audio.mel import MelConfiguration, mel_spectrogram
from unnoise_audio.reading import changes, load_mono
from unnoise_audio.request import Request
from unnoise_audio.sound import Audio

_FRAMES: Final = 4096  # of a mel that are computed at once


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """One input.

    Attributes
    ----------
    mel : (frames, mels) as the model's front end makes it.
    samples : of the sound to be made.
    original : (samples,) sound that the mel is of; None for a given mel.
    notes : what was done to the sound.
    """

    mel: Float[Tensor, "frames mels"]
    samples: int
    original: Float[Tensor, " samples"] | None
    notes: tuple[str, ...] = ()

    def hops(self, configuration: MelConfiguration) -> int:
        """Hops of the sound, the last of which may be cut."""
        return -(-self.samples // configuration.hop)


def inputs_of(request: Request, configuration: MelConfiguration) -> list[Prepared]:
    """One for each source or mel of a request.

    Raises InputError for a file that cannot be read, a sound that is too short or has NaN, and a
    mel of another shape, type, range or configuration.
    """
    if request.mel is not None:
        return _mels(request, configuration)
    many = request.source if isinstance(request.source, list) else [request.source]
    if not many:
        raise InputError("the list of sources is empty")
    return [_of_source(one, configuration) for one in many]


def mel_of(
    waveform: Float[Tensor, " samples"], configuration: MelConfiguration
) -> Float[Tensor, "frames mels"]:
    """The mel of a sound that is filled up with silence to a whole number of hops, some thousand
    frames at a time: the same numbers as at once, in bounded memory."""
    c = configuration
    missing = -len(waveform) % c.hop
    frames, around = c.frames(len(waveform) + missing), -(-c.fft // c.hop)
    pieces = []
    for first in range(0, frames, _FRAMES):
        last = min(frames, first + _FRAMES)
        low, high = max(0, first - around), min(frames, last + around)
        wave = waveform[low * c.hop : high * c.hop]
        if high * c.hop >= len(waveform):
            wave = torch.nn.functional.pad(wave, (0, missing))
        part = mel_spectrogram(wave[None], c)[0]
        pieces.append(part[:, first - low : last - low].T)
    return torch.cat(pieces)


def save_mel(
    path: str | Path, mel: Float[Tensor, "mels frames"], configuration: MelConfiguration
) -> Path:
    """Write a mel and how it was made into a .npz file, which can be given as it is."""
    target = Path(path)
    told = json.dumps(configuration.model_dump())
    with open(target, "wb") as file:
        np.savez(file, mel=np.asarray(mel), mel_configuration=np.array(told))
    return target


def _of_source(source: Any, configuration: MelConfiguration) -> Prepared:
    rate = configuration.sample_rate
    if isinstance(source, (str, Path)):
        wave, notes = load_mono(source, rate)
        what = repr(str(source))
    else:
        sound = source if isinstance(source, Audio) else _sound(source)
        wave = sound.mono(rate).clamp(-1, 1)
        made = changes(sound.waveform.shape[0], sound.sample_rate, rate)
        notes, what = (*sound.notes, *made), "the source"
    least = configuration.fft // 2 + 1
    if len(wave) < least:
        raise InputError(
            f"{what} is shorter than half a Fourier transform",
            value=f"{len(wave)} samples at {rate} Hz",
            limit=f">= {least}",
            fix="pad it with silence",
        )
    return Prepared(mel_of(wave, configuration), len(wave), wave, notes)


def _sound(source: Any) -> Audio:
    if not isinstance(source, tuple) or len(source) != 2:
        raise InputError(
            "this is no sound",
            value=type(source).__name__,
            limit="a path, an Audio, or (array, sample rate)",
        )
    return Audio.of(*source)


def _mels(request: Request, configuration: MelConfiguration) -> list[Prepared]:
    many = request.mel if isinstance(request.mel, list) else [request.mel]
    if not many:
        raise InputError("the list of mels is empty")
    found = []
    for one in many:
        values, own = _values(one)
        told = _told(request.mel_configuration, own)
        refuse(configuration, told)
        found += [_prepared(rows, configuration) for rows in _rows(values, configuration)]
    return found


def _values(mel: Any) -> tuple[Any, Any]:
    """An array, and its configuration where its file holds one."""
    if not isinstance(mel, (str, Path)):
        return mel, None
    path = Path(mel)
    if not path.is_file():
        raise InputError(f"there is no file {str(mel)!r}")
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found, None
        with found:
            if "mel" not in found:
                raise InputError(f"{str(mel)!r} has no array 'mel'", value=sorted(found))
            own = found.get("mel_configuration")
            return found["mel"], None if own is None else json_of(str(own))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"{str(mel)!r} cannot be read as a mel",
            value="objects, which numpy pickles" if "pickle" in str(error) else str(error),
            limit=".npy or .npz of numbers",
        ) from error


def _told(given: Any, own: Any) -> MelConfiguration:
    """How a mel was made, as the request or its file says."""
    if given is None and own is None:
        raise InputError(
            "it is not said how the mel was made, and a mel that was made in another way than the"
            " model's gives noise",
            fix="pass mel_configuration=: a MelConfiguration, its fields, or a name;"
            " model.configuration.mel, if you know that it is the model's own",
        )
    value = own if given is None else given
    if isinstance(value, (str, Path)) and Path(value).suffix == ".json":
        try:
            value = json_of(Path(value).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{str(value)!r} is no file of a configuration: {error}") from error
    if not isinstance(value, (str, Mapping, MelConfiguration)):
        raise InputError(
            "mel_configuration is a MelConfiguration, its fields, a JSON file or a name",
            value=type(value).__name__,
        )
    return named(value)


def _rows(values: Any, configuration: MelConfiguration) -> list[Float[Tensor, "frames mels"]]:
    """The mels of an array (mels, frames), (frames, mels) or (rows, mels, frames)."""
    try:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        array = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("this is no mel", value=type(values).__name__) from error
    if array.dtype.kind != "f":
        raise InputError(
            "a mel has floating-point numbers", value=str(array.dtype), fix="convert it first"
        )
    bands = configuration.mels
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or bands not in array.shape[1:] or not array.size:
        raise InputError(
            "wrong shape of a mel", value=tuple(np.shape(values)), limit=f"({bands}, frames)"
        )
    if array.shape[1] != bands:
        array = array.swapaxes(1, 2)
    return [torch.from_numpy(row.T.astype(np.float32)) for row in array]


def _prepared(mel: Float[Tensor, "frames mels"], configuration: MelConfiguration) -> Prepared:
    c = configuration
    check(mel.T, c)
    hops = len(mel) - (c.placing == "centre")
    if hops < 1:
        raise InputError("a mel of one frame is no sound", value=len(mel), limit=">= 2 frames")
    return Prepared(mel, hops * c.hop, None)
