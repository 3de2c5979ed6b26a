"""Randomness per sample: the same numbers for a sample in any batch, order or process.

The numbers of sample i are a stream keyed by (seed, i) and drawn from one after the other, so that
they cost what those of torch cost. What a number is then depends on all that were drawn before it,
and a piece of a long signal could not be drawn without what lies before it. A `window` is therefore
drawn by place: draw d of sample i is cut into blocks, and block k is a stream keyed by
(seed, i, d, k). Every window onto a signal, the one that shows all of it included, sees the same
blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.errors import InputError
from unnoise.spaces.layout import Layout, tensor

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 (sqrt(5) - 1) / 2: multiples spread evenly modulo 2**64
_NOBODY = 2**64 - 1  # the key of what the samples of a seed share
_STATE = torch.Generator().manual_seed(0).get_state().numpy()
_WORDS = slice(24, 24 + 624 * 8)  # the Mersenne twister's words in torch's serialised state
_APART = 2**32  # streams of `branches` lie above those of `fork`
_BLOCK = 16_384  # numbers of a window that one stream yields

_Draw: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]


def _stream(cipher: np.random.Philox) -> torch.Generator:
    """A generator whose whole state is a function of the cipher's key and counter.

    `torch.Generator.manual_seed` keeps 32 bits of its seed, so that 65,000 samples would contain
    two alike; the state is filled from a Philox cipher instead.
    """
    state = _STATE.copy()
    words = cipher.random_raw(312)
    state[_WORDS].view(np.uint64)[:] = words.view(np.uint32)
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(state))
    return generator


def _streams(seeds: Sequence[int], numbers: Sequence[int], branch: int) -> list[torch.Generator]:
    """The streams of samples. One cipher is set from key to key: making one costs far more."""
    if not numbers:
        return []
    cipher = _cipher(0, 0, branch)
    state: Any = cipher.state
    found = []
    for key in zip(seeds, numbers, strict=True):
        state["state"]["key"][:] = key
        cipher.state = state
        found.append(_stream(cipher))
    return found


def _cipher(
    seed: int, number: int, branch: int, draw: int = 0, block: int = -1
) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, number], np.uint64),
        counter=np.array([0, 1 + block, draw, branch], np.uint64),
    )


def _blank(layout: Layout, dtype: torch.dtype) -> Tensor:
    """Room for the noise of a layout. What goes to a GPU is in pinned memory: a copy from there
    does not wait for what the GPU computes, so that it computes while the next noise is drawn."""
    return torch.empty(layout.shape, dtype=dtype, pin_memory=layout.device.type == "cuda")


def _moved(x: Tensor, layout: Layout) -> Tensor:
    return x.to(layout.device, non_blocking=layout.device.type == "cuda")


@dataclass
class _Places:
    """The noise of one sample by place, and how often it was drawn."""

    seed: int
    number: int
    branch: int
    draws: int = 0

    def fill(self, out: Tensor, start: int, axis: int, draw: _Draw) -> None:
        """Fill one sample's piece, whose first entry along `axis` is at place `start`."""
        key = (self.seed, self.number, self.branch, self.draws)
        self.draws += 1
        if out.ndim == 0:  # a number of the whole sample: all windows see it
            out.copy_(draw(torch.empty(1, dtype=out.dtype), _stream(_cipher(*key, 0)))[0])
            return
        rows = out.movedim(axis, -1)
        *others, count = rows.shape
        length = max(1, _BLOCK // max(1, int(np.prod(others))))
        stop = start + count
        for k in range(start // length, -(-stop // length)):
            low, first, last = k * length, max(start, k * length), min(stop, (k + 1) * length)
            block = draw(torch.empty(*others, length, dtype=out.dtype), _stream(_cipher(*key, k)))
            rows[..., first - start : last - start] = block[..., first - low : last - low]


@dataclass(frozen=True)
class Window:
    """A piece of a signal: the places start .. stop - 1 of an axis of an event; None is its end."""

    start: int = 0
    stop: int | None = None
    axis: int = -1

    def check(self, layout: Layout) -> None:
        if layout.index is not None:
            raise InputError("a window is a piece of dense samples", fix="draw without a window")
        event = layout.shape[1:]
        if not event:
            return
        if not -len(event) <= self.axis < len(event):
            raise InputError("the window has no such axis", value=self.axis, limit=len(event))
        if self.stop is not None and event[self.axis] != self.stop - self.start:
            raise InputError(
                "the layout has another length than the window",
                value=event[self.axis],
                limit=self.stop - self.start,
            )


class NoiseSource:
    """Independent random streams, one per sample number.

    Numbers are drawn on the CPU and moved to the layout's device, so they do not depend on it.
    Drawing advances the streams: a source serves one run.

    Parameters
    ----------
    seed : 0 <= seed < 2**64; or that of each sample, where those of several seeds run together.
    ids : the sample numbers of the batch, 0 <= id < 2**64 - 1; ids[i] belongs to sample i.
    branch : streams of different branches are independent.
    """

    def __init__(self, seed: int | Sequence[int], ids: Sequence[int], branch: int = 0) -> None:
        seeds = list(seed) if isinstance(seed, Sequence) else [seed] * len(ids)
        for one in seeds if isinstance(seed, Sequence) else [seed]:
            if not 0 <= one < 2**64:
                raise InputError("seed is out of range", value=one, limit="0 to 2**64 - 1")
        for i in ids:
            if not 0 <= i < _NOBODY:
                raise InputError("a sample number is out of range", value=i, limit="0 to 2**64 - 2")
        if len(seeds) != len(ids):
            raise InputError("one seed for each sample", value=len(seeds), limit=len(ids))
        self.seeds = seeds
        self.ids = list(ids)
        self.branch = branch
        self._streams = _streams(seeds, self.ids, branch)
        self._each = 1  # states of each sample
        self._window: Window | None = None
        self._places: list[_Places] = []  # of a window, in the place of the streams

    def fork(self) -> NoiseSource:
        """Fresh streams of the same samples, so that extra draws leave these undisturbed."""
        if self._window is None:
            return NoiseSource(self.seeds, self.ids, self.branch + 1)
        return self._seen(self._window, self.branch + 1)

    def branches(self, count: int) -> NoiseSource:
        """Noise for `count` states of each sample, one after the other: they are drawn together,
        from one stream of the sample, independent of this one."""
        if self._window is not None:
            raise InputError("a window has no branches", fix="draw without a window")
        part = self._empty([k for k in range(len(self.ids)) for _ in range(count)])
        part._streams = _streams(self.seeds, self.ids, self.branch + _APART)
        part._each = count
        return part

    def of(self, rows: Sequence[int]) -> NoiseSource:
        """The streams of some of the samples, by their places: the same streams, not copies."""
        part = self._empty(rows)
        if self._each > 1:  # drawn together or not at all
            return part
        part._streams = [self._streams[k] for k in rows] if self._streams else []
        part._places = [self._places[k] for k in rows] if self._places else []
        return part

    def copy(self) -> NoiseSource:
        """A source that draws what this one will draw from now on; drawing from one leaves the
        other where it is, so that a segment of a run can be replayed."""
        twin = self._empty(range(len(self.ids)))
        twin._streams = [g.clone_state() for g in self._streams]
        twin._each = self._each
        twin._places = [replace(place) for place in self._places]
        return twin

    def window(self, start: int = 0, stop: int | None = None, axis: int = -1) -> NoiseSource:
        """The noise of the places start .. stop - 1 of a long signal, from its first draw on.

        What is drawn at a place depends on the seed, the sample, the number of the draw and the
        place alone: chunks of any length, in any order and overlapping or not, have the noise of
        the whole, `window()`, which memory never has to hold. (The whole is not what this source
        itself draws, whose numbers have an order and no place.) Padding draws what would be there.
        Blocks of 16,384 numbers are drawn at once, and what a window cuts off of one is lost.

        Parameters
        ----------
        start, stop : 0 <= start < stop; None: as far as the layout goes.
        axis : of an event, the one that is cut. By default the last, the time of sound
            (channels, time); 0 for the rows of a table. The others must be there in full. An event
            without axes is one number for the whole signal.

        Raises
        ------
        InputError : no such window; when drawn from, a layout that is ragged or of another length.
        """
        if start < 0 or (stop is not None and stop <= start):
            raise InputError("no such window", value=(start, stop), limit="0 <= start < stop")
        return self._seen(Window(start, stop, axis), self.branch)

    def normal(self, layout: Layout) -> Float[Tensor, "rows ..."]:
        """Standard normal numbers in the layout's shape, dtype and device; zero in the padding."""
        dtype = layout.dtype if layout.dtype.is_floating_point else torch.float32
        out = _blank(layout, dtype)
        return self._fill(out, layout, lambda x, g: x.normal_(generator=g))

    def uniform(self, layout: Layout) -> Float64[Tensor, "rows ..."]:
        """Uniform float64 numbers in [0, 1), one per entry of the layout; zero in the padding."""
        out = _blank(layout, torch.float64)
        return self._fill(out, layout, lambda x, g: x.uniform_(generator=g))

    def times(self) -> Float64[Tensor, " batch"]:
        """(B,) float64 in [0, 1): spread evenly over consecutive sample numbers.

        u_i = frac(u_0(seed) + i (sqrt(5) - 1) / 2). Each is a function of its own sample number,
        and any run of consecutive numbers is a low-discrepancy set.
        """
        starts = {
            seed: int(_cipher(seed, _NOBODY, self.branch).random_raw()) for seed in set(self.seeds)
        }
        both = zip(self.seeds, self.ids, strict=True)
        turns = [(starts[seed] + i * _GOLDEN) % 2**64 >> 11 for seed, i in both]
        return torch.tensor(turns, dtype=torch.float64) / 2**53

    def _empty(self, rows: Sequence[int]) -> NoiseSource:
        """The samples at these places, without streams."""
        other = NoiseSource([], [], self.branch)
        other.seeds = [self.seeds[k] for k in rows]
        other.ids = [self.ids[k] for k in rows]
        other._window = self._window
        return other

    def _seen(self, window: Window, branch: int) -> NoiseSource:
        """A source of the same samples, by place."""
        other = self._empty(range(len(self.ids)))
        other.branch, other._window = branch, window
        other._places = [
            _Places(seed, i, branch) for seed, i in zip(self.seeds, self.ids, strict=True)
        ]
        return other

    def _fill(self, out: Tensor, layout: Layout, draw: _Draw) -> Tensor:
        if layout.batch != len(self.ids):
            raise InputError(
                "the noise source has other samples than the layout",
                value=len(self.ids),
                limit=layout.batch,
            )
        if self._window is not None:
            self._window.check(layout)
            for row, place in zip(out, self._places, strict=True):
                place.fill(row, self._window.start, self._window.axis, draw)
            return tensor(layout.zero_padding(_moved(out, layout)))
        if len(self._streams) * self._each != len(self.ids):
            raise InputError("states of one sample are drawn together", limit=self._each)
        if layout.index is not None:
            parts = torch.split(out, layout.points.tolist())
            streams = (stream for stream in self._streams for _ in range(self._each))
            for part, generator in zip(parts, streams, strict=True):
                draw(part, generator)
        elif layout.mask is not None:
            # a sample's stream must not depend on how far its neighbours pad it
            mask = layout.mask.cpu()
            out.zero_()
            streams = (stream for stream in self._streams for _ in range(self._each))
            for row, real, generator in zip(out, mask, streams, strict=True):
                row[real] = draw(torch.empty_like(row[real]), generator)
        else:
            rows = out.view(len(self._streams), self._each, *out.shape[1:])
            for row, generator in zip(rows, self._streams, strict=True):
                draw(row, generator)
        return _moved(out, layout)
