"""A diffusers folder (UNet2DModel and its scheduler) as an unnoise model.

    model = unnoise.load("folder")
    out = model.generate(num_samples=4, steps=50)

The folder holds `unet/` (or the files of the UNet itself) and `scheduler/scheduler_config.json`, as
`save_pretrained` writes them. A pipeline with other parts (the autoencoder of latent diffusion) is
refused. The configurations of both are kept in that of the model, so that what is saved as a bundle
loads as one, and trains on.

diffusers clips the predicted picture and, unless use_clipped_model_output is set, steps along the
noise as it was predicted: with x_0 clipped and eps not,

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z,    c = eta sigma_s sqrt(1 - r^2),

which is the sampler `diffusers-ddim` here (r as in `unnoise.samplers.DDIM`). Our own samplers take
the noise that belongs to the clipped picture. On grids of unequal steps diffusers goes back by
T // steps from each time; we go to the next time of the grid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor, nn

from unnoise.denoise import Condition, NetworkDenoiser, Parametrization
from unnoise.denoise.parametrizations import Coefficients, GaussianParametrization
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import BundleError, ConfigError, InputError
from unnoise.fields import configured
from unnoise.kernels import GaussianKernel, Schedule, TransitionKernel
from unnoise.samplers import Diffusion, Sampler, Step, Steps, Times
from unnoise.samplers.algebra import noise_in, schedule_of, spans
from unnoise.spaces import Layout, State, Time, tensor
from unnoise_images.configuration import Configuration
from unnoise_images.diffusers_scheduler import DiffusersScheduler, json_in, scheduler_file
from unnoise_images.foreign import loaded, of_diffusers, unloadable

_NETWORK: Final = "UNet2DModel"
_TOLD_MORE: Final = "UNet2DConditionModel"
_OURS: Final = frozenset({"unet", "scheduler"})


@final
@dataclass(frozen=True)
class Kept(GaussianParametrization):
    """The picture clipped, and the noise as it was predicted."""

    inner: GaussianParametrization
    clip: tuple[float, float]

    def affine(self, schedule: Schedule, t: Time) -> Coefficients:
        return self.inner.affine(schedule, t)

    def check(self, kernel: TransitionKernel) -> None:
        self.inner.check(kernel)

    def inputs(self, kernel: TransitionKernel, x_t: State, t: Time, layout: Layout) -> State:
        return self.inner.inputs(kernel, x_t, t, layout)

    def label(self, kernel: TransitionKernel, t: Time) -> Time:
        return self.inner.label(kernel, t)

    def law(
        self, kernel: TransitionKernel, output: State, x_t: State, t: Time, layout: Layout
    ) -> Distribution:
        found = self.inner.law(kernel, output, x_t, t, layout)
        assert isinstance(found, Dirac)
        assert isinstance(kernel, GaussianKernel)
        x0, x_t = tensor(found.value), tensor(x_t)
        eps = found.noise
        if eps is None:
            alpha = layout.expand(kernel.schedule.alpha(t), x_t)
            eps = (x_t - alpha * x0) / layout.expand(kernel.schedule.sigma(t), x_t)
        return Dirac(x0.clamp(*self.clip), layout, eps)


@final
@dataclass(frozen=True)
class DiffusersDDIM(Sampler):
    """The step of diffusers' DDIMScheduler, see above."""

    eta: float = 0.0
    requires: ClassVar[type] = GaussianKernel

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError("eta is out of range", value=self.eta, limit="0 to 1")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        self.check(run.kernel)
        for a, b in spans(schedule_of(run.kernel), grid):
            x = tensor(x)
            law = run(x, a.t)
            eps, x0 = noise_in(x, law, a), tensor(law.mean)
            r = a.alpha * b.sigma / (b.alpha * a.sigma)
            c = self.eta * b.sigma * max(1 - r**2, 0.0) ** 0.5
            x = (x0 * b.alpha).add_(eps, alpha=max(b.sigma**2 - c**2, 0.0) ** 0.5)
            if c > 0:
                x = x.add_(tensor(run.normal()), alpha=c)
            sent = yield Step(b.t, x, law)
            x = x if sent is None else sent


