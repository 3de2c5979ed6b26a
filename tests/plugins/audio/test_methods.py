"""The published method from a folder of sound to sound."""

import pytest
import soundfile
import torch
from signals import speech

import unnoise
from unnoise_audio.levels import on_schedule


@pytest.mark.parametrize("prior", ["standard", "mel"])
def test_wavegrad_is_trained_and_generates(prior, tmp_path):
    for k in range(3):
        wave = speech(seconds=1.0, seed=k).numpy()
        soundfile.write(tmp_path / f"{k}.wav", wave, 16_000)
    model = unnoise.train(
        "audio",
        tmp_path,
        tmp_path / "run",
        method="wavegrad",
        prior=prior,
        mel={"hop": 200, "mels": 20, "fft": 512, "window": 400},
        factors=(10, 20),
        steps=2,
        batch_size=2,
        crop=8,
        held_out=0.0,
        bound_samples=0,
    )
    again = unnoise.load(model.save(tmp_path / "bundle"))
    source = (speech(seconds=0.4).numpy(), 16_000)
    out = again.generate(source=source, steps=2, seed=1)
    wave = out.samples[0].waveform
    assert wave.shape == (1, 6400)
    assert wave.abs().max() > 0
    assert out.provenance["evaluations"] == 2
    pieces = again.generate(source=source, steps=2, seed=1, chunk=0.2)
    torch.testing.assert_close(pieces.samples[0].waveform, wave, rtol=0, atol=1e-4)
    assert on_schedule(again.denoiser, "wg-6").kernel.steps == 6
