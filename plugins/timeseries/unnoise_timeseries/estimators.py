"""scikit-learn's way to use it: frames in, frames out."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.training.train import train
from unnoise_timeseries.data import configure
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.files import quantiles as table_of_quantiles
from unnoise_timeseries.frames import Filled, Table, extended, filled, matching, table
from unnoise_timeseries.masks import Strategy

_CELLS = 20_000_000  # of completed frames that are held at once
_TRIED = 3  # steps that are timed before a fit


class _Estimator(BaseEstimator):
    """What both estimators do: fit, and draw in bounded memory."""

    def _fit(self, X: Any, method: Literal["csdi", "timegrad"], **own: Any) -> None:
        found = table(X)
        source = found.frame
        options = {"method": method, "window": self.window, "held_out": self.held_out, **own}
        options |= dict(self.options or {})
        domain, run = TimeSeries(), self._training()
        if self.verbose:
            _announce(domain, source, options, run)
        with tempfile.TemporaryDirectory() as folder:
            self.model_ = train(domain, source, Path(folder) / "run", **options, **run)
        self.frame_ = X
        self.n_features_in_ = len(found.columns)
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(found.frame.columns, dtype=object)

    def _training(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self.random_state or 0,
            "device": "cpu" if self.device == "cpu" else "auto",
            "log_every": max(1, self.steps // 10) if self.verbose else self.steps + 1,
            "checkpoint_every": self.steps,
            "validate_every": self.steps,
            "bound_samples": 0,
        }

    def _like_fitted(self, X: Any) -> Table:
        check_is_fitted(self, "model_")
        known = self.model_.configuration.known
        if not isinstance(X, pd.DataFrame) and not hasattr(X, "toarray"):
            X = np.asarray(X)
        width = X.shape[1] if isinstance(X, np.ndarray) and X.ndim == 2 else self.n_features_in_
        if width != self.n_features_in_:
            raise ValueError(
                f"X has {width} features, but {type(self).__name__} is expecting"
                f" {self.n_features_in_} features as input"
            )
        return matching(X, known.columns, known.frequency, known.aware)

    def _draw(self, given: Table, horizon: int, count: int) -> Iterable[Filled]:
        """Completed frames, a batch at a time."""
        size = given.frame.size + horizon * given.frame.shape[1]
        outputs = self.model_.generate_iter(
            data=given.frame,
            horizon=horizon,
            num_samples=count,
            steps=self.sampling_steps,
            sampler=self.sampler,
            device=self.device,
            seed=self.random_state or 0,
            batch_size=max(1, min(64, _CELLS // size)),
        )
        for output in outputs:
            yield from output.samples


def _long(samples: Iterable[Filled]) -> pd.DataFrame:
    return pd.concat(
        {k: pd.DataFrame(sample) for k, sample in enumerate(samples)}, names=["sample"]
    )


@final
class DiffusionImputer(TransformerMixin, _Estimator):
    """Fills the missing cells of a frame with the median of samples of CSDI; observed cells come
    back to the bit. Index, columns and dtypes stay; columns of whole numbers are rounded.

    Parameters
    ----------
    num_samples : that the median is taken of.
    window : rows that the network sees at once; up to 96 by default. Holes longer than it are
        filled, but what fills them sees one end at a time.
    targets : what is hidden in training, see `unnoise_timeseries.masks`.
    steps, batch_size, learning_rate : of the training.
    sampling_steps, sampler : from noise to data; 15 by default.
    held_out : share of each series, its end, that takes no part in the training; 0.1 by default,
        or nothing where that is shorter than a window.
    options : more fields of the configuration, e.g. {"channels": 32}.
    device : "cpu", "cuda", ...; a GPU when there is one.
    random_state : seed of the training and of the samples.
    verbose : say how long the fit will take, and show it.

    Attributes
    ----------
    model_ : the trained `unnoise.domain.Model`; `model_.save(folder)` writes a bundle for
        `unnoise generate timeseries --model folder`.
    n_features_in_, feature_names_in_ : of what was fitted.

    Examples
    --------
    >>> filled = DiffusionImputer(steps=2000).fit_transform(frame)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        num_samples: int = 100,
        window: int | None = None,
        targets: Strategy = "any",
        steps: int = 2000,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        sampling_steps: int | None = None,
        sampler: str | None = None,
        held_out: float | None = None,
        options: Mapping[str, Any] | None = None,
        device: str | None = None,
        random_state: int | None = None,
        verbose: bool = True,
    ) -> None:
        self.num_samples = num_samples
        self.window = window
        self.targets = targets
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.sampling_steps = sampling_steps
        self.sampler = sampler
        self.held_out = held_out
        self.options = options
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> DiffusionImputer:
        """Train on a frame, or an array (rows, columns), with or without holes."""
        self._fit(X, "csdi", targets=self.targets)
        return self

    def transform(self, X: Any) -> Any:
        """The frame with its holes filled by the median; an array for an array."""
        given = self._like_fitted(X)
        holes = given.holes
        if not holes.any():
            warnings.warn("nothing is missing: the data are returned as they are", stacklevel=2)
            return X.copy() if isinstance(X, pd.DataFrame) else np.array(X)
        middle = np.median(self._cells(given, holes, self.num_samples), axis=0)
        out = filled(given, middle, holes)
        return pd.DataFrame(out) if isinstance(X, pd.DataFrame) else out.to_numpy()

    def sample(self, n: int = 100, X: Any = None) -> pd.DataFrame:
        """n completed frames below each other, numbered by the first index level, "sample".

        X is the frame of `fit` by default. Memory: n frames.
        """
        given = self._like_fitted(self._seen(X))
        return _long(self._draw(given, 0, n))

    def quantiles(
        self, levels: Sequence[float] = (0.05, 0.5, 0.95), X: Any = None, n: int | None = None
    ) -> pd.DataFrame:
        """Quantiles of each missing cell: one row per cell (time, column), one column per level.

        X is the frame of `fit` by default; n samples, `num_samples` by default.
        """
        given = self._like_fitted(self._seen(X))
        holes = given.holes
        drawn = self._cells(given, holes, n or self.num_samples)
        values = np.quantile(drawn, levels, axis=0)
        return table_of_quantiles(given.frame, holes, values, levels)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The columns: none comes or goes."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.configuration.known.columns, dtype=object)

    def _seen(self, X: Any) -> Any:
        check_is_fitted(self, "model_")
        return self.frame_ if X is None else X

    def _cells(self, given: Table, holes: Any, count: int) -> np.ndarray[Any, Any]:
        """(samples, holes): a float32 for each is what is kept of each sample."""
        drawn = np.empty((count, int(holes.sum())), dtype=np.float32)
        for k, sample in enumerate(self._draw(given, 0, count)):
            drawn[k] = sample.to_numpy(dtype=np.float64, na_value=np.nan)[holes]
        return drawn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        tags.non_deterministic = False
        return tags