@final
class DiffusersNetwork(nn.Module):
    """A UNet2DModel in the signature of unnoise's networks."""

    def __init__(self, unet: nn.Module, steps: int, classes: int) -> None:
        super().__init__()
        self.unet, self.steps, self.classes = unet, steps, classes

    def forward(
        self, x_t: Tensor, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        timestep = (label * self.steps).round() - 1
        if not self.classes:
            return self.unet(x_t, timestep).sample
        if condition is None or bool((condition["label"] >= self.classes).any()):
            raise InputError(
                "this diffusers model needs a label for every sample",
                limit=f"0 to {self.classes - 1}",
                fix="name one; it has no unconditional class, so guidance is not possible",
            )
        return self.unet(x_t, timestep, class_labels=condition["label"]).sample


def opened(folder: Path) -> tuple[Configuration, NetworkDenoiser, str]:
    """The model in a folder: its configuration, its denoiser, and a hash of the files.

    Raises
    ------
    PluginError : diffusers is not installed. BundleError : a file is missing or damaged, or the
    weights are pickled. ConfigError : a pipeline, UNet or scheduler field that is not supported.
    """
    _check_pipeline(folder)
    scheduler = json_in(scheduler_file(folder))
    path = folder / "unet" if (folder / "unet").is_dir() else folder
    configuration = _configuration(json_in(path / "config.json"), scheduler, path)
    denoiser = _denoiser(configuration, loaded(_library(), path, torch_dtype=torch.float32))
    return configuration, denoiser.eval(), _digest(path, scheduler_file(folder))


def is_diffusers(folder: Path) -> bool:
    """Whether a folder is a pipeline, or a UNet, of diffusers, and none around a UNet that is told
    more than a class: those are of other domains."""
    unet = folder / "unet" / "config.json"
    if unet.is_file() and json_in(unet).get("_class_name") == _TOLD_MORE:
        return False
    for path in (folder / "model_index.json", folder / "unet" / "config.json"):
        if path.is_file():
            return "_class_name" in json_in(path)
    path = folder / "config.json"
    return path.is_file() and json_in(path).get("_class_name") == _NETWORK


def build(configuration: Configuration) -> NetworkDenoiser:
    """A denoiser with fresh weights, of a configuration with `diffusers`."""
    parts = configuration.diffusers or {}
    kind = _library()
    try:
        unet = kind.from_config(dict(parts["unet"]))
    except Exception as error:  # whatever diffusers meets in it
        raise unloadable("the configuration", _NETWORK, error) from error
    return _denoiser(configuration, unet)


def defaults(configuration: Configuration) -> Mapping[str, Any]:
    """Steps, grid and sampler of a configuration with `diffusers`."""
    scheduler = DiffusersScheduler.of((configuration.diffusers or {})["scheduler"])
    grid = scheduler.grid
    return {
        "steps": min(50, len(scheduler.schedule.betas)),
        "grid": f"strided(spacing={grid.spacing}, offset={grid.offset}, end={grid.end})",
        "sampler": "ancestral" if scheduler.learned else "diffusers-ddim",
    }


def _denoiser(configuration: Configuration, unet: nn.Module) -> NetworkDenoiser:
    scheduler = DiffusersScheduler.of((configuration.diffusers or {})["scheduler"])
    network = DiffusersNetwork(
        unet, len(scheduler.schedule.betas), len(configuration.classes or ())
    )
    law: Parametrization = scheduler.parametrization
    clip = scheduler.clip
    if clip is not None and not scheduler.learned:
        law, clip = Kept(scheduler.mean, clip), None
    return NetworkDenoiser(network, scheduler.kernel, law, clip)


def _configuration(
    unet: Mapping[str, Any], scheduler: Mapping[str, Any], path: Path
) -> Configuration:
    """The configuration of a model, from those of its parts."""
    if unet.get("_class_name") != _NETWORK:
        raise ConfigError(
            "this diffusers network is not supported", value=unet.get("_class_name"), limit=_NETWORK
        )
    if "auto_map" in unet:
        raise BundleError(
            "this folder brings code of its own, which is never run",
            value=str(path / "config.json"),
            limit=f"a {_NETWORK} of diffusers itself, without auto_map",
        )
    learned = DiffusersScheduler.of(scheduler).learned
    channels, outputs = unet.get("in_channels", 3), unet.get("out_channels", 3)
    if channels not in (1, 3) or outputs != channels * (2 if learned else 1):
        raise ConfigError(
            f"a {_NETWORK} makes pictures of 1 or 3 channels, and puts out as many as it is given,"
            " or twice as many with variance_type learned_range",
            value=(channels, outputs),
        )
    if unet.get("class_embed_type") is not None:
        raise ConfigError(
            "this kind of class embedding is not supported",
            value=unet["class_embed_type"],
            limit="none, with num_class_embeds",
        )
    if unet.get("time_embedding_type") == "fourier":
        raise ConfigError(
            "this network is told the logarithm of a noise level, and a step of this scheduler is a"
            " number from 0 on",
            value="time_embedding_type='fourier'",
            limit="positional, learned",
        )
    size = unet.get("sample_size")
    sides = [size, size] if type(size) is int else size
    whole = isinstance(sides, list) and len(sides) == 2 and all(type(n) is int for n in sides)
    blocks = unet.get("block_out_channels", [0] * 4)
    factor = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else 1
    if not whole or any(side % factor for side in sides):
        raise ConfigError(
            f"sample_size of this {_NETWORK} cannot be used",
            value=size,
            limit=f"height and width, multiples of {factor}",
        )
    classes = unet.get("num_class_embeds") or 0
    if type(classes) is not int or classes < 0:
        raise ConfigError("num_class_embeds is a number", value=classes, limit=">= 0")
    kept = {k: v for k, v in unet.items() if not k.startswith("_") or k == "_class_name"}
    return configured(
        Configuration,
        {
            "height": sides[0],
            "width": sides[1],
            "channels": channels,
            "classes": tuple(str(k) for k in range(classes)),
            "label_dropout": 0.0,
            "diffusers": {"unet": kept, "scheduler": dict(scheduler)},
        },
    )


def _check_pipeline(root: Path) -> None:
    """ConfigError for a pipeline with other parts than a UNet and a scheduler."""
    if not (root / "model_index.json").is_file():
        return
    index = json_in(root / "model_index.json")
    parts = [n for n, value in index.items() if not n.startswith("_") and value != [None, None]]
    if foreign := sorted(n for n in parts if isinstance(index[n], list) and n not in _OURS):
        raise ConfigError(
            f"this {index.get('_class_name')} of diffusers has parts that are not supported",
            value=", ".join(foreign),
            limit=", ".join(sorted(_OURS)),
        )


def _library() -> Any:
    return of_diffusers(_NETWORK, "unnoise-images[diffusers]")


def _digest(unet: Path, scheduler: Path) -> str:
    digest = hashlib.sha256(scheduler.read_bytes())
    for file in sorted([*unet.glob("*.json"), *unet.glob("*.safetensors")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
