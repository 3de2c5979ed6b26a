"""Folders of sound: what is found, what is left out, and what a crop is."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
import torch
from signals import speech
from vocoders import QUICK

import unnoise
from unnoise.errors import ConfigError, InputError
from unnoise.training.train import train
from unnoise_audio import Audio
from unnoise_audio.configuration import Configuration
from unnoise_audio.data import (
    Crops,
    collate,
    configure,
    dataset,
    files_of,
    levelled,
    split,
    trimmed,
)
from unnoise_audio.domain import Vocoder
from unnoise_audio.mel import mel_spectrogram

OWN = Configuration(mel=QUICK, crop=16, held_out=0.0, gain=(0.0, 0.0), level=None, silence=None)


def write(path, seconds: float = 0.6, seed: int = 0, rate: int = 8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    return Audio(speech(rate, seconds, seed)[None], rate).save(path)


@pytest.fixture
def ljspeech(tmp_path):
    """The layout of LJSpeech: metadata.csv beside wavs/."""
    root = tmp_path / "LJSpeech-1.1"
    for k in range(6):
        write(root / "wavs" / f"LJ001-{k:04}.wav", seed=k)
    (root / "metadata.csv").write_text("LJ001-0000|words|words\n")
    return root


def test_any_tree_is_a_data_set(ljspeech):
    write(ljspeech / "more" / "deep" / "a.FLAC")
    write(ljspeech / "b.ogg")
    write(ljspeech / ".hidden" / "c.wav")
    (ljspeech / "README.txt").write_text("words")
    names = [p.relative_to(ljspeech).as_posix() for p in files_of(ljspeech)]
    assert names == ["b.ogg", "more/deep/a.FLAC", *(f"wavs/LJ001-{k:04}.wav" for k in range(6))]
    items = dataset(ljspeech, OWN, "train")
    assert len(items.starts) == 9
    assert items.skipped == ()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "a folder of sound files"),
        (lambda root: root.mkdir(), "holds no sound"),
        (lambda root: write(root.parent / "data.wav"), "a folder of sound files"),
    ],
)
def test_what_is_no_data_set(make, said, tmp_path):
    make(tmp_path / "data")
    with pytest.raises(InputError, match=said):
        dataset(tmp_path / "data", OWN, "train")


def test_bad_files_are_named_and_counted(ljspeech):
    bad = ljspeech / "wavs"
    (bad / "LJ001-0001.wav").write_text("words")
    (bad / "LJ001-0003.wav").write_bytes(b"")
    Audio(torch.zeros(1, 4000), 8000).save(bad / "LJ001-0005.wav")
    trim = OWN.model_copy(update={"silence": -50.0})
    with pytest.raises(InputError, match=r"3 of 6 files.*0001.*0003.*0005.*unreadable='skip'"):
        dataset(ljspeech, trim, "train")
    skipping = trim.model_copy(update={"unreadable": "skip"})
    with pytest.warns(UserWarning, match=r"3 of 6 files of the train part cannot be used"):
        items = dataset(ljspeech, skipping, "train")
    assert [path.name for path in items.skipped] == [f"LJ001-000{k}.wav" for k in (1, 3, 5)]
    assert len(items.starts) == 4
    for path in bad.glob("*.wav"):
        path.write_text("words")
    with pytest.warns(UserWarning, match="6 of 6"), pytest.raises(InputError, match="not one file"):
        dataset(ljspeech, skipping, "train")


def test_one_bad_file_is_said_as_it_is(ljspeech):
    (ljspeech / "wavs" / "LJ001-0002.wav").write_text("words")
    with pytest.raises(InputError, match=r"LJ001-0002.wav' cannot be read as sound"):
        dataset(ljspeech, OWN, "train")


def test_the_split_is_of_names_and_files_that_come_later_move_none(ljspeech):
    for k in range(6, 60):
        shutil.copy(ljspeech / "wavs" / "LJ001-0000.wav", ljspeech / "wavs" / f"LJ001-{k:04}.wav")
    own = OWN.model_copy(update={"held_out": 0.3})
    parts = {
        part: split(files_of(ljspeech), ljspeech, 0.3, part) for part in ("train", "validation")
    }
    assert 8 <= len(parts["validation"]) <= 28  # 18 expected; outside with probability .005
    assert not set(parts["train"]) & set(parts["validation"])
    assert len(dataset(ljspeech, own, "validation").starts) == len(parts["validation"]) + 1
    shutil.copy(ljspeech / "wavs" / "LJ001-0000.wav", ljspeech / "wavs" / "another.wav")
    again = split(files_of(ljspeech), ljspeech, 0.3, "train")
    assert [p for p in again if p.name != "another.wav"] == parts["train"]


@pytest.mark.parametrize("placing", ["centre", "same"])
def test_a_crop_is_a_piece_of_the_sound_and_of_its_mel(placing, tmp_path):
    """In the middle of a file both are what they are in the whole."""
    mel = QUICK.model_copy(update={"placing": placing})
    # no pause: a crop of silence could be of any place in it
    sound = Audio(speech(8000, 1.0, gaps=False)[None], 8000)
    path = sound.save(tmp_path / "a.wav")
    items = dataset(tmp_path, OWN.model_copy(update={"mel": mel}), "train")
    wave = Audio.load(path).waveform
    seen = 0
    for seed in range(20):
        torch.manual_seed(seed)
        blocks, frames = items[0]
        flat = blocks.flatten()[20:-20]  # the ends are faded
        windows = wave[0].unfold(0, len(flat), 1)
        place = int((windows - flat).abs().sum(1).argmin()) - 20
        torch.testing.assert_close(windows[place + 20], flat, atol=1e-4, rtol=1e-3)
        # the middle of block j is the centre of frame j
        low = place + (20 if placing == "centre" else 0)
        first = low // 40
        if 4 <= first < 170:
            shifted = mel_spectrogram(wave[:, low % 40 :], mel)[0].T
            rows = shifted[first : first + 16]
            torch.testing.assert_close(frames, rows, atol=0.02, rtol=0)
            seen += 1
    assert seen > 10
    assert blocks.shape == (16, 40)
    assert frames.shape == (16, 20)
    batch = collate([items[0], items[0]])
    assert batch.x0.shape == (2, 16, 40)
    assert batch.condition["mel"].shape == (2, 16, 20)


def test_ends_are_trimmed_and_levels_are_one():
    loud = torch.cat([torch.zeros(3000), speech(8000, 0.5, gaps=False), torch.zeros(2000)])
    cut = trimmed(loud, 8000, -50.0)
    assert 4000 <= len(cut) <= 4000 + 5 * 160
    assert len(trimmed(torch.zeros(4000), 8000, -50.0)) == 0
    for level in (-30.0, -24.0):
        found = levelled(loud, level).square().mean().sqrt()
        assert float(20 * found.log10()) == pytest.approx(level, abs=1e-3)
    spiky = torch.zeros(8000)
    spiky[100] = 0.5
    assert levelled(spiky, -22.0).abs().max() == pytest.approx(0.99)


def test_statistics_draw_no_global_numbers(ljspeech):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    small = {"mel": QUICK, "crop": 16, "held_out": 0.0}
    first = configure(ljspeech, small)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == configure(ljspeech, small)
    assert len(first.known.scale) == 40
    with pytest.raises(ConfigError, match="crop"):
        configure(ljspeech, {"mel": QUICK, "crop": 0})


def test_a_trained_run_is_a_model(ljspeech, tmp_path):
    """While it trains, its folder is one, too: `generate --model RUN` hears how far it is."""
    own = {"mel": QUICK.model_dump(), "crop": 16, "width": 8, "layers": 1, "patch": 20}
    quick = {"steps": 4, "batch_size": 2, "bound_samples": 0, "device": "cpu"}
    train("audio", ljspeech, tmp_path / "run", held_out=0.2, samples_every=2, **own, **quick)
    model = unnoise.load(tmp_path / "run")
    held_out = dataset(ljspeech, model.configuration, "validation")
    told = held_out.sentences(3, 6.0)
    first, last = (tmp_path / "run" / "samples" / f"step-0000000{step}" for step in (2, 4))
    for folder in (first, last):
        kinds = sorted(path.suffix for path in folder.iterdir())
        assert kinds == [".html", ".json", *[".png"] * len(told), *[".wav"] * len(told)]
        assert (folder / "preview.html").read_text().count("<audio") == 2 * len(told)
    again = model.generate(source=told, project=0)
    heard, _ = soundfile.read(last / "00000.wav", dtype="int16")
    assert np.abs(heard.astype(int) - again.samples[0].pcm()[:, 0]).max() <= 1
    early, _ = soundfile.read(first / "00000.wav", dtype="int16")
    assert (early != heard).any()
    assert model.configuration.mel == QUICK
    out = model.generate(source=str(ljspeech / "wavs" / "LJ001-0000.wav"), steps=2)
    assert out.samples[0].waveform.shape == (1, 4800)
    assert np.isfinite(out.samples[0].pcm()).all()


def test_sentences_are_the_begins_of_files():
    own = Configuration(mel=QUICK)
    samples = np.arange(2000, dtype=np.int16)
    crops = Crops(samples, [0, 600, 700, 1200, 2000], own)  # the second is shorter than a transform
    found = crops.sentences(2, 0.05)
    assert [sound.sample_rate for sound in found] == [8000, 8000]
    assert [(sound.waveform * 32768).tolist() for sound in found] == [
        [list(range(400))],
        [list(range(700, 1100))],
    ]
    assert len(crops.sentences(9, 0.05)) == 3
    assert Crops(samples[:0], [0], own).sentences(3, 1.0) == []
    empty = Vocoder().trial(own, Crops(samples[:0], [0], own))
    assert empty == {**Vocoder.demo, "project": 0}
