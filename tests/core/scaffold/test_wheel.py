"""`unnoise bundle`: a run goes into a plugin, complete, not too large, and into its wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unnoise
from unnoise.cli import main
from unnoise.discovery import registry
from unnoise.errors import ConfigError, InputError, LimitExceeded, PluginError
from unnoise.scaffold import new_plugin
from unnoise.scaffold.wheel import bundle_into

CARD = {"data": "days", "licence": "CC0", "split": "every tenth row held out", "command": "train"}


@pytest.fixture
def source(here, site, editable) -> Path:
    """The source of a domain's plugin, as pip install -e leaves it."""
    made = new_plugin("tides", "domain", site)  # there, for `here` forgets its modules
    editable(made)
    here.syspath_prepend(str(made))
    here.setenv("UNNOISE_PLUGINS", "tides")
    registry.reload()
    return made


@pytest.fixture
def run(source, tmp_path) -> Path:
    from unnoise_tides.data import made_up

    rows = [",".join(map(str, day)) for day in made_up(20)]
    (tmp_path / "days.csv").write_text("\n".join(rows))
    options = {"steps": 2, "batch_size": 4, "width": 8}
    unnoise.train("tides", tmp_path / "days.csv", tmp_path / "run", **options)
    return tmp_path / "run"


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def test_a_run_becomes_the_shipped_model(source, run, capsys):
    words = ["bundle", str(run), "--into", str(source), "--precision", "float16"]
    words += [word for name in CARD for word in (f"--card.{name}", CARD[name])]
    assert main(words) == 0
    assert "a wheel of the plugin contains it" in capsys.readouterr().out
    folder = source / "unnoise_tides" / "bundle"
    assert config(folder)["configuration"] == {"width": 8}
    assert CARD.items() <= config(folder)["card"].items()
    assert config(folder)["card"]["training"]["steps"] == 2
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert len(unnoise.generate("tides", steps=2).samples[0]) == 24
    assert unnoise.load("tides").configuration.width == 8


def test_what_the_card_lacks_is_named_before_anything_is_written(source, run):
    before = (source / "unnoise_tides" / "bundle" / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"lacks licence, split.*--card.licence '...'"):
        bundle_into(run, source, card={"data": "days", "command": "train", "split": " "})
    assert (source / "unnoise_tides" / "bundle" / "config.json").read_bytes() == before


def test_a_model_that_is_too_large_is_refused(source, run):
    before = (source / "unnoise_tides" / "bundle" / "model.safetensors").read_bytes()
    with pytest.raises(LimitExceeded, match="too large for a wheel") as caught:
        bundle_into(run, source, card=CARD, most=0.001)
    assert caught.value.limit == "0.001 MB"
    assert (source / "unnoise_tides" / "bundle" / "model.safetensors").read_bytes() == before


def test_another_folder_is_refused(source, run, tmp_path):
    with pytest.raises(InputError, match="no pyproject"):
        bundle_into(run, tmp_path, card=CARD)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").touch()
    with pytest.raises(InputError, match=r"not installed from there.*pip install -e"):
        bundle_into(run, tmp_path / "other", card=CARD)


def test_a_domain_without_a_folder_for_its_model(source, run, monkeypatch):
    from unnoise_tides.domain import TidesDomain

    monkeypatch.setattr(TidesDomain, "bundle", None)
    with pytest.raises(ConfigError, match="bundle = Path"):
        bundle_into(run, source, card=CARD)


def test_a_wheel_that_would_lack_the_bundle_is_an_error(source, run):
    path = source / "pyproject.toml"
    text = path.read_text().replace("artifacts = ", "exclude = ")
    path.write_text(text)
    with pytest.raises(PluginError, match=r'artifacts = \["unnoise_tides/bundle/\*"\]'):
        bundle_into(run, source, card=CARD)
