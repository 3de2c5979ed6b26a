"""The latent domain: data are pictures on levels, states what an autoencoder makes of them, and the
prior of states is a diffusion."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from unnoise.codecs import Codec, Tied
from unnoise.denoise import (
    ByLogSNR,
    ClassifierFree,
    Denoiser,
    NetworkDenoiser,
    Noise,
    WholeNoise,
)
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Task, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import ConfigError
from unnoise.fields import configured
from unnoise.kernels import Above, GaussianKernel, LearnedSchedule, Schedule
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import ConditionDropout, DataType, Objective
from unnoise.samplers import Start, slerp
from unnoise.spaces import Euclidean, Layout, State, tensor
from unnoise_images import data as folders
from unnoise_latent import EXAMPLES, data
from unnoise_latent.configuration import Configuration
from unnoise_latent.display import WHAT, Pictures
from unnoise_latent.heads import head_of
from unnoise_latent.inputs import Prepared, Source, labels, prepared
from unnoise_latent.likelihood import Importance, Nelbo
from unnoise_latent.methods import UNIFIED, method, schedule_of
from unnoise_latent.mixed import Mixed
from unnoise_latent.pictures import latents_of, pictures_of
from unnoise_latent.prior import PriorNetwork
from unnoise_latent.request import Request
from unnoise_latent.vae import Hierarchical


@final
class Latent(Trainable):
    """Pictures through a learned latent space: made, reconstructed, interpolated, edited."""

    name: ClassVar[str] = "latent"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    bundle: ClassVar[Path | None] = Path(__file__).parent / "bundle"
    variants: ClassVar[Mapping[str, Path]] = {"binarised": Path(__file__).parent / "binarised"}
    display: ClassVar[Display[Trained]] = Pictures()
    metrics: ClassVar[Mapping[str, type[BaseModel]]] = {"nelbo": Nelbo, "importance": Importance}
    demo: ClassVar[Mapping[str, Any]] = {
        "label": ["3", "8", "none", "none"],
        "source": ["none", "none", str(EXAMPLES[0]), str(EXAMPLES[0])],
        "source_b": ["none", "none", "none", str(EXAMPLES[1])],
        "num_samples": 10,
    }

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        """Size, channels and classes from the pictures in the folder `source`."""
        wanted = configured(Configuration, options)
        return wanted.of(folders.complete(source, wanted.pictures))

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        # Codes that pay for every bit shrink far below N(0, 1), and an error of what is nearly all
        # noise is a large one of the code: an ODE keeps it, steps with fresh noise forget it.
        sampler = "ancestral" if configuration.method == "unified" else "dpmpp"
        return {"steps": 10, "sampler": sampler, "grid": "log-snr"}

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        if configuration.schedule == "vdm":
            # the network is told gamma, of which the noise follows whatever has been learned
            kernel = GaussianKernel(Euclidean(), LearnedSchedule())
            told, noise = LearnedSchedule(ends="fixed"), ByLogSNR(Noise())
            return NetworkDenoiser(_mixed(configuration, told), kernel, noise)
        schedule = schedule_of(configuration)
        kernel = GaussianKernel(Euclidean(), schedule)
        if isinstance(schedule, Above):  # the whole noise is what such a network can tell at t -> 0
            return NetworkDenoiser(_mixed(configuration, UNIFIED), kernel, WholeNoise())
        return NetworkDenoiser(_mixed(configuration, schedule), kernel, Noise())

    def codec(self, configuration: Configuration) -> Codec:
        if configuration.autoencoder is not None:
            return configuration.autoencoder.fresh()
        hierarchical = Hierarchical(
            configuration.size,
            head_of(configuration),
            configuration.groups,
            configuration.channels,
            configuration.widths,
            configuration.blocks,
        )
        return Tied(hierarchical, UNIFIED) if configuration.method == "unified" else hierarchical

    def objective(self, configuration: Configuration) -> Objective:
        """That of the method, a share of the labels being hidden so that guidance is possible."""
        objective = method(configuration, self.codec(configuration))
        if not configuration.classes or not configuration.label_dropout:
            return objective
        none = {"label": torch.tensor([len(configuration.classes)])}
        return ConditionDropout(objective, configuration.label_dropout, none)

    def check_start(self, configuration: Configuration, initial: Trained | None) -> None:
        if configuration.method == "frozen" and initial is None:
            raise ConfigError(
                "an autoencoder that stays as it is has to be trained already",
                value="method frozen, fresh weights",
                fix="start from a trained model, or from over_autoencoder_kl",
            )

    def trial(self, configuration: Configuration, held_out: data.Levels) -> Mapping[str, Any]:
        """Pictures from the prior: those of the demo have the size of the shipped model's."""
        return {"num_samples": 16}

    def data_type(self, configuration: Configuration) -> DataType:
        return head_of(configuration).data_type

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Levels:
        return data.dataset(source, configuration, part)

    def collate(self, items: Sequence[tuple[Tensor, int]]) -> Batch:
        """Pairs (picture (channels, height, width), label)."""
        x0 = torch.stack([picture for picture, _ in items])
        told = torch.tensor([label for _, label in items])
        layout = Layout.dense(len(x0), x0.shape[1:], dtype=x0.dtype)
        return Batch(x0, layout, {"label": told})

    def teacher(self, model: Trained) -> tuple[Denoiser, Configuration]:
        """The denoiser guided as by default; its student needs no guidance of its own."""
        configuration: Configuration = model.configuration
        plain = configuration.model_copy(update={"guidance_scale": 1.0})
        return _guided(model, configuration.guidance_scale), plain

    def prepare(self, request: Request, model: Trained, options: Options) -> list[Prepared]:
        """One for each label or source, pictures read and encoded once."""
        return prepared(request, model, options)

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        own = [inputs[draw.input] for draw in draws]
        z = torch.zeros(len(own), *model.configuration.latent_size)
        for k, (one, draw) in enumerate(zip(own, draws, strict=True)):
            if one.source is not None:
                z[k] = _encoded(one, one.source, draw, model.codec)[0]
        # those that need the prior, from noise or from half-way
        for start in dict.fromkeys(one.start for one in own if one.needs_prior):
            rows = [k for k, one in enumerate(own) if one.needs_prior and one.start == start]
            some = [own[k] for k in rows]
            ends: State = yield Task(
                Layout.dense(len(rows), z.shape[1:]),
                condition=labels(some),
                start=None if start is None else Start(z[rows], start),
                denoiser=_guided_for(model, some),
                rows=rows,
            )
            z[rows] = tensor(ends)
        pictures = pictures_of(z, model.codec, model.configuration)
        for one, picture in zip(own, pictures, strict=True):
            picture.info[WHAT] = one.what
        return pictures

    def alike(self, prepared: Prepared, model: Trained) -> Hashable | None:
        """Labels may be any, or all none, and what each starts from."""
        return prepared.label == len(model.configuration.classes or ()), prepared.guidance_scale

    def write(self, sample: Image.Image, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.png"
        sample.save(path)
        return path


def _encoded(one: Prepared, source: Source, draw: Draw, codec: Codec) -> Tensor:
    """(1, C, h, w) latents of the source: those on the way to source_b, and where a source is
    reconstructed again and again, draws after the mean."""
    if one.source_b is not None:
        layout = Layout.dense(1, source.z.shape[1:])
        return slerp(source.z, one.source_b.z, [one.weight(draw.repeat)], layout)[0]
    if one.start is None and draw.repeat:
        return latents_of(source.x, codec, NoiseSource(one.seed, [draw.number], branch=1))
    return source.z


def _mixed(configuration: Configuration, schedule: Schedule) -> Mixed:
    channels, _, _ = configuration.latent_size
    network = PriorNetwork(
        schedule,
        channels,
        len(configuration.classes or ()),
        configuration.prior_width,
        configuration.prior_layers,
    )
    logit = math.log(configuration.mixing / (1 - configuration.mixing))
    return Mixed(network, schedule, channels, logit=logit)


def _guided_for(model: Trained, own: Sequence[Prepared]) -> Denoiser:
    none = len(model.configuration.classes or ())
    if all(one.label == none for one in own):  # nothing to be guided to
        return model.denoiser
    return _guided(model, own[0].guidance_scale)


def _guided(model: Trained, scale: float) -> Denoiser:
    classes = model.configuration.classes
    if scale == 1 or not classes:
        return model.denoiser
    none = {"label": torch.tensor([len(classes)])}
    return ClassifierFree(model.denoiser, scale, none)


def with_fresh_prior(model: Model, **options: Any) -> Model:
    """The autoencoder of `model` beside a fresh prior: what the next stage of a training starts
    from, `unnoise.train("latent", .., initial=with_fresh_prior(vae, **options), **options)`.

    Parameters
    ----------
    options : of the configuration that the prior is for; all others are those of `model`. Those of
        the autoencoder itself stay.
    """
    configuration = configured(Configuration, {**model.configuration.model_dump(), **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = model.domain.build(configuration)
    return replace(model, denoiser=denoiser, configuration=configuration, others={})
