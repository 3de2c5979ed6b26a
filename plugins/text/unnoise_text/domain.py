"""The text domain: x_0 is a row of tokens."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unnoise.conditioning import SMC, Language
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
from unnoise.domain import Batch, Draw, Plan, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import ConfigError, InputError
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
from unnoise.samplers import Confidence, FirstHitting, Order, Sampler
from unnoise.spaces import Layout, tensor
from unnoise.windows import block
from unnoise_text import data
from unnoise_text.canvas import Canvas, canvas, fixed, given
from unnoise_text.configuration import CALLER, Configuration
from unnoise_text.display import Pages, shown_mask
from unnoise_text.guided import GuidedByText, check_given
from unnoise_text.lm_folders import is_folder, read_folder
from unnoise_text.network import network_of
from unnoise_text.noise import kernel_of, mask_of
from unnoise_text.patterns import Matching, Showing, expression, matching, task_for, the_gap
from unnoise_text.request import Request
from unnoise_text.rows import Row, measuring, task_of
from unnoise_text.sayable import Sayable, rules_of
from unnoise_text.units import UNITS, Measured, weights_of


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """An input: its canvas, what else was asked for, the sampler that this needs, whether gaps of
    the request are measured in words or characters, what its gap has to match, and the options."""

    canvas: Canvas
    request: Request
    sampler: Sampler | None
    measured: bool
    matching: Matching | None
    options: Options


_BROUGHT = ("tokenizer", "alphabet", "kernel", "graph", "neighbours", "transitions")
"""Options that decide what a model knows, which stays when another starts from it."""


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

    def check_save(self, model: Trained) -> None:
        if model.configuration.architecture == CALLER:
            raise ConfigError(
                "the network of this model was handed in, and a bundle could not build it again",
                fix="save the network by itself, and call masked_lm(network, tokenizer) with it",
            )

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        kernel = kernel_of(configuration)
        network = network_of(configuration)
        return NetworkDenoiser(network, kernel, _parametrization(configuration))

    def foreign(self, folder: Path) -> Trained | None:
        """A masked language model of transformers with its tokenizer."""
        if not is_folder(folder):
            return None
        found = read_folder(folder)
        defaults = self.defaults(found.configuration)
        return Trained(self, found.denoiser, found.configuration, defaults, found.card, found.hash)

    def check_start(self, configuration: Configuration, initial: Trained | None) -> None:
        """A model to start from brings its vocabulary, and what its noise has of its data."""
        if initial is None:
            return
        before: Configuration = initial.configuration
        measured = "information" in (before.schedule, configuration.schedule)
        for name in (*_BROUGHT, *(("schedule", "chain") if measured else ())):
            own, asked = getattr(before, name), getattr(configuration, name)
            if own != asked:
                raise ConfigError(
                    f"{name} is that of the model to start from",
                    value=asked,
                    limit=own,
                    fix=f"leave {name} out, or start anew",
                )

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
        if request.outside is not None:
            configuration = configuration.reading(request.outside)
        found = [canvas_of(configuration, **one) for one in request.inputs]
        check_given(request.guidance_scale, [p.text for one in found for p in one.pieces])
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
        measured = any(piece.unit for one in found for piece in one.pieces)
        if measured:
            sampler = _one_by_one(request, options, model)
        pattern = expression(request.pattern, request.json_schema)
        rules = [_matching(pattern, one, request, configuration) for one in found]
        if pattern is not None and options.sampler is None:
            sampler = SMC(particles=request.particles)
        both = zip(found, rules, strict=True)
        return [Prepared(one, request, sampler, measured, r, options) for one, r in both]

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        configuration: Configuration = model.configuration
        own = [inputs[draw.input] for draw in draws]
        request, sampler = own[0].request, own[0].sampler
        denoiser = _denoiser(request, model)
        if own[0].matching is not None:
            texts: list[str] = yield from _matched(own, draws, denoiser, configuration)
            return texts
        if own[0].measured:
            units = [
                weights_of(configuration.vocabulary, configuration.known.vocab, u) for u in UNITS
            ]
            some = next(w for w in units if w is not None)
            denoiser = Measured(denoiser, torch.stack([some if w is None else w for w in units]))
        end = configuration.known.end if configuration.known.ends else None
        mask = shown_mask(configuration)
        rows = [Row.of(one.canvas, end is not None) for one in own]
        size = max(one.canvas.size for one in own)
        step = request.block or size
        for start in range(0, size, step):
            parts = [block(len(r.tokens), start, start + step, configuration.length) for r in rows]
            if mask is not None:
                both = zip(rows, parts, strict=True)
                parts = [row.beyond(part, configuration.length) for row, part in both]
            windows = [row.window(part, mask) for row, part in zip(rows, parts, strict=True)]
            task = task_of(windows, mask is not None, request.guidance_scale is not None)
            if own[0].measured:
                task = measuring(task, [one.canvas for one in own], size)
            state = yield replace(task, denoiser=denoiser, sampler=sampler)
            assert isinstance(state, Tensor)
            for row, part, tokens in zip(rows, parts, state, strict=True):
                fresh = slice(part.fresh - part.start, part.keep - part.start)
                row.tokens[part.fresh : part.keep] = tokens[fresh]
        return [
            one.canvas.text(row.tokens.tolist(), configuration.vocabulary, end)
            for one, row in zip(own, rows, strict=True)
        ]

    def alike(self, prepared: Prepared, model: Trained) -> Hashable | None:
        return None if prepared.matching or prepared.measured else prepared.request.manner

    def notes(self, inputs: Sequence[Prepared]) -> list[str]:
        """What the model sees of what is given in another way, or not at all."""
        return [note for one in inputs for note in one.canvas.notes]

    def units(self, configuration: Configuration, items: Sequence[Tensor]) -> Mapping[str, int]:
        """Tokens, and the characters that they decode to."""
        vocabulary = configuration.vocabulary
        characters = sum(vocabulary.characters(item.tolist()) for item in items)
        return {"token": sum(map(len, items)), "character": characters}

    def data_type(self, configuration: Configuration) -> DataType:
        return Categories()

    def write(self, sample: str, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.txt"
        path.write_text(sample, encoding="utf-8")
        return path


def _matching(
    pattern: str | None, one: Canvas, request: Request, configuration: Configuration
) -> Matching | None:
    if pattern is None:
        return None
    mask = shown_mask(configuration)
    if mask is None:
        raise InputError(
            "patterns are for the absorbing kernel", value=configuration.kernel, limit="absorbing"
        )
    sized = request.length is not None or not one.pieces[the_gap(one)].free
    longest = None if sized else configuration.length
    return matching(
        pattern, one, configuration.vocabulary, mask, configuration.known.vocab, longest
    )


def _matched(
    own: Sequence[Prepared],
    draws: Sequence[Draw],
    denoiser: Denoiser,
    configuration: Configuration,
) -> Plan:
    """Texts whose gaps match; those of one language and size at once, with a grid of their own."""
    rules = [one.matching for one in own if one.matching is not None]
    canvases = [
        rule.drawn(own[0].options.seed, draw.number)
        for rule, draw in zip(rules, draws, strict=True)
    ]
    texts = [""] * len(own)
    groups: dict[tuple[Language, int, int], list[int]] = {}
    for k, (rule, one) in enumerate(zip(rules, canvases, strict=True)):
        gap = one.pieces[the_gap(one)].size
        groups.setdefault((rule.language, one.size, gap), []).append(k)
    for (language, _, gap), places in groups.items():
        rows = [Row.of(canvases[k], False) for k in places]
        task = task_of(rows, True, own[0].request.guidance_scale is not None)
        task = task_for(language, task, own[0].options.steps or 2 * gap)
        state = yield replace(task, denoiser=Showing(denoiser), sampler=own[0].sampler, rows=places)
        for k, tokens in zip(places, tensor(state).tolist(), strict=True):
            texts[k] = canvases[k].text(tokens, configuration.vocabulary)
    return texts


def _one_by_one(request: Request, options: Options, model: Trained) -> Sampler:
    """What gaps of words or characters need: InputError where something else was asked for."""
    others = {"order": request.order, "block": request.block}
    for name, asked in (others | {"steps": options.steps, "grid": options.grid}).items():
        if asked is not None:
            raise InputError(
                "gaps that are measured in words or characters are filled a token at a time",
                value=f"{name}={asked}",
                fix=f"leave {name} out, or say the gap in tokens, ____:20",
            )
    sampler = FirstHitting()
    sampler.check(model.denoiser.kernel)
    return sampler


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
    if length:
        return replace(canvas(template, length, vocabulary), open=False)
    return canvas(template, max(asked, fixed(template, vocabulary)), vocabulary)


def _denoiser(request: Request, model: Trained) -> Denoiser:
    configuration: Configuration = model.configuration
    scale = request.guidance_scale
    own = model.denoiser if scale is None else GuidedByText(model.denoiser, scale)
    found: Denoiser = Sayable(own, rules_of(configuration))
    asked = request.temperature
    temperature = configuration.temperature if asked is None else asked
    if temperature == 1 and request.top_p == 1:
        return found
    return Tempered(found, temperature, request.top_p)


def _sampler(request: Request, model: Trained) -> Sampler | None:
    if request.order is None:
        return None
    sampler = Confidence(Order(request.order))
    sampler.check(model.denoiser.kernel)
    return sampler


def _parametrization(configuration: Configuration) -> Parametrization:
    if configuration.goal == "score_entropy":
        return Ratio()
    if configuration.kernel == "absorbing":
        return Masked(mask_of(configuration))
    return Logits()


def objective_of(configuration: Configuration) -> Objective:
    """What a model of this configuration is trained on."""
    steps = configuration.chain or CHAIN
    goal = configuration.aim
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
