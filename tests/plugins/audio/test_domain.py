"""The user's whole way: a command, files, pages; and the conformance kit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from signals import speech
from vocoders import vocoder

import unnoise
from unnoise.cli import main
from unnoise.testing import check_domain
from unnoise_audio import EXAMPLE, Audio
from unnoise_audio.domain import Vocoder
from unnoise_audio.inputs import mel_of
from unnoise_audio.pictures import decibels


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return vocoder().save(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return Audio(speech(8000, 1.1)[None], 8000).save(tmp_path_factory.mktemp("sound") / "a.wav")


def test_it_is_found():
    assert "audio" in unnoise.domains()


def test_the_command_writes_sounds_and_pictures(bundle, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "audio", "--source", str(sound), str(EXAMPLE), "--model", str(bundle)]
    assert main([*words, "--num-samples", "2", "--steps", "3", "--project", "1", "--out", "o"]) == 0
    names = sorted(path.name for path in Path("o").iterdir())
    stems = [f"{k:05}" for k in range(4)]
    assert names == sorted(
        [*(f"{s}.{kind}" for s in stems for kind in ("wav", "png")), "provenance.json"]
    )
    for stem in stems[:2]:
        info = soundfile.info(f"o/{stem}.wav")
        assert (info.samplerate, info.frames, info.channels, info.subtype) == (
            8000,
            8800,
            1,
            "PCM_16",
        )
        values, _ = soundfile.read(f"o/{stem}.wav")
        assert np.isfinite(values).all()
        assert 0 < np.abs(values).max() <= 1
        with Image.open(f"o/{stem}.png") as picture:
            assert picture.width == 900
            assert picture.height == 520  # two spectrograms
    record = json.loads(Path("o/provenance.json").read_text())
    assert record["counts"]["resampled from 16000 to 8000 Hz by torchaudio, 64 zero crossings"] == 2
    assert record["request"]["project"] == 1


def test_parts_become_one_file(bundle, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "audio", "--source", str(sound), "--model", str(bundle), "--steps", "2"]
    assert main([*words, "--num-samples", "2", "--out", "whole"]) == 0
    assert main([*words, "--num-samples", "2", "--chunk", "0.3", "--out", "parts"]) == 0
    assert sorted(p.name for p in Path("parts").glob("*.wav")) == ["00000.wav", "00001.wav"]
    for name in ("00000.wav", "00001.wav"):
        one, _ = soundfile.read(f"whole/{name}", dtype="int16")
        two, _ = soundfile.read(f"parts/{name}", dtype="int16")
        assert len(two) == 8800
        assert np.abs(one.astype(int) - two).max() <= 1


def test_a_mistake_is_one_line(bundle, tmp_path, capsys):
    (tmp_path / "a.wav").write_text("words")
    words = ["generate", "audio", "--model", str(bundle), "--out", str(tmp_path / "o")]
    assert main([*words, "--source", str(tmp_path / "a.wav")]) == 2
    said = capsys.readouterr().err
    assert "cannot be read as sound" in said
    assert "Traceback" not in said
    assert not (tmp_path / "o" / "00000.wav").exists()


def test_the_shipped_model_says_what_it_hears(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sum(path.stat().st_size for path in Vocoder.bundle.iterdir()) < 20_000_000
    assert main(["generate", "audio", "--source", str(EXAMPLE), "--out", "out"]) == 0
    assert {"00000.wav", "00000.png"} <= {path.name for path in Path("out").iterdir()}
    before, after = Audio.load(EXAMPLE), Audio.load("out/00000.wav")
    assert after.sample_rate == before.sample_rate == 16_000
    assert after.waveform.shape == before.waveform.shape
    assert bool(after.waveform.isfinite().all())
    assert after.waveform.abs().max() <= 1
    mel = unnoise.load("audio").configuration.mel
    wanted, made = mel_of(before.waveform[0], mel), mel_of(after.waveform[0], mel)
    assert (wanted - made).abs().mean() < 0.15  # measured: .07, of a spread of about 3
    quiet = mel_of(before.waveform[0] / 2, mel)
    assert (wanted - made).abs().mean() < (wanted - quiet).abs().mean()


@pytest.mark.slow
def test_the_kit(tmp_path):
    """Every check that a stranger's domain is put to, streaming and several inputs among them."""
    for k in range(12):
        Audio(speech(8000, 0.6, seed=k)[None], 8000).save(tmp_path / f"{k}.flac")
    several = [str(tmp_path / "1.flac"), str(tmp_path / "2.flac")]
    report = check_domain(
        Vocoder(),
        model=vocoder(held_out=0.3, crop=40),
        data=tmp_path,
        requests=[{"source": several}, {"source": several[0], "chunk": 0.2}],
        holds=lambda request, number, sample: sample.original is not None,
    )
    results = {result.check: result.status for result in report.results}
    wanted = "demo_is_a_request batch_of_n_is_n_singles inputs_stay_apart parts_join_to_the_whole"
    wanted += " files_are_written preview_is_self_contained items_repeat losses_follow_the_data"
    for name in wanted.split():
        assert results[name] == "passed", name


def test_pages_play_and_show(bundle, sound):
    model = unnoise.load(bundle)
    out = model.generate(source=[sound, str(EXAMPLE)], steps=2, return_trajectory=True)
    page = model.domain.display.preview(out.samples)
    assert page.count("<audio") == 4  # original and result of two
    assert page.count("<img") == 2
    assert "resampled from 16000 to 8000 Hz" in page
    rows = model.domain.display.moments(out.trajectory, [0, 1], model)
    assert [len(row) for row in rows] == [3, 3]
    assert all(cell.startswith("<img") for row in rows for cell in row)
    assert len({cell for row in rows for cell in row}) == 6


def test_the_first_moment_is_noise_with_the_spectrum_of_the_mel(bundle):
    """Decoded with what the denoiser was told: a low tone is low noise."""
    t = torch.arange(8000) / 8000
    tone = 0.3 * torch.sin(2 * torch.pi * 500 * t)
    model = unnoise.load(bundle)
    out = model.generate(source=(tone, 8000), steps=2, return_trajectory=True)
    first = out.trajectory[0]
    wave = model.decode(first.parts[0].x, first.parts[0].layout, first.told(0)).flatten()
    level = decibels(wave, 8000).mean(1)
    centre = len(level) // 8  # 500 of 4000 Hz
    assert level[centre] > level[3 * centre :].max() + 20


@pytest.mark.slow
def test_an_hour_in_bounded_memory(tmp_path):
    """Beside what an hour itself takes, the sound (230 MB) and its mel (92 MB)."""
    limit = 1_000_000  # KB at the peak; torch and the libraries are 330,000 of them
    minute = speech(16_000, 60.0)
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", 16_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute.numpy())
    program = f"""
import re, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from vocoders import vocoder
from unnoise_audio.mel import MelConfiguration
model = vocoder(MelConfiguration(), width=96, layers=6, patch=40, kernel=15)
count = 0
for out in model.generate_iter(source={str(tmp_path / "hour.flac")!r}, steps=1, project=1):
    count += sum(sample.waveform.shape[1] for sample in out.samples)
assert count == 3600 * 16_000, count
# not ru_maxrss, which begins with the peak of the process that started this one
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < limit
