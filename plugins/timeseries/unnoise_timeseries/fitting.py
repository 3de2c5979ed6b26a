"""What both estimators share: checks, the fit, draws that are kept, and a model from elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from unnoise.api import load
from unnoise.engine.options import Options
from unnoise.engine.place import device_of
from unnoise.engine.request import sampler_of
from unnoise.errors import InputError
from unnoise.fields import configured, requested
from unnoise.kernels import TransitionKernel
from unnoise.model import Model
from unnoise.storage.tensors import digest
from unnoise.training.train import train
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.data import configure
from unnoise_timeseries.domain import TimeSeries, kernel_of
from unnoise_timeseries.foreign import pandas_of
from unnoise_timeseries.frames import Filled, FrameError, Table, matching, table
from unnoise_timeseries.growing import announced, grown, sizes
from unnoise_timeseries.times import spaced

CELLS = 20_000_000
"""Of completed frames that are held at once."""
E = TypeVar("E", bound="Estimator")
_drawn: WeakKeyDictionary[Estimator, tuple[str, list[Filled]]] = WeakKeyDictionary()
"""What an estimator drew last: its median, samples and quantiles cost one draw. Not in it, so that
a prediction does not change what is pickled."""


class Estimator(BaseEstimator):
    """Fit, and draw in bounded memory."""

    @classmethod
    def from_model(cls: type[E], model: Model | str | Path, **parameters: Any) -> E:
        """An estimator, as if it had been fitted, around a trained model of time series: a `Model`,
        or the folder of one (`model_.save(folder)`, `unnoise train timeseries`). `parameters` are
        those of the estimator; those of the training have no effect.

        Raises InputError for a model of something else.
        """
        found = model if isinstance(model, Model) else load(model)
        if not isinstance(found.domain, TimeSeries):
            raise InputError(
                "this is no model of time series", value=found.domain.name, limit="timeseries"
            )
        self = cls(**parameters)
        self._check(found.denoiser.kernel)
        self.model_, self.frame_ = found, None
        columns = found.configuration.known.columns
        self.n_features_in_ = len(columns)
        self.feature_names_in_ = np.asarray(columns, dtype=object)
        return self

    def _fit(
        self, X: Any, method: Literal["csdi", "timegrad"], minutes: float | None, **own: Any
    ) -> None:
        found = table(spaced(pandas_of(X), self.freq))
        source = found.frame
        options = {"method": method, "window": self.window, "held_out": self.held_out, **own}
        options |= {
            "freq": self.freq,
            "covariates": tuple(self.covariates),
            "kinds": dict(self.kinds or {}),
            "bounds": dict(self.bounds or {}),
        }
        options |= dict(self.options or {})
        if minutes is not None and not minutes > 0:
            raise InputError("the minutes of a fit", value=minutes, limit="> 0")
        asked = configured(Configuration, options)
        self._check(kernel_of(asked))
        for one in found.series:
            if one.name is not None and np.isnan(one.values).all():
                raise FrameError(
                    f"every value of series {one.name!r} is missing: nothing is known of it",
                    fix=f"frame.drop({one.name!r}, level=0)",
                )
        domain, run = TimeSeries(), self._training()
        if asked.classical:
            sized = {**sizes(int(found.holes.size - found.holes.sum())), **options}
            self.model_, self.report_ = grown(source, sized, run, minutes, self._say)
        else:
            if self.verbose:
                self._say(announced(domain, source, configure(source, options), run))
            with tempfile.TemporaryDirectory() as folder:
                self.model_ = train(
                    domain, source, Path(folder) / "run", max_minutes=minutes, **options, **run
                )
        self.frame_ = X
        _drawn.pop(self, None)
        self.n_features_in_ = len(found.columns)
        if isinstance(pandas_of(X), pd.DataFrame):
            self.feature_names_in_ = np.asarray(found.frame.columns, dtype=object)

    def _say(self, text: str) -> None:
        if self.verbose:
            Console(stderr=True, highlight=False).print(text)

    def _check(self, kernel: TransitionKernel) -> None:
        """What is asked for after the training, before it."""
        options = requested(Options, {"num_samples": self.num_samples, **self._drawing()})
        device_of(options.device)
        if options.sampler is not None:
            sampler_of(options.sampler, kernel).check(kernel)

    def _training(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self.random_state or 0,
            "device": "cpu" if self.device == "cpu" else "auto",
            "log_every": max(1, self.steps // 10),
            "samples_every": 0,
            "quiet": not self.verbose,
            "checkpoint_every": self.steps,
            "validate_every": self.steps,
            "bound_samples": 0,
        }

    def _like_fitted(self, X: Any) -> Table:
        check_is_fitted(self, "model_")
        known = self.model_.configuration.known
        X = pandas_of(X)
        if isinstance(X, pd.Series):
            X = X.to_frame()
        if not isinstance(X, pd.DataFrame) and not hasattr(X, "toarray"):
            X = np.asanyarray(X)
        width = X.shape[1] if isinstance(X, np.ndarray) and X.ndim == 2 else self.n_features_in_
        if width != self.n_features_in_:
            raise ValueError(
                f"X has {width} features, but {type(self).__name__} is expecting"
                f" {self.n_features_in_} features as input"
            )
        X = spaced(X, self.model_.configuration.freq)
        return matching(X, known.columns, known.frequency, known.aware)

    def _seen(self, X: Any) -> Any:
        check_is_fitted(self, "model_")
        if X is None and self.frame_ is None:
            raise InputError(
                "this estimator was made from a model and has seen no frame", fix="pass X="
            )
        return self.frame_ if X is None else X

    def _draw(self, given: Table, horizon: int, count: int) -> Iterable[Filled]:
        """Completed frames, a batch at a time; the last ones again when the same are asked for."""
        rows, columns = given.frame.shape
        size = (rows + horizon) * columns
        values = [one.values for one in given.series]
        key = digest(repr(self._drawing()), horizon, values, repr(given.frame.index))
        kept = _drawn.get(self, ("", []))
        if kept[0] == key and len(kept[1]) >= count:
            return kept[1][:count]
        drawn = self._fresh(given, horizon, count, size)
        if count * size > CELLS:
            return drawn
        samples = list(drawn)
        _drawn[self] = (key, samples)
        return samples

    def _drawing(self) -> dict[str, Any]:
        return {
            "steps": self.sampling_steps,
            "sampler": self.sampler,
            "device": self.device,
            "seed": self.random_state or 0,
        }

    def _fresh(self, given: Table, horizon: int, count: int, size: int) -> Iterator[Filled]:
        outputs = self.model_.generate_iter(
            data=given.frame,
            horizon=horizon,
            num_samples=count,
            batch_size=max(1, min(64, CELLS // size)),
            **self._drawing(),
        )
        samples = (sample for output in outputs for sample in output.samples)
        console = Console(stderr=True, quiet=not self.verbose)
        yield from track(samples, "sampling", total=count, console=console, transient=True)
