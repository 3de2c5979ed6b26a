"""The text2image domain: data are RGB pictures of levels 0 to 255, and states the same from -1 to
1. A cascade is one plan of two tasks, each with its own denoiser, size and grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from unnoise.codecs import Codec
from unnoise.denoise import Clean, Denoiser, NetworkDenoiser, Noise, V
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Task, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import ConfigError
from unnoise.fields import configured
from unnoise.kernels import GaussianKernel, VPCosine, VPLinear
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    ConditionDropout,
    DataType,
    Objective,
    Quantised,
    Recipe,
    Simple,
    of_states,
    recipe,
)
from unnoise.samplers import Observation, Start
from unnoise.spaces import Euclidean, Layout, tensor
from unnoise_images.domain import RANGE
from unnoise_images.pictures import levels, to_images
from unnoise_text2image import data, diffusers_model
from unnoise_text2image.cascade import Cascade
from unnoise_text2image.configuration import Configuration
from unnoise_text2image.display import Pictures
from unnoise_text2image.guidance import NEGATIVE, Clip, Guidance, Guided
from unnoise_text2image.inputs import Prepared, prepared
from unnoise_text2image.network import CaptionedUNet
from unnoise_text2image.painting import KEPT, Painted, kept_part
from unnoise_text2image.request import Request
from unnoise_text2image.text import Reader, TextEncoder
from unnoise_text2image.upsampling import Augmented, augmented, reduced

_SHOWN = 16  # pictures of a model in training
BUNDLE = Path(__file__).parent / "bundle"
STEM = "denoiser.network.stem.weight"
PROMPT = "prompt"
"""Under which a picture's info has what it was drawn from."""


