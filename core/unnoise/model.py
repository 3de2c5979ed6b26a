"""What users hold: a trained model that generates, is measured and saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from unnoise.denoise.wrappers import described
from unnoise.discovery.domains import collated
from unnoise.domain import Trained
from unnoise.engine.calibrate import again
from unnoise.engine.evaluate import evaluate_bound, evaluate_likelihood
from unnoise.engine.output import Output, collect
from unnoise.engine.run import generate_iter
from unnoise.engine.unusual import Measuring, Reference, Unusual, reference, unusual
from unnoise.errors import InputError
from unnoise.objectives import Bound, DataType, Likelihood, Networks, Trace
from unnoise.storage.bundle import OTHERS, write_bundle
from unnoise.storage.files import as_path


@final
@dataclass(frozen=True, eq=False, repr=False)
class Model(Trained):
    """A trained model that users hold: see `unnoise.domain.Trained` for what it consists of."""

    def generate(self, **request: Any) -> Output:
        """As `unnoise.generate`, from this model."""
        return collect(self.generate_iter(**request))

    def generate_iter(self, **request: Any) -> Iterator[Output]:
        """As `unnoise.generate_iter`, from this model."""
        return generate_iter(self.domain, self, **request)

    def bound(
        self,
        x: Sequence[Any],
        *,
        seed: int = 0,
        steps: int | None = 1000,
        evaluations: int | None = 100,
        data: DataType | None = None,
    ) -> Bound:
        """The variational bound of data items, as the domain's dataset yields them: nats, (B,).

        `steps` None is the limit of infinitely many, `unnoise.objectives.limit_bound`.
        `data` says what their numbers are, by default the domain's `data_type`. See
        `unnoise.objectives.bound`.
        """

        if len(x) == 0:
            raise InputError("the bound needs at least one item")
        kind = self.domain.data_type(self.configuration) if data is None else data
        return evaluate_bound(self, collated(self.domain, x), seed, steps, evaluations, kind)

    def log_likelihood(
        self,
        x: Sequence[Any],
        *,
        seed: int = 0,
        data: DataType | None = None,
        trace: Trace | None = None,
        eps: float | None = None,
        tolerance: float = 1e-5,
    ) -> Likelihood:
        """log p of data items, as the domain's dataset yields them, by the probability-flow ODE:
        nats, (B,), for Gaussian kernels. See `unnoise.objectives.log_likelihood`.

        Parameters
        ----------
        data : the units of the answer, by default the domain's `data_type`. For `Quantised` data
            a lower bound of log P, see `unnoise.objectives.level_likelihood`; for `Continuous` a
            density per unit of x, and rounded values are refused; `Dequantised` is for models
            that were trained on such data.
        """

        if len(x) == 0:
            raise InputError("a likelihood needs at least one item")
        kind = self.domain.data_type(self.configuration) if data is None else data
        batch = collated(self.domain, x)
        return evaluate_likelihood(self, batch, kind, seed, trace, eps, tolerance)

    def reference(
        self,
        held_out: Sequence[Any],
        *,
        seed: int = 0,
        steps: int = 1000,
        evaluations: int = 24,
        bands: int = 4,
        batch_size: int = 64,
        kept: str | Path | None = None,
        report: Callable[[float], None] = lambda _: None,
    ) -> Reference:
        """What is usual, for `unusual`: the bound of held-out items, term by term.

        Parameters
        ----------
        held_out : items as the domain's dataset yields them, that the model was not trained on.
        steps, evaluations : of the bound; `bands` of its noise levels are compared, and the prior's
            and the last step's term.
        kept : a file in which the terms are kept: a second call measures only what is new.
        report : is called with the part that is done.

        Raises
        ------
        InputError : no items, or numbers out of range. ConfigError : the file is of another model
            or measured otherwise, or this model was never saved.
        """
        how = Measuring(seed, steps, evaluations, bands)
        path, collate = Path(kept) if kept else None, partial(collated, self.domain)
        return reference(self, collate, held_out, how, batch_size, path, report)

    def unusual(
        self, x: Sequence[Any], held_out: Sequence[Any] | Reference, *, batch_size: int = 64
    ) -> Unusual:
        """How unusual data items are beside held-out ones: conformal p-values, whose level is
        exact, of the bound by noise level. `held_out` are items, or what `reference` made of them.

        Raises
        ------
        InputError : no items, too few held-out ones. NonFiniteError : an item, or its bound, is no
            finite number. ConfigError : a reference of another model.
        """
        usual = held_out if isinstance(held_out, Reference) else self.reference(held_out)
        return unusual(self, partial(collated, self.domain), x, usual, batch_size)

    def again(
        self,
        x: Sequence[Any],
        draws: int,
        *,
        report: Callable[[float], None] = lambda _: None,
        **options: Any,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Data items as numbers, (n, d), and draws of them from their conditions alone,
        (n, `draws`, d): what `unnoise.calibration` compares. `options` are those of generating.

        Raises InputError for items that are no dense arrays of real numbers, or have no condition.
        """
        return again(self, partial(collated, self.domain), x, draws, options, report)

    def save(
        self, path: str | Path, *, precision: Literal["float32", "float16"] = "float32"
    ) -> Path:
        """Write the model as a bundle folder; in float16, float32 weights are rounded to it.

        Raises InputError for what is no path, or another precision.
        """
        target = as_path(path, "the folder of a bundle")
        if precision not in ("float32", "float16"):
            raise InputError("no such precision", value=precision, limit="float32, float16")
        self.domain.check_save(self)
        state = dict(Networks(self.denoiser, self.codec).state_dict())
        state |= {f"{OTHERS}{name}": value for name, value in self.others.items()}
        if precision == "float16":
            state = {n: v.half() if v.dtype == torch.float32 else v for n, v in state.items()}
        write_bundle(
            target,
            self.domain.name,
            self.configuration.model_dump(mode="json"),
            state,
            self.defaults,
            self.card,
            described(self.denoiser),
        )
        return target


class Metric(BaseModel, ABC):
    """What a domain measures of generated samples against held-out data: its fields are the
    options, and become flags of `unnoise evaluate`.

    A field with the name of a flag that every evaluation has (num_samples, steps, batch_size, seed)
    receives it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @abstractmethod
    def measure(
        self, model: Model, source: Any, report: Callable[[str, float], None]
    ) -> Mapping[str, Any]:
        """Numbers and words, by name, of `model` on the data in `source`; what can be written as
        JSON. `report` is called with what is being done and the part of it that is done."""

    def text(self, result: Mapping[str, Any]) -> str:
        """The result as it is printed."""
        return "\n".join(f"{name}: {value}" for name, value in result.items())
