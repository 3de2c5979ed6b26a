import librosa
import numpy as np
import pytest
import torch
from signals import speech

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise_audio.configuration import Configuration
from unnoise_audio.front_ends import FRONT_ENDS, check, front_end, limits, refuse
from unnoise_audio.mel import MelConfiguration, empty, filters, mapped, mel_spectrogram, unmapped

without_broken_torchaudio()
from transformers import SpeechT5FeatureExtractor  # noqa: E402


@pytest.mark.parametrize(
    ("scale", "norm", "limit"), [("slaney", "slaney", 2e-6), ("htk", None, 4e-6)]
)
@pytest.mark.parametrize("padding", ["reflect", "constant"])
def test_a_mel_is_librosas(scale, norm, limit, padding):
    own = MelConfiguration(scale=scale, norm=norm, padding=padding, log=None)
    wave = speech()
    theirs = librosa.feature.melspectrogram(
        y=wave.numpy(),
        sr=16_000,
        n_fft=1024,
        win_length=800,
        hop_length=200,
        n_mels=80,
        fmin=0,
        fmax=8000,
        power=1,
        htk=scale == "htk",
        norm=norm,
        pad_mode=padding,
    )
    ours = mel_spectrogram(wave[None], own)[0].numpy()
    assert np.abs(ours - theirs).max() < limit * max(1, theirs.max())


def test_other_padding_differs_at_the_edges_only():
    wave = speech()[None] + 0.1
    a, b = (mel_spectrogram(wave, MelConfiguration(padding=p)) for p in ("reflect", "constant"))
    gap = (a - b).abs().amax((0, 1))
    assert gap[3:-3].max() == 0
    assert gap[:2].max() > 0.1


def test_speecht5_is_the_extractor_of_transformers():
    wave = speech()
    theirs = SpeechT5FeatureExtractor()(audio_target=wave.numpy(), sampling_rate=16_000)
    theirs = torch.tensor(np.asarray(theirs["input_values"]))[0].T
    ours = mel_spectrogram(wave[None], front_end("speecht5"))[0]
    assert ours.shape == theirs.shape
    voiced = theirs > -6  # in digital silence both say the floor, next to it rounding
    assert (ours - theirs)[voiced].abs().max() < 2e-4
    assert theirs.min() == -10
    assert (ours - theirs).abs().max() < 0.05


@pytest.mark.parametrize(
    ("name", "rate", "mels", "high"),
    [("hifigan", 22_050, 80, 8000), ("bigvgan", 24_000, 100, 12_000)],
)
def test_hifigan_and_bigvgan_are_their_formula(name, rate, mels, high):
    """meldataset.py of both, written out."""
    wave = speech(rate)
    basis = torch.from_numpy(
        librosa.filters.mel(sr=rate, n_fft=1024, n_mels=mels, fmin=0, fmax=high)
    )
    padded = torch.nn.functional.pad(wave[None, None], (384, 384), mode="reflect")[0]
    spectrum = torch.stft(
        padded, 1024, 256, 1024, torch.hann_window(1024), center=False, return_complex=True
    )
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    theirs = torch.log(torch.clamp(torch.matmul(basis, magnitude), min=1e-5))
    ours = mel_spectrogram(wave[None], front_end(name))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert (ours - theirs).abs().mean() < 2e-6
    assert ours.shape[-1] == len(wave) // 256


