"""The driver of progressive distillation: halvings as runs, resuming, the student's bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Toy

from unnoise.bundle import read_bundle
from unnoise.distill import distill, student_steps
from unnoise.domain import Model
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.spaces import Tokens
from unnoise.trainer import train

SMALL = {"batch_size": 8, "checkpoint_every": 3, "log_every": 3, "validation_batches": 0}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("teacher") / "run"
    return train(Toy(), 0.0, out, steps=5, width=8, bound_samples=0, **SMALL)


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
    assert student.defaults == {"steps": 2, "sampler": "ddim"}
    bundle = read_bundle(tmp_path / "run")
    assert bundle.defaults == {"steps": 2, "sampler": "ddim"}
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


def test_bad_input(teacher, tmp_path):
    with pytest.raises(ConfigError, match="power of two"):
        distill(Toy(), 0.0, tmp_path / "a", model=teacher, to_steps=3, from_steps=8)
    tokens = Model(Toy(), teacher.denoiser, teacher.configuration)
    kernel = teacher.denoiser.kernel
    try:
        tokens.denoiser.kernel = CategoricalKernel(Tokens(3), Absorbing(2))
        with pytest.raises(ConfigError, match="GaussianKernel"):
            distill(Toy(), 0.0, tmp_path / "b", model=tokens, to_steps=2)
    finally:
        teacher.denoiser.kernel = kernel
    assert not list(tmp_path.iterdir())
