"""What a diffusers scheduler_config.json says: a table of betas, a parametrization, a clip, a grid.

Step i of the scheduler (0-based) is time (i + 1) / T here. Three kinds of fields:

    of the process    betas, prediction_type, clip_sample, rescale_betas_zero_snr, ...: honoured, or
                      refused by name
    of the grid       timestep_spacing, steps_offset, set_alpha_to_one: the model's own grid
    of the solver     solver_order, skip_prk_steps, use_karras_sigmas, ...: they choose among ways
                      to walk, which `sampler` and `grid` do here; listed in _SOLVER

With rescale_betas_zero_snr the last step has no signal at all (Lin 2024); alpha_bar_T is 2^-24
there instead of 0, as in diffusers' own Euler, or a quarter of the one before where that is less,
so that log SNR is finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from unnoise.denoise import Clean, LearnedVariance, Noise, Parametrization, V
from unnoise.denoise.parametrizations import GaussianParametrization
from unnoise.errors import BundleError, ConfigError, nearest
from unnoise.kernels import BetaTable, GaussianKernel
from unnoise.samplers import Strided
from unnoise.spaces import Euclidean

_CLIPPING: Final = ("DDIMScheduler", "DDPMScheduler")
_PLAIN: Final[Mapping[str, str]] = {
    "PNDMScheduler": "leading",
    "DPMSolverMultistepScheduler": "linspace",
    "DPMSolverSinglestepScheduler": "linspace",
    "DEISMultistepScheduler": "linspace",
    "UniPCMultistepScheduler": "linspace",
    "EulerDiscreteScheduler": "linspace",
    "EulerAncestralDiscreteScheduler": "linspace",
    "HeunDiscreteScheduler": "linspace",
    "LMSDiscreteScheduler": "linspace",
}
"""Schedulers of the same betas that clip nothing, and their usual spacing."""
_SOLVER: Final = frozenset(
    (
        *("solver_order", "solver_type", "solver_p", "algorithm_type", "lower_order_final"),
        *("euler_at_final", "final_sigmas_type", "lambda_min_clipped", "skip_prk_steps"),
        *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"),
        *("predict_x0", "disable_corrector", "interpolation_type", "sigma_min", "sigma_max"),
        *("flow_shift", "time_shift_type", "shift_terminal"),  # of use_flow_sigmas only
    )
)
_PLAIN_DEFAULTS: Final[Mapping[str, Any]] = {
    "use_flow_sigmas": False,
    "use_dynamic_shifting": False,
    "timestep_type": "discrete",
}
_PREDICTIONS: Final[Mapping[str, type[GaussianParametrization]]] = {
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
    "rescale_betas_zero_snr": (False, True),
    "variance_type": ("fixed_small", "fixed_small_log", "learned_range", None),
    "prediction_type": tuple(_PREDICTIONS),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "clip_sample": (True, False),
    "set_alpha_to_one": (True, False),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
    "timestep_type": ("discrete",),
}
_LEAST: Final = 2.0**-24


@final
@dataclass(frozen=True)
class DiffusersScheduler:
    """The meaning of a scheduler's configuration."""

    schedule: BetaTable
    mean: GaussianParametrization
    clip: tuple[float, float] | None
    grid: Strided
    learned: bool

    @staticmethod
    def read(path: Path) -> DiffusersScheduler:
        """Read a scheduler_config.json; ConfigError names a field that is unknown or cannot be
        honoured, BundleError a file that is missing or damaged."""
        return DiffusersScheduler.of(json_in(path))

    @staticmethod
    def of(found: Mapping[str, Any]) -> DiffusersScheduler:
        """As `read`, of the content of the file."""
        kind = found.get("_class_name")
        if kind not in _CLIPPING and kind not in _PLAIN:
            raise ConfigError(
                "this diffusers scheduler is not supported",
                value=kind,
                limit=", ".join((*_CLIPPING, *_PLAIN)),
            )
        fields = {
            name: value
            for name, value in found.items()
            if not name.startswith("_") and not (kind in _PLAIN and name in _SOLVER)
        }
        known = {**_DEFAULTS, **(_PLAIN_DEFAULTS if kind in _PLAIN else {})}
        for name in fields:
            if name not in known:
                raise ConfigError(
                    f"unknown scheduler field {name!r}",
                    value=fields[name],
                    fix=nearest(name, known),
                )
        own = {"clip_sample": False, "timestep_spacing": _PLAIN[kind]} if kind in _PLAIN else {}
        fields = {**known, **own, **fields}
        for name, allowed in _CHOICES.items():
            value = fields.get(name, allowed[0])
            if not any(value is a or (isinstance(a, str) and value == a) for a in allowed):
                raise _refused(name, value, ", ".join(map(str, allowed)))
        clip = None
        if fields["clip_sample"]:
            bound = _number(fields, "clip_sample_range", 0, math.inf)
            clip = (-bound, bound)
        zero = fields["rescale_betas_zero_snr"]
        if zero and fields["prediction_type"] == "epsilon":
            raise _refused(
                "prediction_type", "epsilon", "v_prediction or sample with rescale_betas_zero_snr"
            )
        betas = _betas(fields)
        schedule = BetaTable(_zero_snr(betas) if zero else betas)
        offset = fields["steps_offset"]
        if not _is_whole(offset) or not 0 <= offset < len(betas):
            raise _refused("steps_offset", offset, f"0 to {len(betas) - 1}")
        return DiffusersScheduler(
            schedule,
            _PREDICTIONS[fields["prediction_type"]](),
            clip,
            Strided(fields["timestep_spacing"], offset, 0 if fields["set_alpha_to_one"] else 1),
            fields["variance_type"] == "learned_range",
        )

    @property
    def kernel(self) -> GaussianKernel:
        """The process."""
        return GaussianKernel(Euclidean(), self.schedule)

    @property
    def parametrization(self) -> Parametrization:
        """What the network predicts."""
        if self.learned:
            return LearnedVariance(self.mean, len(self.schedule.betas))
        return self.mean

    def times(self, steps: int) -> list[float]:
        """The decreasing times that diffusers walks in `steps` steps, the last state's included.

        With leading spacing the first is below 1, and the run begins there with unscaled noise.
        """
        return self.grid.times(self.kernel, steps, self.grid.begin(self.kernel, steps)).tolist()


