"""The network of the MDCT vocoder: ConvNeXt blocks on short patches of a sharpened signal.

The states are MDCT coefficients in units of the mel's envelope, white where the sound is noise.
What is left of a voice are the pulses of its glottis, smeared by the phases of the vocal tract. Mel
bands say nothing of phases, but a vocal tract is close to the minimum-phase filter of its envelope,

    phase(f) = - sum over n of c_n sin(n w),    log envelope(f) = sum over n of c_n cos(n w).

The network takes these phases out, with the MDST beside the MDCT as imaginary part, goes back to
samples, works there on patches, and does all of it backwards with what it has made. This is a fixed
rotation: white noise stays white, whatever the envelope. A block mixes neighbouring patches channel
by channel and then the channels of each patch (ConvNeXt, Liu 2022, as in Vocos, Siuzdak 2023),

    h <- h + g MLP(LN(conv(h)) (1 + a(t)) + b(t)),

where a and b say how noisy the state is. Nothing is averaged over time: a frame depends on `reach`
frames on each side and no other, so that a piece of a long sound can be made on its own.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.errors import ConfigError, InputError
from unnoise.spaces import Layout, tensor
from unnoise_audio.configuration import Configuration
from unnoise_audio.mdct import MDCT, Quadrature
from unnoise_audio.mel import log_bands, log_envelope

_ANGLES = 16  # of the noise level's embedding
_RUN = 16
_CEPSTRUM = 60  # coefficients of the envelope's logarithm that the phases are made of


def minimum_phase(size: int) -> Float[Tensor, "size size"]:
    """The matrix that takes the logarithm of an envelope at `size` evenly spaced frequencies,
    pi (k + 1/2) / size, to minus the phases of its minimum-phase filter there."""
    angle = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    order = torch.arange(min(_CEPSTRUM, size), dtype=torch.float64)[:, None]
    coefficients = (order * angle).cos() * 2 / size
    coefficients[0] /= 2
    return coefficients.T @ (order * angle).sin()


def depthwise(
    x: Float[Tensor, "batch patches width"],
    weight: Float[Tensor, "width 1 kernel"],
    bias: Float[Tensor, " width"] | None,
) -> Float[Tensor, "batch patches width"]:
    """The convolution of each channel with its own kernel, ends padded with zeros: for runs of
    _RUN patches one product with a banded matrix, several times as fast as torch's on a CPU."""
    kernel, patches = weight.shape[-1], x.shape[1]
    runs, wide = -(-patches // _RUN), _RUN + kernel - 1
    # row i of a band is the kernel moved by i: a period one longer than a row moves it by itself
    bands = F.pad(weight[:, 0], (0, _RUN)).repeat(1, _RUN)[:, : _RUN * wide].view(-1, _RUN, wide)
    padded = F.pad(x, (0, 0, kernel // 2, kernel // 2 + runs * _RUN - patches))
    pieces = padded.transpose(1, 2).unfold(2, wide, _RUN)
    made = (pieces @ bands.transpose(1, 2)).flatten(2)[..., :patches].transpose(1, 2)
    return made if bias is None else made + bias


@final
class Block(nn.Module):
    """One residual block; `scale` is g at the start."""

    def __init__(self, width: int, expansion: int, kernel: int, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.level = nn.Linear(2 * width, 2 * width)
        self.wide = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)
        self.gate = nn.Parameter(torch.full((width,), scale))

    def forward(
        self, h: Float[Tensor, "batch patches width"], level: Float[Tensor, "batch width2"]
    ) -> Float[Tensor, "batch patches width"]:
        mixed = self.norm(depthwise(h, self.mix.weight, self.mix.bias))
        a, b = self.level(level)[:, None].chunk(2, -1)
        return h + self.gate * self.narrow(F.silu(self.wide(torch.addcmul(b, mixed, 1 + a))))


@final
class PatchNet(nn.Module):
    """F(z_t, t | mel).

    Attributes
    ----------
    reach : frames on each side that an output depends on.
    """

    angles: Tensor
    phases: Tensor

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        own, hop = configuration, configuration.mel.hop
        self.mel, self.known, self.patch = own.mel, own.known, own.patch
        if hop % own.patch:
            raise ConfigError("patches fill a hop", value=own.patch, limit=f"divisors of {hop}")
        self.reach = own.reach
        self.mdct, self.quadrature = MDCT(hop), Quadrature(hop)
        self.input = nn.Linear(own.patch, own.width)
        self.told = nn.Linear(own.mel.mels, own.width)
        wide = 2 * own.width
        self.embedding = nn.Sequential(
            nn.Linear(2 * _ANGLES, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU()
        )
        self.blocks = nn.ModuleList(
            Block(own.width, own.expansion, own.kernel, 1 / own.layers) for _ in range(own.layers)
        )
        self.norm = nn.LayerNorm(own.width)
        self.output = nn.Linear(own.width, own.patch)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        angles = math.pi * torch.arange(1, _ANGLES + 1).float()
        self.register_buffer("angles", angles, persistent=False)
        self.register_buffer("phases", minimum_phase(hop).float(), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch frames hop"],
        t: Float[Tensor, " batch"],
        layout: Layout,
        condition: Condition = None,
    ) -> Float[Tensor, "batch frames hop"]:
        """`condition` has "mel" (B, frames, mels)."""
        if condition is None or "mel" not in condition:
            raise InputError("a vocoder is told the mel", value=condition, fix="pass mel")
        mel = condition["mel"]
        phase = log_envelope(mel, self.mel) @ self.phases
        cos, sin = phase.cos(), phase.sin()
        x = layout.zero_padding(x)
        turned = layout.zero_padding(x * cos + self.quadrature(x) * sin)
        samples = tensor(self.mdct.decode(turned, layout).mode)
        made = self._patches(samples, mel, t, layout)
        back, _ = self.mdct.embed(made, layout)
        return layout.zero_padding(back * cos - self.quadrature(back) * sin)

    def _patches(self, samples: Tensor, mel: Tensor, t: Tensor, layout: Layout) -> Tensor:
        """From samples to samples, (B, frames, hop)."""
        batch, frames, hop = samples.shape
        ratio = hop // self.patch
        bands = self.told((log_bands(mel, self.mel) - self.known.mean) / self.known.spread)
        if layout.mask is not None:
            bands = held(bands, layout.mask)
        told = F.interpolate(bands.transpose(1, 2), scale_factor=ratio, mode="linear")
        h = self.input(samples.reshape(batch, frames * ratio, self.patch)) + told.transpose(1, 2)
        angle = t[:, None] * self.angles
        level = self.embedding(torch.cat([angle.sin(), angle.cos()], -1))
        inside = None
        if layout.mask is not None:
            inside = layout.mask.repeat_interleave(ratio, 1)[..., None].to(h.dtype)
        for block in self.blocks:
            h = block(h if inside is None else h * inside, level)
        return layout.zero_padding(self.output(self.norm(h)).reshape(batch, frames, hop))


def held(
    x: Float[Tensor, "batch frames width"], mask: Tensor
) -> Float[Tensor, "batch frames width"]:
    """The last real frame of each sample repeated over its padding, as interpolation does at an
    end."""
    last = mask.sum(1) - 1
    place = torch.arange(x.shape[1], device=x.device).minimum(last[:, None])
    return x.gather(1, place[..., None].expand_as(x))
