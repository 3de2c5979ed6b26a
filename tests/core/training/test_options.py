"""Options of the trainer: what they mean, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import run

from unnoise.errors import ConfigError
from unnoise.training.train import TrainingConfiguration


def test_learning_rate_follows_its_formula() -> None:
    def rate(step: int, **options: object) -> float:
        chosen = {"steps": 110, "learning_rate": 2.0, "warmup": 10, **options}
        return TrainingConfiguration(**chosen).learning_rate_at(step)

    assert [rate(0), rate(4), rate(9), rate(10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate(60) == pytest.approx(1.0)
    assert rate(35) == pytest.approx(1 + math.cos(math.pi / 4))
    assert rate(60, decay="linear", floor=0.1) == pytest.approx(2 * 0.55)
    assert rate(110, floor=0.1) == pytest.approx(0.2)
    assert rate(109, decay="none") == 2.0
    assert rate(0, warmup=0) == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batchsize": 3}, r"unknown option 'batchsize'.*did you mean 'batch_size'"),
        ({"widht": 3}, r"unknown option 'widht'.*did you mean 'width'"),
        ({"steps": 0}, r"'steps'.*greater than or equal to 1.*got 0"),
        ({"steps": "many"}, r"'steps'"),
        ({"learning_rate": math.nan}, r"'learning_rate'"),
        ({"ema": 1.0}, r"'ema'"),
        ({"betas": (0.9, 1.0)}, r"'betas"),
        ({"decay": "exponential"}, r"'decay'.*cosine"),
        ({"precision": "fp8"}, r"'precision'"),
        ({"width": "wide"}, r"'width'"),
        ({"seed": -1}, r"'seed'"),
    ],
)
def test_options_that_cannot_be_used_are_named(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "log.jsonl").exists()
