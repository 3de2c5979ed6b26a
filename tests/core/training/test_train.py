"""What a training run promises when nothing goes wrong."""

from __future__ import annotations

import math
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, Big, Toy, one_step, run, weights

from unnoise.errors import InputError
from unnoise.objectives import Batch, DataType, Networks, Objective, Quantised, Simple
from unnoise.storage.bundle import read_bundle
from unnoise.storage.lock import locked
from unnoise.storage.tensors import fit_weights
from unnoise.training import checkpoint as checkpoints
from unnoise.training.record import rows
from unnoise.training.train import TrainingConfiguration, train


def test_the_validation_bound_is_in_the_units_of_the_domains_data(tmp_path: Path) -> None:
    class Levels(Toy):
        def data_type(self, configuration: object) -> DataType:
            return Quantised()

    # the points of the ring are no levels: a probability of them is refused, a density is not
    options = {**SMALL, "steps": 3, "validation_batches": 0}
    found = [
        train(domain, 0.0, tmp_path / name, **options).card["validation"]["bound"]
        for name, domain in (("density", Toy()), ("levels", Levels()))
    ]
    assert isinstance(found[0], float)
    assert found[1] is None


def test_the_run_folder_is_a_bundle_of_the_averaged_weights(tmp_path: Path) -> None:
    model = run(tmp_path / "run", card={"licence": "CC0"})
    bundle = read_bundle(tmp_path / "run")
    assert (bundle.domain, bundle.configuration) == (
        "toy",
        {"width": 8, "dropout": 0.2, "items": 50},
    )
    assert bundle.hash == model.hash
    assert model.card == bundle.card
    fresh = Networks(Toy().build(model.configuration))
    fit_weights(fresh, bundle.state_dict)
    for name, value in model.denoiser.state_dict().items():
        assert torch.equal(value, fresh.denoiser.state_dict()[name])
    card = bundle.card
    assert card["licence"] == "CC0"
    assert card["split"] == "50 for training, 40 held out"
    assert card["training"]["step"] == 12
    assert card["training"]["finished"] is True
    assert card["validation"]["step"] == 12
    assert math.isfinite(card["validation"]["validation_loss"])
    assert math.isfinite(card["validation"]["bound"])
    assert not model.denoiser.training


def test_the_log_has_each_step_once_with_finite_numbers(finished: Path) -> None:
    log = rows(finished)
    assert [row["step"] for row in log] == [3, 6, 9, 12]
    for row in log:
        validated = {"validation_loss", "bound"} if row["step"] in (6, 12) else set()
        assert set(row) == validated | {
            "step",
            "loss",
            "learning_rate",
            "gradient_norm",
            "steps_per_second",
            "seconds",
        }
        assert all(math.isfinite(value) for value in row.values())
    configuration = TrainingConfiguration(
        **{name: SMALL[name] for name in ("steps", "learning_rate", "warmup")}
    )
    assert [row["learning_rate"] for row in log] == [
        configuration.learning_rate_at(step) for step in (2, 5, 8, 11)
    ]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    options = {"steps": 200, "batch_size": 16, "ema": 0.9, "dropout": 0.0, "width": 32}
    every = {"log_every": 4, "validate_every": 200, "checkpoint_every": 200}
    run(tmp_path / "run", **options, **every)
    log = rows(tmp_path / "run")
    late = sum(row["loss"] for row in log[-20:]) / 20
    # E|noise|^2 = 1 per coordinate is what a network that knows nothing achieves
    assert log[0]["loss"] > 0.8
    assert late < 0.6
    assert log[-1]["validation_loss"] < 0.6


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    finished: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # the global generators do not matter
    run(tmp_path / "same")
    run(tmp_path / "other", seed=1)
    assert weights(tmp_path / "same") == weights(finished)
    assert weights(tmp_path / "other") != weights(finished)


def test_workers_validation_and_logging_do_not_change_the_weights(
    finished: Path, tmp_path: Path
) -> None:
    run(tmp_path / "run", workers=2, log_every=1, validate_every=5, checkpoint_every=3, keep=1)
    assert weights(tmp_path / "run") == weights(finished)


def test_the_callers_generators_are_left_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    run(tmp_path / "run")
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()


def test_bf16_trains(tmp_path: Path) -> None:
    run(tmp_path / "run", precision="bf16")
    state = read_bundle(tmp_path / "run").state_dict
    assert all(v.dtype == torch.float32 for v in state.values() if v.is_floating_point())
    run(tmp_path / "exact")  # a second run in this process may have another precision
    assert weights(tmp_path / "run") != weights(tmp_path / "exact")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 needs an accelerator")
def test_fp16_trains_and_resumes_with_its_loss_scale(tmp_path: Path) -> None:
    options = {"precision": "fp16", "objective": Big()}
    run(tmp_path / "run", **options)
    scaler = checkpoints.latest(tmp_path / "run").state["scaler"]
    assert scaler["scale"] < 65536  # the overflows of a loss of 1e6 were skipped, not raised
    shutil.rmtree(tmp_path / "run")
    for _ in range(11):
        one_step(tmp_path / "run", **options)
    run(tmp_path / "run", **options, resume=True)
    assert checkpoints.latest(tmp_path / "run").state["scaler"] == scaler


def test_tensorboard_gets_the_curves(finished: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [3, 6, 9, 12]
    assert events.Scalars("bound")[-1].value == pytest.approx(rows(finished)[-1]["bound"])


def test_no_validation_when_it_is_not_asked_for(tmp_path: Path) -> None:
    model = run(tmp_path / "run", validation_batches=0, bound_samples=0)
    assert model.card["validation"] == {"step": 12}


class Counting(Objective):
    """Notes how many threads its operations take."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        self.seen.add(torch.get_num_threads())
        return Simple()(denoiser, batch, noise)


@pytest.mark.parametrize(("asked", "taken"), [(None, 1), (2, 2)])
def test_a_small_run_takes_one_thread_and_leaves_the_setting_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, taken: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before, objective = torch.get_num_threads(), Counting()
    torch.set_num_threads(3)
    try:
        run(tmp_path / "run", objective=objective, steps=2, threads=asked)
        assert (objective.seen, torch.get_num_threads()) == ({taken}, 3)
    finally:
        torch.set_num_threads(before)


def test_trainings_in_two_threads_are_those_of_one(tmp_path: Path) -> None:
    run(tmp_path / "alone")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, [tmp_path / "a", tmp_path / "b"]))
    assert weights(tmp_path / "a") == weights(tmp_path / "alone") == weights(tmp_path / "b")


def test_a_folder_that_somebody_trains_into(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        locked(tmp_path / "run", "training into"),
        pytest.raises(InputError, match="somebody is training into"),
    ):
        run(tmp_path / "run")
    assert len(list((tmp_path / "run").iterdir())) == 0
    run(tmp_path / "run")
    assert len(rows(tmp_path / "run")) > 0
