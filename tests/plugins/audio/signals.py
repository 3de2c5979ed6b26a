"""Sound for tests: voiced syllables with pauses, which no file is needed for."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def speech(rate: int = 16_000, seconds: float = 1.5, seed: int = 0, gaps: bool = True) -> Tensor:
    """(samples,) harmonics of a gliding pitch under syllables, a little noise, 0.3 at most."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    pitch = 120 + 30 * torch.sin(2 * math.pi * 1.3 * t + seed)
    phase = 2 * math.pi * torch.cumsum(pitch, 0) / rate
    formant = 700 + 400 * torch.sin(2 * math.pi * 2.1 * t)
    wave = torch.zeros_like(t)
    for k in range(1, 40):
        if 160 * k < rate / 2:
            wave += torch.exp(-(((k * pitch - formant) / 500) ** 2)) * torch.sin(k * phase)
            wave += 0.3 / k * torch.sin(k * phase)
    wave *= 0.05 + torch.sin(2 * math.pi * 2 * t).clamp(min=0) ** 2
    wave += 0.003 * torch.randn(len(t), generator=generator, dtype=torch.float64)
    if gaps:
        wave[len(wave) // 2 : len(wave) // 2 + rate // 5] = 0
    return (0.3 * wave / wave.abs().max()).float()
