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
    bank = filters(c)
    weights = (bank / bank.sum(1, keepdim=True).clamp(min=1e-12)).T
    silent = bank.sum(1) == 0
    window = torch.hann_window(c.window)
    scale = float(window.square().sum().sqrt()) if c.window_norm == "energy" else 1.0
    target = unmapped(mel, c)
    # frames in the middle of blocks are centred frames of a sound that begins half a hop earlier
    shift = c.hop // 2 if c.placing == "same" else 0
    last: Tensor | None = None
    for _ in range(rounds):
        wide = torch.nn.functional.pad(waveform[None, None], (shift, shift), mode=c.padding)[0, 0]
        x = torch.stft(
            wide, c.fft, c.hop, c.window, window, pad_mode=c.padding, return_complex=True
        )
        last, x = x, x if last is None else x + MOMENTUM * (x - last)
        bands = ((x.abs() / scale).square() + c.tiny).pow(c.power / 2).T @ bank
        if shift:
            full = torch.cat([bands[:1], target, bands[-1:]])
        else:
            full = target
        ratio = full / bands.clamp(min=c.floor)
        gain = (ratio @ weights).masked_fill(silent, 1.0).pow(1 / c.power)
        nearest = torch.istft(x * gain.T, c.fft, c.hop, c.window, window, length=len(wide))
        waveform = nearest[shift : shift + len(waveform)]
    return waveform


def reach(configuration: MelConfiguration, rounds: int) -> int:
    """Frames on each side that a sample depends on after so many rounds."""
    return rounds * -(-configuration.fft // configuration.hop)
