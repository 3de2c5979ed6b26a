"""Which samples a step sees."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_toy import Toy, run

from unnoise.training.data import Batches, Shard, fingerprint, permutation
from unnoise.training.record import rows


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
