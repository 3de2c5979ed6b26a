"""`exact=True`: a sample has the same bytes in any batch, alone, and from the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import unnoise
from unnoise.cli import main

SMILES = ["CCO", "CC(C)C(=O)O", "c1ccccc1O"]
COLUMNS = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
HOURS = pd.date_range("2024-01-01", periods=96, freq="h")


def frame() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(96, len(COLUMNS)))
    values[10:20, 0] = values[40:44] = np.nan
    return pd.DataFrame(values, index=HOURS, columns=COLUMNS)


REQUESTS: dict[str, dict[str, Any]] = {
    "images": {"label": [3, 1, 7], "steps": 3},
    "latent": {"label": [3, 1, 7], "steps": 3},
    "molecules": {"smiles": SMILES, "steps": 1, "rounds": 1},
    "text": {"prompt": ["the people ", "a ", "of the united states "], "length": 24, "steps": 6},
    "timeseries": {"steps": 2},
    "text2image": {"prompt": ["apple", "red heart", "cat face"], "steps": 2, "upsampler_steps": 2},
}


def hashes(files: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def written(name: str, folder: Path, **options: Any) -> list[str]:
    """What the files of a request hash to, one for each sample."""
    request = {**REQUESTS[name], **options}
    if name == "timeseries":
        request["data"] = frame()
    out = unnoise.generate(name, seed=5, exact=True, **request)
    assert out.provenance["exact"] == {"threads": 1}
    return hashes(out.write(folder))


QUICK = ("images", "molecules")
NAMES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(REQUESTS)]


@pytest.mark.parametrize("name", NAMES)
def test_batches_change_no_byte(name, tmp_path):
    whole = written(name, tmp_path / "a", num_samples=2)
    total = len(whole)
    assert len(set(whole)) == total > 1
    assert written(name, tmp_path / "b", num_samples=2, batch_size=3) == whole
    alone = written(name, tmp_path / "c", num_samples=2, ids=[total - 1, 0])
    assert alone == [whole[-1], whole[0]]


def test_from_the_command_line(tmp_path):
    whole = written("images", tmp_path / "a", num_samples=2)
    words = ["--label", "3", "1", "7", "--steps", "3", "--num-samples", "2", "--seed", "5"]
    out = tmp_path / "b"
    assert main(["generate", "images", *words, "--exact", "--out", str(out)]) == 0
    assert hashes(sorted(out.glob("*.png"))) == whole
