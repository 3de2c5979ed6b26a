"""An energy of pictures: trained, drawn from by its own sampler, asked how likely a picture is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unnoise
from unnoise.cli import main
from unnoise.denoise import Energy
from unnoise.errors import IncompatibleSampler
from unnoise.model import Model
from unnoise.spaces import Euclidean, Layout

SMALL = """--goal energy --widths 8 8 --blocks 0 1 --held-out 4 --batch-size 4 --device cpu
--validation-batches 1 --bound-samples 2 --steps 3 --samples-every 0"""


def test_an_energy_is_trained_and_drawn_from_on_the_command_line(
    folder: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    words = ["train", "images", "--data", str(folder), "--out", str(run)]
    assert main([*words, *SMALL.split()]) == 0
    ask = ["generate", "images", "--model", str(run), "--num-samples", "2", "--out"]
    assert main([*ask, str(out)]) == 0
    assert main([*ask, str(out / "b"), "--sampler", "recovery(langevin=3, step=0.2)"]) == 0
    assert len(list(out.glob("*.png"))) == len(list((out / "b").glob("*.png"))) == 2
    model = unnoise.load(run)
    assert isinstance(model.denoiser, Energy)
    found = model.generate(num_samples=1, label=model.configuration.classes[0], seed=1)
    assert found.provenance["evaluations"] == 6 * 16
    assert model.generate(num_samples=1, sampler="ddim", steps=4).provenance["evaluations"] == 4


def test_an_energy_begins_as_the_prior(make_model: Callable[..., Model]) -> None:
    model = make_model(goal="energy")
    denoiser = model.domain.build(model.configuration)
    x = torch.randn(3, *model.configuration.size)
    layout, label = Layout.dense(3, x.shape[1:]), {"label": torch.tensor([0, 1, 2])}
    for t in (0.0, 0.5, 1.0):
        found = denoiser.score(x, t, layout, label)
        torch.testing.assert_close(found, Euclidean().project(-x, layout), rtol=1e-4, atol=1e-5)


def test_other_models_are_no_energies(
    make_model: Callable[..., Model], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(IncompatibleSampler, match="needs an Energy; got 'NetworkDenoiser'"):
        make_model().generate(num_samples=1, sampler="recovery")
    with pytest.raises(IncompatibleSampler, match="needs an Energy; got 'ClassifierFree'"):
        make_model(goal="energy").generate(num_samples=1, label="dog", guidance_scale=2.0)
    out = tmp_path / "out"
    assert main(["generate", "images", "--sampler", "recovery", "--out", str(out)]) == 2
    assert "needs an Energy" in capsys.readouterr().err
    assert not out.exists()
