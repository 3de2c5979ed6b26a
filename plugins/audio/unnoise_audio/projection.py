"""A sound brought closer to a mel: magnitudes corrected, phases kept.

A round takes X, the short-time Fourier transform of the sound, and its bands b, as the front end
has them, and makes the sound whose transform is nearest (least squares) to

    g X,   g[j, f]^power = sum over m of w[f, m] target[j, m] / b[j, m],

w[f, m] = B[f, m] / sum over n of B[f, n], and g = 1 where no band reaches. Griffin-Lim does this
with magnitudes that a pseudo-inverse of B has guessed from the mel; here they are free to be
whatever has these bands. From the second round on X is X + MOMENTUM (X - X of the round before), as
in the fast Griffin-Lim algorithm (Perraudin 2013).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise_audio.mel import MelConfiguration, filters, unmapped

MOMENTUM: Final = 0.9
"""Chosen on validation sentences at 16 rounds, among 0, .9, .99, 1 and 1.2: more leaves the mel
less near, and 1.2 is worse than none."""


def projected(
    waveform: Float[Tensor, " samples"],
    mel: Float[Tensor, "frames mels"],
    configuration: MelConfiguration,
    rounds: int,
) -> Float[Tensor, " samples"]:
    """After `rounds` rounds.

    Parameters
    ----------
    waveform : (frames - 1) hop samples for "centre", frames hop for "same"; more than half a
        Fourier transform, where the ends are reflected.
    """
    c = configuration
    *parts, scale = _parts(c)
    bank, weights, alone, window = (part.to(waveform) for part in parts)
    target = unmapped(mel, c)
    # frames in the middle of blocks are centred frames of a sound that begins half a hop earlier
    shift = c.hop // 2 if c.placing == "same" else 0
    length = len(waveform) + 2 * shift
    weight = overlapped(window.square().expand(1 + length // c.hop, -1), c.hop)
    first = c.fft // 2 + shift
    last: Tensor | None = None
    for _ in range(rounds):
        wide = torch.nn.functional.pad(waveform[None], (shift, shift), mode=c.padding)[0]
        x = torch.stft(wide, c.fft, c.hop, c.fft, window, pad_mode=c.padding, return_complex=True).T
        last, x = x, x if last is None else _onwards(last, x)
        # x.abs() takes several times as long
        bands = ((x * x.conj()).real / scale + c.tiny).pow_(c.power / 2) @ bank
        full = torch.cat([bands[:1], target, bands[-1:]]) if shift else target
        gain = torch.addmm(alone, full / bands.clamp(min=c.floor), weights).pow_(1 / c.power)
        nearest = overlapped(torch.fft.irfft(x * gain, n=c.fft) * window, c.hop) / weight
        waveform = nearest[first : first + len(waveform)]
    return waveform


@lru_cache(maxsize=16)
def _parts(configuration: MelConfiguration) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """B, w, 1 where no band reaches, the window padded to a Fourier transform, and its energy."""
    c = configuration
    bank = filters(c)
    total = bank.sum(1)
    weights, alone = (bank / total.clamp(min=1e-12)[:, None]).T, (total == 0).to(bank.dtype)
    window = torch.hann_window(c.window)
    scale = float(window.square().sum()) if c.window_norm == "energy" else 1.0
    window = torch.nn.functional.pad(window, ((c.fft - c.window) // 2, -(c.window - c.fft) // 2))
    return bank, weights, alone, window, scale


def overlapped(frames: Float[Tensor, "frames size"], hop: int) -> Float[Tensor, " samples"]:
    """The sum of frames, each a hop after the one before."""
    count, size = frames.shape
    pieces = -(-size // hop)
    rows = torch.nn.functional.pad(frames, (0, pieces * hop - size)).view(count, pieces, hop)
    total = frames.new_zeros(count + pieces - 1, hop)
    for k in range(pieces):
        total[k : k + count] += rows[:, k]
    return total.flatten()


def _onwards(last: Tensor, x: Tensor) -> Tensor:
    """x + MOMENTUM (x - last)."""
    parts = [torch.view_as_real(one) for one in (last, x)]
    return torch.view_as_complex(torch.lerp(*parts, 1 + MOMENTUM))


def reach(configuration: MelConfiguration, rounds: int) -> int:
    """Frames on each side that a sample depends on after so many rounds: in each, what lies within
    half a window of the frames that lie within half a window of it."""
    return rounds * -(-configuration.window // configuration.hop)
