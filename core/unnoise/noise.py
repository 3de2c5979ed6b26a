"""Randomness per sample: the same numbers for a sample in any batch, order or process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unnoise.errors import InputError
from unnoise.spaces.layout import Layout

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 (sqrt(5) - 1) / 2: multiples spread evenly modulo 2**64
_NOBODY = 2**64 - 1  # the key of what the samples of a seed share
_STATE = torch.Generator().manual_seed(0).get_state().numpy()
_WORDS = slice(24, 24 + 624 * 8)  # the Mersenne twister's words in torch's serialised state


def _stream(seed: int, number: int, branch: int) -> torch.Generator:
    """A generator whose whole state is a function of (seed, number, branch).

    `torch.Generator.manual_seed` keeps 32 bits of its seed, so that 65,000 samples would contain
    two alike; the state is filled from a Philox cipher instead.
    """
    state = _STATE.copy()
    words = _cipher(seed, number, branch).random_raw(312)
    state[_WORDS].view(np.uint64)[:] = words.view(np.uint32)
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(state))
    return generator


def _cipher(seed: int, number: int, branch: int) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, number], np.uint64), counter=np.array([0, 0, 0, branch], np.uint64)
    )


class NoiseSource:
    """Independent random streams, one per sample number.

    Numbers are drawn on the CPU and moved to the layout's device, so they do not depend on it.
    Drawing advances the streams: a source serves one run.

    Parameters
    ----------
    seed : 0 <= seed < 2**64.
    ids : the sample numbers of the batch, 0 <= id < 2**64 - 1; ids[i] belongs to sample i.
    branch : streams of different branches are independent.
    """

    def __init__(self, seed: int, ids: Sequence[int], branch: int = 0) -> None:
        if not 0 <= seed < 2**64:
            raise InputError("seed is out of range", value=seed, limit="0 to 2**64 - 1")
        for i in ids:
            if not 0 <= i < _NOBODY:
                raise InputError("a sample number is out of range", value=i, limit="0 to 2**64 - 2")
        self.seed = seed
        self.ids = list(ids)
        self.branch = branch
        self._streams = [_stream(seed, i, branch) for i in self.ids]

    def fork(self) -> NoiseSource:
        """Fresh streams of the same samples, so that extra draws leave these undisturbed."""
        return NoiseSource(self.seed, self.ids, self.branch + 1)

    def of(self, rows: Sequence[int]) -> NoiseSource:
        """The streams of some of the samples, by their places: the same streams, not copies."""
        part = NoiseSource(self.seed, [], self.branch)
        part.ids = [self.ids[k] for k in rows]
        part._streams = [self._streams[k] for k in rows]
        return part

    def normal(self, layout: Layout) -> Float[Tensor, "rows ..."]:
        """Standard normal numbers in the layout's shape, dtype and device; zero in the padding."""
        dtype = layout.dtype if layout.dtype.is_floating_point else torch.float32
        out = torch.empty(layout.shape, dtype=dtype)
        return self._fill(out, layout, lambda x, g: x.normal_(generator=g))

    def uniform(self, layout: Layout) -> Float64[Tensor, "rows ..."]:
        """Uniform float64 numbers in [0, 1), one per entry of the layout; zero in the padding."""
        out = torch.empty(layout.shape, dtype=torch.float64)
        return self._fill(out, layout, lambda x, g: x.uniform_(generator=g))

    def times(self) -> Float64[Tensor, " batch"]:
        """(B,) float64 in [0, 1): spread evenly over consecutive sample numbers.

        u_i = frac(u_0(seed) + i (sqrt(5) - 1) / 2). Each is a function of its own sample number,
        and any run of consecutive numbers is a low-discrepancy set.
        """
        start = int(_cipher(self.seed, _NOBODY, self.branch).random_raw())
        turns = [(start + i * _GOLDEN) % 2**64 >> 11 for i in self.ids]
        return torch.tensor(turns, dtype=torch.float64) / 2**53

    def _fill(
        self, out: Tensor, layout: Layout, draw: Callable[[Tensor, torch.Generator], Tensor]
    ) -> Tensor:
        if layout.batch != len(self.ids):
            raise InputError(
                "the noise source has other samples than the layout",
                value=len(self.ids),
                limit=layout.batch,
            )
        if layout.index is not None:
            parts = torch.split(out, layout.points.tolist())
            for part, generator in zip(parts, self._streams, strict=True):
                draw(part, generator)
        elif layout.mask is not None:
            # a sample's stream must not depend on how far its neighbours pad it
            mask = layout.mask.cpu()
            out.zero_()
            for row, real, generator in zip(out, mask, self._streams, strict=True):
                row[real] = draw(torch.empty_like(row[real]), generator)
        else:
            for row, generator in zip(out, self._streams, strict=True):
                draw(row, generator)
        return out.to(layout.device)
