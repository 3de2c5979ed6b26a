"""Long sound, made a chunk at a time.

A frame of the network depends on `reach` frames on each side, after n evaluations on n reach. A
chunk is therefore made with so many frames around it, with the noise that the whole has at their
places (`Task.window`), and what lies around is thrown away: the chunks, one after the other, are
the whole. Only the mel and the sound that it is of are held in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unnoise.domain import Partial, Plan, Task, Trained, Window
from unnoise.engine.options import Options
from unnoise.engine.request import check_ahead, grid_of, steps_of
from unnoise.spaces import Layout, tensor
from unnoise_audio.inputs import Prepared
from unnoise_audio.mel import MelConfiguration
from unnoise_audio.projection import projected
from unnoise_audio.projection import reach as reach_of_projection
from unnoise_audio.sound import Audio

SECONDS: Final = 30.0
"""Of sound that are made at once."""
_AT_ONCE: Final = 1 << 16  # frames of all samples that are made at once
_LEAST: Final = 256  # hops of a chunk, however many samples there are
MOST_OVERLAP: Final = 2048
"""Frames on each side of a chunk, at most."""


@final
@dataclass(frozen=True)
class Chunking:
    """How a request is cut.

    Attributes
    ----------
    hops : of a chunk; None to choose by the number of samples.
    overlap : frames that are made on each side of a chunk and thrown away.
    exact : whether that is as far as a chunk sees.
    project : rounds of projection on the mel.
    """

    hops: int | None
    overlap: int
    exact: bool
    project: int

    def chunks(self, hops: int, samples: int, configuration: MelConfiguration) -> list[Chunk]:
        """Chunks of `samples` sounds of at most `hops` hops."""
        size = self.hops
        if size is None:
            second = configuration.sample_rate / configuration.hop
            size = min(max(_LEAST, _AT_ONCE // samples), round(SECONDS * second))
        count = max(1, round(hops / size))
        borders = [k * size for k in range(count)] + [hops]
        return [Chunk(a, b) for a, b in pairwise(borders)]


@final
@dataclass(frozen=True)
class Chunk:
    """The hops start .. stop - 1 of a sound."""

    start: int
    stop: int


def chunking(model: Trained, options: Options, seconds: float | None, project: int) -> Chunking:
    """How the chunks of a request overlap: by what its sampler, steps and projection reach."""
    mel: MelConfiguration = model.configuration.mel
    sampler = check_ahead(model, options)
    steps, grid = steps_of(None, options, model.defaults)
    times = grid_of(model.denoiser, steps, 1.0 if options.start is None else options.start.t, grid)
    # a sampler that decides for itself says 0; one more for those that begin with a smaller step
    evaluations = (len(times) - 1) * sampler.evaluations + 1 if sampler.evaluations else None
    far = MOST_OVERLAP + 1
    if evaluations is not None:
        far = evaluations * model.configuration.reach
    # the frame after the last hop, and the neighbours of a block in the MDCT
    wanted = far + reach_of_projection(mel, project) + 3
    hops = None if seconds is None else max(1, round(seconds * mel.sample_rate / mel.hop))
    return Chunking(hops, min(wanted, MOST_OVERLAP), wanted <= MOST_OVERLAP, project)


def speak(own: Sequence[Prepared], model: Trained, how: Chunking) -> Plan:
    """The plan of a batch: chunk after chunk, handed out as they are made."""
    mel: MelConfiguration = model.configuration.mel
    hops = [one.hops(mel) for one in own]
    done: list[Audio | None] = [None] * len(own)
    chunks = how.chunks(max(hops), len(own), mel)
    for number, chunk in enumerate(chunks):
        rows = [k for k, count in enumerate(hops) if count > chunk.start]
        these = [own[k] for k in rows]
        start = max(0, chunk.start - how.overlap)
        stop = min(max(len(one.mel) for one in these), chunk.stop + how.overlap)
        heard, mask = _batch(these, start, stop)
        layout = Layout.dense(len(rows), (stop - start, mel.hop), mask=mask)
        condition = {"mel": heard}
        window = Window(start, stop, 0)
        state = yield Task(layout, condition, rows=rows, window=window)
        blocks = tensor(model.decode(state, layout, condition))
        sounds = list(_sounds(these, blocks, start, chunk, mel, how))
        if number < len(chunks) - 1:
            yield Partial(sounds, rows)
        else:
            for k, sound in zip(rows, sounds, strict=True):
                done[k] = sound
    return done


def _batch(
    these: Sequence[Prepared], start: int, stop: int
) -> tuple[Float[Tensor, "batch frames mels"], Bool[Tensor, "batch frames"] | None]:
    """The mels of some frames, and which of them are no padding."""
    pieces = [one.mel[start:stop] for one in these]
    heard = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    counts = torch.tensor([len(piece) for piece in pieces])
    mask = torch.arange(stop - start) < counts[:, None]
    return heard, None if bool(mask.all()) else mask


def _sounds(
    these: Sequence[Prepared],
    blocks: Float[Tensor, "batch frames hop"],
    start: int,
    chunk: Chunk,
    mel: MelConfiguration,
    how: Chunking,
) -> Iterator[Audio]:
    """What each sample is in a chunk, from blocks of samples that begin with frame `start`."""
    for one, row in zip(these, blocks, strict=True):
        told = one.mel[start : start + len(row)]
        wave = row[: len(told)].flatten()
        if mel.offset:  # blocks are centred on the first sample of a hop
            wave = wave[mel.offset : len(wave) - (mel.hop - mel.offset)]
        if how.project:
            wave = projected(wave, told, mel, how.project)
        first, last = chunk.start * mel.hop, min(chunk.stop * mel.hop, one.samples)
        wave = wave[first - start * mel.hop : last - start * mel.hop]
        notes = one.notes
        if float(wave.abs().max()) > 1:
            notes = (*notes, "values of the result beyond full scale were cut")
        if not how.exact and len(one.mel) > len(told):
            notes = (*notes, f"chunks overlap by {how.overlap} frames, and see more")
        if one.original is None:
            original: Audio | Tensor = one.mel[chunk.start : chunk.stop].T
        else:
            original = Audio(one.original[None, first:last], mel.sample_rate)
        yield Audio(wave.clamp(-1, 1)[None].contiguous(), mel.sample_rate, notes, original)
