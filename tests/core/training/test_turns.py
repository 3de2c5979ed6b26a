"""Several turns of a step: who moves when, by how much, and that all of it is in a checkpoint."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import SMALL, Toy, one_step, run, weights
from training_turns import Duel

from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, ConditionDropout, Elapsed, Networks, Objective, Simple, Turn
from unnoise.storage.bundle import read_bundle
from unnoise.training import checkpoint as checkpoints
from unnoise.training.data import Batches, Shard, mix
from unnoise.training.options import TrainingConfiguration
from unnoise.training.record import rows
from unnoise.training.turns import optimised

STILL = {"validation_batches": 0, "bound_samples": 0, "dropout": 0.0, "ema": 0.0}


def raw(out: Path) -> dict[str, Tensor]:
    good = checkpoints.latest(out)
    return checkpoints.read_tensors(good.folder / "weights.safetensors")


# --- a run by hand


def by_hand(steps: int, every: int) -> Networks:
    """`Duel` on the toy with plain AdamW, written out."""
    domain, options = Toy(), TrainingConfiguration(**{k: SMALL[k] for k in ("steps", "warmup")})
    configuration = domain.configure(0.0, {"width": 8, "dropout": 0.0})
    duel = Duel(every=every)
    torch.manual_seed(mix(0))
    networks = Networks(domain.build(configuration), None, {"critic": duel.critic}).train()
    slow = [p for n, p in networks.denoiser.named_parameters() if n.startswith("network.enter")]
    fast = [p for n, p in networks.denoiser.named_parameters() if not n.startswith("network.enter")]
    one = torch.optim.AdamW([{"params": fast}, {"params": slow}], weight_decay=0.0)
    matrices = [p for p in duel.critic.parameters() if p.ndim > 1]
    vectors = [p for p in duel.critic.parameters() if p.ndim == 1]
    two = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.5, 0.9),
    )
    dataset = domain.dataset(0.0, configuration, "train")
    batches = Batches(domain, dataset, 50, 0, Shard(7))
    for step in range(steps):
        batch, numbers = batches[step], range(7 * step, 7 * step + 7)
        progress = Elapsed(step, 12)
        rate = 0.01 * options.learning_rate_at(step) / options.learning_rate
        torch.manual_seed(mix(0, step, 0))
        loss = duel.denoise(networks, batch, NoiseSource(0, numbers), progress).mean()
        descend(one, loss, (rate, 0.1 * rate))
        if step % every == 0:
            torch.manual_seed(mix(0, step, 0, 1))
            loss = duel.judge(networks, batch, NoiseSource(mix(0, 1), numbers), progress).mean()
            descend(two, loss, (0.5 * rate, 0.5 * rate))
    return networks


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rates: Sequence[float]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient * min(1.0, 1.0 / float(norm))
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("every", [1, 3])
def test_the_turns_are_those_of_a_loop_written_out(tmp_path: Path, every: int) -> None:
    run(tmp_path / "run", objective=Duel(every=every), **STILL)
    found, expected = raw(tmp_path / "run"), by_hand(12, every).state_dict()
    assert found.keys() == expected.keys()
    assert any(name.startswith("others.critic") for name in found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_the_log_and_the_card_tell_of_each_turn(tmp_path: Path) -> None:
    model = run(tmp_path / "run", objective=Duel(), log_every=1)
    log = rows(tmp_path / "run")
    for row in log:
        # the critic has a turn at steps 0, 2, 4 ..., the first of which is number 1 of the log
        told = {"loss/critic", "gradient_norm/critic"} & set(row)
        assert len(told) == (2 if row["step"] % 2 else 0)
        assert {"loss", "gradient_norm"} <= set(row)
    assert {"validation_loss", "validation_loss/critic"} <= set(model.card["validation"])


def test_the_terminal_tells_of_each_turn(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path / "run", objective=Duel(), log_every=1, quiet=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step 1/")]
    row = rows(tmp_path / "run")[0]
    said = f"loss {row['loss']:.4f}  critic {row['loss/critic']:.4f}"
    assert len(lines) == 1
    assert said in lines[0]


# --- stopping and going on


def test_turns_resume_with_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole", objective=Duel())
    for _ in range(5):
        one_step(tmp_path / "cut", objective=Duel())
    run(tmp_path / "cut", objective=Duel(), resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    folders = [checkpoints.latest(tmp_path / name).folder for name in ("whole", "cut")]
    for name in ("weights", "average", "optimizer"):
        one, two = ((folder / f"{name}.safetensors").read_bytes() for folder in folders)
        assert one == two


def test_each_turn_has_its_optimiser_in_the_checkpoint(tmp_path: Path) -> None:
    run(tmp_path / "run", objective=Duel(every=5))
    good = checkpoints.latest(tmp_path / "run")
    moments = checkpoints.read_tensors(good.folder / "optimizer.safetensors")
    counts = {name.split("/")[0]: int(v) for name, v in moments.items() if name.endswith("/step")}
    assert counts == {"0": 12, "1": 3}


def test_resume_refuses_other_turns(tmp_path: Path) -> None:
    one_step(tmp_path / "run", objective=Duel())
    with pytest.raises(ConfigError, match=r"turns was .*'every': 2.* and is .*'every': 3"):
        run(tmp_path / "run", objective=Duel(every=3), resume=True)


# --- objectives that learn


@dataclass(frozen=True, eq=False)
class Scaled(Objective):
    """Uncertainty weighting (Kendall 2018): exp(-s) loss + s, s learned."""

    log_scale: nn.Parameter = field(default_factory=lambda: nn.Parameter(torch.tensor(1.0)))

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        own = Simple()(denoiser, batch, noise)
        return torch.exp(-self.log_scale) * own + self.log_scale


class Module(nn.Module, Objective):
    """The same as a module, which also counts its calls in training."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        if self.training:
            self.calls += 1
        own = Simple()(denoiser, batch, noise)
        return torch.exp(-self.log_scale) * own + self.log_scale


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Scaled, "others.own.log_scale"), (Module, "others.objective.log_scale")],
)
def test_what_an_objective_learns_is_trained_saved_and_resumed(
    tmp_path: Path, kind: type[Objective], name: str
) -> None:
    run(tmp_path / "whole", objective=kind(), learning_rate=0.1)
    for _ in range(3):
        one_step(tmp_path / "cut", objective=kind(), learning_rate=0.1)
    run(tmp_path / "cut", objective=kind(), learning_rate=0.1, resume=True)
    assert abs(float(raw(tmp_path / "whole")[name]) - 1.0) > 0.05
    assert name in read_bundle(tmp_path / "whole").state_dict
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


