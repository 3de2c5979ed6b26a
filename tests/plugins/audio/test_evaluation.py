import json

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
    text = metric.text(found)
    assert "| Griffin-Lim 8 + 2 |" in text
    assert "b: 3 files, 4 s, at -22.0 dB" in text


def test_the_validation_part_and_a_limit(model, voices):
    metric = Speech(at=(), griffin_lim=(1,), project=(0,), scores=("log_mel",), limit=1)
    assert metric.measure(model, voices, _quiet)["voices"]["b"]["files"] == 1
    kept = Speech(
        at=(), griffin_lim=(1,), project=(0,), scores=("log_mel",), part="validation"
    ).measure(model, voices, _quiet)
    assert 0 < sum(one["files"] for one in kept["voices"].values()) < 6


def test_the_command_prints_the_table(model, voices, tmp_path, capsys):
    bundle = model.save(tmp_path / "bundle")
    words = f"evaluate audio --data {voices} --metric speech --model {bundle} --at 1 --limit 1"
    assert (
        main([*words.split(), "--griffin-lim", "1", "--scores", "log_mel", "--project", "0"]) == 0
    )
    assert "| model, 1 steps |" in capsys.readouterr().out


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
