import importlib
import math

import numpy as np
import pytest
import torch
from signals import speech

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise_audio import metrics
from unnoise_audio.front_ends import front_end
from unnoise_audio.mel import MelConfiguration

OWN = MelConfiguration()
PAIRS = {
    "log_mel": lambda a, b: metrics.log_mel(a, b, OWN),
    "stft": lambda a, b: metrics.stft(a, b, 16_000),
    "si_sdr": lambda a, b: metrics.si_sdr(a, b, 16_000),
    "pesq": lambda a, b: metrics.pesq(a, b, 16_000),
    "stoi": lambda a, b: metrics.stoi(a, b, 16_000),
}


def _noise(like, seed=0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def test_a_gain_is_a_constant_of_log_mels():
    x = speech(gaps=False)
    for own in (OWN, front_end("speecht5"), OWN.model_copy(update={"power": 2.0})):
        own = own.model_copy(update={"floor": 1e-12})
        assert metrics.log_mel(0.5 * x, x, own) == pytest.approx(math.log(2), rel=1e-3)
    assert metrics.log_mel(x, x, OWN) == 0


def test_a_gain_in_the_distance_of_transforms():
    x = speech(gaps=False)
    assert metrics.stft(0.5 * x, x, 16_000) == pytest.approx(0.5 + math.log(2), rel=1e-3)
    assert metrics.stft(x, x, 16_000) == 0


@pytest.mark.parametrize("db", [20.0, 5.0])
@pytest.mark.parametrize("gain", [1.0, -1.0, 1e-5])
def test_si_sdr_is_the_ratio_of_orthogonal_noise_at_any_gain(db, gain):
    x = speech().double()
    x = x - x.mean()
    noise = _noise(x).double()
    noise -= noise.mean()
    noise -= (noise @ x) / (x @ x) * x
    noise *= 10 ** (-db / 20) * x.norm() / noise.norm()
    assert metrics.si_sdr((gain * (x + noise)).float(), x.float(), 16_000) == pytest.approx(
        db, abs=0.01
    )
    assert metrics.si_sdr(x.float(), x.float(), 16_000) > 100


def test_opinions_fall_with_noise():
    x = speech(seconds=3)
    rms = x.square().mean().sqrt()
    noisy = [x + 10 ** (-db / 20) * rms * _noise(x) for db in (40, 20, 5)]
    for name in ("pesq", "stoi"):
        values = [PAIRS[name](y, x) for y in (x, *noisy)]
        assert values == sorted(values, reverse=True)
    assert PAIRS["pesq"](x, x) == pytest.approx(4.644, abs=1e-3)
    assert PAIRS["stoi"](x, x) == pytest.approx(1, abs=1e-6)


def test_dnsmos_hears_every_sound_at_one_level():
    x = speech(seconds=3)
    assert metrics.dnsmos(0.1 * x, 16_000) == pytest.approx(metrics.dnsmos(x, 16_000), abs=1e-3)
    loud, quiet = (metrics.dnsmos(g * x, 16_000, level=None) for g in (1, 0.01))
    assert abs(loud - quiet) > 0.01
    assert 1 < metrics.dnsmos(x, 16_000) < 5
    with pytest.raises(InputError, match="below full scale"):
        metrics.dnsmos(x, 16_000, level=3)


def test_other_rates_are_resampled():
    x = speech(22_050, seconds=3)
    y = x + 0.001 * _noise(x)
    assert metrics.pesq(y, x, 22_050) > 2
    assert metrics.stoi(y, x, 22_050) > 0.9


@pytest.mark.parametrize("name", PAIRS)
def test_bad_sounds_are_refused(name):
    x, score = speech(), PAIRS[name]
    with pytest.raises(InputError, match="different lengths"):
        score(x[:-1], x)
    with pytest.raises(InputError, match="silent"):
        score(x, torch.zeros_like(x))
    with pytest.raises(InputError, match="one channel"):
        score(x.expand(2, -1), x)
    with pytest.raises(InputError, match="one channel"):
        score((x * 32767).to(torch.int16), x)
    broken = x.clone()
    broken[5] = torch.nan
    with pytest.raises(NonFiniteError):
        score(broken, x)
    if name != "si_sdr":
        with pytest.raises(InputError):
            score(x[:500], x[:500])
    if name != "log_mel":
        with pytest.raises(InputError, match="sample rate"):
            getattr(metrics, name)(x, x, 0)


def test_stoi_says_when_there_is_too_little_speech():
    x = torch.zeros(16_000)
    x[:800] = speech()[3000:3800]
    with pytest.raises(InputError, match=r"0\.4 s"):
        metrics.stoi(x, x, 16_000)


@pytest.mark.parametrize("name", ["pesq", "pystoi", "speechmos.dnsmos"])
def test_a_missing_extra_is_said(name, monkeypatch):
    def missing(wanted):
        raise ImportError(f"No module named {wanted!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    x = speech()
    calls = {
        "pesq": lambda: metrics.pesq(x, x, 16_000),
        "pystoi": lambda: metrics.stoi(x, x, 16_000),
        "speechmos.dnsmos": lambda: metrics.dnsmos(x, 16_000),
    }
    with pytest.raises(ConfigError, match=r"unnoise-audio\[evaluate\]"):
        calls[name]()


def test_the_real_time_factor_is_time_per_second_of_sound():
    before = torch.get_num_threads()

    def work():
        assert torch.get_num_threads() == 1
        a = np.random.default_rng(0).standard_normal((300, 300))
        for _ in range(20):
            a = a @ a / 300
        return torch.zeros(1, 8000)

    found = metrics.real_time_factor(work, 16_000)
    again = metrics.real_time_factor(lambda: torch.cat([work(), work()], -1), 16_000)
    assert found.factor > 0
    assert again.factor == pytest.approx(found.factor, rel=0.9)
    assert torch.get_num_threads() == before
