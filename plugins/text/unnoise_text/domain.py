"""The text domain: x_0 is a row of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unnoise.denoise import (
    Denoiser,
    Logits,
    Masked,
    NetworkDenoiser,
    Parametrization,
    Ratio,
    Tempered,
)
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Task, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import InputError
from unnoise.objectives import (
    CHAIN,
    Categories,
    DataType,
    Hybrid,
    MaskedDiffusion,
    Objective,
    OrderAgnosticLoss,
    ScoreEntropy,
    Simple,
    VariationalBound,
)
from unnoise.samplers import (
    Conditioning,
    Confidence,
    Observation,
    Order,
    Replacement,
    Reveal,
    Sampler,
)
from unnoise.spaces import Layout, State, tensor
from unnoise.trajectory import Frame
from unnoise.windows import Segment, block
from unnoise_text import data, pages
from unnoise_text.canvas import Canvas, canvas, fixed, given
from unnoise_text.configuration import Configuration
from unnoise_text.network import network_of
from unnoise_text.noise import kernel_of, mask_of
from unnoise_text.request import Request


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """An input: its canvas, what else was asked for, and the sampler that this needs."""

    canvas: Canvas
    request: Request
    sampler: Sampler | None


@final
class Pages(Display[Trained]):
    """Paragraphs, and each canvas on its way from masks to words."""

    strip: ClassVar[Literal["across", "down"]] = "down"

    def preview(self, samples: Sequence[str]) -> str:
        return pages.paragraphs(samples)

    def terminal(self, state: State, model: Trained) -> str:
        configuration, row = model.configuration, tensor(state)[0].tolist()
        return pages.canvas_line(row, _mask(configuration), configuration.vocabulary)

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        """The canvas of each sample at each moment."""
        configuration = model.configuration
        vocabulary, mask = configuration.vocabulary, _mask(configuration)
        return [
            [pages.canvas_html(tensor(f.sample(k)).tolist(), mask, vocabulary) for f in frames]
            for k in rows
        ]


@final
class Text(Trainable):
    """Text of any vocabulary, with its beginning, its end or the text around gaps given."""

    name: ClassVar[str] = "text"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    bundle: ClassVar[Path | None] = Path(__file__).parent / "bundle"
    display: ClassVar[Display[Trained]] = Pages()
    demo: ClassVar[Mapping[str, Any]] = {
        "template": "my fellow ____:20 , the state of our union is ____:12",
        "num_samples": 4,
        "temperature": 0.6,
    }

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        """The vocabulary, and what the noise takes from the data."""
        return data.configure(source, dict(options))

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        """First hitting asks the network once for each token that appears, and is exact; it is for
        masks only."""
        absorbing = configuration.kernel == "absorbing"
        return {"steps": 128, "sampler": "first-hitting" if absorbing else "ancestral"}

    def trial(self, configuration: Configuration, held_out: Any) -> Mapping[str, Any]:
        """Texts of the vocabulary, with nothing given: that of the demo is of the shipped model."""
        return {"num_samples": 4}

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        kernel = kernel_of(configuration)
        network = network_of(configuration)
        return NetworkDenoiser(network, kernel, _parametrization(configuration))

    def objective(self, configuration: Configuration) -> Objective:
        return objective_of(configuration)

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Windows:
        return data.read(source, configuration, part)

    def collate(self, items: Sequence[Tensor]) -> Batch:
        """Rows of tokens (L,), padded to the longest."""
        lengths = torch.tensor([len(item) for item in items])
        x0 = pad_sequence(list(items), batch_first=True)
        mask = None
        if int(lengths.min()) < x0.shape[1]:
            mask = torch.arange(x0.shape[1]) < lengths[:, None]
        return Batch(x0, Layout.dense(*x0.shape[:1], x0.shape[1:], mask=mask, dtype=torch.int64))

    def prepare(self, request: Request, model: Trained, options: Options) -> list[Prepared]:
        """The canvas of each input, encoded once."""
        configuration: Configuration = model.configuration
        found = [canvas_of(configuration, **one) for one in request.inputs]
        size = max(one.size for one in found)
        if request.block is None and size > configuration.length:
            raise InputError(
                "the text is longer than the network sees at once",
                value=f"{size} tokens",
                limit=f"{configuration.length} tokens",
                fix="pass block=32 to write it block by block",
            )
        if (request.block or 0) > configuration.length:
            raise InputError(
                "a block is longer than the network sees at once",
                value=request.block,
                limit=f"1 to {configuration.length}",
            )
        sampler = _sampler(request, model)
        return [Prepared(one, request, sampler) for one in found]

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        configuration: Configuration = model.configuration
        own = [inputs[draw.input] for draw in draws]
        request, sampler = own[0].request, own[0].sampler
        denoiser = _denoiser(request, model)
        rows = [Row(*one.canvas.tensors()) for one in own]
        size = max(one.canvas.size for one in own)
        step = request.block or size
        for start in range(0, size, step):
            parts = [block(len(r.tokens), start, start + step, configuration.length) for r in rows]
            windows = [row.window(part) for row, part in zip(rows, parts, strict=True)]
            task = _task(windows, configuration.kernel == "absorbing")
            state = yield replace(task, denoiser=denoiser, sampler=sampler)
            assert isinstance(state, Tensor)
            for row, part, tokens in zip(rows, parts, state, strict=True):
                row.tokens[part.start : part.end] = tokens[: part.length]
        return [
            one.canvas.text(row.tokens.tolist(), configuration.vocabulary)
            for one, row in zip(own, rows, strict=True)
        ]

    def units(self, configuration: Configuration, items: Sequence[Tensor]) -> Mapping[str, int]:
        """Tokens, and the characters that they decode to."""
        vocabulary = configuration.vocabulary
        characters = sum(len(vocabulary.decode(item.tolist())) for item in items)
        return {"token": sum(map(len, items)), "character": characters}

    def data_type(self, configuration: Configuration) -> DataType:
        return Categories()

    def write(self, sample: str, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.txt"
        path.write_text(sample, encoding="utf-8")
        return path


@final
@dataclass(frozen=True, eq=False)
class Row:
    """A text as it is written: (L,) tokens, and True where they were given."""

    tokens: Tensor
    given: Tensor

    def window(self, part: Segment) -> Row:
        """What the network sees of it: what lies before the fresh tokens is known."""
        own = slice(part.start, part.end)
        written = torch.arange(part.start, part.end) < part.fresh
        return Row(self.tokens[own], self.given[own] | written)


def _task(windows: Sequence[Row], absorbing: bool) -> Task:
    """The windows, padded to the longest, as one diffusion."""
    x = pad_sequence([w.tokens for w in windows], batch_first=True)
    known = pad_sequence([w.given for w in windows], batch_first=True)
    lengths = torch.tensor([len(w.tokens) for w in windows])
    real = torch.arange(x.shape[1]) < lengths[:, None]
    layout = Layout.dense(
        len(x), x.shape[1:], mask=None if bool(real.all()) else real, dtype=torch.int64
    )
    method: Conditioning = Reveal() if absorbing else Replacement()
    return Task(layout, observation=Observation(x, known, method))


def canvas_of(
    configuration: Configuration,
    *,
    prompt: str | None,
    suffix: str | None,
    template: str | None,
    length: int | None,
) -> Canvas:
    """What is given of one input."""
    vocabulary = configuration.vocabulary
    asked = length or configuration.length
    if template is None:
        return given(prompt, suffix, asked, vocabulary)
    # without a length, gaps of given sizes may make a text of any length
    return canvas(
        template, asked if length else max(asked, fixed(template, vocabulary)), vocabulary
    )


def _denoiser(request: Request, model: Trained) -> Denoiser | None:
    asked = request.temperature
    temperature = model.configuration.temperature if asked is None else asked
    if temperature == 1 and request.top_p == 1:
        return None
    return Tempered(model.denoiser, temperature, request.top_p)


def _sampler(request: Request, model: Trained) -> Sampler | None:
    if request.order is None:
        return None
    sampler = Confidence(Order(request.order))
    sampler.check(model.denoiser.kernel)
    return sampler


def _mask(configuration: Configuration) -> int | None:
    return mask_of(configuration) if configuration.kernel == "absorbing" else None


def _parametrization(configuration: Configuration) -> Parametrization:
    if configuration.goal == "score_entropy":
        return Ratio()
    if configuration.kernel == "absorbing":
        return Masked(mask_of(configuration))
    return Logits()


def objective_of(configuration: Configuration) -> Objective:
    """What a model of this configuration is trained on."""
    steps = configuration.chain or CHAIN
    absorbing = configuration.kernel == "absorbing"
    goal = configuration.goal or ("masked" if absorbing else "hybrid")
    if goal == "masked" and configuration.chain is None and configuration.schedule != "information":
        return MaskedDiffusion()
    if goal in ("masked", "bound"):  # of a discrete chain they are the same
        return VariationalBound(steps)
    if goal == "hybrid":
        return Hybrid(configuration.hybrid, steps)
    if goal == "score_entropy":
        return ScoreEntropy()
    if goal == "order_agnostic":
        return OrderAgnosticLoss()
    return Simple()
