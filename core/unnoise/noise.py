"""Randomness per sample: sample i of seed s gets the same numbers in any batch, order or process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import InputError
from unnoise.spaces.layout import Layout

_GOLDEN = 0.6180339887498949  # (sqrt(5) - 1) / 2: multiples are equidistributed modulo 1
_STATE = torch.Generator().manual_seed(0).get_state().numpy()
_WORDS = slice(24, 24 + 624 * 8)  # the Mersenne twister's words in torch's serialised state


def _stream(seed: int, number: int, branch: int) -> torch.Generator:
    """A generator whose whole state is a function of (seed, number, branch).

    `torch.Generator.manual_seed` keeps 32 bits of its seed, so that 65,000 samples would contain
    two alike; the state is filled from a Philox cipher instead.
    """
    state = _STATE.copy()
    cipher = np.random.Philox(key=(seed, number), counter=(0, 0, 0, branch))
    words = cipher.random_raw(312).view(np.uint32)
    state[_WORDS].view(np.uint64)[:] = words
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(state))
    return generator


class NoiseSource:
    """Independent random streams, one per sample number.

    Numbers are drawn on the CPU and moved to the layout's device, so they do not depend on it.
    Drawing advances the streams: a source serves one run.

    Parameters
    ----------
    seed : 0 <= seed < 2**64.
    ids : the sample numbers of the batch, each 0 <= id < 2**64; ids[i] belongs to sample i.
    branch : streams of different branches are independent.
    """

    def __init__(self, seed: int, ids: Sequence[int], branch: int = 0) -> None:
        if not 0 <= seed < 2**64:
            raise InputError("seed is out of range", value=seed, limit="0 to 2**64 - 1")
        if any(not 0 <= i < 2**64 for i in ids):
            raise InputError("a sample number is out of range", limit="0 to 2**64 - 1")
        self.seed = seed
        self.ids = list(ids)
        self.branch = branch
        self._streams = [_stream(seed, i, branch) for i in self.ids]

    def fork(self) -> NoiseSource:
        """Fresh streams of the same samples, so that extra draws leave these undisturbed."""
        return NoiseSource(self.seed, self.ids, self.branch + 1)

    def normal(self, layout: Layout) -> Tensor:
        """Standard normal numbers in the layout's shape, dtype and device; zero in the padding."""
        dtype = layout.dtype if layout.dtype.is_floating_point else torch.float32
        out = torch.empty(layout.shape, dtype=dtype)
        return self._fill(out, layout, lambda x, g: x.normal_(generator=g))

    def uniform(self, layout: Layout) -> Tensor:
        """Uniform float64 numbers in [0, 1), one per entry of the layout; zero in the padding."""
        out = torch.empty(layout.shape, dtype=torch.float64)
        return self._fill(out, layout, lambda x, g: x.uniform_(generator=g))

    def times(self) -> Tensor:
        """(B,) float64 in [0, 1): spread evenly over consecutive sample numbers.

        u_i = frac(u_0(seed) + i (sqrt(5) - 1) / 2). Each is a function of its own sample number,
        and any run of consecutive numbers is a low-discrepancy set.
        """
        start = np.random.Philox(key=(self.seed, 2**64 - 1)).random_raw() / 2**64
        return torch.tensor([(start + i * _GOLDEN) % 1.0 for i in self.ids], dtype=torch.float64)

    def _fill(self, out: Tensor, layout: Layout, draw) -> Tensor:  # type: ignore[no-untyped-def]
        if layout.batch != len(self.ids):
            raise InputError(
                "the noise source has other samples than the layout",
                value=len(self.ids),
                limit=layout.batch,
            )
        if layout.index is not None:
            parts = out.split(layout.points.tolist())
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
