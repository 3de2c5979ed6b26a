"""Projection on a mel, against its definition and its fixed points."""

from __future__ import annotations

import pytest
import torch
from signals import speech
from vocoders import QUICK

from unnoise_audio.inputs import mel_of
from unnoise_audio.projection import projected, reach

WAVE = speech(8000, 1.0)


def variant(**fields):
    return QUICK.model_copy(update=fields)


FRONT_ENDS = [
    QUICK,
    variant(placing="same"),
    variant(power=2.0, floor=1e-10),
    variant(window=100, padding="constant", log="10"),
    variant(log=None, scale="htk", norm=None),
    variant(tiny=1e-9, flooring="add"),
    variant(window_norm="energy", log="dB", span=(-100.0, 40.0)),
]


@pytest.mark.parametrize("mel", FRONT_ENDS)
def test_a_sound_that_has_the_mel_stays(mel):
    """Down to the floor, below which nothing is known."""
    same = projected(WAVE, mel_of(WAVE, mel), mel, 3)
    assert (same - WAVE).abs().max() < 2e-4


@pytest.mark.parametrize("mel", FRONT_ENDS)
def test_a_gain_is_put_right_at_once(mel):
    """All bands are one factor too low: so are all magnitudes."""
    loud = speech(8000, 1.0, gaps=False)
    again = projected(loud / 3, mel_of(loud, mel), mel, 1)
    inner = slice(200, -200)
    assert (again - loud)[inner].abs().max() < 0.02 * loud.abs().max()


@pytest.mark.parametrize("mel", FRONT_ENDS[:3])
def test_noise_comes_nearer_with_every_round(mel):
    target = mel_of(WAVE, mel)
    noise = 0.05 * torch.randn(len(WAVE), generator=torch.Generator().manual_seed(0))
    errors = [
        float((mel_of(projected(noise, target, mel, rounds), mel) - target).abs().mean())
        for rounds in (0, 1, 2, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.35 * errors[0]


def test_nothing_is_done_where_no_band_reaches():
    """Bands end at 2 kHz; a tone of 3 kHz stays, whatever the mel says."""
    mel = variant(high=2000.0)
    t = torch.arange(8000) / 8000
    tone = 0.1 * torch.sin(2 * torch.pi * 3000 * t)
    low = 0.1 * torch.sin(2 * torch.pi * 1000 * t)
    made = projected(tone + low, mel_of(0.5 * low, mel), mel, 1)
    torch.testing.assert_close(made[500:-500], (tone + 0.5 * low)[500:-500], atol=4e-3, rtol=0)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("mel", [QUICK, variant(window=80), variant(window=80, placing="same")])
def test_a_sample_depends_on_what_is_within_reach(mel, rounds):
    told, middle = mel_of(WAVE, mel), len(WAVE) // 2
    wave = torch.randn(len(WAVE), generator=torch.Generator().manual_seed(0))
    before = projected(wave, told, mel, rounds)
    wave[middle] += 1
    told[middle // mel.hop] += 1
    moved = (projected(wave, told, mel, rounds) - before).abs() > 1e-5
    places = moved.nonzero()[:, 0] - middle
    far = reach(mel, rounds) * mel.hop
    assert places.min() >= -far
    assert places.max() <= far
    assert places.max() - places.min() > far / 2
