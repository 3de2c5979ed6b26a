"""Rows of angles that belong together, with a label: what a CSV file of degrees says."""

from __future__ import annotations

import csv
import html
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from unnoise.denoise import NetworkDenoiser, Parametrization, expect
from unnoise.display import Display
from unnoise.domain import Batch, Task, Trainable
from unnoise.errors import ConfigError, InputError
from unnoise.spaces import Layout
from unnoise.specs import FromData
from unnoise_torus.circle import NODES, Torus, Wrapped, WrappedNormal, log_density, wrap


class Request(BaseModel):
    """Fields of `unnoise.generate("angles", ...)`."""

    model_config = ConfigDict(extra="forbid")
    label: str | None = Field(None, description="kind of row; by default any")


class Configuration(BaseModel):
    """Options of `unnoise train angles`, and what `configure` reads off the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int = Field(192, ge=8, description="of the hidden layers")
    layers: int = Field(4, ge=1)
    angles: Annotated[tuple[str, ...], FromData()] = ("angle",)
    labels: Annotated[tuple[str, ...], FromData()] = ()


@final
@dataclass(frozen=True)
class Nodes(Parametrization):
    """x_0 is one of NODES places around x_t, which reach 4 sigma_t or half a turn to either side:
    a softmax, on top of what noise alone says."""

    def check(self, kernel):
        if not isinstance(kernel, WrappedNormal):
            raise ConfigError("Nodes needs a WrappedNormal", value=type(kernel).__name__)

    def inputs(self, kernel, x_t, t, layout):
        return x_t

    def label(self, kernel, t):
        sigma = kernel.sigma(t)
        return sigma.log() if isinstance(sigma, torch.Tensor) else math.log(sigma)

    def check_output(self, kernel, output, x_t):
        expect(output, (*x_t.shape, NODES), "a row over the places for each angle")

    def window(self, kernel, t, output, layout):
        """sigma_t and how far the places reach, in shapes that multiply the output."""
        sigma = torch.as_tensor(layout.expand(kernel.sigma(t), output)).to(output)
        return sigma, (4 * sigma).clamp(max=math.pi)

    def law(self, kernel, output, x_t, t, layout):
        sigma, half = self.window(kernel, t, output, layout)
        offsets = half * ((2 * torch.arange(NODES) + 1 - NODES) / NODES).to(output)
        log_weights = (output + log_density(offsets, sigma)).log_softmax(-1)
        centres = wrap(x_t[..., None] + offsets).expand_as(output)
        return Wrapped(centres, log_weights, 0.0, layout)

    def loss(self, kernel, output, x0, x_t, t, layout):
        _, half = self.window(kernel, t, output, layout)
        place = (wrap(x0 - x_t)[..., None] / half * NODES + NODES - 1) / 2
        nearest = place.round().long().clamp(0, NODES - 1)
        law = self.law(kernel, output, x_t, t, layout)
        return -layout.sum(law.log_weights.gather(-1, nearest)[..., 0]) / layout.sizes


@final
class Network(nn.Module):
    """Logits (B, n, NODES) from n angles, the noise level and a label."""

    def __init__(self, angles, labels, width, layers):
        super().__init__()
        self.read = nn.Linear(8 * angles + 9, width)
        self.labels = nn.Embedding(labels + 1, width)  # the last one: any
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(),
                          nn.Linear(2 * width, width)) for _ in range(layers)
        )  # fmt: skip
        self.write = nn.Linear(width, angles * NODES)
        nn.init.zeros_(self.write.weight)

    def forward(self, x, level, layout, condition=None):
        waves = x[..., None] * torch.arange(1, 5).to(x)
        levels = level[:, None] * torch.tensor([0.25, 0.5, 1, 2]).to(x)
        parts = [waves.sin().flatten(1), waves.cos().flatten(1), levels.sin(), levels.cos()]
        y = self.read(torch.cat([*parts, level[:, None]], 1)) + self.labels(condition["label"])
        for layer in self.layers:
            y = y + layer(y)
        return self.write(y).view(*x.shape, NODES)


@final
class Shown(Display):
    """Samples as a list on a page and as one file of rows."""

    def gather(self, groups, folder):
        """One CSV file of all samples."""
        paths = [path for group in groups for path in group]
        samples = [json.loads(path.read_text()) for path in paths]
        with (folder / "angles.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(samples[0]))
            writer.writeheader()
            writer.writerows(samples)
        for path in paths:
            path.unlink()
        return [folder / "angles.csv"]

    def preview(self, samples):
        lines = [", ".join(f"{name} {value}" for name, value in s.items()) for s in samples]
        return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


@final
class Angles(Trainable):
    """Samples are dicts of degrees, with the label that was asked for."""

    name = "angles"
    Request = Request
    Configuration = Configuration
    bundle = Path(__file__).parent / "bundle"
    display = Shown()
    demo = {"num_samples": 8}  # noqa: RUF012

    def build(self, configuration):
        c = configuration
        network = Network(len(c.angles), len(c.labels), c.width, c.layers)
        return NetworkDenoiser(network, WrappedNormal(), Nodes())

    def defaults(self, configuration):
        return {"steps": 40, "sampler": "ancestral"}

    def configure(self, source, options):
        names, rows = read(source)
        labels = sorted({label for _, label in rows if label})
        return Configuration(**{**options, "angles": names, "labels": tuple(labels)})

    def dataset(self, source, configuration, part):
        names, rows = read(source)
        if names != configuration.angles:
            raise InputError("other columns than the model's", value=names,
                             limit=configuration.angles)  # fmt: skip
        kept = [row for k, row in enumerate(rows) if (k // 100 % 10 == 9) == (part == "validation")]
        return [(wrap(torch.tensor(x).deg2rad()), self.number(configuration, label))
                for x, label in kept]  # fmt: skip

    def number(self, configuration, label):
        """Of a label; the number after the last means any."""
        if not label:
            return len(configuration.labels)
        if label not in configuration.labels:
            raise InputError("no such label", value=label, limit=", ".join(configuration.labels))
        return configuration.labels.index(label)

    def collate(self, items):
        x0 = torch.stack([x for x, _ in items])
        return Batch(x0, Torus().layout(x0), {"label": torch.tensor([k for _, k in items])})

    def prepare(self, request, model, options):
        return [(request.label, self.number(model.configuration, request.label))]

    def plan(self, inputs, model, draws):
        angles = model.configuration.angles
        label, number = inputs[0]
        layout = Layout.dense(len(draws), (len(angles),))
        state = yield Task(layout, {"label": torch.full((len(draws),), number)})
        about = {"label": label} if label else {}
        rows = [[round(d, 2) for d in row] for row in state.rad2deg().tolist()]
        return [dict(zip(angles, row, strict=True)) | about for row in rows]

    def write(self, sample, folder, stem):
        path = folder / f"{stem}.json"
        path.write_text(json.dumps(sample))
        return path


def read(source):
    """Names of the columns of degrees, and rows (degrees, label) of a CSV file with a header.

    Raises InputError for what is no such file, naming the line.
    """
    try:
        with Path(source).open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the angles cannot be read", value=str(source), fix=str(error)) from None
    names = tuple(name for name in (table[0] if table else ()) if name != "label")
    rows = []
    for number, row in enumerate(table, 2):
        try:
            degrees = [float(row[name]) for name in names]
        except (TypeError, ValueError):
            degrees = [math.nan]
        if not degrees or not all(map(math.isfinite, degrees)):
            raise InputError("not a row of angles", value=f"line {number}: {list(row.values())}",
                             fix="degrees, and perhaps a column label")  # fmt: skip
        rows.append((degrees, row.get("label") or ""))
    if not rows:
        raise InputError("a file of angles has a header and rows", value=str(source))
    return names, rows
