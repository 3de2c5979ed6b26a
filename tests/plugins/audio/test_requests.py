"""What can be asked for, and what is said of everything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from signals import speech
from vocoders import QUICK, vocoder

from unnoise.errors import InputError, UnnoiseError
from unnoise_audio import Audio, save_mel
from unnoise_audio.inputs import mel_of

WAVE = speech(8000, 0.5)
MEL = mel_of(WAVE, QUICK).T  # (20 bands, 101 frames)


@pytest.fixture(scope="module")
def model():
    return vocoder()


def made(model, **request) -> Audio:
    (sample,) = model.generate(steps=2, **request).samples
    return sample


def test_every_way_to_give_a_sound_is_the_same(model, tmp_path):
    sound = Audio.of(Audio(WAVE[None], 8000).pcm().T.copy(), 8000)  # 16 bits
    path = sound.save(tmp_path / "a.wav")
    first = made(model, source=sound)
    assert first.sample_rate == 8000
    assert first.waveform.shape == (1, len(WAVE))
    torch.testing.assert_close(first.original.waveform, sound.waveform)
    ways = [path, str(path), sound.save(tmp_path / "a.flac"), (sound.waveform, 8000)]
    ways += [(sound.waveform[0].numpy(), 8000), (sound.pcm()[:, 0], 8000)]
    for source in ways:
        assert torch.equal(made(model, source=source).waveform, first.waveform), source
    both = model.generate(source=[path, (sound.waveform, 8000)], steps=2, num_samples=2)
    assert both.inputs == (0, 0, 1, 1)
    torch.testing.assert_close(both.samples[0].waveform, first.waveform)
    assert both.provenance["request"]["source"][0] == str(path)


def test_a_sound_is_brought_to_the_rate_of_the_model_and_that_is_said(model):
    stereo = torch.stack([speech(44_100, 0.5)] * 2)
    out = model.generate(source=(stereo, 44_100), steps=2)
    assert out.samples[0].waveform.shape == (1, 4000)
    said = (
        "2 channels mixed to one",
        "resampled from 44100 to 8000 Hz by torchaudio, 64 zero crossings",
    )
    assert out.samples[0].notes[:2] == said
    assert [out.provenance["counts"][note] for note in said] == [1, 1]


def test_every_way_to_give_a_mel_is_the_same(model, tmp_path):
    """And that of a source: the mel is all that the model is told."""
    first = made(model, source=(WAVE, 8000)).waveform
    own = {"mel_configuration": QUICK}
    np.save(tmp_path / "a.npy", MEL.numpy())
    (tmp_path / "own.json").write_text(QUICK.model_dump_json())
    ways = [
        {"mel": MEL, **own},
        {"mel": MEL.T, **own},
        {"mel": MEL[None], **own},
        {"mel": MEL.double().numpy(), **own},
        {"mel": MEL.numpy(), "mel_configuration": QUICK.model_dump()},
        {"mel": tmp_path / "a.npy", **own},
        {"mel": str(tmp_path / "a.npy"), "mel_configuration": str(tmp_path / "own.json")},
        {"mel": save_mel(tmp_path / "a.npz", MEL, QUICK)},
    ]
    for way in ways:
        sample = made(model, **way)
        torch.testing.assert_close(sample.waveform, first, atol=1e-6, rtol=0)
        torch.testing.assert_close(sample.original, MEL[:, :100])
    rows = model.generate(mel=torch.stack([MEL, MEL]), steps=2, num_samples=2, **own)
    assert rows.inputs == (0, 0, 1, 1)
    listed = model.generate(mel=[MEL, MEL[:, :50]], steps=2, **own)
    assert [s.waveform.shape[1] for s in listed.samples] == [4000, 49 * 40]


def test_a_predicted_mel_may_lie_a_little_outside(model):
    made(model, mel=MEL - 0.3, mel_configuration=QUICK)
    made(model, mel=MEL + 0.5, mel_configuration=QUICK)


def other(**fields):
    return QUICK.model_copy(update=fields)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "neither"),
        ({"source": (WAVE, 8000), "mel": MEL}, "both"),
        ({"source": (WAVE, 8000), "mel_configuration": QUICK}, "there is no mel"),
        ({"source": []}, "empty"),
        ({"source": WAVE}, r"no sound.*\(array, sample rate\)"),
        ({"source": (WAVE, 8000, 1)}, "no sound"),
        ({"source": 3}, "no sound"),
        ({"source": (WAVE, "8 kHz")}, "no sample rate"),
        ({"source": (WAVE.long(), 8000)}, "unusable type"),
        ({"source": (WAVE * torch.nan, 8000)}, "NaN"),
        ({"source": (WAVE[:1], 8000)}, "shorter than half.*1 samples at 8000 Hz.*pad it"),
        ({"source": (WAVE[:64], 8000)}, "shorter than half.*64.*>= 65"),
        ({"source": (WAVE[:0], 8000)}, "shorter than half.*0 samples"),
        ({"source": "nothing.wav"}, "there is no file 'nothing.wav'"),
        ({"source": (WAVE, 8000), "steps": 0}, "steps"),
        ({"source": (WAVE, 8000), "steps": [0.5, 0.7, 0]}, "decreas"),
        ({"source": (WAVE, 8000), "steps": "six"}, "steps"),
        ({"source": (WAVE, 8000), "project": -1}, "project"),
        ({"source": (WAVE, 8000), "project": 1.5}, "project"),
        ({"source": (WAVE, 8000), "chunk": 0}, "chunk"),
        ({"source": (WAVE, 8000), "chunk": float("nan")}, "chunk"),
        ({"sauce": (WAVE, 8000)}, "did you mean 'source'"),
        ({"mel": MEL}, "not said how the mel was made.*mel_configuration="),
        ({"mel": MEL, "mel_configuration": 3}, "mel_configuration"),
        ({"mel": MEL, "mel_configuration": {"hops": 3}}, "hops"),
        ({"mel": MEL, "mel_configuration": "no-such-front-end"}, "no-such-front-end"),
        ({"mel": MEL, "mel_configuration": "nothing.json"}, "nothing.json"),
        ({"mel": MEL, "mel_configuration": other(hop=50, log="10")}, "hop.*log|log.*hop"),
        ({"mel": MEL[:19], "mel_configuration": QUICK}, r"shape.*\(19, 101\)"),
        ({"mel": MEL[0], "mel_configuration": QUICK}, "shape"),
        ({"mel": MEL[:, :0], "mel_configuration": QUICK}, "shape|frame"),
        ({"mel": MEL[:, :1], "mel_configuration": QUICK}, "one frame is no sound"),
        ({"mel": MEL.long(), "mel_configuration": QUICK}, "floating"),
        ({"mel": MEL * torch.nan, "mel_configuration": QUICK}, "NaN"),
        ({"mel": 20 * MEL, "mel_configuration": QUICK}, "values"),
        ({"mel": MEL + 20, "mel_configuration": QUICK}, "values"),
        ({"mel": [], "mel_configuration": QUICK}, "empty"),
        ({"mel": object(), "mel_configuration": QUICK}, "floating|no mel"),
        ({"mel": "nothing.npy", "mel_configuration": QUICK}, "there is no file"),
        (
            {"mel": MEL[:, :2], "mel_configuration": QUICK, "project": 1},
            "too short to be projected",
        ),
    ],
)
def test_what_cannot_be_asked(model, request_, said):
    with pytest.raises(UnnoiseError, match=f"(?s){said}"):
        model.generate(**request_)


def test_files_that_are_no_mels(model, tmp_path):
    (tmp_path / "text.npy").write_text("once upon a time")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.savez(tmp_path / "other.npz", spectrogram=MEL.numpy())
    whole = save_mel(tmp_path / "whole.npz", MEL, QUICK).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "odd.npz", mel=MEL.numpy(), mel_configuration=np.array("{"))
    for name in ("text.npy", "objects.npy", "other.npz", "cut.npz", "odd.npz"):
        with pytest.raises(InputError, match=name):
            model.generate(mel=tmp_path / name, mel_configuration=QUICK)
    foreign = other(floor=1e-7, scale="htk")
    np.savez(
        tmp_path / "foreign.npz",
        mel=MEL.numpy(),
        mel_configuration=np.array(json.dumps(foreign.model_dump())),
    )
    with pytest.raises(
        InputError, match=r"(?s)scale: 'slaney', not 'htk'.*floor: 1e-05, not 1e-07"
    ):
        model.generate(mel=tmp_path / "foreign.npz")


def test_silence_is_made_of_silence(model):
    """Its mel is the floor everywhere, and the sound has that of nothing."""
    sample = made(model, source=(torch.zeros(4000), 8000))
    assert bool(sample.waveform.isfinite().all())
    assert sample.waveform.abs().max() < 1e-2


def test_a_clipped_recording_is_taken_as_it_is_and_said(model, tmp_path):
    path = Audio((30 * WAVE).clamp(-1, 1)[None], 8000).save(tmp_path / "loud.wav")
    out = model.generate(source=path, steps=2)
    assert out.provenance["counts"]["clipped: several samples in a row at full scale"] == 1
    assert out.samples[0].waveform.abs().max() <= 1
