"""Progressive distillation of a trained model: half as many steps, again and again.

Each halving is an ordinary training run in a folder of its own below `out`, so it is killed and
resumed like one; the last one's bundle is the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from unnoise.domain import Domain, Model, domain_named
from unnoise.errors import ConfigError, InputError
from unnoise.files import writable_folder
from unnoise.kernels import GaussianKernel
from unnoise.objectives import ConditionDropout, Distillation, Objective
from unnoise.trainer import train


def distill(
    domain: Domain | str,
    data: Any,
    out: str | Path,
    *,
    model: Model,
    to_steps: int,
    from_steps: int | None = None,
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
    report
        Called with a line of text before each halving.
    **options
        Of the trainer, for each halving.

    Raises
    ------
    ConfigError : the kernel is not Gaussian, or the numbers of steps do not halve into each other.
    """
    domain = domain_named(domain) if isinstance(domain, str) else domain
    if not isinstance(model.denoiser.kernel, GaussianKernel):
        raise ConfigError(
            "distillation follows the ODE of a GaussianKernel",
            value=type(model.denoiser.kernel).__name__,
        )
    halvings = student_steps(to_steps, from_steps or model.defaults.get("steps", 50))
    if from_steps is not None and from_steps != 2 * halvings[0]:
        raise ConfigError(
            "the steps must halve into each other",
            value=f"{from_steps} to {to_steps}",
            limit=f"{to_steps} times a power of two",
        )
    folder = Path(out)
    if any(folder.glob("*-steps")) and not resume:
        raise InputError(
            f"{str(folder)!r} already contains a distillation",
            fix="choose another folder, or continue with resume=True",
        )
    writable_folder(folder)
    for number, steps in enumerate(halvings, 1):
        report(f"halving {number} of {len(halvings)}: {2 * steps} -> {steps} steps")
        model = _halve(domain, data, folder / f"{steps:04d}-steps", model, steps, resume, options)
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


def _halve(
    domain: Domain,
    data: Any,
    folder: Path,
    model: Model,
    steps: int,
    resume: bool,
    options: dict[str, Any],
) -> Model:
    denoiser, configuration = domain.teacher(model)
    # the student's own outputs have to be right where the teacher's are clipped, so it starts as
    # the teacher's network and is trained before any clipping
    inner = Distillation(denoiser.eval().requires_grad_(False), steps)
    usual = domain.objective(configuration)
    objective: Objective = inner
    if isinstance(usual, ConditionDropout):
        objective = replace(usual, objective=inner)
    chosen = configuration.model_dump(mode="json", exclude_none=True)
    again = resume and (folder / "checkpoints").exists()
    return train(
        domain,
        data,
        folder,
        objective=objective,
        initial=model,
        defaults={"steps": steps, "sampler": "ddim"},
        resume=again,
        **{**chosen, **options},
    )
