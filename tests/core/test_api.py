"""Models on the disk, by name, by folder and from a hub."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "engine"))
from engine_models import POINTS, model
from engine_toy import Toy

import unnoise
from unnoise import api
from unnoise.errors import (
    BundleError,
    PluginError,
)
from unnoise.model import Model


def test_a_model_in_half_precision(tmp_path, installed):
    installed.save(tmp_path / "half", precision="float16")
    loaded = unnoise.load(tmp_path / "half").denoiser.state_dict()
    whole = installed.denoiser.state_dict()
    assert whole
    for name, value in whole.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value.half().to(value.dtype))
    assert any(not torch.equal(loaded[name], value) for name, value in whole.items())


def test_a_model_survives_the_disk(tmp_path, installed):
    folder = installed.save(tmp_path / "bundle")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    asked = {"num_samples": 3, "seed": 2, "centre": 0.3}
    expected = installed.generate(**asked)
    loaded = unnoise.load(folder)
    assert loaded.configuration == type(loaded.configuration)(
        **installed.configuration.model_dump()
    )
    assert loaded.defaults == {"steps": 6}
    assert len(loaded.hash) == 64
    assert loaded.generate(**asked).samples == expected.samples
    assert loaded.generate(**asked).provenance["model"] == loaded.hash
    # by folder, by name, by object, by string
    for source in (folder, str(folder), None, loaded):
        out = unnoise.generate("toy", model=source, **asked)
        assert out.samples == expected.samples
    assert unnoise.load("toy").generate(**asked).samples == expected.samples
    # another bundle in the same folder is read again
    other = model(width=8)
    other.save(folder)
    assert unnoise.generate("toy", model=folder, **asked).samples == other.generate(**asked).samples


def test_models_that_are_not_there(tmp_path, installed, monkeypatch):
    with pytest.raises(BundleError, match="there is no model here"):
        unnoise.load(str(tmp_path / "nowhere"))
    with pytest.raises(BundleError, match="not a bundle"):
        unnoise.load(tmp_path)
    with pytest.raises(PluginError, match="toy"):
        unnoise.generate("tyo")
    monkeypatch.setattr(type(api.domain_named("toy")), "bundle", None)
    with pytest.raises(BundleError, match="ships no model"):
        unnoise.generate("toy")

    class Other(Toy):
        name = "other"

    stranger = Model(Other(), POINTS.denoiser, POINTS.configuration)
    with pytest.raises(BundleError, match="'other'"):
        unnoise.generate("toy", model=stranger)


def test_a_file_of_a_bundle_means_the_whole(tmp_path, installed):
    folder = installed.save(tmp_path / "bundle")
    for name in ("config.json", "model.safetensors"):
        assert unnoise.load(folder / name).hash == unnoise.load(folder).hash
    (tmp_path / "note.txt").write_text("no model")
    with pytest.raises(BundleError, match="this file is no model"):
        unnoise.load(tmp_path / "note.txt")


def test_a_domain_ships_further_models_by_name(tmp_path, installed, monkeypatch):
    other = model(width=8)
    variants = {"wide": other.save(tmp_path / "wide")}
    monkeypatch.setattr(type(api.domain_named("toy")), "variants", variants)
    assert unnoise.load("toy/wide").hash == unnoise.load(tmp_path / "wide").hash
    asked = {"num_samples": 2, "seed": 1}
    out = unnoise.generate("toy", model="toy/wide", **asked)
    assert out.samples == other.generate(**asked).samples
    with pytest.raises(BundleError, match=r"'wild'.*'toy', toy/wide"):
        unnoise.load("toy/wild")


def test_a_hub_id_is_fetched(tmp_path, installed, monkeypatch):
    import huggingface_hub

    folder, asked = installed.save(tmp_path / "snapshot"), []

    def fetch(name, **options):
        asked.append((name, options["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    out = unnoise.generate("toy", model="someone/toy", num_samples=2)
    assert out.samples == installed.generate(num_samples=2).samples
    assert asked[0][0] == "someone/toy"
    assert not any(pattern in ("*", "*.bin", "*.py") for pattern in asked[0][1])


def test_a_hub_id_without_a_connection(installed, python):
    code = (
        "import unnoise\n"
        "try:\n"
        "    unnoise.load('someone/toy')\n"
        "except unnoise.errors.BundleError as error:\n"
        "    print(error)"
    )
    done = python("-c", code, env={"HF_HUB_OFFLINE": "1", "HF_HOME": "hub"})
    assert done.returncode == 0, done.stderr
    assert "hub" in done.stdout
    assert "someone/toy" in done.stdout
