import pytest
import torch

from unnoise.errors import InputError
from unnoise.spaces import Layout
from unnoise_audio.codec import codec_of, loudness
from unnoise_audio.configuration import Configuration, Learned

MEL = {"hop": 8, "window": 32, "fft": 32, "mels": 6}
WAVE = Configuration(
    mel=MEL,
    method="wavegrad",
    prior="mel",
    learned=Learned(scale=(0.7,), mean=0.0, spread=1.0),
)
MDCT = Configuration(
    mel=MEL,
    patch=4,
    learned=Learned(scale=tuple(0.5 + 0.1 * k for k in range(8)), mean=0.0, spread=1.0),
)


@pytest.mark.parametrize("own", [WAVE, MDCT], ids=["waveform", "mdct"])
def test_the_log_determinant_is_that_of_the_jacobian(own):
    torch.manual_seed(0)
    codec, mel = codec_of(own), torch.randn(1, 3, 6)
    layout = Layout.dense(1, (3, 8), dtype=torch.float64)
    x = torch.randn(1, 3, 8, dtype=torch.float64)

    def flat(values):
        return codec.embed(values.view(1, 3, 8), layout, {"mel": mel})[0].flatten()

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten())
    encoded = codec.encode(x, layout, {"mel": mel})
    wanted = torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(encoded.log_density[0], wanted, rtol=1e-5, atol=1e-5)
    back = codec.decode(encoded.state, encoded.layout, {"mel": mel}).mode
    torch.testing.assert_close(back.double(), x, rtol=1e-4, atol=1e-4)


def test_an_error_of_the_state_has_the_weight_of_priorgrad():
    """|z - z'|^2 = (x - x')^T S^-1 (x - x'), S the variance of noise that the mel says."""
    torch.manual_seed(0)
    codec, mel = codec_of(WAVE), torch.randn(2, 3, 6)
    layout = Layout.dense(2, (3, 8))
    x, other = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    z, _ = codec.embed(x, layout, {"mel": mel})
    w, _ = codec.embed(other, layout, {"mel": mel})
    variance = (0.7 * loudness(mel, WAVE.mel)) ** 2
    torch.testing.assert_close((z - w).square(), (x - other).square() / variance)
    noise = torch.randn(2, 3, 8)
    drawn = codec.decode(noise, layout, {"mel": mel}).mode
    torch.testing.assert_close(drawn, noise * variance.sqrt())


def test_twice_as_loud_is_twice_the_noise_and_the_mel_is_needed():
    mel = torch.randn(1, 3, 6)
    louder = loudness(mel + torch.log(torch.tensor(2.0)), WAVE.mel)
    torch.testing.assert_close(louder, 2 * loudness(mel, WAVE.mel))
    layout = Layout.dense(1, (3, 8))
    with pytest.raises(InputError, match="mel"):
        codec_of(WAVE).embed(torch.zeros(1, 3, 8), layout, None)


def test_the_published_method_diffuses_samples_as_they_are():
    layout, x = Layout.dense(1, (3, 8)), torch.randn(1, 3, 8)
    z, _ = codec_of(WAVE.model_copy(update={"prior": "standard"})).embed(x, layout, None)
    assert torch.equal(z, x)
