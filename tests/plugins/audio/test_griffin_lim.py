import pytest
import torch
from signals import speech

from unnoise.errors import InputError
from unnoise_audio import metrics
from unnoise_audio.front_ends import FRONT_ENDS, front_end
from unnoise_audio.griffin_lim import griffin_lim
from unnoise_audio.mel import MelConfiguration, mel_spectrogram


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_sound_has_the_mel(name):
    own = front_end(name)
    x = speech(own.sample_rate, gaps=False)
    mel = mel_spectrogram(x[None], own)
    made = griffin_lim(mel, own, iterations=16, length=len(x))
    assert made.shape == (1, len(x))
    assert metrics.log_mel(made[0], x, own) < 0.35
    shuffled = made[0][torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    assert metrics.log_mel(shuffled, x, own) > 1
    assert metrics.stoi(made[0], x, own.sample_rate) > 0.85


def test_more_iterations_are_closer_and_the_seed_is_all_that_is_random():
    own, x = MelConfiguration(), speech(gaps=False)
    mel = mel_spectrogram(x[None], own)
    few, many, again, other = (
        griffin_lim(mel, own, iterations=n, length=len(x), seed=seed)
        for n, seed in ((2, 0), (40, 0), (2, 0), (2, 1))
    )
    assert torch.equal(few, again)
    assert not torch.equal(few, other)
    assert metrics.stft(many[0], x, 16_000) < metrics.stft(few[0], x, 16_000)
    state = torch.random.get_rng_state()
    griffin_lim(mel, own, iterations=1)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_length_is_what_the_frames_span():
    for placing, samples in (("centre", 200 * 20), ("same", 200 * 20)):
        own = MelConfiguration(placing=placing)
        mel = mel_spectrogram(speech()[None, :samples], own)
        assert griffin_lim(mel, own, iterations=1).shape == (1, samples)


def test_bad_input_is_refused():
    own = MelConfiguration()
    with pytest.raises(InputError, match="turns"):
        griffin_lim(torch.zeros(1, 80, 5), own, iterations=0)
    with pytest.raises(InputError, match="shape"):
        griffin_lim(torch.zeros(1, 64, 5), own)