def test_a_memory_without_parameters_is_saved_too(tmp_path: Path) -> None:
    one_step(tmp_path / "run", objective=Module())
    run(tmp_path / "run", objective=Module(), resume=True)
    assert int(raw(tmp_path / "run")["others.objective.calls"]) == 12


class Value(Objective):
    """The loss is a learned number; its gradient is 1."""

    def __init__(self) -> None:
        self.number = nn.Parameter(torch.tensor(0.0))

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        return self.number + 0 * Simple()(denoiser, batch, noise)


@pytest.mark.parametrize("dropout", [False, True])
def test_validation_uses_the_averaged_values_of_what_an_objective_learned(
    tmp_path: Path, dropout: bool
) -> None:
    objective: Objective = Value()
    if dropout:
        objective = ConditionDropout(objective, 0.5, {"label": torch.zeros(1, dtype=torch.int64)})
    model = run(tmp_path / "run", objective=objective, ema=0.9)
    (name,) = [name for name in raw(tmp_path / "run") if name.startswith("others")]
    last, average = (state[name] for state in (raw(tmp_path / "run"), bundled(tmp_path / "run")))
    assert float(last) < float(average) - 1e-3 < 0
    assert model.card["validation"]["validation_loss"] == pytest.approx(float(average))


def bundled(out: Path) -> dict[str, Tensor]:
    return read_bundle(out).state_dict


# --- what a loss is told


@dataclass(frozen=True, eq=False)
class Telling(Objective):
    """Keeps what its loss was told."""

    told: list[tuple[float, int, int]] = field(repr=False)

    def turns(self, networks: Networks) -> Sequence[Turn]:
        return [Turn(self.loss)]

    def loss(
        self, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
    ) -> Tensor:
        self.told.append((float(progress), progress.step, progress.steps))
        return Simple()(networks.denoiser, batch, noise)


def test_a_loss_is_told_how_far_the_run_is(tmp_path: Path) -> None:
    told: list[tuple[float, int, int]] = []
    one_step(tmp_path / "run", objective=Telling(told), **STILL)
    run(tmp_path / "run", objective=Telling(told), **STILL, resume=True)
    assert told == [(step / 12, step, 12) for step in range(12)]
    assert [Elapsed(step, 12).ramp(0.5) for step in (0, 3, 6, 11)] == [0.0, 0.5, 1.0, 1.0]


# --- refusals


def networks() -> Networks:
    return Networks(Toy().build(Toy().configure(0.0, {})), None, {"critic": Duel().critic})


def turns_of(*turns: Turn) -> object:
    return optimised(networks(), turns, TrainingConfiguration())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Turn(Simple(), every=0), r"every so many steps.*got 0"),
        (lambda: Turn(Simple(), parts=()), "names the parts"),
        (lambda: Turn(Simple(), parts="denoiser"), "names the parts"),
        (lambda: Turn(Simple(), rates={"codec": -1.0}), r"'codec' is a factor.*got -1"),
        (lambda: turns_of(), "at least one turn"),
        (lambda: turns_of(Turn(Simple(), ["others.critik"])), r"got 'others\.critik'.*critic"),
        (lambda: turns_of(Turn(Simple(), rates={"denoser": 2.0})), r"got 'denoser'.*denoiser"),
        (lambda: turns_of(Turn(Simple(), ["codec"])), "no trainable parameter"),
        (lambda: turns_of(Turn(Simple(), options={"steps": 3})), r"called so.*got 'steps'"),
        (lambda: turns_of(Turn(Simple(), options={"betas": (2, 2)})), "betas"),
        (lambda: turns_of(*[Turn(Simple(), name="a")] * 3), "have one name"),
        (lambda: Networks(networks().denoiser, None, {"a.b": nn.Linear(1, 1)}), "name"),
        (lambda: Networks(networks().denoiser, None, {"items": nn.Linear(1, 1)}), "name"),
    ],
)
def test_turns_that_cannot_be_taken_are_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_what_no_turn_moves_stands_still_and_does_not_train() -> None:
    every = networks()
    before = copy.deepcopy(every.state_dict())
    found = optimised(every, [Turn(Simple(), ["others"])], TrainingConfiguration())
    assert set(found[0].parameters) == {
        name for name, _ in every.named_parameters() if name.startswith("others")
    }
    assert not any(p.requires_grad for p in every.denoiser.parameters())
    assert (every.denoiser.training, every.others["critic"].training) == (False, True)
    assert all(torch.equal(v, before[name]) for name, v in every.state_dict().items())
