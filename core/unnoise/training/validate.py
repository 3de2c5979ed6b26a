"""What a run is worth: the objective and the variational bound on held-out data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.denoise import Denoiser
from unnoise.domain import Trainable
from unnoise.errors import UnnoiseError
from unnoise.noise import NoiseSource
from unnoise.objectives import CHAIN, Batch, DataType, Objective, bound
from unnoise.samplers import Diffusion
from unnoise.training.data import Batches, Shard
from unnoise.training.options import TrainingConfiguration

SEED = 0x7A11DA7E  # of validation noise: the same in all runs, so that their numbers compare


@dataclass(frozen=True)
class Validation:
    """Means over held-out samples, each seen at most once; the work is shared by the processes."""

    domain: Trainable
    dataset: Dataset[Any]
    length: int
    objective: Objective
    data: DataType
    options: TrainingConfiguration
    accelerator: Accelerator

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> dict[str, float | None]:
        """`validation_loss` is the objective's; `bound` is in nats per sample, of data of the
        domain's type.

        Each is absent when it was not asked for; None where it is not finite or the kernel has no
        bound.
        """
        options, found = self.options, {}
        size = min(options.batch_size, self.length)
        count = min(options.validation_batches, self.length // size)
        if count:
            found["validation_loss"] = self._mean(
                self.objective(denoiser, batch, noise) for batch, noise in self._parts(size, count)
            )
        size = min(options.bound_samples, self.length)
        if size:
            try:
                found["bound"] = self._mean(
                    self._bound(denoiser, batch, noise) for batch, noise in self._parts(size, 1)
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

    def _bound(self, denoiser: Denoiser, batch: Batch, noise: NoiseSource) -> Tensor:
        return bound(
            Diffusion(denoiser, batch.layout, noise, batch.condition),
            batch.x0,
            steps=denoiser.kernel.steps or CHAIN,
            evaluations=self.options.bound_evaluations,
            data=self.data,
        ).total

    def _mean(self, parts: Iterator[Tensor]) -> float | None:
        values = [part.double().cpu() for part in parts]
        sums = torch.tensor([sum(float(v.sum()) for v in values), sum(v.numel() for v in values)])
        total, number = self.accelerator.reduce(sums.to(self.accelerator.device), "sum").tolist()
        mean = total / number
        return mean if math.isfinite(mean) else None
