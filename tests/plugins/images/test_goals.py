"""Training goals of pictures and the optimal variance, by the command line and the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unnoise
from unnoise.cli import main
from unnoise.denoise import AnalyticVariance
from unnoise.distributions import Gaussian
from unnoise.errors import InputError
from unnoise.kernels import LearnedSchedule
from unnoise.model import Model
from unnoise.spaces import Layout
from unnoise.training.variance import with_variance

SMALL = ["--widths", "8", "8", "--blocks", "1", "1", "--held-out", "4", "--steps", "2"]
SMALL += ["--batch-size", "4", "--device", "cpu", "--validation-batches", "1"]
SMALL += ["--bound-samples", "4", "--bound-evaluations", "2"]


@pytest.fixture
def saved(make_model: Callable[..., Model], tmp_path: Path) -> Path:
    return make_model(held_out=4).save(tmp_path / "model")


def evaluated(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    words = f"evaluate images --data {folder} --model {model} --evaluations 20 --json".split()
    capsys.readouterr()
    assert main(words) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("goal", ["min-snr", "likelihood", "vdm", "hybrid"])
def test_a_goal_is_trained_evaluated_and_generates(
    goal: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", "images", "--data", str(folder), "--out", str(out), "--goal", goal]
    assert main([*words, *SMALL]) == 0
    model = unnoise.load(out)
    assert model.configuration.goal == goal
    assert isinstance(model.card["validation"]["bound"], float)
    samples = model.generate(num_samples=2, label=1, steps=3, guidance_scale=2.0)
    assert len(samples.samples) == 2
    found = evaluated(out, folder, capsys)
    assert 0 < found["bits_per_dimension"] < 100
    assert found["units"].startswith("Quantised")
    first = model.denoiser.state_dict()
    assert main([*words, *SMALL, "--resume"]) == 0
    again = unnoise.load(out).denoiser.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    if goal == "vdm":
        assert isinstance(model.denoiser.kernel.schedule, LearnedSchedule)
        assert model.denoiser.network.exponents == (6, 7)
    if goal == "hybrid":
        layout = Layout.dense(1, (1, 10, 12))
        law = model.denoiser(torch.zeros(1, 1, 10, 12), 0.5, layout)
        assert isinstance(law, Gaussian)
        assert law.elementwise
        assert law.mean.shape == (1, 1, 10, 12)


def test_fourier_features_can_be_had_with_any_goal(make_model: Callable[..., Model]) -> None:
    assert make_model(fourier=(5,)).denoiser.network.exponents == (5,)
    assert make_model(goal="vdm", fourier=()).denoiser.network.exponents == ()
    network = make_model(fourier=(6, 7)).denoiser.network
    network.stem.weight.data.zero_()  # the waves alone: of periods 1/32 and 1/64
    x, time, label = torch.zeros(3, 1, 10, 12), torch.full((3,), 0.01), torch.zeros(3).long()
    x[1] += 1 / 32
    x[2] += 1 / 512  # far less than a level
    with torch.no_grad():
        out = network(x, time, None, {"label": label})
    torch.testing.assert_close(out[0], out[1], atol=1e-4, rtol=0)
    assert (out[0] - out[2]).abs().mean() > 1e-2


def test_the_variance_command_makes_a_bundle_with_a_better_bound(
    saved: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "better"
    words = f"variance images --data {folder} --model {saved} --out {out}".split()
    assert main([*words, "--num-samples", "8"]) == 0
    before, after = unnoise.load(saved), unnoise.load(out)
    assert isinstance(after.denoiser, AnalyticVariance)
    assert after.card["variance"]["of"] == before.hash
    assert after.card["variance"]["items"] == 8
    assert after.denoiser.analytic_largest == 1
    for name, value in before.denoiser.state_dict().items():
        assert torch.equal(value, after.denoiser.denoiser.state_dict()[name])
    assert len(after.generate(num_samples=2, label=0, steps=4, sampler="ancestral").samples) == 2
    bits = [evaluated(path, folder, capsys)["bits_per_dimension"] for path in (saved, out)]
    assert bits[1] < bits[0] - 0.1
    assert main([*words, "--num-samples", "8"]) == 2  # it would replace a bundle
    assert "already contains a bundle" in capsys.readouterr().err


def test_the_variance_by_the_api(make_model: Callable[..., Model], folder: Path) -> None:
    model = make_model(held_out=4)
    once = with_variance(model, folder, num_samples=4)
    twice = with_variance(once, folder, num_samples=4)
    assert twice.denoiser.denoiser is model.denoiser  # replaced, not put around the first
    assert torch.equal(once.denoiser.analytic_ratio, twice.denoiser.analytic_ratio)
    published = with_variance(model, folder, num_samples=4, statistic="noise")
    assert not torch.equal(once.denoiser.analytic_ratio, published.denoiser.analytic_ratio)
    with pytest.raises(InputError, match="at least 1"):
        with_variance(model, folder, num_samples=0)
