"""How close a sound is to another, and how good it is alone: float32 waveforms in, numbers out.

    log_mel   mean |ln of the bands of one - of the other|, magnitudes; smaller is better
    stft      sum of spectral convergence and log magnitude, three resolutions; smaller
    si_sdr    dB, scale-invariant ratio of signal to distortion; greater. It compares phases, which
              a vocoder does not know: another phase ruins it and nobody hears that
    pesq      1.04 to 4.64, wide band (ITU-T P.862.2); greater
    stoi      0 to 1, intelligibility (Taal 2011); greater
    dnsmos    1 to 5, overall opinion of a network that hears the sound alone (Reddy 2022); greater

The last three come with the extra `evaluate` and work at 16 kHz; other rates are resampled.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise_audio.mel import MelConfiguration, magnitudes
from unnoise_audio.resampling import resampled

LEVEL: Final = -22.0
"""dB below full scale, root mean square, that DNSMOS hears every sound at: it depends on it."""
RESOLUTIONS: Final = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""(FFT, hop, window) of `stft` (Yamamoto 2020)."""
_RATE = 16_000
_EXTRAS: Final = {"pesq": "pesq", "stoi": "pystoi", "dnsmos": "speechmos.dnsmos"}
_LEAST = 0.25  # seconds that PESQ and STOI need


def log_mel(made: Tensor, truth: Tensor, configuration: MelConfiguration) -> float:
    """Mean |ln bands of `made` - ln bands of `truth`|, magnitudes, in this front end's bands and at
    its sample rate, whatever its own map is; a tenth of it is 0.87 dB."""
    made, truth = _pair(made, truth, configuration.sample_rate)
    own = configuration
    bands = [magnitudes(wave[None], own).clamp(min=own.floor).log() for wave in (made, truth)]
    return float((bands[0] - bands[1]).abs().mean() / own.power)


def stft(made: Tensor, truth: Tensor, sample_rate: int) -> float:
    """The mean over `RESOLUTIONS` of |Y - X| / |X|, Frobenius norms of magnitudes, and of
    mean |ln Y - ln X|, added (Yamamoto 2020, Parallel WaveGAN)."""
    made, truth = _pair(made, truth, sample_rate)
    total = 0.0
    for fft, hop, window in RESOLUTIONS:
        if len(truth) <= fft // 2:
            raise InputError(
                "the sound is too short", value=len(truth), limit=f"> {fft // 2} samples"
            )
        y, x = (
            torch.stft(w, fft, hop, window, torch.hann_window(window), return_complex=True)
            .abs()
            .clamp(min=1e-7)
            for w in (made, truth)
        )
        total += float(torch.linalg.norm(y - x) / torch.linalg.norm(x))
        total += float((y.log() - x.log()).abs().mean())
    return total / len(RESOLUTIONS)


def si_sdr(made: Tensor, truth: Tensor, sample_rate: int) -> float:
    """10 log10 of |a x|^2 / |y - a x|^2, a = <y, x> / <x, x>, both without their means
    (Le Roux 2019); infinite for equal sounds."""
    made, truth = _pair(made, truth, sample_rate)
    y, x = (w.double() - w.double().mean() for w in (made, truth))
    target = (y @ x) / (x @ x) * x
    return float(10 * torch.log10(target.square().sum() / (y - target).square().sum()))


def pesq(made: Tensor, truth: Tensor, sample_rate: int) -> float:
    """PESQ, wide band, MOS-LQO.

    Raises
    ------
    ConfigError : the extra is not installed. InputError : no speech in it, or less than 1/4 s.
    """
    module = _extra(_EXTRAS["pesq"])
    made, truth = _speech(made, truth, sample_rate)
    try:
        return float(module.pesq(_RATE, truth.numpy(), made.numpy(), "wb"))
    except (module.PesqError, ValueError) as error:
        raise InputError(f"PESQ can not be had: {error}", fix="leave this sound out") from error


def stoi(made: Tensor, truth: Tensor, sample_rate: int) -> float:
    """STOI.

    Raises
    ------
    ConfigError : the extra is not installed. InputError : less than about .4 s of speech.
    """
    module = _extra(_EXTRAS["stoi"])
    made, truth = _speech(made, truth, sample_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # it says 1e-5 where it has no answer
        try:
            return float(module.stoi(truth.numpy(), made.numpy(), _RATE))
        except (RuntimeWarning, ValueError) as error:
            raise InputError(
                "STOI needs about 0.4 s of speech", value=f"{len(truth) / _RATE:.2f} s"
            ) from error


def dnsmos(made: Tensor, sample_rate: int, level: float | None = LEVEL) -> float:
    """The overall opinion of DNSMOS (P.835) on one sound, at `level` dB below full scale; None: as
    loud as it is. Sounds of less than 9 s are repeated.

    Raises
    ------
    ConfigError : the extra is not installed. InputError : a level at which it would clip by far.
    """
    module = _extra(_EXTRAS["dnsmos"])
    wave = resampled(_one(made, sample_rate), sample_rate, _RATE)
    if level is not None:
        if not level <= 0:
            raise InputError("a level is dB below full scale", value=level, limit="<= 0")
        wave = wave * (10 ** (level / 20) / wave.square().mean().sqrt())
    return float(module.run(wave.clamp(-1, 1).numpy(), _RATE)["ovrl_mos"])


def needed(scores: Iterable[str]) -> None:
    """ConfigError unless what computes these is installed."""
    for name in scores:
        if name in _EXTRAS:
            _extra(_EXTRAS[name])


class Timed(NamedTuple):
    """A sound, and how long making it took: seconds of one thread for a second of sound."""

    waveform: Tensor
    factor: float


def real_time_factor(make: Callable[[], Tensor], sample_rate: int) -> Timed:
    """Call `make` with one thread; its processor time over the duration of what it returns, whose
    last axis is samples."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        waveform = make()
        spent = time.process_time() - start
    finally:
        torch.set_num_threads(before)
    return Timed(waveform, spent * sample_rate / max(1, waveform.shape[-1]))


def _one(wave: Tensor, rate: int) -> Tensor:
    """(samples,) float32 of a sound that can be scored."""
    if rate < 1:
        raise InputError("a sample rate is samples a second", value=rate, limit=">= 1")
    if wave.ndim == 2 and len(wave) == 1:
        wave = wave[0]
    if wave.ndim != 1 or not wave.dtype.is_floating_point or not len(wave):
        raise InputError(
            "a sound to score is one channel of floating point samples",
            value=(tuple(wave.shape), wave.dtype),
            limit="(samples,)",
        )
    wave = wave.detach().cpu().float()
    bad = int((~torch.isfinite(wave)).sum())
    if bad:
        raise NonFiniteError("the sound has NaN or infinite samples", value=bad, limit=0)
    if not wave.any():
        raise InputError("the sound is silent: there is nothing to score")
    return wave


def _pair(made: Tensor, truth: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    made, truth = _one(made, rate), _one(truth, rate)
    if len(made) != len(truth):
        raise InputError(
            "the two sounds have different lengths",
            value=len(made),
            limit=len(truth),
            fix="cut both to the shorter one, from the same begin",
        )
    return made, truth


def _speech(made: Tensor, truth: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    made, truth = _pair(made, truth, rate)
    if len(truth) < _LEAST * rate:
        raise InputError(
            "the sound is too short", value=f"{len(truth) / rate:.3f} s", limit=f">= {_LEAST} s"
        )
    return resampled(made, rate, _RATE), resampled(truth, rate, _RATE)


def _extra(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]} is not installed",
            value=str(error),
            fix="pip install 'unnoise-audio[evaluate]'",
        ) from error
