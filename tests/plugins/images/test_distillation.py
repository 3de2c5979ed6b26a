"""`unnoise distill images`: guidance goes into the student, which is used like any model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import unnoise
from unnoise.cli import main
from unnoise.noise import NoiseSource
from unnoise.objectives import distilled_target

FEW = ["--steps", "2", "--batch-size", "4", "--validation-batches", "0", "--bound-samples", "0"]


@pytest.fixture
def guided(make_model):
    return make_model(guidance_scale=3.0, label_dropout=0.5)


def distill(folder, teacher, out, *more):
    words = ["--data", str(folder), "--model", str(teacher), "--out", str(out)]
    return main(["distill", "images", *words, *FEW, *more])


def test_a_student_from_the_command_line(folder, guided, tmp_path, capsys):
    teacher, out = guided.save(tmp_path / "teacher"), tmp_path / "student"
    assert distill(folder, teacher, out, "--to-steps", "2", "--from-steps", "8") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "halving 1 of 2: 8 -> 4 steps"
    assert told[1] == "halving 2 of 2: 4 -> 2 steps"
    assert told[2].startswith(f"the model is in {out}; unnoise generate images")
    student = unnoise.load(out)
    assert student.defaults["steps"] == 2
    assert student.configuration.guidance_scale == 1
    assert student.configuration.size == guided.configuration.size
    evaluated = []
    handle = student.denoiser.network.register_forward_hook(lambda *_: evaluated.append(1))
    result = student.generate(label=[0, 1], num_samples=1, seed=0, device="cpu")
    handle.remove()
    assert len(result.samples) == 2
    assert len(evaluated) == 2  # one evaluation a step: guidance needs no second one


def test_the_target_is_the_guided_teachers(guided):
    """From the definition: two DDIM steps of E[x_0] = u + 3 (c - u), clamped to [-1, 1]."""
    teacher, configuration = guided.domain.teacher(guided)
    assert configuration.guidance_scale == 1
    schedule = guided.denoiser.kernel.schedule
    batch = guided.domain.collate([(torch.zeros(1, 10, 12), k % 2) for k in range(6)])
    layout, x = batch.layout, NoiseSource(0, range(6)).normal(batch.layout)
    none = {"label": torch.full((6,), 2)}

    def predicted(z, t):
        u = guided.denoiser(z, t, layout, none).mean
        c = guided.denoiser(z, t, layout, batch.condition).mean
        return (u + 3 * (c - u)).clamp(-1, 1)

    z = x
    with torch.no_grad():
        for t, s in ((0.75, 0.5), (0.5, 0.25)):
            clean = predicted(z, t)
            noise = (z - schedule.alpha(t) * clean) / schedule.sigma(t)
            z = schedule.alpha(s) * clean + schedule.sigma(s) * noise
        ratio = schedule.sigma(0.25) / schedule.sigma(0.75)
        want = (z - ratio * x) / (schedule.alpha(0.25) - ratio * schedule.alpha(0.75))
        got = distilled_target(teacher, x, 0.75, 0.25, layout, batch.condition)
    assert (guided.denoiser(x, 0.75, layout, batch.condition).mean - want).abs().max() > 0.1
    assert torch.allclose(got, want, atol=1e-4)


def test_a_time_limit_says_how_to_go_on(folder, guided, tmp_path, capsys):
    teacher, out = guided.save(tmp_path / "teacher"), tmp_path / "student"
    steps = ("--to-steps", "2", "--from-steps", "4")
    assert distill(folder, teacher, out, *steps, "--max-minutes", "1e-9") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "time is up; continue with --resume"
    assert distill(folder, teacher, out, *steps) == 2
    assert "resume" in capsys.readouterr().err
    assert distill(folder, teacher, out, *steps, "--resume") == 0
    assert unnoise.load(out).defaults["steps"] == 2


def test_ctrl_c_saves_a_checkpoint(folder, guided, tmp_path):
    teacher, out = guided.save(tmp_path / "teacher"), tmp_path / "student"
    words = ["--data", str(folder), "--model", str(teacher), "--out", str(out), "--batch-size", "4"]
    words += ["--to-steps", "1", "--from-steps", "2", "--log-every", "1"]
    command = [sys.executable, "-m", "unnoise", "distill", "images", *words]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, end = out / "0001-steps" / "log.jsonl", time.monotonic() + 300
    while not (log.exists() and log.stat().st_size) and time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "with a checkpoint" in told.splitlines()[-1]
    assert list((out / "0001-steps" / "checkpoints").glob("step-*"))
    assert not (out / "config.json").exists()


def test_bad_input(folder, guided, tmp_path, capsys):
    teacher = guided.save(tmp_path / "teacher")
    for words, message in (
        (["--to-steps", "0"], "at least one step"),
        (["--to-steps", "3", "--from-steps", "8"], "halve into each other"),
        (["--to-steps", "64"], "no more steps than that already"),
        (["--to-steps", "2", "--growth", "0"], "growth"),
        (["--to-steps", "2", "--learning-rate", "0"], "--learning-rate"),
    ):
        assert distill(folder, teacher, tmp_path / "out", *words) == 2
        assert message in capsys.readouterr().err
    assert distill(folder, teacher, teacher, "--to-steps", "1") == 2
    assert "already contains a bundle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
