"""The purify domain: pictures diffused to a noise level and brought back by an adopted model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor, nn

from unnoise.display import Display
from unnoise.domain import Domain, Draw, Plan, Task, Trained
from unnoise.engine.named import named_sampler
from unnoise.engine.options import Options
from unnoise.model import Metric
from unnoise.samplers import Ancestral, Sampler
from unnoise.spaces import Layout, tensor
from unnoise_purify import EXAMPLES
from unnoise_purify.classifiers import load_classifier
from unnoise_purify.defended import answers, check_classifier, device_of
from unnoise_purify.display import Purifications
from unnoise_purify.evaluation import Certified, Corruptions, Robustness
from unnoise_purify.pictures import read_all, to_pil
from unnoise_purify.pixels import Pixels, pixels_of
from unnoise_purify.purifier import Purifier
from unnoise_purify.request import STEPS
from unnoise_purify.request import Request as Asked
from unnoise_purify.samples import Answer, Case, with_case


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture (1, C, H, W) in [0, 1], and how it is purified."""

    picture: Tensor
    purifier: Purifier
    pixels: Pixels
    votes: int
    steps: int | None
    sampler: Sampler | None
    classifier: nn.Module | None

    @torch.no_grad()
    def embedded(self, given: Tensor) -> tuple[Tensor, Layout]:
        """The states of pictures, and their layout, on the CPU."""
        x = given.to(device_of(self.purifier.model.codec))
        told = self.pixels.condition(len(x), x.device)
        layout = self.pixels.layout(len(x), x)
        z, states = self.purifier.embedded(self.pixels.data(x), layout, told)
        return z.cpu(), states.to("cpu")

    @torch.no_grad()
    def decoded(self, state: Tensor, layout: Layout) -> Tensor:
        """The pictures behind states, on the CPU."""
        z = state.to(device_of(self.purifier.model.codec))
        told = self.pixels.condition(len(z), z.device)
        data = self.purifier.decoded(z, layout.to(z.device), told)
        return self.pixels.unit(data).cpu()


@final
class Purify(Domain):
    """Pictures purified by a model of pictures; samples are PIL images."""

    name: ClassVar[str] = "purify"
    Request: ClassVar[type[BaseModel]] = Asked
    adopt: ClassVar[tuple[str, ...]] = ("images", "latent")
    display: ClassVar[Display[Trained]] = Purifications()
    metrics: ClassVar[Mapping[str, type[Metric]]] = {
        "robustness": Robustness,
        "certified": Certified,
        "corruptions": Corruptions,
    }
    demo: ClassVar[Mapping[str, Any]] = {
        "images": [str(path) for path in EXAMPLES],
        "classifier": "digits",
    }

    def prepare(self, request: Asked, model: Trained, options: Options) -> list[Prepared]:
        """One for each picture, all read and looked at now."""
        sampler = options.sampler
        chosen = named_sampler(sampler) if isinstance(sampler, str) else sampler
        steps = options.steps if isinstance(options.steps, int) else STEPS
        purifier = Purifier(model, request.strength, chosen or Ancestral(), steps)
        pixels = pixels_of(model)
        classifier = None
        if request.classifier is not None:
            classifier = load_classifier(request.classifier)
            check_classifier(classifier.eval(), pixels.shape)
        return [
            Prepared(
                picture[None],
                purifier,
                pixels,
                request.votes,
                STEPS if options.steps is None else None,
                Ancestral() if sampler is None else None,
                classifier,
            )
            for picture in read_all(request.images, pixels.shape)
        ]

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        """One diffusion for each vote, one after the other."""
        own = [inputs[draw.input] for draw in draws]
        first, given = own[0], torch.cat([one.picture for one in own])
        told = first.pixels.condition(len(own), given.device)
        z, layout = first.embedded(given)
        total, votes = torch.zeros_like(given), []
        for _ in range(first.votes):
            state = yield Task(
                layout,
                told,
                start=first.purifier.start(z),
                sampler=first.sampler,
                steps=first.steps,
            )
            purified = first.decoded(tensor(state), layout)
            total += purified
            if first.classifier is not None:
                votes.append(probabilities(first.classifier, purified))
        before = None if first.classifier is None else probabilities(first.classifier, given)
        after = torch.stack(votes).mean(0) if votes else None
        return [
            with_case(
                to_pil(total[k] / first.votes),
                Case(to_pil(given[k]), _answer(before, k), _answer(after, k)),
            )
            for k in range(len(own))
        ]

    def alike(self, prepared: Prepared, model: Trained) -> Hashable | None:
        """Pictures may be any; what a classifier is cannot be compared."""
        if prepared.classifier is not None:
            return None
        return prepared.purifier.strength, prepared.votes

    def counts(self, samples: Sequence[Image.Image]) -> Mapping[str, int]:
        """Of how many pictures the classifier's answer is another after purification."""
        cases = [case for case in map(Case.of, samples) if case is not None]
        asked = [case for case in cases if case.before is not None and case.after is not None]
        if not asked:
            return {}
        return {"answers changed": sum(case.changed for case in asked)}

    def write(self, sample: Image.Image, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.png"
        sample.save(path)
        return path


@torch.no_grad()
def probabilities(classifier: nn.Module, x: Tensor) -> Tensor:
    """(B, classes) of pictures in [0, 1], on the CPU."""
    return answers(classifier, x.to(device_of(classifier))).softmax(1).cpu()


def _answer(found: Tensor | None, k: int) -> Answer | None:
    if found is None:
        return None
    return Answer(int(found[k].argmax()), float(found[k].max()))
