"""Samples of a model in training: they show it, and nothing depends on them."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from training_toy import SMALL, Toy, one_step, weights

from unnoise.errors import Cancelled
from unnoise.training import samples as module
from unnoise.training.record import rows
from unnoise.training.train import train


def run(out: Path, domain: Toy | None = None, **options: object):
    return train(domain or Toy(), 0.0, out, **{**SMALL, "samples_every": 4, **options})


def drawn(out: Path) -> dict[str, str]:
    """What was drawn, by its path."""
    found = sorted((out / "samples").glob("*/*.[th]*"))
    return {path.relative_to(out / "samples").as_posix(): path.read_text() for path in found}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shown") / "run"
    run(out)
    return out


def test_they_are_those_of_the_averaged_weights(tmp_path: Path) -> None:
    model = run(tmp_path / "run", samples_every=6)
    names = [f"step-{step:08d}" for step in (6, 12)]
    assert [path.name for path in sorted((tmp_path / "run" / "samples").iterdir())] == names
    out = model.generate(label=1, num_samples=3, steps=2)
    last = tmp_path / "run" / "samples" / names[-1]
    assert [(last / f"0000{k}.txt").read_text() for k in range(3)] == list(map(str, out.samples))
    page = (last / "preview.html").read_text()
    assert page.startswith("<!doctype html>")
    assert model.domain.display.preview(out.samples) in page
    told = json.loads((last / "provenance.json").read_text())
    assert (told["model"], told["request"], told["seed"]) == ("step 12", {"label": 1}, 0)
    first = tmp_path / "run" / "samples" / names[0]
    assert (first / "00000.txt").read_text() != (last / "00000.txt").read_text()


class Restless(Toy):
    """Its plans draw from every global generator."""

    def plan(self, inputs: list, model: object, draws: list):
        torch.rand(3), random.random(), np.random.rand()
        return (yield from super().plan(inputs, model, draws))


def test_nothing_else_depends_on_them(finished: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", Restless(), samples_every=1)
    assert weights(tmp_path / "run") == weights(finished)
    assert len(drawn(tmp_path / "run")) == 12 * 4
    last = [rows(out)[-1]["validation_loss"] for out in (finished, tmp_path / "run")]
    assert last[0] == last[1]


def test_a_run_in_pieces_draws_the_same(shown: Path, tmp_path: Path) -> None:
    for _ in range(5):
        one_step(tmp_path / "run", samples_every=4)
    run(tmp_path / "run", resume=True)
    assert drawn(tmp_path / "run") == drawn(shown)
    assert weights(tmp_path / "run") == weights(shown)


def test_what_a_kill_prevented_is_drawn_later(shown: Path, tmp_path: Path) -> None:
    for _ in range(4):
        one_step(tmp_path / "run", samples_every=4)  # each ends before the samples of its step
    assert drawn(tmp_path / "run") == {}
    half = tmp_path / "run" / "samples" / ".tmp-step-00000004-0"
    half.mkdir(parents=True)
    run(tmp_path / "run", resume=True)
    assert drawn(tmp_path / "run") == drawn(shown)
    assert not half.exists()
    run(tmp_path / "run", resume=True)
    assert drawn(tmp_path / "run") == drawn(shown)


def test_none_are_drawn_where_none_are_wanted(finished: Path, tmp_path: Path) -> None:
    class Silent(Toy):
        def trial(self, configuration: object, held_out: object) -> None:
            return None

    run(tmp_path / "none", Silent())
    run(tmp_path / "never", samples_every=0)
    assert not (tmp_path / "none" / "samples").exists()
    assert not (tmp_path / "never" / "samples").exists()
    assert not (finished / "samples").exists()  # a run of a few steps, with the default


class Breaking(Toy):
    def plan(self, inputs: list, model: object, draws: list):
        raise ZeroDivisionError("by the domain")
        yield


class Foreign(Toy):
    def trial(self, configuration: object, held_out: object) -> dict:
        return {"labels": 3}


class Nonsense(Toy):
    def trial(self, configuration: object, held_out: object) -> list:
        return [3]


class Unwritten(Toy):
    def write(self, sample: object, folder: Path, stem: str) -> Path:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (Breaking(), "ZeroDivisionError: by the domain"),
        (Foreign(), "InputError: .*did you mean 'label'"),
        (Nonsense(), "PluginError: trial of the domain 'toy' must return a Mapping"),
        (Unwritten(), "OSError: .*No space left"),
    ],
)
def test_what_goes_wrong_is_said_and_training_goes_on(
    finished: Path, tmp_path: Path, domain: Toy, said: str
) -> None:
    with pytest.warns(RuntimeWarning, match=f"training goes on: {said}"):
        run(tmp_path / "run", domain)
    assert weights(tmp_path / "run") == weights(finished)
    assert not list((tmp_path / "run").rglob(".tmp-*"))
    assert drawn(tmp_path / "run") == {}


def test_a_signal_while_they_are_drawn_ends_the_run_soon(shown: Path, tmp_path: Path) -> None:
    calls = []

    class Stopping(Toy):
        def trial(self, configuration: object, held_out: object) -> dict:
            return {"num_samples": 3, "steps": 1000}

        def plan(self, inputs: list, model, draws: list):
            model.denoiser.register_forward_pre_hook(lambda *_: calls.append(1))
            signal.raise_signal(signal.SIGTERM)
            return (yield from super().plan(inputs, model, draws))

    with pytest.raises(Cancelled, match="stopped after step 5"):
        run(tmp_path / "run", Stopping())
    assert len(calls) < 50
    assert drawn(tmp_path / "run") == {}
    run(tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(shown)
    assert module.folder_of(tmp_path / "run").is_dir()
