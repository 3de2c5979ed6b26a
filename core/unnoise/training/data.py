"""Which samples a step sees: a pure function of (seed, step).

Position p = step * batch_size + i of the run is item `permutation(epoch)[p mod n]` of the data
with epoch = p // n, the permutation being drawn by a counter-based generator keyed with
(seed, epoch). Nothing has to be remembered to resume, and R processes cut the same global batch.
"""

from __future__ import annotations

import hashlib
import random
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from unnoise.discovery.domains import collated, dataset_of
from unnoise.domain import Trainable, Trained
from unnoise.errors import InputError
from unnoise.objectives import Batch
from unnoise.storage.tensors import digest


def mix(*numbers: int) -> int:
    """63 bits that depend on every one of `numbers`, each of 64 bits."""
    packed = struct.pack(f"<{len(numbers)}Q", *(number % 2**64 for number in numbers))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order of `length` items in `epoch`."""
    key = np.array([seed, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(length)


def read(dataset: Dataset[Any], index: int, *numbers: int) -> Any:
    """Item `index` of a data set, whose augmentation is a function of `numbers`.

    torch's default generator is seeded from them before the item is made. It is the only one that a
    data set may draw from: the conformance kit reads items in this way, too.
    """
    torch.default_generator.manual_seed(mix(*numbers))
    return dataset[index]


def held_out_of(domain: Trainable, model: Trained, source: Any, count: int, seed: int) -> list[Any]:
    """At most `count` items of the validation part of `source`, evenly spaced over it.

    Raises InputError where there are none, or none are asked for.
    """
    if count < 1:
        raise InputError("num_samples is at least 1", value=count)
    data: Any = dataset_of(domain, source, model.configuration, "validation")
    count = min(count, len(data))
    if count == 0:
        raise InputError("the data have no validation part", value=str(source))
    places = [i * len(data) // count for i in range(count)]
    return [read(data, place, seed, place) for place in places]


@dataclass(frozen=True)
class Shard:
    """The part of each global batch that one process works on: rows `rank` of `processes`."""

    batch_size: int
    rank: int = 0
    processes: int = 1

    def positions(self, step: int) -> range:
        """Positions in the run, which are also the sample numbers of the noise."""
        start = step * self.batch_size
        cut = self.batch_size * self.rank // self.processes
        end = self.batch_size * (self.rank + 1) // self.processes
        return range(start + cut, start + end)


class Batches(Dataset[Any]):
    """Maps a step to this process's part of its batch, collated, on the CPU.

    Items are read with (seed, position), see `read`, so augmentation neither depends on the number
    of processes nor breaks a resume. numpy's and Python's global generators are seeded once per
    step.
    """

    def __init__(
        self, domain: Trainable, dataset: Dataset[Any], length: int, seed: int, shard: Shard
    ) -> None:
        self.domain, self.dataset, self.length = domain, dataset, length
        self.seed, self.shard = seed, shard

    def __getitem__(self, step: int) -> Batch:
        positions = self.shard.positions(step)
        number = mix(self.seed, step, self.shard.rank)
        random.seed(number)
        np.random.seed(number & 0xFFFFFFFF)
        items = []
        for position in positions:
            epoch, row = divmod(position, self.length)
            index = int(permutation(self.seed, epoch, self.length)[row])
            items.append(read(self.dataset, index, self.seed, position))
        return collated(self.domain, items)


class _Steps(Dataset[Any]):
    """Maps a step to the parts of its batch."""

    def __init__(self, parts: Sequence[Batches]) -> None:
        self.parts = parts

    def __getitem__(self, step: int) -> list[Batch]:
        return [part[step] for part in self.parts]


def in_order(parts: Sequence[Batches], start: int, end: int, workers: int) -> Iterator[list[Batch]]:
    """The parts of the batches of steps `start` to `end` - 1, loaded ahead by `workers`
    processes."""
    loader = DataLoader(
        _Steps(parts),
        batch_size=None,
        sampler=range(start, end),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_calm if workers else None,
    )
    return iter(loader)


def fingerprint(domain: Trainable, dataset: Dataset[Any], length: int) -> str:
    """A short hash of a dataset: of its own `fingerprint`, by `unnoise.storage.tensors.digest`, or
    of its length and 16 items spread over it.

    Enough to notice that a run is resumed on other data, cheap enough to do each time.
    """
    own = getattr(dataset, "fingerprint", None)
    if isinstance(own, str):
        return digest(length, own)[:16]
    found: list[object] = [length]
    for index in sorted({length * k // 16 for k in range(16)} | {length - 1}):
        random.seed(index)
        np.random.seed(index & 0xFFFFFFFF)
        batch = collated(domain, [read(dataset, index, index)])
        found += [batch.x0, batch.condition, batch.weight]
    return digest(*found)[:16]


def _as_it_is(batch: Any) -> Any:
    return batch


def _calm(_: int) -> None:
    # Ctrl-C reaches the whole process group; only the trainer decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
