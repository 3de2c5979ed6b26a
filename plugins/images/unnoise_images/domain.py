"""The images domain: data are pictures (channels, height, width) of levels 0 to 255, and states
the same from -1 to 1."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from unnoise.codecs import Codec
from unnoise.denoise import (
    ClassifierFree,
    Clean,
    Denoiser,
    GaussianParametrization,
    Generator,
    NetworkDenoiser,
    Noise,
    V,
)
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Task, Trainable, Trained, inputs_of
from unnoise.engine.named import spelled
from unnoise.engine.options import Options
from unnoise.errors import InputError, nearest
from unnoise.fields import configured
from unnoise.kernels import GaussianKernel, Schedule, VPCosine, VPLinear, coarse
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
from unnoise.samplers.strength import time_of_strength
from unnoise.spaces import Euclidean, Layout, tensor
from unnoise_images import data, diffusers_model
from unnoise_images.adversarial import NOISE, adversarial, begun
from unnoise_images.configuration import NO_GUIDANCE, Configuration
from unnoise_images.display import Pictures
from unnoise_images.energy import LANGEVIN, LEVELS, energy, recovery
from unnoise_images.files import as_picture, given_picture, to_mask, to_pixels
from unnoise_images.measured import RANGE, Seen, seen
from unnoise_images.network import UNet
from unnoise_images.pictures import levels, to_images
from unnoise_images.quality import Quality
from unnoise_images.request import Request

_CLASSES = 10  # that are shown of a model in training
OF_DATA = ("classes", "held_out", "fit", "background", "unreadable")
LABELS = "denoiser.network.label.weight"


@final
class Images(Trainable):
    """Class-conditional pictures of one size, and painting into a masked part of a picture."""

    name: ClassVar[str] = "images"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    bundle: ClassVar[Path | None] = Path(__file__).parent / "bundle"
    display: ClassVar[Display[Trained]] = Pictures()
    metrics: ClassVar[Mapping[str, type[BaseModel]]] = {"quality": Quality}
    demo: ClassVar[Mapping[str, Any]] = {"label": list(range(10)), "num_samples": 2}

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        """Size, channels and classes from the pictures in the folder `source`."""
        return data.complete(source, configured(Configuration, options))

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        if configuration.diffusers is not None:
            return diffusers_model.defaults(configuration)
        if configuration.goal == "adversarial":
            return {"steps": configuration.chain, "sampler": "ancestral"}
        if configuration.goal == "energy":
            return {"steps": LEVELS, "sampler": spelled(LANGEVIN)}
        return {"steps": 50, "sampler": "ddim"}

    def foreign(self, folder: Path) -> Trained | None:
        """What diffusers' `save_pretrained` wrote, see `diffusers_model`."""
        return from_diffusers(self, folder) if diffusers_model.is_diffusers(folder) else None

    def build(self, configuration: Configuration) -> Denoiser:
        if configuration.diffusers is not None:
            return diffusers_model.build(configuration)
        if configuration.goal == "adversarial":
            kernel = GaussianKernel(
                Euclidean(), coarse(configuration.chain, schedule_of(configuration))
            )
            network = unet(configuration, exponents=(), noise=NOISE)
            return Generator(network, kernel, NOISE, predicted(configuration), clip=RANGE)
        if configuration.goal == "energy":
            return energy(configuration)
        plan = self._recipe(configuration)
        network = unet(configuration, plan.exponents, plan.outputs)
        kernel = GaussianKernel(Euclidean(), plan.schedule)
        return NetworkDenoiser(network, kernel, plan.parametrization, clip=RANGE)

    def objective(self, configuration: Configuration) -> Objective:
        """That of the goal, a share of the labels being hidden so that guidance is possible."""
        if configuration.diffusers is not None:
            return Simple()
        if configuration.goal == "adversarial":
            objective: Objective = adversarial(configuration)
        elif configuration.goal == "energy":
            objective = recovery(configuration)
        else:
            objective = self._recipe(configuration).objective
        if not configuration.classes or not configuration.label_dropout:
            return objective
        none = {"label": torch.tensor([len(configuration.classes)])}
        return ConditionDropout(objective, configuration.label_dropout, none)

    def carried(self, configuration: Configuration) -> Mapping[str, Any]:
        """All but what is about the pictures: classes, what is held out, how files are read."""
        return {k: v for k, v in configuration if k not in OF_DATA}

    def inherited(
        self, configuration: Configuration, initial: Trained, weights: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Classes keep what the network knows of their names; a new one begins as "no label". A
        generator begins as a network that does not draw."""
        if configuration.diffusers is not None:
            return weights
        before, now = initial.configuration.classes or (), configuration.classes or ()
        rows = [before.index(name) if name in before else len(before) for name in now]
        table = LABELS.removeprefix("denoiser.network")  # a discriminator has one, too
        tables = [name for name in weights if name.endswith(table)]
        start = {**weights, **{name: weights[name][[*rows, len(before)]] for name in tables}}
        if configuration.goal == "adversarial" != initial.configuration.goal:
            return begun(configuration, start)
        return start

    def trial(self, configuration: Configuration, held_out: Any) -> Mapping[str, Any]:
        """A few pictures of each of the first classes."""
        shown = list(configuration.classes or ())[:_CLASSES]
        return {"label": shown, "num_samples": 4} if shown else {"num_samples": 16}

    def _recipe(self, configuration: Configuration) -> Recipe:
        assert configuration.goal not in ("adversarial", "energy")
        data = of_states(self.data_type(configuration), self.codec(configuration))
        return recipe(
            configuration.goal, schedule_of(configuration), predicted(configuration), data
        )

    def teacher(self, model: Trained) -> tuple[Denoiser, Configuration]:
        """The denoiser guided as by default; its student needs no guidance of its own."""
        configuration: Configuration = model.configuration
        plain = configuration.model_copy(update={"guidance_scale": 1.0})
        return _guide(model, configuration.guidance_scale), plain

    def data_type(self, configuration: Configuration) -> DataType:
        """8-bit values."""
        return Quantised(256, 0.0, 255.0)

    def codec(self, configuration: Configuration) -> Codec:
        return levels()

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Pictures:
        return data.read(source, configuration, part)

    def things(
        self, source: Any, configuration: Configuration
    ) -> list[tuple[str, tuple[Tensor, int]]]:
        """Pictures as they are, by the names of their files."""
        return data.pictures(source, configuration)

    def collate(self, items: Sequence[tuple[Tensor, int]]) -> Batch:
        """Pairs (picture (channels, height, width), label)."""
        x0 = torch.stack([picture for picture, _ in items])
        labels = torch.tensor([label for _, label in items])
        return Batch(x0, Euclidean().layout(x0), {"label": labels})

    def prepare(self, request: Request, model: Trained, options: Options) -> list[Prepared]:
        """One for each label, the picture to paint into read once."""
        configuration: Configuration = model.configuration
        classes = configuration.classes or ()
        _check_guidance(request, configuration)
        picture = _picture(request, model)
        observation = _observation(request, picture)
        start = _start(request, model, picture)
        scale, measured = request.guidance_scale, seen(request, configuration.size, model.codec)
        _check_measured(measured, model)
        return [
            Prepared(checked_label(one["label"], classes), observation, start, scale, measured)
            for one in inputs_of(label=request.label)
        ]

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        configuration: Configuration = model.configuration
        own = [inputs[draw.input] for draw in draws]
        measured, guided = own[0].measured, _guided(model, own[0])
        state = yield Task(
            Layout.dense(len(own), configuration.size),
            condition={"label": torch.tensor([one.label for one in own])},
            observation=_repeated(own[0].observation, len(own)),
            start=_begun(own[0].start, len(own)),
            denoiser=guided if measured is None else measured.followed(guided),
            potential=None if measured is None else measured.potential,
            sampler=None if measured is None else measured.sampler,
        )
        assert isinstance(state, Tensor)
        return to_images(state, model.codec)

    def alike(self, prepared: Prepared, model: Trained) -> Hashable | None:
        """Labels may be any, or all none; who brings a picture shares no batch."""
        if prepared.observation is not None or prepared.start is not None:
            return None
        return prepared.label == len(model.configuration.classes or ()), prepared.guidance_scale

    def write(self, sample: Image.Image, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.png"
        sample.save(path)
        return path


def schedule_of(configuration: Configuration) -> Schedule:
    """How noise grows, where that is not learned."""
    return VPCosine() if configuration.schedule == "cosine" else VPLinear()


def predicted(configuration: Configuration) -> GaussianParametrization:
    """What the network predicts."""
    kinds = {"v": V, "noise": Noise, "clean": Clean}
    return kinds[configuration.parametrization]()


def unet(
    configuration: Configuration, exponents: Sequence[int], outputs: int = 1, noise: int = 0
) -> UNet:
    """A network with fresh weights; the configuration may say other `exponents`."""
    channels, _, _ = configuration.size
    return UNet(
        channels=channels,
        classes=len(configuration.classes or ()),
        widths=configuration.widths,
        blocks=configuration.blocks,
        attention=configuration.attention,
        outputs=outputs,
        exponents=exponents if configuration.fourier is None else configuration.fourier,
        noise=noise,
    )


def from_diffusers(domain: Images, folder: Path) -> Trained:
    """What diffusers' `save_pretrained` wrote, see `diffusers_model`."""
    configuration, denoiser, digest = diffusers_model.opened(folder)
    card = {"data": f"the diffusers folder {folder.name!r}"}
    return Trained(domain, denoiser, configuration, domain.defaults(configuration), card, digest)


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """An input: its label, the number after the last class for any; the known part of a picture, or
    what the run starts from, as one row; how strongly the label is followed; and what was seen of
    the picture."""

    label: int
    observation: Observation | None
    start: Start | None
    guidance_scale: float | None
    measured: Seen | None


def _check_guidance(request: Request, configuration: Configuration) -> None:
    scale, classes = request.guidance_scale, configuration.classes
    if scale is not None and scale != 1 and configuration.goal == "adversarial":
        raise InputError(NO_GUIDANCE, value=scale, fix="leave guidance_scale out")
    if scale is not None and scale != 1 and not classes:
        raise InputError(
            "guidance needs a model with classes", value=scale, fix="leave guidance_scale out"
        )
    if scale is not None and scale != 1 and request.label is None:
        raise InputError(
            "guidance_scale says how strongly a label is followed, and there is none",
            value=scale,
            fix="pass label= too, or leave guidance_scale out",
        )


def _check_measured(measured: Seen | None, model: Trained) -> None:
    if measured is not None and model.configuration.goal in ("adversarial", "energy"):
        raise InputError(
            "a measurement is followed by what a model knows of the mean picture",
            value=f"goal {model.configuration.goal!r}",
            fix="use a model of another goal",
        )


def _guided(model: Trained, prepared: Prepared) -> Denoiser:
    configuration: Configuration = model.configuration
    if prepared.label == len(configuration.classes or ()):  # nothing to be guided to
        return model.denoiser
    scale = prepared.guidance_scale
    return _guide(model, configuration.guidance_scale if scale is None else scale)


def _guide(model: Trained, scale: float) -> Denoiser:
    classes = model.configuration.classes
    if scale == 1 or not classes:
        return model.denoiser
    none = {"label": torch.tensor([len(classes)])}
    return ClassifierFree(model.denoiser, scale, none, clip=RANGE)


def checked_label(label: int | str | None, classes: Sequence[str]) -> int:
    """The number that a network is told of a label, the one after the last class for none: of a
    class by its name or, where no class is called by a number, its place. Raises InputError for a
    label that `classes` does not have."""
    if label is None:
        return len(classes)
    if not classes:
        raise InputError("this model has no classes", value=label, fix="leave label out")
    name = str(label)
    if name in classes:
        return classes.index(name)
    places = not any(known.isdigit() for known in classes)
    if places and name.isdigit() and int(name) < len(classes):
        return int(name)
    shown = ", ".join(f"{k} ({known})" if places else known for k, known in enumerate(classes[:12]))
    raise InputError(
        "label is out of range" if name.lstrip("-").isdigit() else "there is no such class",
        value=label,
        limit=f"{shown}{', ...' if len(classes) > 12 else ''}",
        fix=nearest(name, classes),
    )


def _repeated(observation: Observation | None, n: int) -> Observation | None:
    """The known part of one picture for n samples."""
    if observation is None:
        return None
    value, mask = tensor(observation.value), tensor(observation.mask)
    return Observation(value.expand(n, -1, -1, -1), mask.expand(n, -1, -1, -1))


def _begun(start: Start | None, n: int) -> Start | None:
    """One picture for n samples, each with noise of its own."""
    return start and Start(tensor(start.value).expand(n, -1, -1, -1), start.t)


def _picture(request: Request, model: Trained) -> Tensor | None:
    """The state of the request's image, as one row."""
    if request.image is None:
        return None
    configuration: Configuration = model.configuration
    channels, height, width = configuration.size
    image = given_picture(request.image, "image")
    if request.mask is not None and image.size != (mask := as_picture(request.mask, "mask")).size:
        raise InputError(
            "image and mask have different sizes",
            value=f"image {image.height} x {image.width}, mask {mask.height} x {mask.width}",
        )
    behind = configuration.background
    pixels = to_pixels(image, height, width, channels, "refuse", "image", behind)
    data = torch.from_numpy(pixels.copy()).float()[None]
    value, _ = model.codec.embed(data, Euclidean().layout(data))
    return tensor(value)


def _observation(request: Request, picture: Tensor | None) -> Observation | None:
    """The part of the request's image that its mask keeps (black)."""
    if picture is None or request.mask is None:
        return None
    _, height, width = picture.shape[1:]
    known = ~torch.from_numpy(to_mask(as_picture(request.mask, "mask"), height, width, "mask"))
    return Observation(picture, known.expand(picture.shape))


def _start(request: Request, model: Trained, picture: Tensor | None) -> Start | None:
    """The request's image, with noise of its strength put on it."""
    kernel = model.denoiser.kernel
    if picture is None or request.strength is None:
        return None
    assert isinstance(kernel, GaussianKernel)
    return Start(picture, time_of_strength(kernel, request.strength))
