"""A domain small enough to train in a second: points on a ring, in two classes; and runs of it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import Dataset

from unnoise.denoise import NetworkDenoiser, Noise
from unnoise.domain import Task, Trainable
from unnoise.errors import Cancelled
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.objectives import Batch, Objective, Simple
from unnoise.spaces import Euclidean, Layout
from unnoise.training.train import train


class Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = 16
    dropout: float = 0.0
    items: int = 50


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: int = 0


class Ring(Dataset):
    """Item k is a noisy point of the ring; the noise is drawn from torch's global generator."""

    def __init__(self, items: int, phase: float) -> None:
        self.items, self.phase = items, phase

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        angle = torch.tensor(2 * torch.pi * index / self.items + self.phase)
        point = torch.stack((angle.cos(), angle.sin())) + 0.01 * torch.randn(2)
        return point, index % 2


class Network(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.label = nn.Embedding(2, width)
        self.enter = nn.Linear(3, width)
        self.middle = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))
        self.leave = nn.Sequential(nn.SiLU(), nn.Linear(width, 2))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, label: Tensor, layout: Layout, condition: dict) -> Tensor:
        if self.training:
            self.seen += 1
        h = self.enter(torch.cat((x, label[:, None]), 1)) + self.label(condition["label"])
        return self.leave(h + self.middle(h))


class Toy(Trainable):
    name = "toy"
    Request = Request
    Configuration = Configuration
    bundle = Path("nowhere")

    def configure(self, source: object, options: dict) -> Configuration:
        return Configuration(**options)

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        network = Network(configuration.width, configuration.dropout)
        return NetworkDenoiser(network, GaussianKernel(Euclidean(), VPLinear()), Noise())

    def dataset(self, source: object, configuration: Configuration, part: str) -> Ring:
        if part == "train":
            return Ring(configuration.items, float(source))
        return Ring(min(40, configuration.items), float(source) + 0.1)

    def collate(self, items: list[tuple[Tensor, int]]) -> Batch:
        x0 = torch.stack([point for point, _ in items])
        label = torch.tensor([label for _, label in items])
        return Batch(x0, Layout.dense(len(items), (2,)), {"label": label})

    def trial(self, configuration: Configuration, held_out: Dataset) -> dict | None:
        return {"label": 1, "num_samples": 3, "steps": 2}

    def plan(self, inputs: list, model: object, draws: list):
        label = torch.full((len(draws),), inputs[0].label)
        x = yield Task(Layout.dense(len(draws), (2,)), condition={"label": label})
        return x.tolist()

    def write(self, sample: object, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.txt"
        path.write_text(str(sample))
        return path


class Stopped(Toy):
    """Sends SIGTERM while the first batch of `size` items is made."""

    def __init__(self, size: int) -> None:
        self.size, self.sent = size, False

    def collate(self, items: list[tuple[Tensor, int]]) -> Batch:
        if len(items) == self.size and not self.sent:
            self.sent = True
            signal.raise_signal(signal.SIGTERM)
        return super().collate(items)


class Big(Objective):
    """Gradients far beyond any clipping."""

    def __call__(self, denoiser: nn.Module, batch: Batch, noise) -> Tensor:
        return 1e6 * Simple()(denoiser, batch, noise)


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


def one_step(out: Path, **options: object) -> None:
    """Begin or continue a run, and stop it in its next step."""
    with pytest.raises(Cancelled):
        train(Stopped(SMALL["batch_size"]), 0.0, out, **{**SMALL, **options}, resume=True)


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()