@final
class DiffusionForecaster(_Estimator):
    """Continues a frame: the median, samples or quantiles of the rows after its last one.

    Parameters are those of `DiffusionImputer`, and

    method : "timegrad", row by row; or "csdi", all rows at once, which needs a `horizon` below
        the window.
    horizon : rows that CSDI hides in training; a quarter of its window by default.
    """

    def __init__(
        self,
        *,
        method: Literal["timegrad", "csdi"] = "timegrad",
        horizon: int | None = None,
        num_samples: int = 100,
        window: int | None = None,
        steps: int = 2000,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        sampling_steps: int | None = None,
        sampler: str | None = None,
        held_out: float | None = None,
        options: Mapping[str, Any] | None = None,
        device: str | None = None,
        random_state: int | None = None,
        verbose: bool = True,
    ) -> None:
        self.method = method
        self.horizon = horizon
        self.num_samples = num_samples
        self.window = window
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.sampling_steps = sampling_steps
        self.sampler = sampler
        self.held_out = held_out
        self.options = options
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> DiffusionForecaster:
        """Train on a frame, or an array (rows, columns), with or without holes."""
        own: dict[str, Any] = {}
        if self.method == "csdi":
            own = {"targets": "forecasting", "horizon": self.horizon}
        self._fit(X, self.method, **own)
        return self

    def predict(self, horizon: int, X: Any = None) -> pd.DataFrame:
        """The median of the `horizon` rows after X, by default after the frame of `fit`."""
        return self._reduced(self.sample(self.num_samples, horizon, X), "median")

    def sample(self, n: int, horizon: int, X: Any = None) -> pd.DataFrame:
        """n futures below each other, numbered by the first index level, "sample"."""
        check_is_fitted(self, "model_")
        if not isinstance(horizon, int | np.integer) or horizon < 1:
            raise InputError("a horizon is a number of rows", value=horizon, limit=">= 1")
        given = self._like_fitted(self.frame_ if X is None else X)
        whole = extended(given, int(horizon))
        new = whole.frame.index.difference(given.frame.index, sort=False)
        frames = self._draw(given, int(horizon), n)
        return _long(pd.DataFrame(f).loc[new] for f in frames)

    def quantiles(
        self, levels: Sequence[float], horizon: int, X: Any = None, n: int | None = None
    ) -> pd.DataFrame:
        """Quantiles of the `horizon` rows: index (time), columns (column, level)."""
        drawn = self.sample(n or self.num_samples, horizon, X)
        parts = {q: self._reduced(drawn, "quantile", q) for q in levels}
        wide = pd.concat(parts, axis=1, names=["quantile"]).swaplevel(axis=1)
        return wide.sort_index(axis=1)

    @staticmethod
    def _reduced(drawn: pd.DataFrame, how: str, *arguments: float) -> pd.DataFrame:
        levels = list(range(1, drawn.index.nlevels))
        return getattr(drawn.groupby(level=levels, sort=False), how)(*arguments)


def _announce(
    domain: TimeSeries, source: Any, options: Mapping[str, Any], run: Mapping[str, Any]
) -> None:
    """Time a few steps on a network that is thrown away, and say how long all of them take."""
    configuration = configure(source, options)
    data = domain.dataset(source, configuration, "train")
    state = torch.random.get_rng_state()
    try:
        denoiser, objective = domain.build(configuration), domain.objective(configuration)
        codec = domain.codec(configuration)
        begun = time.monotonic()
        for step in range(_TRIED):
            numbers = range(step * run["batch_size"], (step + 1) * run["batch_size"])
            batch = domain.collate([data[i % len(data)] for i in numbers])
            states = batch.encoded(codec)
            objective(denoiser, states, NoiseSource(0, numbers)).mean().backward()
            if step == 0:
                begun = time.monotonic()  # the first one also warms up
        seconds = (time.monotonic() - begun) / (_TRIED - 1) * run["steps"]
    finally:
        torch.random.set_rng_state(state)
    Console(stderr=True, highlight=False).print(
        f"fitting {len(data)} windows of {configuration.length} rows x"
        f" {len(configuration.known.columns)} columns: {run['steps']} steps, about"
        f" {seconds / 60:.1f} min here on the CPU"
    )
