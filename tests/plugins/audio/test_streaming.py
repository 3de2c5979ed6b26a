"""Chunks are the whole, whatever their length; what is handed out comes in order."""

from __future__ import annotations

import pytest
import torch
from signals import speech
from vocoders import QUICK, vocoder

from unnoise.domain import Partial, Task
from unnoise.engine.options import Options
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Diffusion, walk
from unnoise_audio import Audio
from unnoise_audio.inputs import mel_of
from unnoise_audio.mel import mel_spectrogram
from unnoise_audio.request import Request
from unnoise_audio.streaming import MOST_OVERLAP, Chunking, chunking, speak

LONG = speech(8000, 2.3)
SAME = QUICK.model_copy(update={"placing": "same"})
NEAR = {"atol": 1e-5, "rtol": 0}


@pytest.mark.parametrize("mel", [QUICK, SAME], ids=["centre", "same"])
@pytest.mark.parametrize("chunk", [0.5, 0.9])
@pytest.mark.parametrize(
    "how", [{}, {"project": 2}, {"sampler": "ancestral"}, {"sampler": "heun", "steps": 4}], ids=str
)
def test_chunks_are_the_whole(mel, chunk, how):
    model = vocoder(mel)
    whole = model.generate(source=(LONG, 8000), seed=3, **how).samples[0]
    cut = model.generate(source=(LONG, 8000), seed=3, chunk=chunk, **how).samples[0]
    assert whole.waveform.shape == (1, len(LONG))
    torch.testing.assert_close(cut.waveform, whole.waveform, **NEAR)
    torch.testing.assert_close(cut.original.waveform, LONG[None])
    assert whole.waveform.std() > 1e-3
    assert cut.notes == whole.notes


def test_an_overlap_that_is_too_small_is_seen_and_said():
    """The test above can fail: with less than what chunks see they differ."""
    model = vocoder()
    request = Request(source=(LONG, 8000), chunk=0.5)
    prepared = model.domain.prepare(request, model, Options())
    how = prepared[0].how
    assert how.exact
    whole = model.generate(source=(LONG, 8000), seed=3).samples[0].waveform
    short = Chunking(how.hops, 1, False, 0)
    torch.testing.assert_close(run(model, prepared[0].prepared, how), whole, **NEAR)
    gap = (run(model, prepared[0].prepared, short) - whole).abs().max()
    assert gap > 1e-3


def run(model, prepared, how):
    """A plan, run by hand."""
    plan, sent, found = speak([prepared], model, how), None, []
    while True:
        try:
            item = plan.send(sent)
        except StopIteration as stop:
            return torch.cat([*found, stop.value[0].waveform], 1)
        sent = None
        if isinstance(item, Partial):
            found.append(item.samples[0].waveform)
            continue
        assert isinstance(item, Task)
        noise = NoiseSource(3, [0]).window(item.window.start, item.window.stop, 0)
        diffusion = Diffusion(model.denoiser, item.layout, noise, item.condition)
        x = model.denoiser.kernel.prior(item.layout).sample(noise)
        with torch.no_grad():
            *_, last = walk(DDIM(), diffusion, x, torch.linspace(1, 0, 7).double(), None)
        sent = last.x


def test_overlaps_are_what_is_seen_and_bounded():
    # an evaluation sees 6 patches of half a hop, and 4 frames
    model = vocoder(layers=3, kernel=5)
    assert chunking(model, Options(steps=4), 1.0, 0).overlap == 5 * 7 + 3
    assert chunking(model, Options(steps=4, sampler="heun"), 1.0, 0).overlap == 9 * 7 + 3
    # 128 samples of the window are 3.2 hops
    assert chunking(model, Options(steps=4), 1.0, 2).overlap == 5 * 7 + 3 + 2 * 4
    far = chunking(model, Options(steps=900), 1.0, 0)
    assert (far.overlap, far.exact) == (MOST_OVERLAP, False)
    assert chunking(model, Options(), 1.0, 0).exact


def test_parts_come_as_they_are_made():
    model = vocoder()
    asked = {"source": [(LONG, 8000), (LONG[:6001], 8000)], "num_samples": 2, "chunk": 0.5}
    whole = model.generate(**{**asked, "chunk": None})
    found: dict[int, list[Audio]] = {}
    for number, out in enumerate(model.generate_iter(**asked)):
        if number == 1:  # 0.5 to 1 s; the second input ends within it
            assert out.provenance["ids"] == [0, 1, 2, 3]
        if number == 2:
            assert out.provenance["ids"] == [0, 1]
        for i, sample in zip(out.provenance["ids"], out.samples, strict=True):
            found.setdefault(i, []).append(sample)
    assert [len(found[k]) for k in range(4)] == [5, 5, 2, 2]
    for k, sample in enumerate(whole.samples):
        together = torch.cat([part.waveform for part in found[k]], 1)
        torch.testing.assert_close(together, sample.waveform, **NEAR)
    assert not torch.equal(whole.samples[0].waveform, whole.samples[1].waveform)


def test_lengths_do_not_touch_each_other():
    """A short sound beside a long one is what it is alone."""
    model = vocoder()
    sources = [(LONG, 8000), (LONG[3000:6333], 8000), (LONG[:129], 8000)]
    out = model.generate(source=sources, num_samples=2, project=1)
    for k in range(6):
        alone = model.generate(source=sources, num_samples=2, project=1, ids=[k])
        assert out.samples[k].waveform.shape[1] == len(sources[k // 2][0])
        torch.testing.assert_close(out.samples[k].waveform, alone.samples[0].waveform, **NEAR)


@pytest.mark.parametrize("mel", [QUICK, SAME], ids=["centre", "same"])
@pytest.mark.parametrize("size", [4000, 4001, 4039])
def test_mels_of_long_sounds_are_made_in_pieces(mel, size, monkeypatch):
    wave = LONG[:size]
    filled = torch.nn.functional.pad(wave, (0, -size % 40))
    whole = mel_spectrogram(filled[None], mel)[0].T
    monkeypatch.setattr("unnoise_audio.inputs._FRAMES", 17)
    torch.testing.assert_close(mel_of(wave, mel), whole, atol=2e-5, rtol=0)
