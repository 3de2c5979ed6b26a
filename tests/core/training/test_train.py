"""What a training run promises when nothing goes wrong, and its refusals before it starts."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Toy

from unnoise.errors import BundleError, ConfigError, InputError, NonFiniteError, PluginError
from unnoise.objectives import Batch, DataType, Objective, Quantised, Simple
from unnoise.storage.bundle import fit_weights, read_bundle
from unnoise.training import checkpoint as checkpoints
from unnoise.training.average import Average
from unnoise.training.data import Batches, Shard, fingerprint, permutation
from unnoise.training.optimizers import optimizer_of
from unnoise.training.record import rows
from unnoise.training.train import TrainingConfiguration, train

SMALL = {
    "steps": 12,
    "batch_size": 7,
    "learning_rate": 1e-2,
    "warmup": 3,
    "checkpoint_every": 4,
    "log_every": 3,
    "validate_every": 6,
    "bound_evaluations": 2,
    "width": 8,
    "dropout": 0.2,
}


def run(out: Path, **options: object):
    return train(Toy(), 0.0, out, **{**SMALL, **options})


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the options SMALL that nothing disturbed. Only read it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(out)
    return out


# --- results


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
    fresh = Toy().build(model.configuration)
    fit_weights(fresh, bundle.state_dict)
    for name, value in model.denoiser.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name])
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
    for _ in range(12):
        run(tmp_path / "run", **options, resume=True, max_minutes=1e-9)
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


# --- the parts


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


def test_average_follows_its_recursion() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.register_buffer("count", torch.tensor(0))
    nn.init.constant_(module.weight, 1.0)
    average = Average(module, 0.5)
    expected = 1.0
    for number, value in enumerate([2.0, -1.0, 5.0, 0.5, 7.0, 1.0, 3.0, 4.0, 9.0, 2.0], start=1):
        nn.init.constant_(module.weight, value)
        module.count += 1
        average.update(number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
        assert float(average.module.weight) == pytest.approx(expected, rel=1e-6)
    assert int(average.module.count) == 10
    assert not average.module.weight.requires_grad


def test_an_average_without_memory_is_the_weights() -> None:
    module = nn.Linear(3, 3)
    average = Average(module, 0.0)
    nn.init.normal_(module.weight)
    average.update(1)
    assert torch.equal(average.module.weight, module.weight)


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    orders = [tuple(permutation(seed, epoch, 40)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert len(set(orders)) == 6


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_shards_cut_the_global_batch(processes: int) -> None:
    for step in (0, 1, 17):
        parts = [list(Shard(7, rank, processes).positions(step)) for rank in range(processes)]
        assert [i for part in parts for i in part] == list(range(7 * step, 7 * step + 7))


def test_each_epoch_sees_each_item_once_and_shards_see_the_same() -> None:
    toy = Toy()
    configuration = toy.configure(0.0, {"items": 20})
    dataset = toy.dataset(0.0, configuration, "train")
    whole = Batches(toy, dataset, 20, 3, Shard(8))
    batches = [whole[step] for step in range(5)]  # two epochs, not aligned with the batches
    points = torch.cat([batch.x0 for batch in batches])
    angles = torch.atan2(points[:, 1], points[:, 0]) / (2 * math.pi) * 20
    seen = angles.round().long() % 20
    assert sorted(seen[:20].tolist()) == list(range(20))
    assert sorted(seen[20:].tolist()) == list(range(20))
    assert not torch.equal(seen[:20], seen[20:])
    # augmentation, drawn from torch's generator, is the same however the batch is cut
    for step, batch in enumerate(batches):
        torch.rand(step)
        parts = [Batches(toy, dataset, 20, 3, Shard(8, rank, 3))[step] for rank in range(3)]
        assert torch.equal(torch.cat([part.x0 for part in parts]), batch.x0)


def test_a_batch_may_be_larger_than_the_data(tmp_path: Path) -> None:
    run(tmp_path / "run", items=3, steps=2, batch_size=20)
    assert rows(tmp_path / "run")[-1]["step"] == 2


def test_fingerprints_tell_data_apart() -> None:
    toy = Toy()

    def of(phase: float, items: int) -> str:
        return fingerprint(
            toy, toy.dataset(phase, toy.configure(0, {"items": items}), "train"), items
        )

    assert of(0.0, 50) == of(0.0, 50)
    assert len({of(0.0, 50), of(0.1, 50), of(0.0, 51), of(0.0, 3)}) == 4


class Watching(Objective):
    """Remembers the sample numbers of each step."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        self.seen.append(list(noise.ids))
        return Simple()(denoiser, batch, noise)


