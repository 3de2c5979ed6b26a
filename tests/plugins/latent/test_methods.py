"""What each method trains, and that stages follow one another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import unnoise
from unnoise.codecs import Tied
from unnoise.errors import ConfigError
from unnoise.kernels import Above, Geometric, LearnedSchedule, VPLinear
from unnoise.model import Model
from unnoise_latent.configuration import Configuration
from unnoise_latent.domain import Latent, with_fresh_prior

SMALL: dict[str, Any] = {
    "steps": 2,
    "batch_size": 4,
    "held_out": 4,
    "bound_samples": 2,
    "bound_evaluations": 4,
    "channels": 4,
    "widths": (8, 16),
    "prior_width": 16,
    "prior_layers": 1,
}


def trained(folder: Path, out: Path, **options: Any) -> Model:
    return unnoise.train("latent", folder, out, **(SMALL | options))


def moved(before: Model, after: Model, part: str) -> bool:
    a, b = (getattr(model, part).state_dict() for model in (before, after))
    return any(not torch.equal(a[name], b[name]) for name in a)


def test_the_prior_follows_the_autoencoder(folder: Path, tmp_path: Path) -> None:
    first = trained(folder, tmp_path / "vae", method="vae", ema=0.0)
    frozen = trained(folder, tmp_path / "frozen", method="frozen", initial=first, ema=0.0)
    both = trained(folder, tmp_path / "lsgm", method="lsgm", initial=first, ema=0.0)
    assert not moved(first, frozen, "codec")
    assert moved(first, frozen, "denoiser")
    assert moved(first, both, "codec")
    assert moved(first, both, "denoiser")
    for model in (first, frozen, both):
        assert len(model.generate(num_samples=1, steps=2, label=1).samples) == 1


def test_a_stage_may_have_a_prior_of_another_size(folder: Path, tmp_path: Path) -> None:
    first = trained(folder, tmp_path / "vae", method="vae", ema=0.0)
    wider = {"method": "frozen", "prior_width": 32, "mixing": 0.9}
    start = with_fresh_prior(first, **wider)
    assert not moved(first, start, "codec")
    assert float(start.denoiser.network.share[0].detach()) == pytest.approx(0.9)
    after = trained(folder, tmp_path / "frozen", initial=start, **wider)
    assert not moved(first, after, "codec")
    assert after.configuration.prior_width == 32


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [("geometric", Geometric), ("linear", VPLinear), ("vdm", LearnedSchedule)],
)
@pytest.mark.parametrize("spectral", [0.0, 1e-3])
def test_schedules_and_spectral_regularisation(
    folder: Path, tmp_path: Path, schedule: str, kind: type, spectral: float
) -> None:
    model = trained(folder, tmp_path / "run", schedule=schedule, spectral=spectral)
    assert isinstance(model.denoiser.kernel.schedule, kind)
    again = unnoise.load(tmp_path / "run")
    x = model.generate(num_samples=1, steps=2, label=0).states
    assert torch.equal(x, again.generate(num_samples=1, steps=2, label=0).states)


@pytest.mark.parametrize("weighting", ["ll", "un", "re"])
def test_weightings(folder: Path, tmp_path: Path, weighting: str) -> None:
    trained(folder, tmp_path / "run", weighting=weighting)


def test_what_a_schedule_with_learned_ends_is_trained_by(folder: Path, tmp_path: Path) -> None:
    assert Configuration(schedule="vdm").weighted == "ll"
    assert Configuration().weighted == "re"
    assert Configuration(method="unified").weighted == "un"
    with pytest.raises(ConfigError, match="leave weighting out"):
        trained(folder, tmp_path / "run", schedule="vdm", weighting="un")


def test_labels_are_hidden_for_guidance() -> None:
    domain = Latent()
    told = Configuration(height=10, width=12, picture_channels=1, classes=("a", "b"))
    objective = domain.objective(told)
    assert objective.probability == 0.15
    assert objective.unconditional["label"].tolist() == [2]
    silent = Configuration(height=10, width=12, picture_channels=1, classes=())
    assert type(domain.objective(silent)).__name__ == "LSGM"


def test_unified_latents_are_tied_to_the_prior(folder: Path, tmp_path: Path) -> None:
    model = trained(folder, tmp_path / "run", method="unified")
    assert isinstance(model.codec, Tied)
    assert isinstance(model.denoiser.kernel.schedule, Above)
    assert model.codec.start.sigma**2 == pytest.approx(1 / (1 + math.exp(5)), rel=1e-9)
    picture = folder / "cat" / "00.png"
    out = model.generate(num_samples=2, source=["none", str(picture)], steps=2)
    assert len(out.samples) == 4
    with pytest.raises(ConfigError, match="leave schedule out"):
        trained(folder, tmp_path / "other", method="unified", schedule="vdm")


@pytest.mark.parametrize("method", ["lsgm", "unified"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic", "categorical"])
def test_bounds_are_in_the_units_of_the_pictures(
    folder: Path, tmp_path: Path, method: str, likelihood: str
) -> None:
    """A fresh model is about as good as a law that knows nothing: log levels nats for a value."""
    model = trained(folder, tmp_path / "run", method=method, likelihood=likelihood, ema=0.0)
    domain = model.domain
    items = domain.dataset(folder, model.configuration, "validation")
    found = model.bound([items[0], items[1]], steps=50, evaluations=20)
    values = 10 * 12
    nothing = values * math.log(model.configuration.levels)
    assert bool((found.total > 0).all())
    assert float(found.total.mean()) < 3 * nothing
