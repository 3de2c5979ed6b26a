"""Progressive distillation of a trained model: half as many steps, again and again.

Each halving is an ordinary training run in a folder of its own below `out`, so it is killed and
resumed like one; the last one's bundle is the result.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from unnoise.denoise import AnalyticVariance, LearnedVariance, NetworkDenoiser
from unnoise.discovery.domains import trainable_named
from unnoise.domain import Trainable
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel
from unnoise.model import Model
from unnoise.objectives import ConditionDropout, Distillation, Objective
from unnoise.storage.bundle import CONFIG, json_bytes
from unnoise.storage.files import as_path, removed_unused, writable_folder
from unnoise.storage.tensors import tensor_bytes
from unnoise.training.continued import check_apart
from unnoise.training.setup import split_options
from unnoise.training.train import train_as

USUAL_STEPS = 50
"""Steps at which DDIM serves as a teacher when the model itself prefers another sampler."""


def distill(
    domain: Trainable | str,
    data: Any,
    out: str | Path,
    *,
    model: Model,
    to_steps: int,
    from_steps: int | None = None,
    growth: float = 1.0,
    resume: bool = False,
    report: Callable[[str], object] = lambda line: None,
    **options: Any,
) -> Model:
    """Distill `model` until DDIM with `to_steps` steps ends where its many steps end.

    Parameters
    ----------
    domain, data, out
        As for `unnoise.train`; `out` gets a run for each halving and the final bundle.
    model
        The teacher. Its domain says whether guidance is distilled into the student.
    to_steps
        Steps of the final student.
    from_steps
        Steps of the first teacher, `to_steps` times a power of two; by default the smallest that
        is not below the model's own number.
    growth
        The first halving takes `steps` steps of the optimiser, each later one `growth` times as
        many as the one before: the last ones are the hardest.
    report
        Called with a line of text before each halving.
    **options
        Of the trainer, for each halving; `max_minutes` is for all of them together, all
        sessions too.

    Returns
    -------
    Model : the last student. When `max_minutes` ended the run, the one at work, not delivered to
        `out`; its card says `finished: false` and `resume=True` continues.

    Raises
    ------
    ConfigError : the kernel is not Gaussian, the variance is learned (a student's steps have
        none), the numbers of steps do not halve into each other, the model is another domain's.
    InputError : `out` contains something else, or a distillation and `resume` is not set.
    """
    domain = domain if isinstance(domain, Trainable) else trainable_named(domain)
    model = _fit_to_teach(model, domain)
    halvings = _halvings(model, to_steps, from_steps)
    training, _ = split_options(domain, options)  # says what is wrong before a folder is made
    if not 1 <= growth <= 10:
        raise ConfigError("growth is out of range", value=growth, limit="1 to 10")
    folder = as_path(out, "out")
    check_apart(data, folder)
    _spare(folder, resume)
    with removed_unused(folder):
        writable_folder(folder)
        minutes, used = training.max_minutes, 0.0
        for number, steps in enumerate(halvings):
            report(f"halving {number + 1} of {len(halvings)}: {2 * steps} -> {steps} steps")
            own = {**options, "steps": round(training.steps * growth**number)}
            if minutes is not None and number:
                own["max_minutes"] = max(minutes - used / 60, 1e-9)
            model = _halve(domain, data, folder / f"{steps:04d}-steps", model, steps, resume, own)
            used += model.card["training"]["seconds"]
            if not model.card["training"]["finished"]:
                return model
        if PartialState().is_main_process:
            model.save(folder)
        return model


def student_steps(to_steps: int, first: int) -> list[int]:
    """The students' numbers of steps, from half of the first teacher's down to `to_steps`."""
    if to_steps < 1:
        raise ConfigError("a student takes at least one step", value=to_steps, limit=">= 1")
    found = [to_steps]
    while 2 * found[0] < first:
        found.insert(0, 2 * found[0])
    return found


def _halvings(model: Model, to_steps: int, from_steps: int | None) -> list[int]:
    if from_steps is None:
        own = model.defaults.get("steps", USUAL_STEPS)
        own = own if isinstance(own, int) else len(own) - 1  # or the times of a grid
        if model.defaults.get("sampler", "ddim") != "ddim":
            own = max(own, USUAL_STEPS)
        found = student_steps(to_steps, own)
        if to_steps >= own:
            raise ConfigError(
                "the model takes no more steps than that already",
                value=to_steps,
                limit=f"below {own}",
                fix="pass from_steps, the steps of a better teacher",
            )
        return found
    found = student_steps(to_steps, from_steps)
    if from_steps != 2 * found[0]:
        raise ConfigError(
            "the steps must halve into each other",
            value=f"{from_steps} to {to_steps}",
            limit=f"{to_steps} times a power of two",
        )
    return found


def _fit_to_teach(model: Model, domain: Trainable) -> Model:
    """The model without what only stochastic samplers use; ConfigError for what cannot teach."""
    if model.domain.name != domain.name:
        raise ConfigError(
            f"this model belongs to the domain {model.domain.name!r}", value=domain.name
        )
    denoiser = model.denoiser
    if isinstance(denoiser, AnalyticVariance):
        denoiser = denoiser.denoiser
    if not isinstance(denoiser.kernel, GaussianKernel):
        raise ConfigError(
            "distillation follows the ODE of a GaussianKernel",
            value=type(denoiser.kernel).__name__,
        )
    if isinstance(denoiser, NetworkDenoiser) and isinstance(
        denoiser.parametrization, LearnedVariance
    ):
        raise ConfigError(
            "the steps of a student are deterministic, and this network learned their variance",
            value="LearnedVariance",
            fix="train a model that predicts a point",
        )
    return replace(model, denoiser=denoiser)


def _spare(folder: Path, resume: bool) -> None:
    """InputError where `folder` holds anything but, when resuming, a distillation."""
    begun = any(folder.glob("*-steps"))
    if begun and not resume:
        raise InputError(
            f"{str(folder)!r} already contains a distillation",
            fix="choose another folder, or continue with resume=True",
        )
    if not begun and (folder / CONFIG).exists():
        raise InputError(f"{str(folder)!r} already contains a bundle", fix="choose another folder")


def _halve(
    domain: Trainable,
    data: Any,
    folder: Path,
    model: Model,
    steps: int,
    resume: bool,
    options: dict[str, Any],
) -> Model:
    denoiser, configuration = domain.teacher(model)
    teacher = copy.deepcopy(denoiser).eval().requires_grad_(False)  # the caller's stays as it is
    inner = Distillation(teacher, steps)
    usual = domain.objective(configuration)
    objective: Objective = inner
    if isinstance(usual, ConditionDropout):
        objective = replace(usual, objective=inner)
    chosen = configuration.model_dump(mode="json", exclude_none=True)
    own = {
        "objective": objective,
        "initial": replace(model, hash=_identity(model)),
        "defaults": {"steps": steps, "sampler": "ddim", "grid": "uniform"},
        "resume": resume,
    }
    return train_as(domain, data, folder, {**chosen, **own, **options}, options)


def _identity(model: Model) -> str:
    """A hash of weights and configuration. That of the bundle covers the card too, where a resumed
    run has other seconds."""
    weights = hashlib.sha256(tensor_bytes(model.denoiser.state_dict())).hexdigest()
    configuration = model.configuration.model_dump(mode="json")
    return hashlib.sha256(json_bytes({"of": configuration, "weights": weights})).hexdigest()
