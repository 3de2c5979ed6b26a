"""Requests to a latent model: what is generated, reconstructed, interpolated and edited, and
everything that is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.denoise import ClassifierFree
from unnoise.errors import ConfigError, InputError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.samplers import slerp
from unnoise.spaces import Layout
from unnoise.testing import check_domain
from unnoise_latent.configuration import Configuration
from unnoise_latent.display import WHAT
from unnoise_latent.domain import Latent
from unnoise_latent.pictures import latents_of, levels_of, pictures_of


@pytest.fixture
def pair() -> tuple[Image.Image, Image.Image]:
    """Two pictures that have little in common."""
    rng = np.random.default_rng(0)
    return tuple(Image.fromarray(rng.integers(0, 256, (10, 12), dtype=np.uint8)) for _ in "ab")


def pixels(samples: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(sample) for sample in samples]).astype(int)


def code(picture: Image.Image, model: Model) -> torch.Tensor:
    return latents_of(levels_of(picture, model.configuration, "picture"), model.codec)


def test_the_plugin_module_is_light() -> None:
    words = (
        "import sys, unnoise_latent.plugin as p; s, = p.unnoise_domains()"
        "; assert s.name == 'latent'"
        "; print([m for m in ('torch', 'PIL', 'numpy', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_label_makes_pictures_of_the_right_size(model: Model) -> None:
    out = model.generate(num_samples=2, label=[1, 0], steps=3)
    assert [sample.size for sample in out.samples] == [(12, 10)] * 4
    assert {sample.mode for sample in out.samples} == {"L"}
    assert out.states.shape == (4, 4, 3, 3)
    assert [len(group) for group in out.groups()] == [2, 2]
    one = model.generate(num_samples=4, label=1, steps=3).states
    torch.testing.assert_close(out.states[:2], one[:2], atol=1e-4, rtol=0)
    assert (out.states[2:] - one[2:]).abs().max() > 1e-4


def test_a_sample_does_not_depend_on_its_batch(model: Model, pair) -> None:
    asked = {"num_samples": 3, "steps": 3, "source": ["none", pair[0]], "strength": 0.8, "label": 1}
    whole = model.generate(**asked).samples
    alone = [model.generate(**asked, ids=[k], batch_size=1).samples[0] for k in range(6)]
    assert np.abs(pixels(whole) - pixels(alone)).max() <= 1


def test_guidance_is_around_the_prior_when_there_is_a_label(model: Model) -> None:
    def denoiser(**fields):
        request = Latent.Request(**fields)
        options = unnoise.engine.options.Options(num_samples=1)
        inputs = Latent().prepare(request, model, options)
        plan = Latent().plan(inputs, model, [unnoise.domain.Draw(0, 0, 0)])
        return next(plan).denoiser

    found = denoiser(label=1, guidance_scale=2.5)
    assert isinstance(found, ClassifierFree)
    assert (found.scale, found.unconditional["label"].tolist()) == (2.5, [2])
    with pytest.raises(InputError, match="there is none"):
        denoiser(guidance_scale=2.5)
    assert denoiser(label=1) is model.denoiser


def test_a_reconstruction_is_of_the_mean_and_then_of_draws(model: Model, pair) -> None:
    out = model.generate(source=pair[0], num_samples=3, seed=5)
    assert out.provenance["evaluations"] == 0
    z = code(pair[0], model)
    mean = pictures_of(z, model.codec, model.configuration)
    assert np.array_equal(pixels(out.samples[:1]), pixels(mean))
    x = levels_of(pair[0], model.configuration, "source")
    drawn = latents_of(x, model.codec, NoiseSource(5, [2], branch=1))
    second = pictures_of(drawn, model.codec, model.configuration)
    assert np.array_equal(pixels(out.samples[2:]), pixels(second))
    assert not np.array_equal(pixels(out.samples[1:2]), pixels(second))


def test_an_interpolation_ends_at_the_reconstructions(model: Model, pair) -> None:
    out = model.generate(source=pair[0], source_b=pair[1], num_samples=5)
    ends = [model.generate(source=picture).samples[0] for picture in pair]
    assert np.array_equal(pixels([out.samples[0], out.samples[-1]]), pixels(ends))
    a, b = (code(picture, model) for picture in pair)
    (half,) = slerp(a, b, [0.5], Layout.dense(1, a.shape[1:]))
    middle = pictures_of(half, model.codec, model.configuration)
    assert np.array_equal(pixels(out.samples[2:3]), pixels(middle))
    one = model.generate(source=pair[0], source_b=pair[1]).samples
    assert np.array_equal(pixels(one), pixels(middle))
    assert out.provenance["evaluations"] == 0


def test_strength_is_the_share_of_noise_that_the_prior_starts_from(model: Model, pair) -> None:
    request = Latent.Request(source=pair[0], strength=0.6, label=0)
    options = unnoise.engine.options.Options(num_samples=1)
    inputs = Latent().prepare(request, model, options)
    task = next(Latent().plan(inputs, model, [unnoise.domain.Draw(0, 0, 0)]))
    schedule = model.denoiser.kernel.schedule
    alpha, sigma = schedule.alpha(task.start.t), schedule.sigma(task.start.t)
    assert sigma / (alpha**2 + sigma**2) ** 0.5 == pytest.approx(0.6, abs=1e-6)
    assert torch.equal(task.start.value, code(pair[0], model))
    near = model.generate(source=pair[0], strength=0.01, steps=3).states
    far = model.generate(source=pair[0], strength=0.95, steps=3).states
    z = code(pair[0], model)
    assert (near - z).abs().mean() < 0.05 < (far - z).abs().mean()


def test_what_is_generated_and_what_comes_from_a_source_are_asked_for_together(
    model: Model, pair
) -> None:
    out = model.generate(
        label=[1, "none", "none"],
        source=["none", pair[0], pair[0]],
        source_b=["none", "none", pair[1]],
        num_samples=2,
        steps=3,
    )
    assert np.array_equal(
        pixels(out.samples[:2]), pixels(model.generate(label=1, num_samples=2, steps=3).samples)
    )
    kinds = ["sample"] * 2 + ["reconstruction"] * 2 + ["interpolation"] * 2
    assert [sample.info[WHAT] for sample in out.samples] == kinds
    alone = model.generate(source=pair[0], source_b=pair[1], num_samples=2)
    assert np.array_equal(pixels(out.samples[4:]), pixels(alone.samples))
    shown = model.domain.display.preview(out.samples)
    assert shown.count("<img") == 6
    assert shown.count("<p>") == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": 2}, "label is out of range"),
        ({"label": -1}, "label is out of range"),
        ({"source_b": "x.png"}, "source_b was given without source"),
        ({"strength": 0.5}, "strength was given without source"),
        ({"source": "no-such-file.png"}, "there is no file"),
        ({"source": Image.new("L", (10, 12))}, "another size"),
        ({"source": Image.new("L", (12, 10)), "label": 1}, "without"),
        ({"source": ["none"], "source_b": [Image.new("L", (12, 10))]}, "without source"),
        ({"source": Image.new("L", (12, 10)), "strength": 0.0}, "strength"),
        ({"source": Image.new("L", (12, 10)), "strength": 1.0}, "strength"),
        ({"source": Image.new("L", (12, 10)), "strength": 0.9999}, "no such noise level"),
        ({"source": Image.new("L", (12, 10)), "strength": 1e-4}, "no such noise level"),
    ],
)
def test_bad_requests_are_refused(model: Model, fields, message) -> None:
    with pytest.raises(InputError, match=message):
        model.generate(**fields)


def test_a_model_without_classes_takes_no_label(make_model: Callable[..., Model]) -> None:
    model = make_model(classes=())
    assert len(model.generate(num_samples=2, steps=2).samples) == 2
    with pytest.raises(InputError, match="no classes"):
        model.generate(label=0)
    with pytest.raises(InputError, match="guidance needs a model with classes"):
        model.generate(guidance_scale=2.0)


def test_latents_that_do_not_fit_the_prior_are_an_error(model: Model) -> None:
    x = torch.zeros(1, 5, 3, 3)
    with pytest.raises(ConfigError, match="other channels"):
        model.denoiser(x, 0.5, Layout.dense(1, (5, 3, 3)))


@pytest.mark.parametrize("schedule", ["geometric", "linear", "vdm"])
def test_a_fresh_prior_is_the_normal_law(schedule: str) -> None:
    told = Configuration(
        height=8, width=8, picture_channels=1, classes=("a", "b"), schedule=schedule, mixing=0.3
    )
    denoiser = Latent().build(told)
    layout = Layout.dense(5, told.latent_size)
    z, t = NoiseSource(0, range(5)).normal(layout), torch.linspace(0.1, 0.9, 5).double()
    with torch.no_grad():
        found = denoiser(z, t, layout, {"label": torch.tensor([0, 1, 2, 0, 1])}).mean
        alpha = denoiser.kernel.schedule.alpha(t)[:, None, None, None]
    torch.testing.assert_close(found, (alpha * z).float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic", "categorical", "gaussian"])
def test_every_likelihood_is_trained_saved_and_generates(
    folder: Path, tmp_path: Path, likelihood: str
) -> None:
    model = unnoise.train(
        "latent",
        folder,
        tmp_path / "run",
        steps=2,
        batch_size=4,
        held_out=4,
        bound_samples=0,
        likelihood=likelihood,
        channels=4,
        widths=(8, 16),
        prior_width=16,
        prior_layers=1,
    )
    assert model.configuration.size == (1, 10, 12)
    again = unnoise.load(tmp_path / "run")
    out, other = (m.generate(num_samples=2, label=1, steps=2) for m in (model, again))
    assert np.array_equal(pixels(out.samples), pixels(other.samples))
    if likelihood == "bernoulli":
        assert set(pixels(out.samples).flatten()) <= {0, 255}


def test_stochastic_binarisation_is_drawn_anew_in_training_and_fixed_in_validation(
    folder: Path,
) -> None:
    domain = Latent()
    configuration = domain.configure(folder, {"likelihood": "bernoulli", "held_out": 4})
    assert configuration.binarised == "stochastic"
    items = domain.dataset(folder, configuration, "train")
    grey = items.pictures[15][0] / 255
    torch.manual_seed(0)
    draws = torch.stack([items[15][0] for _ in range(300)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    # five standard errors of a mean of 36,000: a false alarm in two million
    assert abs(float(draws.mean() - grey.mean())) < 5 * 0.5 / draws.numel() ** 0.5
    hard = domain.configure(folder, {"likelihood": "bernoulli", "binarise": "threshold"})
    for picture, label in domain.dataset(folder, hard, "train"):
        assert set(picture.unique().tolist()) <= {0.0, 1.0}
        assert label in (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "bernoulli", "binarise": "none"}, "black and white"),
        ({"likelihood": "logistic", "binarise": "threshold"}, "256 levels"),
        ({"channels": 5}, "multiple of groups"),
        ({"method": "gan"}, "method"),
        ({"likelyhood": "bernoulli"}, "likelihood"),
    ],
)
def test_impossible_configurations_are_refused(folder: Path, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        unnoise.train("latent", folder, folder.parent / "run", steps=1, **options)


def test_conformance(make_model: Callable[..., Model], tmp_path: Path) -> None:
    for label in ("3", "8"):  # those that the demo asks for
        (tmp_path / "digits" / label).mkdir(parents=True)
        for k in range(6):
            values = np.full((28, 28), 9 * k + 100 * (label == "8"), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "digits" / label / f"{k}.png")
    model = make_model(height=28, width=28, classes=("3", "8"))
    check_domain(Latent(), model=model, data=tmp_path / "digits")


def test_a_frozen_autoencoder_is_one_that_was_trained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trained already"):
        unnoise.train("latent", folder, tmp_path / "run", method="frozen", steps=1)
    assert not (tmp_path / "run" / "config.json").exists()
