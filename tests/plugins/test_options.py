"""Options of a training that a configuration does not read are refused, and name what they are
for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

import unnoise
from unnoise.cli import main
from unnoise.cli.parser import flags, parse
from unnoise.discovery.domains import domain_named, trainable_named
from unnoise.domain import Trainable
from unnoise.errors import ConfigError
from unnoise.fields import check_read
from unnoise.specs import Only
from unnoise.training.options import TrainingConfiguration

TRAINABLE = ["audio", "images", "latent", "molecules", "text", "text2image", "timeseries"]
KINDS = [TrainingConfiguration, *(trainable_named(name).Configuration for name in TRAINABLE)]

CHARACTERS: dict[str, Any] = {"tokenizer": "characters"}
UNIFORM: dict[str, Any] = {"kernel": "uniform", "transitions": None}

# (domain, options that are read, one that is not, where it would be)
CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("images", {}, {"chain": 3}, {"goal": "adversarial"}),
    ("images", {"goal": "vdm"}, {"schedule": "linear"}, {"goal": "likelihood"}),
    ("images", {}, {"label_dropout": 0.3}, {"classes": ("a", "b")}),
    ("images", {}, {"guidance_scale": 2.0}, {"classes": ("a", "b")}),
    ("images", {"diffusers": {"unet": {}}}, {"widths": (8, 8, 8)}, {}),
    ("latent", {"method": "unified"}, {"schedule": "linear"}, {"method": "lsgm"}),
    ("latent", {"method": "vae"}, {"weighting": "un"}, {"method": "frozen"}),
    ("latent", {"method": "frozen"}, {"kl_warmup": 0.5}, {"method": "vae"}),
    ("latent", {"method": "frozen"}, {"spectral": 0.5}, {"method": "lsgm"}),
    ("latent", {}, {"guidance_scale": 2.0}, {"classes": ("a", "b")}),
    ("molecules", {}, {"hidden": 64}, {"network": "geodiff"}),
    ("molecules", {"network": "geodiff"}, {"layers": 2}, {"network": "e3"}),
    ("molecules", {"network": "geodiff"}, {"embeddings": 2}, {"network": "e3"}),
    ("audio", {}, {"prior": "mel"}, {"method": "wavegrad"}),
    ("audio", {}, {"size": "large"}, {"method": "wavegrad"}),
    ("audio", {"method": "wavegrad"}, {"patch": 20}, {"method": "mdct"}),
    ("audio", {"method": "wavegrad"}, {"layers": 2}, {"method": "mdct"}),
    ("text", {}, {"neighbours": 3}, {"kernel": "nearest"}),
    ("text", {}, {"hybrid": 0.1}, {"kernel": "uniform"}),
    ("text", {"kernel": "uniform", "goal": "bound"}, {"hybrid": 0.1}, {"goal": "hybrid"}),
    ("text", {}, {"replacement": "e"}, {"outside": "map"}),
    ("text", {"outside": "map", "tokenizer": "bpe:9"}, {"replacement": "e"}, CHARACTERS),
    ("text", {"kernel": "matrix", "transitions": "q.npy"}, {"schedule": "cosine"}, UNIFORM),
    ("text", {"settings": {"vocab_size": 9}}, {"width": 64}, {"settings": {}}),
    ("text2image", {}, {"upsampler_scale": 2.0}, {"stage": "upsampler"}),
    ("text2image", {}, {"augmentation": 0.1}, {"stage": "upsampler"}),
    ("text2image", {"stage": "upsampler"}, {"guidance_scale": 2.0}, {"stage": "base"}),
    ("text2image", {"stage": "upsampler"}, {"painter": True}, {"stage": "base"}),
    ("text2image", {"goal": "vdm"}, {"schedule": "linear"}, {"goal": "hybrid"}),
    ("timeseries", {}, {"hidden": 16}, {"method": "timegrad"}),
    ("timeseries", {}, {"lags": (1, 2)}, {"method": "timegrad"}),
    ("timeseries", {"method": "timegrad"}, {"calendar": ("day",)}, {"method": "csdi"}),
    ("timeseries", {"method": "timegrad"}, {"dropout": 0.1}, {"method": "csdi"}),
    ("timeseries", {"method": "timegrad"}, {"targets": "block"}, {"method": "csdi"}),
    ("timeseries", {}, {"horizon": 3}, {"targets": "forecasting"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "own", "given", "read"), CASES, ids=str)
def test_refused_where_it_is_not_read(name, own, given, read):
    kind = trainable_named(name).Configuration
    asked = own | given
    with pytest.raises(ConfigError, match="is not read") as caught:
        check_read(kind(**asked), asked)
    (option,) = given
    assert repr(option) in caught.value.message
    assert caught.value.fix.startswith("leave it out")
    check_read(kind(**own), own)
    if read:
        check_read(kind(**(asked | read)), asked | read)


def test_the_trainers_options():
    own, read = {"decay": "none", "floor": 0.1}, {"decay": "linear"}
    with pytest.raises(ConfigError, match="is not read"):
        check_read(TrainingConfiguration(**own), own)
    check_read(TrainingConfiguration(**(own | read)), own | read)


def test_what_is_not_given_or_none_is_not_refused():
    kind = trainable_named("images").Configuration
    check_read(kind(chain=3), {"goal": "simple"})
    check_read(kind(), {"chain": None})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__module__)
def test_marks_name_options_and_values_that_there_are(kind):
    for name, field in kind.model_fields.items():
        for only in field.metadata:
            if isinstance(only, Only):
                assert hasattr(kind(), only.option), name
                named = kind.model_fields.get(only.option)
                for value in only.values if named is not None else ():
                    TypeAdapter(named.annotation).validate_python(value)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Path("data", name).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(np.full((8, 8), 20 * k, np.uint8)).save(f"data/{name}/{k}.png")
    return Path("data")


SMALL = {"steps": 1, "batch_size": 2, "widths": [8], "blocks": [1], "quiet": True,
         "validation_batches": 0, "bound_samples": 0, "samples_every": 0}  # fmt: skip


def test_of_python_and_of_the_command_line(pictures, capsys):
    for given, words in [({"chain": 3}, ["--chain", "3"]), ({"chain": 4}, ["--chain", "4"])]:
        with pytest.raises(ConfigError, match="belongs to goal adversarial, and goal is simple"):
            unnoise.train("images", pictures, "run", **SMALL, **given)
        assert main(["train", "images", "--data", "data", "--out", "run", *words]) == 2
        said = capsys.readouterr().err
        assert "--chain" in said
        assert not re.search(r"(?<!-)\bchain\b", said)
        assert not Path("run").exists()


def test_a_model_to_start_from_gives_what_another_goal_does_not_read(pictures):
    """Only what somebody asks for is refused: not what is carried."""
    first = unnoise.train("images", pictures, "a", goal="adversarial", chain=3, **SMALL)
    other = {k: v for k, v in SMALL.items() if k not in ("widths", "blocks")}
    with pytest.raises(ConfigError, match="'chain'"):
        unnoise.train("images", pictures, "b", goal="simple", chain=3, initial=first, **other)
    again = unnoise.train("images", pictures, "c", initial=first, **other)
    assert again.configuration.chain == 3
    whole = dict(first.configuration) | {"goal": "simple", "label_dropout": 0.0}
    with pytest.raises(ConfigError, match="do not fit"):  # of another goal, and not for its options
        unnoise.train("images", pictures, "d", initial=first, **other, **whole)
    unnoise.train("images", None, "c", resume=True, steps=2)


@pytest.mark.parametrize("name", ["purify", *TRAINABLE])
def test_no_flag_needs_to_be_given(name):
    """The defaults of a domain's fields are no words, and stand for themselves."""
    domain = domain_named(name)
    kinds = [domain.Request, *domain.metrics.values()]
    kinds += [domain.Configuration] if isinstance(domain, Trainable) else []
    for kind in kinds:
        assert parse(name, "", flags(kind, name, required=False), []) == {}
