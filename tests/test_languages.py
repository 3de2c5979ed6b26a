"""Errors as they are raised: the same wrong input from Python, which hears of arguments, and from
the command line, which hears of flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import unnoise
from unnoise.cli import main
from unnoise.discovery.domains import domain_named
from unnoise.domain import Trainable
from unnoise.engine.options import Options
from unnoise.errors import UnnoiseError
from unnoise.training.options import TrainingConfiguration

FLAG = re.compile(r"(?<![\w-])--[a-z]")
ARGUMENT = re.compile(r"(?<![\w.\"])[a-z][a-z_]*=(?!=)")
BRACKETS = re.compile(r"`[^`]*`|\w*\([^()]*\)|\"[^\"]*\"")
COMMAND = re.compile(r"(unnoise|python|pip) [a-z-]+.*")

ALL = ["audio", "images", "latent", "molecules", "purify", "text", "text2image", "timeseries"]
ANYWHERE: list[dict[str, Any]] = [
    {"num_samples": 0},
    {"steps": 0},
    {"steps": "many"},
    {"batch_size": 0},
    {"num_sampels": 2},
    {"seed": -1},
    {"sampler": "dimm"},
    {"sampler": "ddim(eta=much)"},
    {"grid": "karas"},
    {"model": "nowhere"},
    {"threads": 0},
]
OWN: dict[str, list[dict[str, Any]]] = {
    "audio": [{}, {"source": "nowhere.wav"}, {"source": "a.png"}],
    "images": [
        {"label": 11},
        {"label": "cat"},
        {"guidance_scale": 2.0},
        {"guidance_scale": -1.0, "label": 3},
        {"mask": "a.png"},
        {"image": "a.png"},
        {"image": "nowhere.png", "strength": 0.5},
        {"image": "b.png", "strength": 0.5},
        {"image": "a.png", "strength": 1.5},
        {"strength": 0.5},
        {"sampler": "pndm", "steps": 3},
        {"sampler": "edm", "steps": 5},
        {"sampler": "heun", "steps": 8, "grid": "karras"},
        {"sampler": "langevin", "steps": 20},
        {"sampler": "first-hitting"},
    ],
    "latent": [{"label": "11"}, {"source": "nowhere.png"}, {"source_b": "a.png"}],
    "molecules": [{}, {"smiles": "C(("}, {"smiles": "[U]"}],
    "purify": [{}, {"images": "nowhere.png"}, {"images": "a.png", "classifier": "nowhere"}],
    "text": [
        {"length": 0},
        {"length": 100_000},
        {"temperature": -1.0},
        {"top_p": 2.0},
        {"sampler": "unipc"},
        {"template": "a ____:0 b"},
    ],
    "text2image": [
        {"guidance_scale": -1.0},
        {"image": "a.png"},
        {"image": "a.png", "strength": 0.5},
        {"image": "nowhere.png", "strength": 0.5},
        {"image": "a.png", "mask": "b.png"},
        {"strength": 0.5},
    ],
    "timeseries": [{}, {"data": "nowhere.csv"}, {"data": "a.csv"}],
}
TRAINING: list[dict[str, Any]] = [
    {"data": "nowhere"},
    {"data": "pictures", "steps": 0},
    {"data": "pictures", "batch_size": 2, "accumulate": 3},
    {"data": "pictures", "widths": [8, 8], "blocks": [1]},
    {"data": "pictures", "held_out": 50},
    {"data": "pictures", "classes": ["eel"]},
    {"data": "pictures", "learning_rat": 1.0},
    {"data": "pictures", "background": "no colour"},
    {"data": "mixed"},
    {"data": "sizes"},
    {"data": "pictures", "out": "taken"},
    {"data": "pictures", "precision": "fp16", "device": "cpu"},
    {"data": "pictures", "initial": "text"},
    {"data": "sizes", "initial": "images"},
    {"resume": True},
]


def requests() -> Iterator[Any]:
    for name in ALL:
        for asked in [*OWN[name], *(ANYWHERE if name in ("images", "text") else ANYWHERE[:2])]:
            marks = () if name == "images" else pytest.mark.slow
            yield pytest.param(name, asked, id=f"{name} {asked}", marks=marks)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(np.zeros((28, 28), np.uint8))
    wide = Image.fromarray(np.zeros((28, 30), np.uint8))
    for place in ("pictures/a", "pictures/b", "mixed/a", "sizes", "taken"):
        Path(place).mkdir(parents=True)
    picture.save("a.png")
    wide.save("b.png")
    for k in range(3):
        picture.save(f"pictures/a/{k}.png")
        picture.save(f"pictures/b/{k}.png")
    picture.save("mixed/0.png")
    picture.save("mixed/a/0.png")
    picture.save("sizes/0.png")
    wide.save("sizes/1.png")
    Path("taken/log.jsonl").write_text("")
    Path("a.csv").write_text("time,x\n1,2\n")


def words(options: dict[str, Any]) -> list[str]:
    found = []
    for name, value in options.items():
        found.append("--" + name.replace("_", "-"))
        if value is not True:
            found += [str(v) for v in (value if isinstance(value, list) else [value])]
    return found


def python_speaks(error: UnnoiseError) -> None:
    assert not FLAG.search(COMMAND.sub("", str(error))), str(error)


def shell_speaks(line: str, name: str) -> None:
    domain = domain_named(name)
    assert line.startswith("unnoise: ")
    assert line.count("\n") == 1
    assert not ARGUMENT.search(BRACKETS.sub("", line)), line
    kinds: list[Any] = [Options, TrainingConfiguration, domain.Request]
    kinds += [domain.Configuration] if isinstance(domain, Trainable) else []
    fields = {field for kind in kinds for field in kind.model_fields if "_" in field}
    said = set(re.findall(r"(?<![\w./'-])[a-z]+(?:_[a-z]+)+(?![\w./'])", BRACKETS.sub("", line)))
    assert not said & fields, line


@pytest.mark.parametrize(("name", "asked"), list(requests()))
def test_requests(name, asked, capsys):
    with pytest.raises(UnnoiseError) as caught:
        unnoise.generate(name, **asked)
    python_speaks(caught.value)
    capsys.readouterr()
    assert main(["generate", name, "--out", "out", *words(asked)]) == 2
    shell_speaks(capsys.readouterr().err, name)


@pytest.mark.parametrize("asked", TRAINING, ids=str)
def test_trainings(asked, capsys):
    """One step, so that what is not refused ends."""
    asked = {"steps": 1} | asked
    options = dict(asked)
    data, out = options.pop("data", None), options.pop("out", "run")
    if "initial" in options:
        options["initial"] = unnoise.load(options["initial"])
    with pytest.raises(UnnoiseError) as caught:
        unnoise.train("images", data, out, **options)
    python_speaks(caught.value)
    capsys.readouterr()
    assert main(["train", "images", *words({"out": "run", **asked})]) == 2
    shell_speaks(capsys.readouterr().err, "images")
