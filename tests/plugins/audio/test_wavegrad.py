import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unnoise.errors import ConfigError, InputError
from unnoise.spaces import Layout
from unnoise_audio.configuration import Configuration, Learned
from unnoise_audio.rates import default_factors, reach
from unnoise_audio.wavegrad import Conv, DownBlock, UpBlock, WaveGrad

KNOWN = Learned(scale=(1.0,), mean=-5.0, spread=2.0)
SMALL = Configuration(
    method="wavegrad", mel={"hop": 16, "window": 64, "fft": 64, "mels": 8}, learned=KNOWN
)


def _numbers(network):
    return sum(p.numel() for p in network.parameters())


def test_the_base_network_has_the_published_size():
    own = Configuration(method="wavegrad", mel="wavegrad", learned=KNOWN)
    assert own.factors_used == (5, 5, 3, 2, 2)
    with torch.device("meta"):  # shapes alone: orthogonal weights take seconds
        base, large = WaveGrad(own), WaveGrad(own.model_copy(update={"size": "large"}))
    assert _numbers(base) == 15_920_993
    assert _numbers(large) > 1.5 * 15_920_993


@pytest.mark.parametrize("hop", [300, 200, 256, 160, 240, 441, 97, 1024])
def test_the_factors_have_the_product_hop(hop):
    assert math.prod(default_factors(hop)) == hop
    assert len(default_factors(hop)) <= 5


def test_factors_with_another_product_are_refused():
    with pytest.raises(ConfigError, match="allowed: 16"):
        WaveGrad(SMALL.model_copy(update={"factors": (4, 5)}))
    for factors in ((4, 4), (2, 2, 2, 2), (16,), (2, 2, 2, 2)):
        network = WaveGrad(SMALL.model_copy(update={"factors": factors}))
        assert _out(network, torch.randn(1, 3, 16), torch.randn(1, 3, 8)).shape == (1, 3, 16)


def _out(network, x, mel, level=0.5, mask=None):
    layout = Layout.dense(len(x), x.shape[1:], mask=mask)
    with torch.no_grad():
        return network(x, torch.full((len(x),), level), layout, {"mel": mel})


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("inputs", "outputs", "width", "dilation"),
    [(4, 6, 3, 1), (4, 6, 3, 8), (1, 5, 5, 1), (7, 3, 1, 1), (256, 256, 3, 2), (256, 512, 3, 8)],
)
def test_a_convolution_is_torchs_with_its_gradient(batch, inputs, outputs, width, dilation):
    torch.manual_seed(0)
    conv, x = Conv(inputs, outputs, width, dilation), torch.randn(batch, 37, inputs)
    nn.init.normal_(conv.bias)
    x.requires_grad_()
    weight, far = conv.weight.permute(2, 1, 0), dilation * (width // 2)
    theirs = F.conv1d(x.mT, weight, conv.bias, padding=far, dilation=dilation).mT
    ours = conv(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    up = torch.randn_like(theirs)
    wanted = torch.autograd.grad((theirs * up).sum(), [x, conv.weight, conv.bias])
    found = torch.autograd.grad((ours * up).sum(), [x, conv.weight, conv.bias])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_blocks_are_as_published(factor):
    """Interpolation first and convolutions after it, as the port `wavegrad` has them."""
    torch.manual_seed(factor)

    def run(conv, x):
        far = conv.dilation * (conv.width // 2)
        weight = conv.weight.permute(2, 1, 0)
        return F.conv1d(x, weight, conv.bias, padding=far, dilation=conv.dilation)

    up, x = UpBlock(6, 4, factor, (1, 2, 4, 8)), torch.randn(2, 11, 6)
    film = torch.randn(2, 11 * factor, 8)
    shift, scale = film.mT.chunk(2, 1)
    long = F.interpolate(x.mT, size=11 * factor)
    h = run(up.convs[0], F.interpolate(F.leaky_relu(x.mT, 0.2), size=11 * factor))
    h = run(up.convs[1], F.leaky_relu(shift + scale * h, 0.2)) + run(up.straight, long)
    k = run(up.convs[2], F.leaky_relu(shift + scale * h, 0.2))
    h = h + run(up.convs[3], F.leaky_relu(shift + scale * k, 0.2))
    torch.testing.assert_close(up(x, film, None).mT, h, rtol=1e-4, atol=1e-5)

    down, y = DownBlock(6, 4, factor), torch.randn(2, 6 * factor, 6)
    straight = F.interpolate(run(down.straight, y.mT), size=6)
    h = F.interpolate(y.mT, size=6)
    for conv in down.convs:
        h = run(conv, F.leaky_relu(h, 0.2))
    torch.testing.assert_close(down(y, None).mT, h + straight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", ["base", "large"])
def test_a_padded_sample_is_as_it_is_alone(size):
    torch.manual_seed(0)
    network = WaveGrad(SMALL.model_copy(update={"size": size}))
    x, mel = torch.randn(2, 6, 16), torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    together = _out(network, x, mel, mask=mask)
    alone = _out(network, x[1:, :4], mel[1:, :4])
    torch.testing.assert_close(together[1:, :4], alone, rtol=1e-4, atol=1e-5)
    assert together[1, 4:].abs().max() == 0


def test_an_output_depends_on_frames_within_reach():
    torch.manual_seed(0)
    for factors in ((2, 2, 2, 2), (4, 4), (4, 2, 2)):
        network, far = (
            WaveGrad(SMALL.model_copy(update={"factors": factors})),
            reach(factors, False),
        )
        x, mel = torch.randn(1, 4 * far, 16), torch.randn(1, 4 * far, 8)
        before = _out(network, x, mel)
        x[:, 2 * far] += 1
        mel[:, 2 * far] += 1
        moved = (_out(network, x, mel) - before).abs().amax((0, 2)) > 1e-5
        places = moved.nonzero()[:, 0] - 2 * far
        assert places.min() >= -far
        assert places.max() <= far
        assert moved.sum() > 2


def test_it_is_told_the_level_at_5000_and_the_mel():
    torch.manual_seed(0)
    network = WaveGrad(SMALL)
    x, mel = torch.randn(1, 4, 16), torch.randn(1, 4, 8)
    one = _out(network, x, mel, 0.5)
    # levels that differ by 1e-4 differ by half a radian at the highest frequency
    assert (one - _out(network, x, mel, 0.5001)).abs().max() > 1e-3
    assert (one - _out(network, x, mel + 1, 0.5)).abs().max() > 1e-3
    assert network.film[0].frequencies[0] == 5000
    with pytest.raises(InputError, match="told the mel"):
        network(x, torch.ones(1), Layout.dense(1, (4, 16)), None)
