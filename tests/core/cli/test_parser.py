"""Flags that are made of pydantic models: what a word stands for."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from circle import failed
from pydantic import BaseModel, Field

from unnoise.cli import main
from unnoise.cli.parser import flag, flags, parse
from unnoise.errors import InputError


class Asked(BaseModel):
    label: int | str | list[int | str] | None = None
    name: int | str | None = None
    steps: int | tuple[float, ...] = 1
    seed: int = 0
    many: list[int] = Field(default_factory=list)


def _read(*words: str) -> dict[str, object]:
    found = parse("x", "", [*flags(Asked, "own"), flag("out", Path, "where")], words)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--seed 12", 12),
        ("--seed 007", 7),
        ("--seed 0xff", 255),
        ("--label 3", [3]),
        ("--label -3", [-3]),
        ("--label 03 3 3.5 1_0 0x3 cat", ["03", 3, "3.5", "1_0", "0x3", "cat"]),
        ("--name 03", "03"),
        ("--name 3", 3),
        ("--steps 12", [12]),
        ("--steps 0.9 0.5", [0.9, 0.5]),
        ("--many 1 2", [1, 2]),
    ],
)
def test_numbers_are_what_is_written(words, value):
    (found,) = _read(*words.split()).values()
    assert found == value
    assert [type(f) for f in _listed(found)] == [type(v) for v in _listed(value)]


def _listed(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("words", ["--seed 2.6", "--seed 3.0", "--seed x", "--many 1 1.5"])
def test_a_fraction_is_no_whole_number(words):
    with pytest.raises(InputError, match=r'unable to convert "\S+" into int'):
        _read(*words.split())


@pytest.mark.parametrize("words", [["--out", ""], ["--out="]])
def test_an_empty_path_is_not_the_folder_one_is_in(words):
    with pytest.raises(InputError, match="--out is empty"):
        _read(*words)


def test_a_run_that_fails_leaves_no_folder(model, circle, capsys):
    words = ["generate", "circle", "--model", "run"]
    for more in (["--sampler", "nobody"], ["--device", "meta"]):
        failed(capsys, *words, *more, "--out", "a/b")
        assert not Path("a").exists()
        failed(capsys, *words, *more)
        assert not Path("circle-samples").exists()
    Path("mine").mkdir()
    failed(capsys, *words, "--sampler", "nobody", "--out", "mine")
    assert Path("mine").is_dir()  # which was there before
    failed(
        capsys, "train", "circle", "--data", "nothing.txt", "--out", "c/d"
    )  # as the toy opens it
    assert not Path("c").exists()


def test_a_warning_is_one_line(here):
    heard = []

    def warn(words):
        heard.append(warnings.formatwarning("two\nwords, num_samples=3", UserWarning, "a.py", 1))
        return 0

    usual = warnings.formatwarning
    here.setattr("unnoise.cli.generate.generate", warn)
    assert main(["generate", "nothing"]) == 0
    assert heard == ["warning: two words, --num-samples 3\n"]
    assert warnings.formatwarning is usual
