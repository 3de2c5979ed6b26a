"""`unnoise evaluate purify`."""

from __future__ import annotations

import json

import pytest
import torch

import unnoise
from unnoise.cli import main
from unnoise.model import Model
from unnoise_images.pictures import to_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of generated digits, all but one of each held out."""
    root = tmp_path_factory.mktemp("digits")
    model = unnoise.load("images")
    out = model.generate(label=list(range(10)), num_samples=2, steps=5, seed=1)
    for k, picture in enumerate(to_images(torch.as_tensor(out.states), model.codec)):
        place = root / str(k // 2)
        place.mkdir(exist_ok=True)
        picture.save(place / f"{k}.png")
    held = model.configuration.model_copy(update={"held_out": 4})
    place = tmp_path_factory.mktemp("models") / "digits"
    return root, str(Model(model.domain, model.denoiser, held).save(place))


FAST = ["--num-samples", "2", "--purify-steps", "1", "--strength", "0.3"]


def test_robustness_is_refused_until_it_is_complete(folder, capsys):
    data, model = folder
    words = ["evaluate", "purify", "--data", str(data), "--model", model, *FAST]
    assert main(words) == 2  # the first metric is that of robustness
    said = capsys.readouterr().err
    assert "no norm, eps, gradients, steps, eot, scoring" in said


def test_robustness(folder, capsys, tmp_path):
    data, model = folder
    words = ["evaluate", "purify", "--data", str(data), "--model", model, *FAST]
    words += ["--norm", "l_inf", "--eps", "0.1", "--gradients", "bpda", "--attack-steps", "2"]
    words += ["--eot", "1", "--scoring", "one-shot", "--square", "3", "--adaptive"]
    words += ["--record", str(tmp_path / "record.jsonl")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [row["attack"] for row in found["defended"]["attacks"]]
    assert len(names) == 8
    assert any(name.startswith("adaptive") for name in names)
    assert any("low frequency" in name for name in names)
    assert any("Square" in name for name in names)
    least = min(row["one_shot"]["right"] for row in found["defended"]["attacks"])
    assert found["defended"]["robust_accuracy"]["right"] == least
    assert any(one.startswith("stochastic") for one in found["suspicious"])
    assert main(words) == 0  # from the record
    assert "robust accuracy, one answer" in capsys.readouterr().out


def test_certified_and_corruptions(folder, capsys):
    data, model = folder
    words = ["evaluate", "purify", "--data", str(data), "--model", model, *FAST]
    certified = [*words, "--metric", "certified", "--draws", "20", "--radii", "0.05", "0.5"]
    assert main([*certified, "--attack-steps", "1", "--eot", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    right = [row["certified"]["right"] for row in rows]
    assert right == sorted(right, reverse=True)
    assert all(row["empirical"]["right"] >= row["certified"]["right"] for row in rows[1:])
    assert all(row["below"] == 0 for row in rows[1:])
    assert main([*certified, "--eot", "1"]) == 2
    assert "steps" in capsys.readouterr().err
    assert main([*words, "--metric", "corruptions", "--severities", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["corruption"] for row in rows][:2] == ["none", "gaussian"]
    assert len(rows) == 6
