"""A diffusers folder (UNet2DModel and its DDPM or DDIM scheduler) as an unnoise model.

    model = load_diffusers("folder")
    out = model.generate(num_samples=4, steps=50)

The folder holds `unet/` (or the files of the UNet itself) and `scheduler/scheduler_config.json`, as
`save_pretrained` writes them. Step i of the scheduler (0-based) is time (i + 1) / T here. Every
field of the scheduler's configuration is either honoured or refused, never ignored.

A predicted image that was clipped is also used for the noise estimate, which diffusers does with
`use_clipped_model_output=True`. With `timestep_spacing="linspace"` each step goes to the next time
of the grid; diffusers' DDIM goes back by T // steps from each, the same only on the full grid.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from torch import Tensor, nn

from unnoise.compat import without_broken_torchaudio
from unnoise.denoise import Clean, Condition, NetworkDenoiser, Noise, Parametrization, V
from unnoise.errors import BundleError, ConfigError, InputError, PluginError, nearest
from unnoise.kernels import BetaTable, GaussianKernel
from unnoise.model import Model
from unnoise.spaces import Euclidean, Layout
from unnoise_images.configuration import Configuration

_CLASSES: Final = ("DDIMScheduler", "DDPMScheduler")
_PREDICTIONS: Final[Mapping[str, type[Parametrization]]] = {
    "epsilon": Noise,
    "sample": Clean,
    "v_prediction": V,
}
_DEFAULTS: Final[Mapping[str, Any]] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "prediction_type": "epsilon",
    "thresholding": False,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
    "variance_type": "fixed_small",
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
}
_CHOICES: Final[Mapping[str, tuple[Any, ...]]] = {
    "thresholding": (False,),
    "rescale_betas_zero_snr": (False,),  # its last step has no signal at all
    "variance_type": ("fixed_small", "fixed_small_log"),
    "prediction_type": tuple(_PREDICTIONS),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "clip_sample": (True, False),
    "set_alpha_to_one": (True, False),
}


@final
@dataclass(frozen=True)
class DiffusersScheduler:
    """What a scheduler_config.json means: a table of betas, a parametrization, a clip, a grid."""

    schedule: BetaTable
    parametrization: Parametrization
    clip: tuple[float, float] | None
    spacing: str
    offset: int
    ends_clean: bool

    @staticmethod
    def read(path: Path) -> DiffusersScheduler:
        """Read a scheduler_config.json; ConfigError names a field that is unknown or cannot be
        honoured, BundleError a file that is missing or damaged."""
        found = _json(path)
        kind = found.get("_class_name")
        if kind not in _CLASSES:
            raise ConfigError(
                "this diffusers scheduler is not supported", value=kind, limit=", ".join(_CLASSES)
            )
        fields = {name: value for name, value in found.items() if not name.startswith("_")}
        for name in fields:
            if name not in _DEFAULTS:
                raise ConfigError(
                    f"unknown scheduler field {name!r}",
                    value=fields[name],
                    fix=nearest(name, _DEFAULTS),
                )
        fields = {**_DEFAULTS, **fields}
        for name, allowed in _CHOICES.items():
            if fields[name] not in allowed:
                raise ConfigError(
                    f"scheduler field {name!r} has a value that is not supported",
                    value=fields[name],
                    limit=", ".join(map(str, allowed)),
                )
        bound = fields["clip_sample_range"]
        if fields["clip_sample"] and not (isinstance(bound, (int, float)) and bound > 0):
            raise ConfigError("scheduler field 'clip_sample_range'", value=bound, limit="> 0")
        schedule = BetaTable(_betas(fields))
        offset = fields["steps_offset"]
        if not isinstance(offset, int) or not 0 <= offset < len(schedule.betas):
            raise ConfigError(
                "scheduler field 'steps_offset'",
                value=offset,
                limit=f"0 to {len(schedule.betas) - 1}",
            )
        return DiffusersScheduler(
            schedule,
            _PREDICTIONS[fields["prediction_type"]](),
            (-float(bound), float(bound)) if fields["clip_sample"] else None,
            fields["timestep_spacing"],
            offset,
            fields["set_alpha_to_one"],
        )

    def times(self, steps: int) -> list[float]:
        """The decreasing times that diffusers walks in `steps` steps, the last state's included.

        With leading spacing the first is below 1: pass `start=Start(noise, t=times[0],
        corrupt=False)` to reproduce diffusers, which begins there with unscaled noise.
        """
        T = len(self.schedule.betas)
        if not 1 <= steps <= T:
            raise InputError("steps is out of range", value=steps, limit=f"1 to {T}")
        if self.spacing == "leading":
            index = np.arange(steps)[::-1] * (T // steps) + self.offset
        elif self.spacing == "trailing":
            index = np.round(np.arange(T, 0, -T / steps)) - 1
        else:
            index = np.linspace(0, T - 1, steps).round()[::-1]
        if index[0] >= T:
            raise ConfigError(
                "scheduler field 'steps_offset' leads beyond the last step",
                value=self.offset,
                limit=f"0 to {T - 1 - (steps - 1) * (T // steps)} at {steps} steps",
            )
        last = 0.0 if self.ends_clean else 1 / T
        return [t for i in index if (t := (float(i) + 1) / T) > last] + [last]


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
                fix="pass label=; it has no unconditional class, so guidance is not possible",
            )
        return self.unet(x_t, timestep, class_labels=condition["label"]).sample


def load_diffusers(folder: str | Path) -> Model:
    """A folder written by diffusers' `save_pretrained` as a model of the domain "images".

    Raises
    ------
    PluginError : diffusers is not installed. BundleError : a file is missing or damaged, or the
    weights are pickled. ConfigError : a UNet or a scheduler field that is not supported.
    """
    from unnoise_images.domain import Images

    root = Path(folder)
    scheduler = DiffusersScheduler.read(root / "scheduler" / "scheduler_config.json")
    path = root / "unet" if (root / "unet").is_dir() else root
    config = _json(path / "config.json")
    if config.get("_class_name") != "UNet2DModel":
        raise ConfigError(
            "this diffusers network is not supported",
            value=config.get("_class_name"),
            limit="UNet2DModel",
        )
    if "auto_map" in config:
        raise BundleError(
            "this folder brings code of its own, which is never run",
            value=str(path / "config.json"),
            limit="a UNet2DModel of diffusers itself, without auto_map",
        )
    unet = _unet(path)
    size = unet.config.sample_size
    if size is None or unet.config.in_channels != unet.config.out_channels:
        raise ConfigError(
            "a UNet2DModel needs sample_size, and as many output as input channels",
            value=(size, unet.config.in_channels, unet.config.out_channels),
        )
    height, width = (size, size) if isinstance(size, int) else size
    classes = unet.config.num_class_embeds or 0
    configuration = Configuration(
        height=height,
        width=width,
        channels=unet.config.in_channels,
        classes=tuple(str(k) for k in range(classes)),
    )
    kernel = GaussianKernel(Euclidean(), scheduler.schedule)
    network = DiffusersNetwork(unet, len(scheduler.schedule.betas), classes)
    denoiser = NetworkDenoiser(network, kernel, scheduler.parametrization, scheduler.clip)
    domain = Images()
    return Model(
        domain,
        denoiser.eval(),
        configuration,
        domain.defaults(configuration),
        {"data": f"the diffusers folder {root.name!r}"},
        _digest(path, root / "scheduler" / "scheduler_config.json"),
    )


def _unet(path: Path) -> Any:
    without_broken_torchaudio()
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise PluginError(
            "diffusers is not installed", fix="pip install 'unnoise-images[diffusers]'"
        ) from error
    try:
        return UNet2DModel.from_pretrained(path, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(
            f"{str(path)!r} holds no loadable UNet2DModel: {str(error).splitlines()[0]}",
            fix="save it with save_pretrained(..., safe_serialization=True)",
        ) from error


def _betas(fields: Mapping[str, Any]) -> tuple[float, ...]:
    given, T = fields["trained_betas"], fields["num_train_timesteps"]
    if not isinstance(T, int) or not 1 <= T <= 100_000:
        raise ConfigError("scheduler field 'num_train_timesteps'", value=T, limit="1 to 100000")
    if given is not None:
        if len(given) != T:
            raise ConfigError(
                "scheduler fields 'trained_betas' and 'num_train_timesteps' disagree",
                value=(len(given), T),
            )
        return tuple(map(float, given))
    first, last = float(fields["beta_start"]), float(fields["beta_end"])
    kinds: Mapping[str, Callable[[], Any]] = {
        "linear": lambda: np.linspace(first, last, T),
        "scaled_linear": lambda: np.linspace(first**0.5, last**0.5, T) ** 2,
        "squaredcos_cap_v2": lambda: np.array([_cosine_beta(i, T) for i in range(T)]),
    }
    name = fields["beta_schedule"]
    if name not in kinds:
        raise ConfigError(
            "scheduler field 'beta_schedule' has a value that is not supported",
            value=name,
            limit=", ".join(kinds),
        )
    return tuple(kinds[name]().tolist())


def _cosine_beta(i: int, T: int) -> float:
    """1 - abar((i+1)/T) / abar(i/T) with abar(t) = cos^2(pi/2 (t + 0.008) / 1.008), at most 0.999
    (Nichol & Dhariwal 2021)."""

    def abar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    return min(1 - abar((i + 1) / T) / abar(i / T), 0.999)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"there is no {path.name} in {str(path.parent)!r}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{str(path)!r} is damaged: it is not a JSON object")
    return content


def _digest(unet: Path, scheduler: Path) -> str:
    digest = hashlib.sha256(scheduler.read_bytes())
    for file in sorted([*unet.glob("*.json"), *unet.glob("*.safetensors")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