def test_noise_is_numbered_by_step_and_place_in_the_batch(tmp_path: Path) -> None:
    objective = Watching()
    run(tmp_path / "run", objective=objective, steps=3, validation_batches=0, bound_samples=0)
    assert objective.seen == [list(range(7 * step, 7 * step + 7)) for step in range(3)]


class Big(Objective):
    """Gradients far beyond any clipping."""

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        return 1e6 * Simple()(denoiser, batch, noise)


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    # AdamW does not see the scale of the gradient, but its moments are in the checkpoint
    run(tmp_path / "run", objective=Big(), steps=1, clip_norm=0.5, dropout=0.0)
    good = checkpoints.latest(tmp_path / "run")
    moments = checkpoints.read_tensors(good.folder / "optimizer.safetensors")
    first = [v for name, v in moments.items() if name.endswith("exp_avg")]
    norm = math.sqrt(sum(float(v.square().sum()) for v in first))
    assert norm == pytest.approx(0.5 * (1 - 0.9), rel=1e-4)
    assert rows(tmp_path / "run")[0]["gradient_norm"] > 1e4


def test_muon_steps_along_orthogonal_matrices(tmp_path: Path) -> None:
    def trained(steps: int) -> dict[str, Tensor]:
        options = {
            "ema": 0.0,
            "warmup": 0,
            "width": 8,
            "decay": "none",
            "dropout": 0.0,
            "weight_decay": 0.0,
        }
        run(tmp_path / str(steps), optimizer="muon", steps=steps, **options)
        return checkpoints.read_tensors(tmp_path / str(steps) / "model.safetensors")

    before, after = trained(1), trained(2)
    for name in ("enter", "middle.2", "leave.1"):
        step = after[f"network.{name}.weight"] - before[f"network.{name}.weight"]
        # five steps of Newton and Schulz bring singular values near 1, but for the smallest of a
        # gradient of 7 samples; then times .2 sqrt(longer side)
        size = SMALL["learning_rate"] * 0.2 * max(step.shape) ** 0.5
        values = torch.linalg.svdvals(step) / size
        assert values[:2].min() > 0.6
        assert values.max() < 1.3
    names = checkpoints.read_tensors(
        checkpoints.latest(tmp_path / "2").folder / "optimizer.safetensors"
    )
    moments = {name for name in names if name.endswith("exp_avg")}
    assert all("weight/" not in name or "label" in name for name in moments)
    assert any("label.weight" in name for name in moments)  # an embedding is no map


def test_muon_resumes_with_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole", optimizer="muon", weight_decay=0.1)
    for _ in range(3):
        run(tmp_path / "cut", optimizer="muon", weight_decay=0.1, max_minutes=1e-9, resume=True)
    run(tmp_path / "cut", optimizer="muon", weight_decay=0.1, resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_muon_needs_a_matrix() -> None:
    with pytest.raises(ConfigError, match=r"no matrix.*adamw"):
        optimizer_of(nn.Conv1d(2, 3, 3), TrainingConfiguration(optimizer="muon"))
    with pytest.raises(ConfigError, match="no trainable parameter"):
        optimizer_of(nn.ReLU(), TrainingConfiguration())


# --- stopping and going on


def test_a_time_limit_stops_with_a_checkpoint_and_resume_ends_with_the_same_bytes(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for step in range(1, 4):
        model = run(out, max_minutes=1e-9, resume=True)
        assert model.card["training"]["finished"] is False
        assert checkpoints.latest(out).step == step
    model = run(out, resume=True)
    assert model.card["training"]["finished"] is True
    assert weights(out) == weights(finished)
    assert [row["step"] for row in rows(out)] == [1, 2, 3, 6, 9, 12]


def test_resuming_a_finished_run_changes_nothing(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "model.safetensors").unlink()  # killed between the checkpoint and the bundle
    (out / "config.json").unlink()
    model = run(out, resume=True)
    assert weights(out) == weights(finished)
    assert model.card["validation"] == read_bundle(finished).card["validation"]
    assert len(rows(out)) == 4


def test_resume_from_every_checkpoint_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, checkpoint_every=1, keep=100)
    whole = rows(out)
    for step in (1, 5, 11):
        (out / "checkpoints" / "latest").write_text(f"step-{step:08d}\n")
        run(out, checkpoint_every=1, keep=100, resume=True)
        assert weights(out) == weights(finished)
        again = rows(out)
        assert [row["step"] for row in again] == [row["step"] for row in whole]
        for name in ("validation_loss", "bound"):
            assert again[-1][name] == whole[-1][name]


def test_going_back_forgets_what_came_later(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, checkpoint_every=2, keep=100)
    (out / "checkpoints" / "latest").write_text("step-00000004\n")
    run(out, checkpoint_every=100, keep=1, resume=True, max_minutes=1e-9)
    assert checkpoints.latest(out).step == 5
    assert [path.name for path in (out / "checkpoints").glob("step-*")] == ["step-00000005"]


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path / "run", checkpoint_every=2, keep=3)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["latest", "step-00000008", "step-00000010", "step-00000012"]