@final
class Text2Image(Trainable):
    """Pictures from captions."""

    name: ClassVar[str] = "text2image"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    bundle: ClassVar[Path | None] = BUNDLE
    display: ClassVar[Display[Trained]] = Pictures()
    demo: ClassVar[Mapping[str, Any]] = {
        "prompt": ["red apple", "cat face", "red heart", "flag of France", "grinning face"],
        "num_samples": 2,
    }

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        """Sizes from the pictures and the tokenizer from the captions of `source`."""
        return data.complete(source, configured(Configuration, options))

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        if configuration.diffusers is not None:
            return diffusers_model.defaults(configuration)
        return {"steps": 30, "sampler": "ddim"}

    def foreign(self, folder: Path) -> Trained | None:
        """What diffusers' `save_pretrained` wrote, see `diffusers_model`."""
        if not diffusers_model.is_diffusers(folder):
            return None
        found = diffusers_model.opened(folder)
        card = {"data": f"the diffusers folder {folder.name!r}"}
        return Trained(
            self,
            found.denoiser,
            found.configuration,
            self.defaults(found.configuration),
            card,
            found.digest,
            found.codec or levels(),
        )

    def build(self, configuration: Configuration) -> Denoiser:
        if configuration.diffusers is not None:
            return diffusers_model.build(configuration)
        if configuration.stage == "base":
            return self._stage(configuration, upsampler=False)
        if configuration.stage == "upsampler":
            return self._stage(configuration, upsampler=True)
        return Cascade(
            self._stage(configuration, upsampler=False), self._stage(configuration, upsampler=True)
        )

    def _stage(self, configuration: Configuration, *, upsampler: bool) -> NetworkDenoiser:
        plan = self._recipe(configuration)
        network = CaptionedUNet(
            3,
            configuration.upsampler_widths if upsampler else configuration.widths,
            configuration.upsampler_blocks if upsampler else configuration.blocks,
            TextEncoder(configuration),
            plan.outputs,
            plan.exponents,
            upsampler=upsampler,
            painter=configuration.painter and not upsampler,
        )
        kernel = GaussianKernel(Euclidean(), plan.schedule)
        return NetworkDenoiser(network, kernel, plan.parametrization, clip=RANGE)

    def _recipe(self, configuration: Configuration) -> Recipe:
        schedule = VPCosine() if configuration.schedule == "cosine" else VPLinear()
        parametrization = {"v": V, "noise": Noise, "clean": Clean}[configuration.parametrization]()
        kind = of_states(self.data_type(configuration), self.codec(configuration))
        return recipe(configuration.goal, schedule, parametrization, kind)

    def objective(self, configuration: Configuration) -> Objective:
        """That of the goal, a share of the captions being hidden so that guidance is possible, and
        noise on what an upsampler enlarges."""
        if configuration.diffusers is not None:
            objective: Objective = Simple()
        else:
            objective = self._recipe(configuration).objective
        if configuration.stage == "upsampler":
            objective = Augmented(objective, configuration.augmentation)
        elif configuration.painter:
            objective = Painted(objective)
        if not configuration.caption_dropout:
            return objective
        none = Reader(configuration).condition([""])
        return ConditionDropout(objective, configuration.caption_dropout, none)

    def inherited(
        self, configuration: Configuration, initial: Trained, weights: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """What paints begins as what does not: the weights of its further channels are 0."""
        if configuration.painter == initial.configuration.painter or STEM not in weights:
            return weights
        if not configuration.painter:
            raise ConfigError(
                "a model that paints goes on painting", value=False, fix="leave painter out"
            )
        stem = weights[STEM]
        more = stem.new_zeros(stem.shape[0], stem.shape[1] + 1, *stem.shape[2:])
        return {**weights, STEM: torch.cat([stem, more], 1)}

    def check_start(self, configuration: Configuration, initial: Trained | None) -> None:
        if configuration.stage == "cascade":
            raise ConfigError(
                "the stages of a cascade are trained one by one",
                value="stage cascade",
                fix="train stage='base' and stage='upsampler', then"
                " unnoise_text2image.cascade.joined(base, upsampler)",
            )

    def codec(self, configuration: Configuration) -> Codec:
        """Levels, or the autoencoder of a model that diffuses codes."""
        told = diffusers_model.autoencoder(configuration)
        return levels() if told is None else told.fresh()

    def data_type(self, configuration: Configuration) -> DataType:
        """8-bit values."""
        return Quantised(256, 0.0, 255.0)

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Captions:
        return data.read(source, configuration, part)

    def collate(self, items: Sequence[data.Example]) -> Batch:
        x0 = torch.stack([item.picture for item in items])
        ids = torch.stack([item.ids for item in items])
        condition = {"ids": ids, "mask": ids.ne(0)}
        small = [item.low for item in items if item.low is not None]
        if small:
            condition |= {"low": torch.stack(small), "level": torch.zeros(len(small))}
        return Batch(x0, Euclidean().layout(x0), condition)

    def trial(self, configuration: Configuration, held_out: Any) -> Mapping[str, Any] | None:
        """Pictures of held-out captions, spread over them."""
        count = min(_SHOWN, len(held_out))
        if not count:
            return {"num_samples": 4} if configuration.stage == "base" else None
        rows = [k * len(held_out) // count for k in range(count)]
        asked = {"prompt": [held_out.captions[k][0] for k in rows], "num_samples": 1}
        if configuration.stage == "upsampler":
            asked["image"] = to_images(torch.stack([held_out.small(k) for k in rows]))
        return asked

    def prepare(self, request: Request, model: Trained, options: Options) -> list[Prepared]:
        """One for each prompt, its picture and mask read once."""
        return prepared(request, model, options)

    def alike(self, prepared: Prepared, model: Trained) -> Hashable | None:
        """Prompts may be any; who brings a picture shares no batch."""
        if prepared.picture is not None:
            return None
        return prepared.guidance, prepared.upsampling, prepared.steps, prepared.level

    def notes(self, inputs: Sequence[Prepared]) -> Sequence[str]:
        return [note for one in inputs for note in one.notes]

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        configuration: Configuration = model.configuration
        own = [inputs[draw.input] for draw in draws]
        told = _told(own)
        _, large = configuration.sides
        if configuration.stage == "upsampler":
            low = _pictures(own)
            base = None
        else:
            factor = configuration.factor if configuration.stage == "cascade" else 1
            denoiser = model.denoiser
            base = denoiser.base if isinstance(denoiser, Cascade) else denoiser
            seen = _observation(own, factor)
            low = tensor(
                (
                    yield Task(
                        Layout.dense(len(own), configuration.shape),
                        condition=_with_kept(told, seen) if configuration.painter else told,
                        observation=seen,
                        start=_start(own, factor),
                        denoiser=_guided(base, own[0].guidance, configuration),
                    )
                )
            )
        if configuration.stage == "base":
            return _signed(to_images(low, model.codec), own)
        upsampler = model.denoiser
        if isinstance(upsampler, Cascade):
            upsampler = upsampler.upsampler
        noise = NoiseSource([one.seed for one in own], [draw.number for draw in draws], branch=1)
        level = torch.full((len(own),), own[0].level)
        state = yield Task(
            Layout.dense(len(own), (3, large, large)),
            condition=told | {"low": augmented(low, level, noise), "level": level},
            observation=_observation(own, 1) if base is not None else None,
            denoiser=_guided(upsampler, own[0].upsampling, configuration),
            steps=own[0].steps if base is not None else None,
        )
        return _signed(to_images(tensor(state), model.codec), own)

    def write(self, sample: Image.Image, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.png"
        sample.save(path)
        return path


def _told(own: Sequence[Prepared]) -> dict[str, Tensor]:
    """The condition of a batch: prompts, and negative prompts."""
    ids = torch.cat([one.ids for one in own])
    negative = torch.cat([one.negative_ids for one in own])
    return {
        "ids": ids,
        "mask": ids != 0,
        f"{NEGATIVE}ids": negative,
        f"{NEGATIVE}mask": negative != 0,
    }


def _guided(denoiser: Denoiser, guidance: Guidance, configuration: Configuration) -> Denoiser:
    if configuration.diffusers is None:
        return Guided(denoiser, guidance, Clip(*RANGE))
    assert isinstance(denoiser, NetworkDenoiser)
    free = diffusers_model.unclipped(denoiser, configuration)
    return Guided(free, guidance, diffusers_model.clip(configuration))


def _pictures(own: Sequence[Prepared]) -> Tensor:
    return torch.cat([one.picture for one in own if one.picture is not None])


def _observation(own: Sequence[Prepared], factor: int) -> Observation | None:
    """The kept parts of the pictures' states, at a size smaller by `factor`: what lies in a kept
    part with all its pixels is kept."""
    if own[0].known is None:
        return None
    known = torch.cat([one.known for one in own if one.known is not None])
    value = reduced(_pictures(own), factor)
    kept = reduced(known.float(), known.shape[-1] // value.shape[-1]) == 1
    return Observation(value, kept.expand(value.shape))


def _with_kept(told: dict[str, Tensor], seen: Observation | None) -> dict[str, Tensor]:
    """The condition of a network that paints."""
    if seen is None:
        return told
    return told | {KEPT: kept_part(tensor(seen.value), tensor(seen.mask)[:, :1])}


def _start(own: Sequence[Prepared], factor: int) -> Start | None:
    """The pictures, at a size smaller by `factor`, with noise on them."""
    start = own[0].start
    return None if start is None else Start(reduced(_pictures(own), factor), start)


def _signed(pictures: Sequence[Image.Image], own: Sequence[Prepared]) -> list[Image.Image]:
    for picture, one in zip(pictures, own, strict=True):
        picture.info[PROMPT] = one.prompt
    return list(pictures)
