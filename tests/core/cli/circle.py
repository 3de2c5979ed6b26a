"""Points on a circle: a domain as sources of a plugin, which the tests here install."""

from __future__ import annotations

import json
from pathlib import Path

from unnoise.cli import main

PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("circle", "points on a circle", "unnoise_circle.domain:Circle")]
"""

DOMAIN = """
import json
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.domain import Batch, Task, Trainable
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.spaces import Euclidean, Layout

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    label: int | list[int] | None = Field(None, description="which kind of point")
    radius: float = Field(1.0, gt=0, le=5, description="of the circle")
    colour: Colour = Field(Colour.RED, description="for Enum")
    shade: Literal["light", "dark"] = Field("light", description="for Literal")
    centred: bool = Field(True, description="for a flag that is on")
    filled: bool = Field(False, description="for a flag that is off")
    source: str | Path | np.ndarray[Any, Any] | None = Field(None, description="no words for it")
    limit: float | None = Field(3.0, description="for none")
    words: str | list[str] = Field("", description="for a list with a default of one value")
    notes: dict[str, str] = Field(default_factory=dict, description="for names with values")

class Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = Field(8, ge=1, description="of the network")
    scale: tuple[float, float] = Field((1.0, 1.0), description="of the two axes")

class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, label, layout, condition):
        return self.layers(torch.cat([x, label[:, None]], 1))

class Circle(Trainable):
    name = "circle"
    Request = Request
    Configuration = Configuration

    def defaults(self, configuration):
        return {"steps": 3, "sampler": "ddim"}

    def build(self, configuration):
        kernel = GaussianKernel(Euclidean(), VPCosine())
        return NetworkDenoiser(Network(configuration.width), kernel, Clean())

    def dataset(self, source, configuration, part):
        angles = torch.linspace(0, 6, int(Path(source).read_text()))
        points = torch.stack([angles.cos(), angles.sin()], 1)
        return points[:-8] if part == "train" else points[-8:]

    def collate(self, items):
        return Batch(torch.stack(list(items)), Layout.dense(len(items), (2,)))

    def prepare(self, request, model, options):
        return [request] * (len(request.label) if isinstance(request.label, list) else 1)

    def plan(self, inputs, model, draws):
        states = yield Task(Layout.dense(len(draws), (2,)))
        asked = inputs[0].model_dump(mode="json")
        return [{"point": [round(v, 4) for v in x.tolist()], "asked": asked} for x in states]

    def write(self, sample, folder, stem):
        path = folder / f"{stem}.json"
        path.write_text(json.dumps(sample))
        return path
"""

TOGETHER = """
from unnoise.display import Display

class Together(Display):
    def preview(self, samples):
        return ""

    def gather(self, groups, folder):
        found = []
        for number, paths in enumerate(groups):
            found.append(folder / f"group-{number}.txt")
            found[-1].write_text(" ".join(path.name for path in paths))
            for path in paths:
                path.unlink()
        return found

Circle.display = Together()
"""

METRICS = """
from unnoise.model import Metric

class Roundness(Metric):
    power: float = Field(2.0, gt=0, description="of the norm")
    num_samples: int = Field(4, ge=1)
    steps: int | None = None

    def measure(self, model, source, report):
        report("measuring", 0.5)
        report("measuring", 0.6)
        report("comparing", 0.75)
        made = model.generate(num_samples=self.num_samples, steps=self.steps).samples
        data = int(Path(source).read_text())
        return {"data": data, "samples": len(made), "power": self.power}

class Flat(Metric):
    def measure(self, model, source, report):
        return {"flat": 1}

Circle.metrics = {"roundness": Roundness, "flat": Flat}
"""

TRAIN = ("train", "circle", "--data", "data.txt", "--device", "cpu", "--seed", "3")
SHORT = ("--steps", "6", "--batch-size", "4", "--checkpoint-every", "2", "--width", "4")


def asked(folder: Path, name: str = "00000") -> dict:
    return json.loads((folder / f"{name}.json").read_text())["asked"]


def failed(capsys, *words: str, code: int = 2) -> str:
    """The one line on stderr of a command that fails."""
    capsys.readouterr()
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unnoise: ")
    return err