def test_checkpoints_hold_no_pickle_and_no_temporary_files(finished: Path) -> None:
    names = {path.suffix for path in finished.rglob("*") if path.is_file()}
    assert names - {path.suffix for path in (finished / "tensorboard").iterdir()} == {
        ".json",
        ".jsonl",
        ".safetensors",
        "",
    }
    assert not list(finished.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"learning_rate": 1e-3}, r"training\.learning_rate was 0\.01 and is 0\.001"),
        ({"seed": 4}, r"training\.seed was 0 and is 4"),
        ({"steps": 20}, r"training\.steps was 12 and is 20"),
        ({"width": 9}, r"configuration\.width was 8 and is 9"),
        ({"items": 51}, r"data\.training was 50 and is 51"),
        ({"objective": Big()}, r"objective was .*Simple.* and is .*Big"),
    ],
)
def test_resume_refuses_another_run(
    finished: Path, tmp_path: Path, options: dict, named: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    with pytest.raises(ConfigError, match=named):
        run(out, resume=True, **options)
    assert weights(out) == weights(finished)


def test_resume_refuses_other_data(finished: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.fingerprint"):
        train(Toy(), 0.5, finished, **SMALL, resume=True)


def test_a_run_without_decay_may_be_made_longer(tmp_path: Path) -> None:
    run(tmp_path / "whole", decay="none", steps=16)
    run(tmp_path / "run", decay="none")
    run(tmp_path / "run", decay="none", steps=16, resume=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.parametrize("name", ["weights", "average", "optimizer"])
def test_a_damaged_checkpoint_is_refused_and_says_what_to_do(
    finished: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    path = out / "checkpoints" / "step-00000012" / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"damaged.*step-00000008"):
        run(out, resume=True)
    (out / "checkpoints" / "latest").write_text("step-00000008\n")
    run(out, resume=True)
    assert weights(out) == weights(finished)


@pytest.mark.parametrize("content", ["", "step-99999999", "../../elsewhere"])
def test_a_pointer_to_nothing_is_refused(finished: Path, tmp_path: Path, content: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "checkpoints" / "latest").write_text(content)
    with pytest.raises(BundleError):
        run(out, resume=True)


class Bad(Objective):
    """`value` at step `at`, counted from 1."""

    def __init__(self, value: float, at: int) -> None:
        self.value, self.at = value, at

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        loss = Simple()(denoiser, batch, noise)
        return loss * self.value if noise.ids[0] == 7 * (self.at - 1) else loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(
    finished: Path, tmp_path: Path, value: float
) -> None:
    out = tmp_path / "run"
    with pytest.raises(NonFiniteError, match=r"loss became (nan|inf) at step 10 .*rate 0\.0") as e:
        run(out, objective=Bad(value, 10))
    assert str(out / "checkpoints" / "step-00000008") in str(e.value)
    assert checkpoints.latest(out).step == 8
    run(out, objective=Bad(value, -1), resume=True)
    assert weights(out) == weights(finished)


def test_nan_in_the_first_step_says_that_there_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="no checkpoint yet"):
        run(tmp_path / "run", objective=Bad(math.nan, 1))


# --- refusals before anything is done


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="an accelerator can do fp16")
def test_fp16_without_an_accelerator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"precision.*accelerator"):
        run(tmp_path / "run", precision="fp16")


def test_a_folder_with_a_run_is_not_overwritten(finished: Path) -> None:
    before = weights(finished)
    with pytest.raises(InputError, match=r"already contains a run.*resume=True"):
        run(finished, seed=8)
    assert weights(finished) == before


def test_a_bundle_without_checkpoints_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(finished / name, tmp_path)
    with pytest.raises(InputError, match="no checkpoint to continue from"):
        run(tmp_path, resume=True)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose a folder"):
        run(tmp_path / "file" / "run")


def test_empty_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        run(tmp_path / "run", items=0)


def test_an_unknown_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="imagse"):
        train("imagse", 0.0, tmp_path / "run")


class Flat(Objective):
    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        return Simple()(denoiser, batch, noise).mean()


def test_an_objective_that_averages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one loss per sample"):
        run(tmp_path / "run", objective=Flat())


def test_the_configuration_travels_as_json(finished: Path) -> None:
    state = json.loads((finished / "checkpoints" / "step-00000012" / "state.json").read_text())
    assert state["training"]["betas"] == [0.9, 0.999]
    assert state["configuration"] == {"width": 8, "dropout": 0.2, "items": 50}
