import json
import math
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
import soundfile
from signals import speech

import unnoise
from unnoise.cli import main
from unnoise.errors import ConfigError, InputError
from unnoise_audio import metrics
from unnoise_audio.evaluation import Speech


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    root = tmp_path_factory.mktemp("voices")
    for voice in ("a", "b"):
        (root / voice).mkdir()
        for k in range(3):
            wave = speech(seconds=1.2, seed=k, gaps=False)
            soundfile.write(root / voice / f"{k}.wav", wave.numpy(), 16_000)
    soundfile.write(root / "a" / "short.wav", speech()[4000:8000].numpy(), 16_000)
    return root


@pytest.fixture(scope="module")
def model(voices, tmp_path_factory):
    return unnoise.train(
        "audio",
        voices,
        tmp_path_factory.mktemp("run") / "run",
        steps=3,
        batch_size=2,
        crop=16,
        width=16,
        layers=1,
        held_out=0.4,
        bound_samples=0,
    )


def _quiet(what, part):
    pass


def test_every_row_of_every_voice(model, voices):
    scores = ("log_mel", "si_sdr", "stft")
    metric = Speech(at=(1, 2), project=(0, 2), griffin_lim=(2, 8), scores=scores)
    steps = []
    found = metric.measure(model, voices, lambda what, part: steps.append(part))
    assert found == json.loads(json.dumps(found))
    assert steps == sorted(steps)
    assert steps[-1] < 1
    assert [one["files"] for one in found["voices"].values()] == [3, 3]
    assert "too short" in next(iter(found["left_out"].values()))
    rows = found["voices"]["a"]["rows"]
    assert list(rows) == [
        "model, 1 steps",
        "model, 1 steps + 2",
        "model, 2 steps",
        "model, 2 steps + 2",
        "noise in the mel's envelope",
        "noise in the mel's envelope + 2",
        "Griffin-Lim 2",
        "Griffin-Lim 8",
        "Griffin-Lim 8 + 2",
        "original",
    ]
    assert rows["Griffin-Lim 8"]["log_mel"] < rows["Griffin-Lim 2"]["log_mel"]
    for name in ("model, 2 steps", "Griffin-Lim 8"):
        assert rows[f"{name} + 2"]["log_mel"] < rows[name]["log_mel"]
        assert rows[f"{name} + 2"]["factor"] > rows[name]["factor"] > 0
    errors = found["voices"]["a"]["errors"]
    assert list(errors) == list(rows)
    assert all(errors["model, 1 steps"][name] > 0 for name in (*scores, "factor"))
    text = metric.text(found)
    row = next(line for line in text.splitlines() if line.startswith("| Griffin-Lim 8 + 2 |"))
    assert row.count(" ± ") == len(scores)
    assert "b: 3 files, 4 s, at -22.0 dB" in text


def test_the_validation_part_and_a_limit(model, voices):
    metric = Speech(at=(), griffin_lim=(1,), project=(0,), scores=("log_mel",), limit=1)
    assert metric.measure(model, voices, _quiet)["voices"]["b"]["files"] == 1
    kept = Speech(
        at=(), griffin_lim=(1,), project=(0,), scores=("log_mel",), part="validation"
    ).measure(model, voices, _quiet)
    assert 0 < sum(one["files"] for one in kept["voices"].values()) < 6


BRIEF = {"at": (1,), "griffin_lim": (1,), "project": (0,), "scores": ("log_mel", "si_sdr")}


def test_errors_are_those_of_a_mean(model, voices, tmp_path):
    keep = tmp_path / "rows.jsonl"
    found = Speech(**BRIEF, keep=keep).measure(model, voices, _quiet)["voices"]["a"]
    kept = [json.loads(line)["row"] for line in keep.read_text().splitlines()[1:]]
    values = [row["rows"]["Griffin-Lim 1"]["log_mel"] for row in kept if "rows" in row][:3]
    mean = sum(values) / 3
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / 2 / 3)
    assert found["rows"]["Griffin-Lim 1"]["log_mel"] == pytest.approx(mean)
    assert found["errors"]["Griffin-Lim 1"]["log_mel"] == pytest.approx(error)
    alone = Speech(**BRIEF, limit=1).measure(model, voices, _quiet)["voices"]["b"]
    assert alone["errors"]["Griffin-Lim 1"] == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")
