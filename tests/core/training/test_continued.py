"""Runs that are resumed without a word, made longer, or begin where another ended."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, Toy, run, weights

from unnoise.errors import ConfigError, InputError
from unnoise.training import checkpoint as checkpoints
from unnoise.training.continued import check_apart
from unnoise.training.train import train


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_resumed_run_needs_no_option(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = {**SMALL, "dropout": 0.0, "samples_every": 0, "log_every": 3}
    train(Toy(), 0.0, out, **{**options, "max_minutes": 1e-9}, resume=True)
    assert len(rows(out)) == 1
    train(Toy(), 0.0, out, resume=True)
    other = tmp_path / "other"
    train(Toy(), 0.0, other, **options)
    assert weights(out) == weights(other)
    told = checkpoints.latest(out).state["options"]
    assert told["samples_every"] == 0
    assert told["log_every"] == 3


def test_a_run_takes_more_steps_than_were_planned(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    train(Toy(), 0.0, out, resume=True, steps=20, log_every=1)
    assert rows(out)[-1]["step"] == 20
    card = json.loads((out / "config.json").read_text())["card"]
    assert card["training"]["plans"] == [[0, 12], [12, 20]]
    assert card["training"]["finished"]
    assert weights(out) != weights(finished)
    # the rate is that of a run of 20 steps
    rate = rows(out)[-1]["learning_rate"]
    whole = tmp_path / "whole"
    run(whole, steps=20, log_every=1)
    assert rate == rows(whole)[-1]["learning_rate"]
    before = weights(out)
    train(Toy(), 0.0, out, resume=True)  # nothing is left to do
    assert weights(out) == before


def test_data_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing to train on.*data="):
        train(Toy(), None, tmp_path / "run", **SMALL)


def test_a_run_begins_where_a_model_is(finished: Path, tmp_path: Path) -> None:
    first = train(Toy(), 0.0, tmp_path / "first", **SMALL)
    assert SMALL["width"] != Toy.Configuration().width
    plain = {**SMALL, "learning_rate": 1e-9, "steps": 1}
    del plain["width"]  # is the model's
    second = train(Toy(), 0.3, tmp_path / "second", **plain, initial=first)
    assert second.configuration.width == SMALL["width"]
    for (name, a), b in zip(
        first.denoiser.named_parameters(), second.denoiser.parameters(), strict=True
    ):
        assert (a - b).abs().max() < 1e-6, name
    assert second.card["training"]["initial"] == first.hash
    # and is resumed without it
    train(Toy(), 0.3, tmp_path / "second", resume=True, steps=2)
    with pytest.raises(ConfigError, match=r"initial=unnoise\.load"):
        train(Toy(), 0.3, tmp_path / "third", initial="somewhere")


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path, parts: int) -> None:
    options = {**SMALL, "dropout": 0.0, "steps": 4, "decay": "none", "log_every": 1}
    whole = train(Toy(), 0.0, tmp_path / "whole", **options)
    cut = train(Toy(), 0.0, tmp_path / "cut", **options, accumulate=parts)
    for a, b in zip(whole.denoiser.parameters(), cut.denoiser.parameters(), strict=True):
        assert (a - b).abs().max() < 2e-5
    losses = [[row["loss"] for row in rows(tmp_path / name)] for name in ("whole", "cut")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_more_parts_than_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size is smaller .*accumulate.*at least 8"):
        run(tmp_path / "run", batch_size=7, accumulate=8)


def test_what_is_resumed_is_there_and_of_this_domain(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to go on with"):
        train(Toy(), None, tmp_path / "nothing", resume=True)
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for path in (out / "checkpoints").glob("*/state.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"domain": "other"}))
    with pytest.raises(InputError, match=r"of another domain.*other"):
        train(Toy(), None, out, resume=True)


def test_a_run_does_not_write_into_its_data(tmp_path: Path) -> None:
    """Its samples would be data to the run that is resumed."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(InputError, match="does not write into its data"):
        train(Toy(), data, data, **SMALL)
    assert not any(data.iterdir())
    for out in (data / "run", data / "a" / "run", tmp_path / "link" / "run"):
        with pytest.warns(UserWarning, match="lies inside its data"):
            check_apart(data, out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_apart(data, tmp_path / "data-run")
        check_apart(0.0, data)
        check_apart("n" * 300, tmp_path)
        check_apart(tmp_path / "table.csv", tmp_path)  # a file may lie beside
