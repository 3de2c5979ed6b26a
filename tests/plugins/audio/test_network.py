"""The shipped network's parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unnoise.errors import ConfigError
from unnoise.fields import configured
from unnoise_audio.configuration import Configuration
from unnoise_audio.network import depthwise, minimum_phase


@pytest.mark.parametrize("patches", [1, 5, 16, 17, 100])
@pytest.mark.parametrize("kernel", [1, 3, 15])
def test_a_depthwise_convolution_is_that_of_torch(patches, kernel):
    conv = nn.Conv1d(6, 6, kernel, padding=kernel // 2, groups=6)
    x = torch.randn(2, patches, 6, requires_grad=True)
    made = depthwise(x, conv.weight, conv.bias)
    expected = conv(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(made)
    for a, b in zip(
        torch.autograd.grad((made * weights).sum(), [x, conv.weight, conv.bias]),
        torch.autograd.grad((expected * weights).sum(), [x, conv.weight, conv.bias]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pole", [0.5, 0.8, -0.7])
def test_the_phases_of_a_resonance_are_those_of_its_minimum_phase_filter(pole):
    angle = (torch.arange(200, dtype=torch.float64) + 0.5) * torch.pi / 200
    response = 1 / (1 - pole * torch.exp(-1j * angle))  # stable and causal: of minimum phase
    minus = response.abs().log() @ minimum_phase(200)
    torch.testing.assert_close(minus, -response.angle(), atol=1e-5, rtol=0)


def test_a_kernel_has_a_middle():
    with pytest.raises(ConfigError, match="kernel"):
        configured(Configuration, {"kernel": 14})
