"""What a run is worth: the objective and the variational bound on held-out data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.domain import Trainable
from unnoise.errors import UnnoiseError
from unnoise.noise import NoiseSource
from unnoise.objectives import CHAIN, Batch, DataType, Elapsed, Networks, Turn, data_bound
from unnoise.training.data import Batches, Shard
from unnoise.training.options import TrainingConfiguration
from unnoise.training.turns import losses_of

SEED = 0x7A11DA7E  # of validation noise: the same in all runs, so that their numbers compare


@dataclass(frozen=True)
class Validation:
    """Means over held-out samples, each seen at most once; the work is shared by the processes."""

    domain: Trainable
    dataset: Dataset[Any]
    length: int
    turns: Sequence[tuple[str, Turn]]
    data: DataType
    options: TrainingConfiguration
    accelerator: Accelerator

    def __call__(self, networks: Networks, progress: Elapsed) -> dict[str, float | None]:
        """`validation_loss` is that of the turns, as the log calls them; `bound` is in nats per
        sample, of data of the domain's type. `networks` have no gradients.

        Each is absent when it was not asked for; None where it is not finite or the kernel has no
        bound.
        """
        options, found = self.options, {}
        size = min(options.batch_size, self.length)
        count = min(options.validation_batches, self.length // size)
        for label, turn in self.turns if count else ():
            name = f"validation_loss/{label}" if label else "validation_loss"
            found[name] = self._mean(
                _weighed(losses_of(turn, networks, batch, noise, progress).detach(), batch)
                for batch, noise in self._parts(size, count)
            )
        size = min(options.bound_samples, self.length)
        if size:
            try:
                found["bound"] = self._mean(
                    _weighed(self._bound(networks, batch, noise))
                    for batch, noise in self._parts(size, 1)
                )
            except (UnnoiseError, NotImplementedError):
                found["bound"] = None
        return found

    def _parts(self, size: int, count: int) -> Iterator[tuple[Batch, NoiseSource]]:
        shard = Shard(size, self.accelerator.process_index, self.accelerator.num_processes)
        batches = Batches(self.domain, self.dataset, self.length, SEED, shard)
        for number in range(count):
            if positions := shard.positions(number):
                batch = batches[number].to(self.accelerator.device)
                yield batch, NoiseSource(SEED, positions)

    @torch.no_grad()
    def _bound(self, networks: Networks, batch: Batch, noise: NoiseSource) -> Tensor:
        return data_bound(
            networks.denoiser,
            networks.codec,
            batch,
            noise,
            steps=networks.denoiser.kernel.steps or CHAIN,
            evaluations=self.options.bound_evaluations,
            data=self.data,
        ).total

    def _mean(self, parts: Iterator[Weighed]) -> float | None:
        found = list(parts)
        sums = torch.tensor([sum(p.total for p in found), sum(p.weight for p in found)])
        both = self.accelerator.reduce(sums.to(self.accelerator.device), "sum").tolist()
        mean = both[0] / both[1] if both[1] else math.nan
        return mean if math.isfinite(mean) else None


class Weighed(NamedTuple):
    """A sum of values times weights, and of the weights."""

    total: float
    weight: float


def _weighed(values: Tensor, batch: Batch | None = None) -> Weighed:
    values = values.double().cpu()
    if batch is None or batch.weight is None:
        return Weighed(float(values.sum()), values.numel())
    weight = batch.weight.double().cpu()
    return Weighed(float((values * weight).sum()), float(weight.sum()))
