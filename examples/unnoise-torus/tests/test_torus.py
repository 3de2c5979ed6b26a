"""The conformance kit on everything that the plugin brings, and a run with the exact denoiser."""

import math

import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Layout
from unnoise.testing import parametrize_with_checks
from unnoise_torus.circle import Torus, Wrapped, WrappedNormal, log_density, wrap
from unnoise_torus.domain import Angles


@parametrize_with_checks([Torus(), WrappedNormal(), "angles"])
def test_conformance(check):
    check()


class Exact(Denoiser):
    """p(x_0 | x_t) for data that are atoms: Bayes' rule."""

    def __init__(self, places, weights):
        super().__init__()
        self.kernel = WrappedNormal()
        self.places, self.weights = torch.tensor(places), torch.tensor(weights)

    def forward(self, x_t, t, layout, condition=None):
        sigma = torch.tensor(self.kernel.sigma(t))
        evidence = log_density(wrap(x_t[..., None] - self.places), sigma)
        log_weights = (self.weights.log() + evidence).log_softmax(-1)
        return Wrapped(self.places.expand_as(log_weights), log_weights, 0.0, layout)


@pytest.mark.parametrize("steps", [3, 20])
def test_the_exact_denoiser_gives_the_data_back(steps):
    """Atoms near both ends of the range come back with their frequencies, at any number of steps:
    chi-square of 5,000 draws below its 1 - 1e-7 quantile, 34.4 for 2 degrees of freedom."""
    n, weights = 5000, [0.2, 0.5, 0.3]
    denoiser = Exact([-3.1, 0.4, 3.0], weights)
    layout, noise = Layout.dense(n, (1,)), NoiseSource(0, range(n))
    x = denoiser.kernel.prior(layout).sample(noise)
    for step in Ancestral()(
        Diffusion(denoiser, layout, noise), x, grids.uniform(denoiser.kernel, steps)
    ):
        x = step.x
    distance = wrap(x - denoiser.places).abs()
    assert float(distance.min(-1).values.max()) < 1e-5
    counts = torch.bincount(distance.argmin(-1), minlength=3).double()
    expected = n * torch.tensor(weights, dtype=torch.float64)
    assert float(((counts - expected) ** 2 / expected).sum()) < 34.4


def test_a_wide_law_is_uniform_and_a_narrow_one_normal():
    x = torch.linspace(-math.pi, math.pi, 50, dtype=torch.float64)
    uniform = log_density(x, torch.tensor(2 * math.pi, dtype=torch.float64))
    assert torch.allclose(uniform, torch.full_like(x, -math.log(2 * math.pi)), atol=1e-6)
    normal = torch.distributions.Normal(0, 0.3).log_prob(x[20:30])
    assert torch.allclose(log_density(x[20:30], torch.tensor(0.3)), normal, atol=1e-6)


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b\n1,\n", "a,b\n1,x\n", "a\nnan\n"])
def test_what_is_no_table_of_angles_is_refused(text, tmp_path):
    path = tmp_path / "angles.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        Angles().configure(path, {})