def test_an_evaluation_that_is_killed_goes_on(model, voices, tmp_path):
    keep = tmp_path / "rows.jsonl"
    metric = Speech(**BRIEF, keep=keep)
    child = os.fork()
    if not child:
        try:  # it is slow from the fourth file on
            metric.measure(model, voices, lambda what, part: time.sleep(60 * (part > 0.4)))
        finally:
            os._exit(1)
    while not keep.exists() or keep.read_bytes().count(b"\n") < 4:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    before = keep.read_bytes()
    keep.write_bytes(before + b'{"key": "b/0.wav ')  # a line that the kill cut short
    done = []
    found = metric.measure(model, voices, lambda what, part: done.append(what))
    assert len(done) == 7 - (before.count(b"\n") - 1)
    assert keep.read_bytes().startswith(before)
    whole = Speech(**BRIEF).measure(model, voices, _quiet)
    for result in (found, whole):
        for voice in result["voices"].values():
            for row in [*voice["rows"].values(), *voice["errors"].values()]:
                row.pop("factor", None)  # the time it took
    assert found == whole
    done.clear()
    again = metric.measure(model, voices, lambda what, part: done.append(what))
    assert not done
    assert again["left_out"] == whole["left_out"]


def test_numbers_of_something_else_are_not_taken(model, voices, tmp_path):
    def measure(own=model, **options):
        done = []
        keep = tmp_path / "rows.jsonl"
        how = {**BRIEF, "limit": 1, "keep": keep, **options}
        Speech(**how).measure(own, voices, lambda what, part: done.append(what))
        return len(done)

    assert measure() == 2
    assert measure(limit=None) == 5  # which files are measured decides no number
    assert measure(part="validation") == 0
    for options in ({"seed": 1}, {"level": None}, {"at": (2,)}, {"scores": ("log_mel",)}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))} was"):
            measure(**options)
    with pytest.raises(ConfigError, match="model was"):
        measure(own=replace(model, hash="another"))
    with pytest.raises(InputError, match="without a hash"):
        measure(own=replace(model, hash=""))


def test_a_file_that_changed_is_measured_again(model, voices, tmp_path):
    copy = tmp_path / "voices"
    shutil.copytree(voices / "b", copy / "b")
    metric, done = Speech(**BRIEF, keep=tmp_path / "rows.jsonl"), []
    metric.measure(model, copy, _quiet)
    shutil.copy(copy / "b" / "0.wav", copy / "b" / "1.wav")
    metric.measure(model, copy, lambda what, part: done.append(what))
    assert done == ["b/1.wav"]


def test_the_command_prints_the_table(model, voices, tmp_path, capsys):
    bundle = model.save(tmp_path / "bundle")
    words = f"evaluate audio --data {voices} --metric speech --model {bundle} --at 1 --limit 1"
    words += f" --griffin-lim 1 --scores log_mel --project 0 --keep {tmp_path}/rows.jsonl"
    assert main(words.split()) == 0
    out, err = capsys.readouterr()
    assert "| model, 1 steps |" in out
    assert [line.split()[-1] for line in err.splitlines()] == ["a/0.wav", "b/0.wav"]
    assert main(words.split()) == 0
    assert capsys.readouterr() == (out, "")


def test_what_is_wrong_is_said_before_any_work(model, voices, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="at is out of range"):
        Speech(at=(0,)).measure(model, voices, _quiet)
    with pytest.raises(InputError, match="no sound"):
        Speech().measure(model, tmp_path, _quiet)
    monkeypatch.setattr(metrics, "_extra", _missing)
    with pytest.raises(ConfigError, match="not here"):
        Speech().measure(model, voices, _quiet)


def _missing(name):
    raise ConfigError("not here", value=name)
