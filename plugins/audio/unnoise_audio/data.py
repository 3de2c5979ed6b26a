"""Folders of sound as training data.

Any tree of wav, flac and ogg files; an LJSpeech folder (`wavs/` beside `metadata.csv`) is one.
Files are decoded once, brought to one rate and level, and kept as 16-bit numbers. An example is a
crop at a random place; its mel is computed with it, which takes 1 % of the time of a step.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.domain import Batch
from unnoise.errors import InputError, LimitExceeded, left_out, unusable
from unnoise.fields import configured
from unnoise.spaces import Layout
from unnoise.storage.tensors import digest
from unnoise_audio.codec import loudness
from unnoise_audio.configuration import Configuration, Learned
from unnoise_audio.mdct import MDCT
from unnoise_audio.mel import log_envelope, mel_spectrogram
from unnoise_audio.reading import load_mono
from unnoise_audio.sound import SUFFIXES, Audio

MOST_BYTES: Final = 8 << 30
"""Largest part of a data set, decoded and held in memory, two bytes per sample."""
_STATISTICS = 512  # crops that the scale of the coefficients is measured on
Item = tuple[Tensor, Tensor]
"""(blocks (M, hop), mel (M, mels))."""


def files_of(source: str | Path) -> list[Path]:
    """The sound files below a folder, in order of names."""
    root = Path(source)
    if not root.is_dir():
        raise InputError("the data are a folder of sound files", value=str(root))
    found = sorted(
        p
        for p in root.rglob("*")
        if p.suffix.lower() in SUFFIXES
        and p.is_file()
        and not any(part.startswith(".") for part in p.relative_to(root).parts)
    )
    if not found:
        raise InputError(f"{str(root)!r} holds no sound", limit=", ".join(SUFFIXES))
    return found


_WRITTEN: Final = (".csv", ".tsv", ".txt", ".json", ".lab", ".md")
"""Suffixes of what stands beside sounds that were written down."""


def _say_left_out(root: Path, files: Sequence[Path]) -> None:
    """A warning that names what below a folder is no sound, transcripts aside, and folders without
    any."""
    used = {*files, *(place for path in files for place in path.parents)}
    rest = [
        path
        for path in sorted(root.rglob("*"))
        if path not in used
        and path.parent in used  # not what is in a folder that is named
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    others = [p for p in rest if p.is_file() and p.suffix not in _WRITTEN and p.stem != "README"]
    names = [p.relative_to(root).as_posix() for p in others]
    left_out(names, f"files in {str(root)!r} are no sound and were left out")
    names = [p.relative_to(root).as_posix() for p in rest if p.is_dir()]
    left_out(names, f"folders in {str(root)!r} hold no sound")


def split(
    files: Sequence[Path], root: Path, held_out: float, part: Literal["train", "validation"]
) -> list[Path]:
    """The files of one part: a function of each file's name alone, so that files which are added
    later move none of the others."""
    below = round(held_out * 2**32)
    kept = (zlib.crc32(path.relative_to(root).as_posix().encode()) < below for path in files)
    chosen = [p for p, out in zip(files, kept, strict=True) if out == (part == "validation")]
    if not chosen and part == "train":
        raise InputError("no file is left to train on", value=len(files), fix="lower held_out")
    return chosen


def trimmed(waveform: Float[Tensor, " samples"], rate: int, below: float) -> Tensor:
    """Without the silence at both ends: what is more than `below` dB under the loudest 20 ms."""
    size = max(1, rate // 50)
    count = -(-len(waveform) // size)
    padded = torch.nn.functional.pad(waveform, (0, count * size - len(waveform)))
    power = padded.view(count, size).square().mean(1)
    loud = (power >= power.max() * 10 ** (below / 10)).nonzero()[:, 0]
    if power.max() == 0:
        return waveform[:0]
    first, last = max(0, int(loud[0]) - 2), int(loud[-1]) + 3
    return waveform[first * size : last * size]


def levelled(waveform: Float[Tensor, " samples"], level: float) -> Tensor:
    """At `level` dB below full scale (root mean square), or lower where it would clip."""
    gain = 10 ** (level / 20) / waveform.square().mean().sqrt().clamp(min=1e-9)
    return waveform * torch.minimum(gain, 0.99 / waveform.abs().max().clamp(min=1e-9))


def faded(waveform: Float[Tensor, " samples"], length: int) -> Tensor:
    """With `length` samples at both ends raised and lowered along a sine: nothing lies beyond the
    ends of a crop, and cut off sharply it would have a spectrum that no mel tells of."""
    ramp = torch.sin(torch.pi / 2 * (torch.arange(length) + 0.5) / length)
    middle = torch.ones(len(waveform) - 2 * length)
    return waveform * torch.cat([ramp, middle, ramp.flip(0)])


@final
class Crops(Dataset[Item]):
    """Crops at random places of files, as blocks of samples and their mel.

    Attributes
    ----------
    samples : every file, one after the other, int16.
    starts : the first sample of each, and the end.
    skipped : files that could not be used.
    """

    def __init__(
        self,
        samples: np.ndarray[Any, np.dtype[np.int16]],
        starts: Sequence[int],
        configuration: Configuration,
        skipped: Sequence[Path] = (),
    ) -> None:
        self.samples, self.starts, self.configuration = samples, tuple(starts), configuration
        self.skipped = tuple(skipped)
        size = configuration.crop * configuration.mel.hop
        counts = [max(1, round((b - a) / size)) for a, b in pairwise(starts)]
        self.owner = np.repeat(np.arange(len(counts)), counts)

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, index: int) -> Item:
        """A crop of the file that `index` belongs to, at a place and with a gain drawn from
        torch's generator. What a file lacks is silence."""
        own, mel = self.configuration, self.configuration.mel
        place = int(self.owner[index])
        start, end = self.starts[place], self.starts[place + 1]
        draw = torch.rand(2, dtype=torch.float64).tolist()
        size, before = own.crop * mel.hop, -(-mel.fft // mel.hop)
        room = end - start - size
        first = start + int(draw[0] * (room + 1 if room >= 0 else room))
        # frame `before` of this stretch is centred on the first block, and sees no end
        low = first + mel.offset - before * mel.hop
        high = first + size + mel.fft
        inside = self.samples[max(low, start) : min(high, end)].astype(np.float32) / 32768
        pads = (max(0, start - low), max(0, high - end))
        wave = torch.nn.functional.pad(torch.from_numpy(inside), pads)
        least, most = own.gain
        wave = wave * 10 ** ((least + draw[1] * (most - least)) / 20)
        frames = mel_spectrogram(wave[None], mel)[0, :, before : before + own.crop].T
        crop = faded(wave[first - low : first - low + size], mel.hop // 2)
        return crop.view(own.crop, mel.hop), frames

    def sentences(self, count: int, seconds: float) -> list[Audio]:
        """Files, evenly spaced over all that are long enough for a mel, each from its begin for at
        most so many seconds; at most `count` of them."""
        rate, least = self.configuration.mel.sample_rate, self.configuration.mel.fft
        found = [(a, b) for a, b in pairwise(self.starts) if b - a > least]
        count = min(count, len(found))
        ends = [found[k * len(found) // count] for k in range(count)]
        most = round(seconds * rate)
        waves = [self.samples[a : min(b, a + most)].astype(np.float32) / 32768 for a, b in ends]
        return [Audio(torch.from_numpy(wave)[None], rate) for wave in waves]

    @property
    def fingerprint(self) -> str:
        """A hash of all samples."""
        return digest(torch.from_numpy(self.samples), self.starts)


def configure(source: str | Path, options: Mapping[str, Any]) -> Configuration:
    """A configuration with what the training part says."""
    wanted = configured(Configuration, options)
    _say_left_out(Path(source), files_of(source))
    if wanted.learned is not None:
        return wanted
    crops = dataset(source, wanted, "train")
    generator = torch.random.get_rng_state()
    torch.manual_seed(0)
    rows = [crops[k * len(crops) // _STATISTICS] for k in range(_STATISTICS)]
    torch.random.set_rng_state(generator)
    return wanted.model_copy(update={"learned": learned(rows, wanted)})


def learned(items: Sequence[Item], configuration: Configuration) -> Learned:
    """The scale of each coefficient, or of all samples, and how loud the sound is."""
    own = configuration
    blocks, mel = (torch.stack([item[k] for item in items]) for k in (0, 1))
    envelope = log_envelope(mel, own.mel)
    if own.method == "mdct":
        z, _ = MDCT(own.mel.hop).embed(blocks, Layout.dense(len(blocks), blocks.shape[1:]))
        z = (z / envelope.exp())[:, 1:-1].double()
        scale = z.square().mean((0, 1)).sqrt().clamp(min=1e-3).tolist()
    elif own.prior == "mel":
        z = (blocks / loudness(mel, own.mel)).double()
        scale = [float(z.square().mean().sqrt().clamp(min=1e-3))]
    else:
        scale = [1.0]
    return Learned(
        scale=tuple(scale),
        mean=float(envelope.mean()),
        spread=float(envelope.std().clamp(min=1e-3)),
    )


def dataset(
    source: str | Path, configuration: Configuration, part: Literal["train", "validation"]
) -> Crops:
    """Every file of one part, decoded.

    Raises
    ------
    InputError : no folder, no sound, a part that is silent; files that cannot be used, the first
        of them by name and all of them counted, unless `unreadable="skip"`, which warns instead.
    LimitExceeded : more than `MOST_BYTES` of it.
    """
    root, own = Path(source), configuration
    pieces: list[np.ndarray[Any, np.dtype[np.int16]]] = []
    starts = [0]
    bad: list[tuple[Path, InputError]] = []
    files = split(files_of(root), root, own.held_out, part)
    for path in files:
        try:
            wave = _ready(path, own)
        except InputError as error:
            bad.append((path, error))
            continue
        pieces.append(wave)
        starts.append(starts[-1] + len(wave))
        if 2 * starts[-1] > MOST_BYTES:
            raise LimitExceeded(
                "the decoded sound does not fit",
                value=f"{2 * starts[-1] / 2**30:.1f} GiB",
                limit=f"{MOST_BYTES >> 30} GiB",
                fix="use fewer files",
            )
    if bad:
        unusable(bad, len(files), f"files of the {part} part", own.unreadable == "skip")
    if files and not pieces:
        raise InputError(f"not one file of the {part} part can be used", value=str(root))
    joined = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int16)
    return Crops(joined, starts, own, [path for path, _ in bad])


def _ready(path: Path, own: Configuration) -> np.ndarray[Any, np.dtype[np.int16]]:
    """A file at one rate and level, without silence at its ends."""
    wave, _ = load_mono(path, own.mel.sample_rate)
    if own.silence is not None:
        wave = trimmed(wave, own.mel.sample_rate, own.silence)
    if not len(wave):
        raise InputError(f"{str(path)!r} is silent")
    if own.level is not None:
        wave = levelled(wave, own.level)
    return (wave * 32767).round().clamp(-32768, 32767).to(torch.int16).numpy()


def collate(items: Sequence[Item]) -> Batch:
    """Blocks of samples, and their mel as condition."""
    blocks = torch.stack([item[0] for item in items])
    mel = torch.stack([item[1] for item in items])
    return Batch(blocks, Layout.dense(len(blocks), blocks.shape[1:]), {"mel": mel})
