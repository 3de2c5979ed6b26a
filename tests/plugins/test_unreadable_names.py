"""Names that the operating system does not look at (too long here; in a folder that is not ours to
read elsewhere): an error of ours in every plugin, for whatever is named, from both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unnoise
from unnoise.cli import main
from unnoise.errors import UnnoiseError

LONG = "n" * 300
GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("images", {"image": LONG, "strength": 0.5}),
    ("latent", {"source": LONG}),
    ("audio", {"source": f"{LONG}.wav"}),
    ("audio", {"mel": f"{LONG}.npy"}),
    ("molecules", {"smiles": f"{LONG}.smi"}),
    ("molecules", {"smiles": "a\0b.smi"}),
    ("timeseries", {"data": f"{LONG}.csv"}),
    ("purify", {"images": LONG}),
    ("purify", {"images": np.zeros((28, 28), np.uint8), "classifier": LONG}),
    ("text2image", {"prompt": "a", "image": LONG, "strength": 0.5}),
    ("images", {"model": LONG}),
]
TRAINED = ["audio", "images", "latent", "molecules", "text", "text2image", "timeseries"]
LINES = [
    f"generate images --steps 1 --out {LONG}",
    f"generate images --steps 1 --model {LONG}",
    f"train images --data pictures --steps 1 --out {LONG}",
    f"train images --out {LONG} --resume",
    f"train images --data pictures --initial {LONG} --out run",
    f"evaluate images --data {LONG} --metric bound",
    f"unusual images --input {LONG} --data {LONG}",
    f"calibrate images --data {LONG}",
    f"variance images --data {LONG} --out run",
    f"variance images --data pictures --out {LONG}",
    f"distill images --data {LONG} --to-steps 4 --from-steps 8 --out run",
    f"demo --out {LONG}",
]


@pytest.mark.parametrize(("name", "request_"), GIVEN, ids=lambda v: str(v)[:40])
def test_a_request(name: str, request_: dict[str, Any]) -> None:
    with pytest.raises(UnnoiseError):
        unnoise.generate(name, steps=1, **request_)


@pytest.mark.parametrize("name", TRAINED)
def test_data(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnnoiseError):
        unnoise.train(name, LONG, tmp_path / "run", steps=1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("line", LINES, ids=lambda v: v[:30])
def test_on_the_command_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_empty_words_are_no_choice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a shell makes of $MODEL where nothing is in it is not the default."""
    for option in ("model", "sampler", "grid", "device"):
        words = ["generate", "images", "--steps", "1", "--out", str(tmp_path / "out")]
        assert main([*words, f"--{option}", ""]) == 2
        with pytest.raises(UnnoiseError):
            unnoise.generate("images", **{"steps": 1, option: ""})
    assert not any(tmp_path.iterdir())


def test_more_threads_than_a_process_can_have() -> None:
    with pytest.raises(UnnoiseError, match="4096"):
        unnoise.generate("images", steps=1, threads=999_999)
