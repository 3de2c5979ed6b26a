"""What a request produces: states of batches, files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import POINTS, RAGGED

from unnoise.api import load
from unnoise.errors import (
    InputError,
)


def test_batches_of_other_shapes_are_concatenated_by_rows():
    out = RAGGED.generate(num_samples=7, batch_size=2, return_trajectory=True)
    rows = sum(2 + i % 3 for i in range(7))
    assert out.states.shape == (rows, 2)
    assert all(frame.x.shape == (rows, 2) for frame in out.trajectory)
    assert [len(sample) for sample in out.samples] == [2 + i % 3 for i in range(7)]


def test_what_cannot_be_written_leaves_no_folder(tmp_path):
    class Full(type(POINTS.domain)):
        def write(self, sample, folder, stem):
            raise OSError(28, "No space left on device")

    out = POINTS.generate(num_samples=1)
    with pytest.raises(OSError, match="No space"):
        replace(out, domain=Full()).save(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_samples_by_place():
    out = POINTS.generate(num_samples=3)
    assert out[1] is out.samples[1]
    assert out[-2:] == out.samples[-2:]


@pytest.mark.parametrize("folder", [None, 3, "", "a\0b", b"a"])
def test_what_is_no_path(folder):
    out = POINTS.generate(num_samples=1)
    for saved in (out, POINTS):
        with pytest.raises(InputError, match=r"is a path|is empty"):
            saved.save(folder)
    with pytest.raises(InputError, match=r"is a path|is empty"):
        load(folder)


def test_save_writes_one_file_per_sample(tmp_path):
    out = POINTS.generate(num_samples=5, ids=[4, 1], seed=9, centre=0.5)
    paths = out.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["00004.json", "00001.json"]
    assert [json.loads(path.read_text()) for path in paths] == out.samples
    told = json.loads((tmp_path / "new" / "folder" / "provenance.json").read_text())
    assert told.pop("files") == ["00004.json", "00001.json"]
    assert told == json.loads(json.dumps(out.provenance))
    for name, value in {
        "domain": "toy",
        "model": "toy",
        "seed": 9,
        "ids": [4, 1],
        "steps": 6,
        "evaluations": 6,
        "sampler": "DDIM(eta=0.0)",
    }.items():
        assert told[name] == value
    assert told["request"]["centre"] == 0.5
    assert set(told["versions"]) == {"python", "torch", "unnoise"}
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="writ"):
        out.save(file)
