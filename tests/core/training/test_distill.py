"""The driver of progressive distillation: halvings as runs, resuming, the student's bundle."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Toy

from unnoise.denoise import AnalyticVariance, LearnedVariance, NetworkDenoiser, Noise
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.model import Model
from unnoise.spaces import Tokens
from unnoise.storage.bundle import read_bundle
from unnoise.training.distill import distill, student_steps
from unnoise.training.train import train

SMALL = {"batch_size": 8, "checkpoint_every": 3, "log_every": 3, "validation_batches": 0}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("teacher") / "run"
    return train(Toy(), 0.0, out, steps=5, width=8, bound_samples=0, **SMALL)


class Other(Toy):
    name = "other"


def halve(teacher: Model, out: Path, steps: int = 5, **options: object) -> Model:
    return distill(
        Toy(), 0.0, out, model=teacher, to_steps=2, from_steps=8, steps=steps, bound_samples=0,
        **SMALL, **options,
    )  # fmt: skip


def test_steps_halve_down_to_the_wanted_number():
    assert student_steps(4, 50) == [32, 16, 8, 4]
    assert student_steps(1, 4) == [2, 1]
    assert student_steps(7, 7) == [7]
    with pytest.raises(ConfigError, match="at least one step"):
        student_steps(0, 8)


def test_the_result_is_a_bundle_with_its_own_number_of_steps(teacher, tmp_path):
    lines = []
    student = halve(teacher, tmp_path / "run", report=lines.append)
    assert student.defaults == {"steps": 2, "sampler": "ddim", "grid": "uniform"}
    bundle = read_bundle(tmp_path / "run")
    assert bundle.defaults == student.defaults
    assert bundle.card["training"]["objective"] == "Distillation(steps=2)"
    assert [line.split(": ")[1] for line in lines] == ["8 -> 4 steps", "4 -> 2 steps"]
    assert sorted(p.name for p in (tmp_path / "run").glob("*-steps")) == [
        "0002-steps",
        "0004-steps",
    ]


def test_a_resumed_distillation_ends_with_the_same_bytes(teacher, tmp_path):
    halve(teacher, tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    with pytest.raises(InputError, match="already contains a distillation"):
        halve(teacher, tmp_path / "whole")
    # the first halving done, the second one not begun
    first = distill(
        Toy(), 0.0, tmp_path / "cut", model=teacher, to_steps=4, from_steps=8, steps=5,
        bound_samples=0, **SMALL,
    )  # fmt: skip
    assert first.defaults["steps"] == 4
    halve(teacher, tmp_path / "cut", resume=True)
    names = ("0004-steps/model.safetensors", "0002-steps/model.safetensors")
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_another_teacher_is_refused_on_resume(teacher, tmp_path):
    halve(teacher, tmp_path / "run")
    other = train(Toy(), 0.0, tmp_path / "other", steps=4, width=8, bound_samples=0, **SMALL)
    with pytest.raises(ConfigError, match="initial"):
        halve(other, tmp_path / "run", resume=True)


def test_resuming_needs_neither_a_checkpoint_nor_the_same_seconds(teacher, tmp_path):
    halve(teacher, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    # killed in the second halving before its first checkpoint: there is a log, and nothing else
    cut = tmp_path / "cut" / "0002-steps"
    shutil.rmtree(cut / "checkpoints")
    for file in (cut / "config.json", cut / "model.safetensors", cut.parent / "config.json"):
        file.unlink()
    assert (cut / "log.jsonl").exists()
    state = tmp_path / "cut" / "0004-steps" / "checkpoints" / "step-00000005" / "state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps({**content, "seconds": content["seconds"] + 100}))
    halve(teacher, tmp_path / "cut", resume=True)
    for name in ("0002-steps/model.safetensors", "model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")
def test_killed_four_times_ends_with_the_same_bytes(tmp_path):
    paths = os.pathsep.join(path for path in sys.path if path)
    script = Path(__file__).with_name("distillation_kills.py")
    # before the first checkpoint, after it, before the second halving's first, after that
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "2", "4", "4", "5"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    for name in ("0004-steps/", "0002-steps/", ""):
        file = f"{name}model.safetensors"
        whole, killed = tmp_path / "whole" / file, tmp_path / "killed" / file
        assert whole.read_bytes() == killed.read_bytes()
    assert read_bundle(tmp_path / "killed").card["training"]["finished"] is True


def test_a_time_limit_is_for_all_halvings_together(teacher, tmp_path):
    halve(teacher, tmp_path / "whole")
    late = halve(teacher, tmp_path / "cut", max_minutes=1e-9)
    assert late.card["training"]["finished"] is False
    assert not (tmp_path / "cut" / "config.json").exists()
    assert not (tmp_path / "cut" / "0002-steps").exists()  # half a student teaches nobody
    student = halve(teacher, tmp_path / "cut", resume=True)
    assert student.card["training"]["finished"] is True
    name = "model.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_later_halvings_may_take_longer(teacher, tmp_path):
    student = halve(teacher, tmp_path / "run", steps=4, growth=1.5)
    assert student.card["training"]["steps"] == 6
    assert read_bundle(tmp_path / "run" / "0004-steps").card["training"]["steps"] == 4


def test_the_first_teacher_takes_the_models_own_steps(teacher, tmp_path):
    def first(**defaults):
        lines = []
        model = replace(teacher, defaults=defaults)
        with pytest.raises(ZeroDivisionError):  # the first line is enough
            distill(
                Toy(), 0.0, tmp_path / "run", model=model, to_steps=2,
                report=lambda line: lines.append(line) or 1 // 0,
            )  # fmt: skip
        return lines[0].split(": ")[1]

    assert first(steps=8, sampler="ddim") == "8 -> 4 steps"
    assert first(steps=9) == "16 -> 8 steps"
    assert first(steps=[1.0, 0.5, 0.2, 0.0], sampler="ddim") == "4 -> 2 steps"
    # a sampler that is good in 8 steps says nothing about DDIM's
    assert first(steps=8, sampler="dpmpp_2m") == "64 -> 32 steps"


def test_the_teacher_stays_as_it_was(teacher, tmp_path):
    before = {name: value.clone() for name, value in teacher.denoiser.state_dict().items()}
    own = copy.deepcopy(teacher.denoiser).train().requires_grad_(True)
    halve(replace(teacher, denoiser=own), tmp_path / "run")
    assert own.training
    assert all(p.requires_grad for p in own.parameters())
    after = own.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_stored_variance_is_left_behind(teacher, tmp_path):
    times = torch.tensor([0.5, 1.0], dtype=torch.float64)
    wide = AnalyticVariance(teacher.denoiser, times, torch.full_like(times, 0.5), 1.0)
    halve(replace(teacher, denoiser=wide), tmp_path / "wide")
    halve(teacher, tmp_path / "plain")
    name = "model.safetensors"
    assert (tmp_path / "wide" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_nothing_else_is_overwritten(teacher, tmp_path):
    out = tmp_path / "model"
    teacher.save(out)
    kept = (out / "config.json").read_bytes()
    for resume in (False, True):
        with pytest.raises(InputError, match="already contains a bundle"):
            halve(teacher, out, resume=resume)
    assert (out / "config.json").read_bytes() == kept


def test_a_distillation_that_fails_before_its_first_step_leaves_no_folder(teacher, tmp_path):
    for options in ({"precision": "fp16", "device": "cpu"}, {"batch_size": 1, "accumulate": 2}):
        with pytest.raises(ConfigError):
            distill(
                Toy(), 0.0, tmp_path / "a" / "b", model=teacher, to_steps=2, from_steps=8, **options
            )
        assert not (tmp_path / "a").exists()


def test_bad_input(teacher, tmp_path):
    with pytest.raises(ConfigError, match="power of two"):
        distill(Toy(), 0.0, tmp_path / "a", model=teacher, to_steps=3, from_steps=8)
    with pytest.raises(ConfigError, match="power of two"):
        distill(Toy(), 0.0, tmp_path / "a", model=teacher, to_steps=1, from_steps=0)
    with pytest.raises(ConfigError, match="at least one step"):
        distill(Toy(), 0.0, tmp_path / "a", model=teacher, to_steps=0)
    with pytest.raises(ConfigError, match="no more steps than that already"):
        distill(Toy(), 0.0, tmp_path / "a", model=teacher, to_steps=50)
    with pytest.raises(ConfigError, match="growth"):
        halve(teacher, tmp_path / "a", growth=0.5)
    with pytest.raises(ConfigError, match="max_minutes"):
        halve(teacher, tmp_path / "a", max_minutes=-1)
    with pytest.raises(ConfigError, match="unknown option 'step_size'"):
        halve(teacher, tmp_path / "a", step_size=1)
    foreign = replace(teacher, domain=Other())
    with pytest.raises(ConfigError, match="belongs to the domain 'other'"):
        halve(foreign, tmp_path / "a")
    plain = teacher.denoiser
    learned = NetworkDenoiser(plain.network, plain.kernel, LearnedVariance(Noise()))
    with pytest.raises(ConfigError, match="variance"):
        halve(replace(teacher, denoiser=learned), tmp_path / "a")
    tokens = Model(Toy(), teacher.denoiser, teacher.configuration)
    kernel = teacher.denoiser.kernel
    try:
        tokens.denoiser.kernel = CategoricalKernel(Tokens(3), Absorbing(2))
        with pytest.raises(ConfigError, match="GaussianKernel"):
            distill(Toy(), 0.0, tmp_path / "b", model=tokens, to_steps=2)
    finally:
        teacher.denoiser.kernel = kernel
    assert not list(tmp_path.iterdir())
