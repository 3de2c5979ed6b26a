"""A sound brought closer to a mel: magnitudes corrected, phases kept.

A round takes X, the short-time Fourier transform of the sound, and its bands b = B |X|^power, and
makes the sound whose transform is nearest (least squares) to

    g X,   g[j, f]^power = sum over m of w[f, m] target[j, m] / b[j, m],

w[f, m] = B[f, m] / sum over n of B[f, n], and g = 1 where no band reaches. Griffin-Lim does this
with known magnitudes and random phases; here the phases of the sound are good already.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from unnoise_audio.mel import MelConfiguration, filters, unmapped


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
    target = unmapped(mel, c)
    # frames in the middle of blocks are centred frames of a sound that begins half a hop earlier
    shift = c.hop // 2 if c.placing == "same" else 0
    for _ in range(rounds):
        wide = torch.nn.functional.pad(waveform[None, None], (shift, shift), mode=c.padding)[0, 0]
        x = torch.stft(
            wide, c.fft, c.hop, c.window, window, pad_mode=c.padding, return_complex=True
        )
        bands = x.abs().pow(c.power).T @ bank
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