def _refused(name: str, value: object, limit: str) -> ConfigError:
    return ConfigError(
        f"scheduler field {name!r} has a value that is not supported", value=value, limit=limit
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(fields: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """A number within (low, high). Raises ConfigError."""
    value = fields[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low < value < high:
        raise _refused(name, value, f"a number between {low:g} and {high:g}")
    return float(value)


def _betas(fields: Mapping[str, Any]) -> tuple[float, ...]:
    given, T = fields["trained_betas"], fields["num_train_timesteps"]
    if not _is_whole(T) or not 1 <= T <= 100_000:
        raise _refused("num_train_timesteps", T, "1 to 100000")
    if given is not None:
        if not isinstance(given, list) or len(given) != T:
            raise _refused("trained_betas", given, f"{T} numbers (num_train_timesteps)")
        numbers = dict(enumerate(given))
        return tuple(
            _number({"trained_betas": beta}, "trained_betas", 0, 1) for beta in numbers.values()
        )
    first, last = _number(fields, "beta_start", 0, 1), _number(fields, "beta_end", 0, 1)
    kinds: Mapping[str, Callable[[], Any]] = {
        "linear": lambda: np.linspace(first, last, T),
        "scaled_linear": lambda: np.linspace(first**0.5, last**0.5, T) ** 2,
        "squaredcos_cap_v2": lambda: np.array([_cosine_beta(i, T) for i in range(T)]),
    }
    name = fields["beta_schedule"]
    if not isinstance(name, str) or name not in kinds:
        raise _refused("beta_schedule", name, ", ".join(kinds))
    return tuple(kinds[name]().tolist())


def _cosine_beta(i: int, T: int) -> float:
    """1 - abar((i+1)/T) / abar(i/T) with abar(t) = cos^2(pi/2 (t + 0.008) / 1.008), at most 0.999
    (Nichol & Dhariwal 2021)."""

    def abar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    return min(1 - abar((i + 1) / T) / abar(i / T), 0.999)


def _zero_snr(betas: Sequence[float]) -> tuple[float, ...]:
    """sqrt(alpha_bar) moved and scaled so that it keeps its first value and ends at 0 (Lin 2024,
    algorithm 1): (a_i - a_T) a_1 / (a_1 - a_T)."""
    root = np.sqrt(np.cumprod(1 - np.asarray(betas)))
    if len(root) < 2:
        raise _refused("rescale_betas_zero_snr", True, "at least two steps")
    bars = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    bars[-1] = min(_LEAST, bars[-2] / 4)  # below the one before, whatever the schedule
    return tuple(1 - after / before for before, after in pairwise([1.0, *bars.tolist()]))


def scheduler_file(folder: Path) -> Path:
    """Where `save_pretrained` of a pipeline puts it."""
    return folder / "scheduler" / "scheduler_config.json"


def json_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises BundleError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"there is no {path.name} in {str(path.parent)!r}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{str(path)!r} is damaged: it is not a JSON object")
    return content
