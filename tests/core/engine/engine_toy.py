"""A domain for the engine: points, tokens or point sets, around a centre that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unnoise.denoise import ClassifierFree, Clean, Logits, NetworkDenoiser, V
from unnoise.domain import Draw, Task, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.kernels import Absorbing, BetaTable, CategoricalKernel, GaussianKernel, VPCosine
from unnoise.objectives import Batch
from unnoise.samplers import Start
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM


class Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str = "points"
    width: int = 16
    table: int = 0  # discrete steps of the schedule, 0: continuous


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    centre: float | list[float] = 0.0
    guidance_scale: float = 1.0
    passes: int = Field(1, ge=0)  # diffusions, each but the first starting at t = 1/2
    lose: int = 0  # samples that the plan forgets


class Network(nn.Module):
    """x_0 is pulled towards a bend of the centre; rows do not see each other."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.out = 5 if kind == "tokens" else 2
        self.net = nn.Sequential(nn.Linear(4, width), nn.SiLU(), nn.Linear(width, self.out))

    def forward(self, x: Tensor, label: Tensor, layout: Layout, condition: dict) -> Tensor:
        centre = condition["centre"]
        if self.kind == "tokens":
            shown = torch.stack((x.float(), 0 * x), -1)
            both = torch.stack((label, centre), -1)[:, None].expand(*x.shape, 2)
            return self.net(torch.cat((shown, both), -1))
        both = torch.stack((label, centre), -1)
        if layout.index is not None:
            both = both[layout.index]
        return layout_mean_free(self.net(torch.cat((x, both), -1)), layout)


def layout_mean_free(x: Tensor, layout: Layout) -> Tensor:
    return x if layout.index is None else x - layout.mean_point(x)


class Toy(Trainable):
    name = "toy"
    Request = Request
    Configuration = Configuration
    bundle = Path(__file__).parent / "bundle"

    def defaults(self, configuration: Configuration) -> dict:
        return {"steps": 6}

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        network = Network(configuration.kind, configuration.width)
        schedule = BetaTable.linear(configuration.table) if configuration.table else VPCosine()
        if configuration.kind == "tokens":
            kernel = CategoricalKernel(Tokens(5), Absorbing(4))
            return NetworkDenoiser(network, kernel, Logits())
        if configuration.kind == "ragged":
            return NetworkDenoiser(network, GaussianKernel(ZeroCoM(), schedule), Clean())
        return NetworkDenoiser(network, GaussianKernel(Euclidean(), schedule), V())

    def layout(self, kind: str, draws: list[Draw]) -> Layout:
        if kind == "tokens":
            return Layout.dense(len(draws), (7,), dtype=torch.int64)
        if kind == "ragged":
            return Layout.ragged([2 + draw.number % 3 for draw in draws], (2,))
        return Layout.dense(len(draws), (2,))

    def prepare(self, request: Request, model: Trained, options: Options) -> list:
        centres = request.centre if isinstance(request.centre, list) else [request.centre]
        return [(centre, request) for centre in centres]

    def alike(self, prepared: tuple, model: Trained) -> str:
        return repr(prepared[1].model_dump(exclude={"centre"}))

    def plan(self, inputs: list, model: Trained, draws: list[Draw]):
        request = inputs[0][1]
        centre = torch.tensor([inputs[draw.input][0] for draw in draws])
        layout, state = self.layout(model.configuration.kind, draws), torch.zeros(len(draws), 0)
        denoiser = None
        if request.guidance_scale != 1:
            none = {"centre": torch.zeros(1)}
            denoiser = ClassifierFree(model.denoiser, request.guidance_scale, none)
        for number in range(request.passes):
            start = Start(state, 0.5) if number else None
            state = yield Task(layout, {"centre": centre}, start=start, denoiser=denoiser)
        if layout.index is not None:
            samples = [part.tolist() for part in state.split(layout.points.tolist())]
        else:
            samples = state.tolist()
        return samples[: len(draws) - request.lose]

    def dataset(self, source, configuration, part):
        raise NotImplementedError

    def collate(self, items: list[tuple[list[float], float]]) -> Batch:
        x0 = torch.tensor([x for x, _ in items])
        centre = torch.tensor([c for _, c in items])
        return Batch(x0, Layout.dense(len(items), x0.shape[1:], dtype=x0.dtype), {"centre": centre})

    def write(self, sample, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.json"
        path.write_text(json.dumps(sample))
        return path
