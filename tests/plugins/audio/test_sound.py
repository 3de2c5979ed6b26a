"""Sound in memory and in files: nothing is lost without a word."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import soundfile
import torch
from signals import speech

from unnoise.errors import InputError
from unnoise_audio import Audio
from unnoise_audio.reading import load, load_mono
from unnoise_audio.resampling import resampled, resampled_pieces
from unnoise_audio.sound import joined

WAVE = speech(16_000, 0.5)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_files_of_16_bits_come_back(suffix, tmp_path):
    """Values are rounded: the error is half a step, and what was read from 16 bits is exact."""
    sound = Audio(torch.stack([WAVE, -WAVE]), 22_050)
    path = sound.save(tmp_path / f"a{suffix}")
    again = Audio.load(path)
    assert again.sample_rate == 22_050
    assert again.notes == ()
    gap = (again.waveform - sound.waveform).abs().max()
    assert 0.4 / 32768 < gap <= 0.5 / 32768 + 1e-9
    torch.testing.assert_close(
        Audio.load(again.save(path)).waveform, again.waveform, atol=0, rtol=0
    )
    assert soundfile.info(path).subtype == "PCM_16"


def test_ogg_is_near_and_other_kinds_are_refused(tmp_path):
    again = Audio.load(Audio(WAVE[None], 16_000).save(tmp_path / "a.ogg"))
    assert (again.waveform[0] - WAVE).square().mean() < 0.05 * WAVE.square().mean()
    with pytest.raises(InputError, match=r"no kind of sound file.*\.wav, \.flac, \.ogg"):
        Audio(WAVE[None], 16_000).save(tmp_path / "a.mp4")


def test_full_scale_is_not_wrapped():
    loud = Audio(torch.tensor([[1.0, -1.0, 0.99999]]), 8000)
    assert loud.pcm()[:, 0].tolist() == [32767, -32768, 32767]


@pytest.mark.parametrize(
    ("waveform", "rate", "said"),
    [
        (torch.zeros(1, 4).double(), 8000, "float32"),
        (torch.zeros(4), 8000, r"float32 \(channels, samples\)"),
        (np.zeros((1, 4), np.float32), 8000, "Audio.of"),
        (torch.full((1, 4), 1.5), 8000, "between -1 and 1"),
        (torch.full((1, 4), torch.nan), 8000, "between -1 and 1"),
        (torch.zeros(0, 4), 8000, "channels"),
        (torch.zeros(1, 4), 0, "no sample rate"),
        (torch.zeros(1, 4), 16e3, "no sample rate"),
        (torch.zeros(1, 4), True, "no sample rate"),
    ],
)
def test_what_is_no_sound(waveform, rate, said):
    with pytest.raises(InputError, match=said):
        Audio(waveform, rate)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (np.array([-32768, 16384], np.int16), [-1, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([0, 192], np.uint8), [-1, 0.5]),
        (np.array([-1, 0.5], np.float64), [-1, 0.5]),
        (np.array([-1, 0.5], np.float16), [-1, 0.5]),
        (torch.tensor([-1, 0.5]), [-1, 0.5]),
        ([-1.0, 0.5], [-1, 0.5]),
    ],
)
def test_arrays_of_every_usual_type(array, value):
    assert Audio.of(array, 8000).waveform.tolist() == [value]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([0, 1]), "unusable type.*int64"),
        (np.array([0, 1j]), "unusable type"),
        (np.array(["a"]), "unusable type"),
        (np.array([0.1, np.nan]), "NaN or infinity.*1 samples"),
        (np.array([0.1, -np.inf]), "NaN or infinity"),
        (np.array([20000.0, 3.0]), "divide 16-bit values by 32768"),
        (np.zeros((1000, 2)), "transpose"),
        (np.zeros((1, 2, 3)), "shape"),
        (np.float32(3), "shape"),
        (object(), "unusable type"),
    ],
)
def test_arrays_that_are_no_sound(array, said):
    with pytest.raises(InputError, match=said):
        Audio.of(array, 8000)


def test_what_lies_beyond_full_scale_is_cut_and_noted(tmp_path):
    over = Audio.of(np.array([0.5, 1.5, -2.0]), 8000)
    assert over.waveform.tolist() == [[0.5, 1, -1]]
    assert over.notes == ("values beyond full scale were cut",)
    soundfile.write(tmp_path / "a.wav", np.array([0.5, 1.5, -2.0]), 8000, subtype="FLOAT")
    assert Audio.load(tmp_path / "a.wav").notes == over.notes


def test_it_plays_in_a_page():
    sound = Audio(WAVE[None], 16_000)
    data = re.search(r'src="data:audio/wav;base64,([^"]+)"', sound._repr_html_())
    header = base64.b64decode(data[1])
    assert header[:4] == b"RIFF"
    assert len(header) == 44 + 2 * len(WAVE)
    long = Audio(torch.zeros(1, 8000 * 61), 8000)
    assert "the first 60 of 61 seconds" in long._repr_html_()


def test_channels_are_mixed_unless_they_cancel(tmp_path):
    sound = Audio(torch.stack([WAVE, WAVE / 2, torch.zeros_like(WAVE)]), 16_000)
    torch.testing.assert_close(sound.mono(), WAVE / 2)
    wave, notes = load_mono(sound.save(tmp_path / "three.wav"), 16_000)
    torch.testing.assert_close(wave, WAVE / 2, atol=4e-5, rtol=0)
    assert notes == ("3 channels mixed to one",)
    with pytest.raises(InputError, match="cancel each other"):
        Audio(torch.stack([WAVE, -WAVE]), 16_000).mono()


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (8000, 16_000), (192_000, 16_000)])
def test_tones_keep_their_level_and_aliases_are_away(old, new):
    """A tone below the lower Nyquist frequency is the tone at the new rate; one above it is gone.
    torchaudio's default loses 1.8 dB at 7 kHz and lets 11 dB less than all of 8.5 kHz through."""
    lower = min(old, new)
    t = torch.arange(old // 2) / old
    for part in (0.05, 0.3, 0.437):
        tone = torch.sin(2 * torch.pi * part * lower * t)
        made = resampled(tone, old, new)
        assert len(made) == -(-len(tone) * new // old)
        inner = slice(new // 8, -new // 8)
        wanted = torch.sin(2 * torch.pi * part * lower * torch.arange(len(made)) / new)
        torch.testing.assert_close(made[inner], wanted[inner], atol=3e-3, rtol=0)
    if new < old:
        alias = torch.sin(2 * torch.pi * 0.53 * lower * t)
        assert resampled(alias, old, new)[new // 8 : -new // 8].abs().max() < 10 ** (-60 / 20)


def test_pieces_are_resampled_as_the_whole():
    noise = torch.randn(700_001, generator=torch.Generator().manual_seed(0))
    whole = resampled(noise, 44_100, 16_000)
    pieces = torch.cat(list(resampled_pieces(noise.split(99_999), 44_100, 16_000)))
    torch.testing.assert_close(pieces, whole, atol=2e-6, rtol=0)
    from torchaudio.transforms import Resample

    own = Resample(44_100, 16_000, lowpass_filter_width=64, rolloff=0.95)(noise)
    torch.testing.assert_close(whole, own, atol=2e-6, rtol=0)


def test_rates_without_a_simple_ratio_are_refused():
    with pytest.raises(InputError, match=r"too complicated.*44101 to 16000"):
        resampled(torch.zeros(1000), 44_101, 16_000)


def test_reading_says_what_was_done(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([WAVE, WAVE], 1), 44_100, subtype="PCM_U8")
    wave, notes = load_mono(path, 16_000)
    assert len(wave) == -(-len(WAVE) * 16_000 // 44_100)
    assert notes == (
        "read from 8 bits a sample",
        "2 channels mixed to one",
        "resampled from 44100 to 16000 Hz by torchaudio, 64 zero crossings",
    )
    soundfile.write(path, (20 * WAVE).clamp(-1, 1).numpy(), 16_000, subtype="PCM_16")
    assert load_mono(path, 16_000)[1] == ("clipped: several samples in a row at full scale",)


def test_192_khz(tmp_path):
    t = torch.arange(192_000 // 4) / 192_000
    tone = 0.5 * torch.sin(2 * torch.pi * 1000 * t)
    wave, _ = load_mono(Audio(tone[None], 192_000).save(tmp_path / "a.flac"), 16_000)
    assert len(wave) == 4000
    assert wave[1000:3000].abs().max() == pytest.approx(0.5, abs=1e-3)


@pytest.fixture
def bad(tmp_path):
    """Files that are no sound, and what is said of them."""
    whole = Audio(WAVE[None], 16_000)
    found = {}

    def file(name: str, data: bytes, said: str) -> None:
        (tmp_path / name).write_bytes(data)
        found[tmp_path / name] = said

    wav = whole.save(tmp_path / "whole.wav").read_bytes()
    flac = whole.save(tmp_path / "whole.flac").read_bytes()
    ogg = whole.save(tmp_path / "whole.ogg").read_bytes()
    file("cut.wav", wav[:9001], "is cut off.*8957 bytes.*16000")
    file("cut.flac", flac[: len(flac) // 2], "cannot be read as sound")
    file("cut.ogg", ogg[: len(ogg) // 2], "cannot be read as sound")
    file("empty.wav", b"", "is empty")
    file("silent.wav", wav[:40] + bytes(4), "holds no sound")
    file("text.wav", b"once upon a time\n" * 99, "cannot be read as sound")
    video = bytes.fromhex("0000001c6674797069736f6d0000020069736f6d69736f326d703431") + bytes(999)
    file("film.mp4", video, "take the sound out first: ffmpeg")
    file("some.raw", b"123" * 99, "cannot be read as sound")
    with_nan = WAVE.clone()
    with_nan[5] = torch.nan
    soundfile.write(tmp_path / "nan.wav", with_nan.numpy(), 16_000, subtype="FLOAT")
    found[tmp_path / "nan.wav"] = "NaN or infinity"
    found[tmp_path / "nothing.wav"] = "there is no file"
    found[tmp_path] = "there is no file"
    return found


def test_files_that_cannot_be_read(bad):
    """Read whole or in blocks, the error is ours and names the file."""
    for path, said in bad.items():
        for read in (load, lambda p: load_mono(p, 16_000)):
            with pytest.raises(InputError, match=said) as error:
                read(path)
            assert path.name in str(error.value)


def test_a_wav_of_unknown_length_is_read(tmp_path):
    """What programs write that do not know how long it will be."""
    data = bytearray(Audio(WAVE[None], 16_000).save(tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert Audio.load(tmp_path / "a.wav").waveform.shape == (1, len(WAVE))


def test_parts_are_joined_with_what_is_said_of_them():
    parts = [
        Audio(WAVE[None, a:b], 16_000, notes, Audio(WAVE[None, a:b] / 2, 16_000))
        for a, b, notes in ((0, 99, ("x",)), (99, 500, ("x", "y")), (500, len(WAVE), ()))
    ]
    whole = joined(parts)
    torch.testing.assert_close(whole.waveform[0], WAVE)
    torch.testing.assert_close(whole.original.waveform[0], WAVE / 2)
    assert whole.notes == ("x", "y")
    mels = [Audio(WAVE[None, :80], 16_000, (), torch.full((3, 2), float(k))) for k in range(2)]
    assert joined(mels).original.tolist() == [[0, 0, 1, 1]] * 3