def test_vocos_and_wavegrad_are_their_formulas():
    """feature_extractors.py of vocos, preprocess.py of wavegrad 0.1.5, by librosa's filters."""
    wave = speech(24_000)
    magnitude = np.abs(librosa.stft(wave.numpy(), n_fft=1024, hop_length=256, pad_mode="reflect"))
    basis = librosa.filters.mel(sr=24_000, n_fft=1024, n_mels=100, htk=True, norm=None)
    theirs = np.log(np.maximum(basis @ magnitude, 1e-7))
    ours = mel_spectrogram(wave[None], front_end("vocos"))[0].numpy()
    assert np.abs(ours - theirs)[theirs > -9].max() < 2e-4

    wave = speech(22_050)
    spectrum = librosa.stft(
        wave.numpy(), n_fft=2048, win_length=1200, hop_length=300, pad_mode="reflect"
    )
    energy = torch.hann_window(1200).square().sum().sqrt().item()
    basis = librosa.filters.mel(
        sr=22_050, n_fft=2048, n_mels=128, fmin=20, fmax=11_025, htk=True, norm=None
    )
    theirs = 20 * np.log10(np.maximum(basis @ np.abs(spectrum) / energy, 1e-5)) - 20
    theirs = np.clip((theirs + 100) / 100, 0, 1)
    ours = mel_spectrogram(wave[None], front_end("wavegrad"))[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-4
    assert 0 < (theirs == 0).mean() < 0.9


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_map_is_undone(name):
    own = front_end(name)
    least, most = (-80, 20) if own.log == "dB" else (-60, 40)
    bands = 10 ** (own.power * torch.linspace(least + 0.1, most - 0.1, 50) / 20)
    torch.testing.assert_close(unmapped(mapped(bands, own), own), bands, rtol=1e-4, atol=0)
    added = own.model_copy(update={"flooring": "add", "log": "e"})
    torch.testing.assert_close(unmapped(mapped(bands, added), added), bands, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_limits_hold_for_the_loudest_sound_and_for_none(name):
    own = front_end(name)
    least, most = limits(own)
    t = torch.arange(own.sample_rate) / own.sample_rate
    loud = torch.sign(torch.sin(2 * torch.pi * 440 * t))[None]
    assert mel_spectrogram(loud, own).max() <= most
    quiet = mel_spectrogram(torch.zeros(1, 8192), own)
    assert quiet.min() >= least - 1e-5
    check(mel_spectrogram(loud, own), own)
    check(quiet, own)
    check(mel_spectrogram(speech(own.sample_rate)[None], own), own)


def test_a_front_end_has_a_name_in_a_configuration():
    assert Configuration(mel="vocos").mel == FRONT_ENDS["vocos"]
    with pytest.raises(ConfigError, match="did you mean 'hifigan'"):
        front_end("hifi-gan")


def test_another_front_end_is_refused_field_by_field():
    refuse(front_end("speech"), MelConfiguration())
    with pytest.raises(InputError) as error:
        refuse(front_end("speech"), front_end("speecht5"))
    for part in ("(speecht5)", "window: 800, not 1024", "hop: 200, not 256", "log: 'e', not '10'"):
        assert part in str(error.value)
    assert "mels" not in str(error.value)


SPEECH = front_end("speech")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (SPEECH.model_copy(update={"log": "10"}), "log10 with the floor 1e-05"),
        (SPEECH.model_copy(update={"log": None}), "linear magnitudes"),
        (SPEECH.model_copy(update={"log": "dB"}), r"brought to \[0, 1\]"),
        (SPEECH.model_copy(update={"floor": 1e-10}), "-23"),
    ],
)
def test_a_mel_mapped_in_another_way_is_recognised(other, says):
    with pytest.raises(InputError, match=says):
        check(mel_spectrogram(speech()[None], other), SPEECH)


def test_decibels_are_recognised_and_a_logarithm_where_none_is_wanted():
    mel = mel_spectrogram(speech()[None], SPEECH)
    with pytest.raises(InputError, match="as decibels have"):
        check(mel * 20 / np.log(10), SPEECH)
    with pytest.raises(InputError, match="as ln with the floor 1e-05 has"):
        check(mel, SPEECH.model_copy(update={"log": None}))
    with pytest.raises(InputError, match="as ln with the floor 1e-05 has"):
        check(mel, SPEECH.model_copy(update={"log": "10"}))


@pytest.mark.parametrize("level", [1.0, 0.1, 1e-3])
def test_noise_at_any_level_passes(level):
    wave = level * (2 * torch.rand(1, 16_000, generator=torch.Generator().manual_seed(0)) - 1)
    for own in FRONT_ENDS.values():
        check(mel_spectrogram(wave, own), own)


def test_wrong_mels_are_refused():
    mel = mel_spectrogram(speech()[None], SPEECH)
    with pytest.raises(InputError, match="turn it round"):
        check(mel.mT, SPEECH)
    with pytest.raises(InputError, match="80 bands"):
        check(mel[:, :64], SPEECH)
    with pytest.raises(InputError, match="80 bands"):
        check(mel[..., :0], SPEECH)
    with pytest.raises(InputError, match="floating"):
        check(mel.long(), SPEECH)
    mel[0, 3, 5] = torch.nan
    with pytest.raises(NonFiniteError, match="got 1"):
        check(mel, SPEECH)


def test_bands_without_a_frequency_are_found_and_passed_over():
    own = MelConfiguration(scale="htk", norm=None, fft=256, window=256, hop=64)
    assert empty(own) == [0, 3]
    assert (filters(own).sum(0) == 0).sum() == len(empty(own))
    mel = mel_spectrogram(speech()[None], own)
    check(mel, own)
    assert empty(SPEECH) == []


def test_contradictions_are_refused():
    for fields in ({"high": 9000.0}, {"hop": 900}, {"window": 2000}, {"span": (1.0, 0.0)}):
        with pytest.raises(ValueError, match=r"low|hop|span"):
            MelConfiguration(**fields)
