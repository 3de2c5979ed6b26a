"""A small domain of points, and others with one mistake planted."""

from __future__ import annotations

import json

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.display import Display
from unnoise.domain import Batch, Task, Trainable
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.samplers import Observation
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import Example

ROWS = [[0.1 * k, 1.0 - 0.01 * k * k] for k in range(12)]


class Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = 8


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    shift: float = Field(0.0, description="added to every number")


class Network(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, label, layout, condition):
        return self.net(torch.cat((x, label[:, None]), -1))


class Points(Trainable):
    """Pairs of numbers."""

    name = "points"
    Request = Request
    Configuration = Configuration

    def build(self, configuration):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Network(configuration.width)
        return NetworkDenoiser(network, GaussianKernel(Euclidean(), VPLinear()), Clean())

    def plan(self, inputs, model, draws):
        state = yield Task(Layout.dense(len(draws), (2,)))
        return [(x + inputs[0].shift).tolist() for x in state]

    def dataset(self, source, configuration, part):
        kept = [row for k, row in enumerate(source) if (k % 4 == 3) == (part == "validation")]
        return [torch.tensor(row) for row in kept]

    def collate(self, items):
        x0 = torch.stack(list(items))
        return Batch(x0, Euclidean().layout(x0))

    def write(self, sample, folder, stem):
        path = folder / f"{stem}.json"
        path.write_text(json.dumps(sample))
        return path


class GlobalNumbers(Points):
    def plan(self, inputs, model, draws):
        start = 0.1 * torch.randn(len(draws), 2)
        state = yield Task(Layout.dense(len(draws), (2,)), denoiser=shifted(self, start))
        return state.tolist()


class PlaceInTheBatch(Points):
    def plan(self, inputs, model, draws):
        start = torch.arange(len(draws)).float()[:, None].expand(-1, 2)
        state = yield Task(Layout.dense(len(draws), (2,)), denoiser=shifted(self, start))
        return state.tolist()


class OneSampleForAll(Points):
    def plan(self, inputs, model, draws):
        value = torch.zeros(len(draws), 2)
        observation = Observation(value, torch.ones_like(value, dtype=torch.bool))
        state = yield Task(Layout.dense(len(draws), (2,)), observation=observation)
        return state.tolist()


class Open(Request):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class AnyField(Points):
    Request = Open


class Loose(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    shift: object = Field(0.0, description="added to every number")


class LibraryError(Points):
    Request = Loose


class Silent(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    shift: float = 0.0


class NoHelp(Points):
    Request = Silent


class Elsewhere(Points):
    def write(self, sample, folder, stem):
        return super().write(sample, folder.parent, stem)


class Plot(Display):
    def preview(self, samples):
        return "<script src='https://example.org/plot.js'></script>"


class Script(Points):
    display = Plot()


class Lost(Points):
    def plan(self, inputs, model, draws):
        return (yield from super().plan(inputs, model, draws))[:-1]


class Unfinished(Points):
    """Remembers that a run has not ended."""

    busy = False

    def plan(self, inputs, model, draws):
        by = 1.0 if self.busy else 0.0
        self.busy = True
        state = yield Task(Layout.dense(len(draws), (2,)), denoiser=shifted(self, by))
        self.busy = False
        return state.tolist()


class Overwritten(Points):
    """Corrects what the user said is known."""

    def plan(self, inputs, model, draws):
        state = yield Task(Layout.dense(len(draws), (2,)))
        state.add_(1.0)
        return state.tolist()


class Unread(Points):
    def dataset(self, source, configuration, part):
        return [torch.full((2,), torch.nan) for _ in source]


class ForeignTrial(Points):
    """As a demo that only the shipped model can serve."""

    def trial(self, configuration, held_out):
        return {"shift": float("nan")}


class NoTrial(Points):
    def trial(self, configuration, held_out):
        return list(held_out)


class LateTrial(Points):
    """It takes an item that need not be there."""

    def trial(self, configuration, held_out):
        return {"shift": float(held_out[99][0])}


def shifted(domain, by):
    """The domain's denoiser, its prediction moved."""
    denoiser = domain.build(Configuration())

    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = denoiser.network

        def forward(self, x, label, layout, condition):
            return self.net(x, label, layout, condition) + by

    return NetworkDenoiser(Moved(), denoiser.kernel, Clean())


DOMAINS = [
    ("global random numbers in a plan", "same_seed_same_result", GlobalNumbers()),
    ("samples by their place in the batch", "order_and_shards", PlaceInTheBatch()),
    ("samples by their place, one by one", "batch_of_n_is_n_singles", PlaceInTheBatch()),
    ("one sample for all", "samples_differ", OneSampleForAll()),
    ("unknown fields taken", "request_is_a_schema", AnyField()),
    ("an error of a library for a bad value", "bad_values_are_refused", LibraryError()),
    ("a field without its help", "request_is_a_schema", NoHelp()),
    ("files beside the folder", "files_are_written", Elsewhere()),
    ("a sample lost", "demo_is_a_request", Lost()),
    ("a run that was not ended remembered", "deadline_and_cancel", Unfinished()),
    ("known values corrected", "observations_stay", Overwritten()),
    ("NaN in the data", "data_can_be_trained_on", Example(Unread(), {"data": ROWS})),
    ("a refused trial", "trial_shows_a_fresh_model", Example(ForeignTrial(), {"data": ROWS})),
    ("a trial of rows", "trial_shows_a_fresh_model", Example(NoTrial(), {"data": ROWS})),
    ("a trial that fails", "trial_shows_a_fresh_model", Example(LateTrial(), {"data": ROWS})),
]
