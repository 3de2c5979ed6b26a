"""Bayes' rule for the evidence of a token itself."""

from __future__ import annotations

import pytest
import torch

from unnoise.denoise import Logits
from unnoise.errors import ConfigError
from unnoise.kernels import Absorbing, CategoricalKernel, RandomWalk, Uniform
from unnoise.spaces import Layout, Tokens
from unnoise.testing import PmfOracle
from unnoise_text.evidence import Evidence

F = torch.float64
PMF = torch.tensor([[0.3, 0.02, 0.08], [0.01, 0.2, 0.09], [0.05, 0.05, 0.2]], dtype=F)


@pytest.mark.parametrize("corruption", [Uniform(), RandomWalk.bands(3)])
@pytest.mark.parametrize("t", [0.05, 0.6, 1.0])
def test_the_law_given_the_other_token_becomes_the_posterior(corruption, t):
    kernel = CategoricalKernel(Tokens(3), corruption)
    layout = Layout.dense(9, (2,), dtype=torch.int64)
    x_t = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    q = kernel.marginal(torch.arange(3)[None], t, Layout.dense(1, (3,), dtype=torch.int64)).mean[0]
    # p(x_0 of one | x_t of the other): the other is noisy, the one is summed out
    first = torch.einsum("ab,by->ya", PMF, q)[x_t[:, 1]]
    second = torch.einsum("ab,ay->yb", PMF, q)[x_t[:, 0]]
    output = torch.stack([first, second], 1).log()
    law = Evidence().law(kernel, output, x_t, t, layout)
    expected = PmfOracle(kernel, PMF)(x_t, t, layout)
    torch.testing.assert_close(law.mean.double(), expected.mean, rtol=1e-5, atol=1e-6)


def test_the_absorbing_kernel_is_refused(make_model):
    with pytest.raises(ConfigError, match=r"Evidence needs.*Absorbing.*Masked"):
        Evidence().check(CategoricalKernel(Tokens(3), Absorbing(2)))
    parametrization = make_model(kernel="uniform").denoiser.parametrization
    assert isinstance(parametrization, Evidence)
    assert isinstance(
        make_model(kernel="uniform", prediction="logits").denoiser.parametrization, Logits
    )
    out = make_model(kernel="uniform").generate(num_samples=2, steps=3, length=6)
    assert len(out.samples) == 2
