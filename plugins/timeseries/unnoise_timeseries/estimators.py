"""scikit-learn's way to use it: frames in, frames out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from unnoise.errors import InputError
from unnoise_timeseries.evaluation import hidden
from unnoise_timeseries.files import levels_of, median_of
from unnoise_timeseries.files import quantiles as table_of_quantiles
from unnoise_timeseries.fitting import CELLS, Estimator
from unnoise_timeseries.foreign import foreign
from unnoise_timeseries.frames import Filled, Table, extended, filled
from unnoise_timeseries.kinds import Kind
from unnoise_timeseries.masks import Strategy


@final
class DiffusionImputer(TransformerMixin, Estimator):
    """Fills the missing cells of a frame with the median of samples; observed cells come back to
    the bit. Index, columns and dtypes stay; columns of whole numbers are rounded.

    A classical law of all columns (a random walk, or an autoregression about the calendar's mean)
    is chosen by what it says of known cells that are hidden from it. CSDI is trained on what that
    law leaves, as long as it learns, and kept where it says more of hidden cells than the law by
    more than noise; else the law is the answer, with its own intervals. See `growing`, `report_`.

    Parameters
    ----------
    num_samples : that the median is taken of.
    window : rows that the network sees at once; up to 96 by default. Holes longer than it are
        filled, but what fills them sees one end at a time.
    targets : what is hidden in training, see `unnoise_timeseries.masks`.
    steps, batch_size, learning_rate : of the training; `steps` are the most that it takes, 0 for
        the classical law alone.
    sampling_steps, sampler : from noise to data; 15 by default.
    held_out : share of each series, its end, that takes no part in the fit; nothing by default,
        and with another prior than the classical one 0.1 where that is no shorter than a window.
    kinds : what the numbers of a column are, {"visitors": "count", "humidity": "share"}: count,
        non-negative, share (of 0 to 1), integer or plain. By default by the dtype: nullable whole
        numbers are integer, those without a sign count, all others plain.
    bounds : of columns, {"angle": (0, 360), "price": (0, None)}; samples never leave them.
    freq : of the times, "h" or "10min": rows that are missing altogether are put in, and filled.
    covariates : columns that are known in every row, also in those to fill or to forecast, such as
        holidays: given, and never hidden in training. Of CSDI.
    options : more fields of the configuration, e.g. {"channels": 32}.
    device : "cpu", "cuda", ...; a GPU when there is one.
    random_state : seed of the training and of the samples.
    verbose : say how long the fit will take, and show it.

    Attributes
    ----------
    model_ : the trained `unnoise.domain.Model`; `model_.save(folder)` writes a bundle for
        `unnoise generate timeseries --model folder`.
    report_ : what the fit found, `growing.Report`: the law, the CRPS of law and network in hidden
        cells, and whether the network was kept. str() of it says so.
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
        kinds: Mapping[str, Kind] | None = None,
        bounds: Mapping[str, Sequence[float | None]] | None = None,
        freq: str | None = None,
        covariates: Sequence[str] = (),
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
        self.kinds = kinds
        self.bounds = bounds
        self.freq = freq
        self.covariates = covariates
        self.options = options
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, minutes: float | None = None) -> DiffusionImputer:
        """Fit to a frame, or an array (rows, columns), with or without holes, in at most so many
        `minutes`."""
        self._fit(X, "csdi", minutes, targets=self.targets)
        return self

    def transform(self, X: Any) -> Any:
        """The frame with its holes filled by the median; a series for a series, an array for an
        array, and for a frame of polars or xarray one of theirs."""
        other = foreign(X)
        if other is not None:
            return other.back(self.transform(other.frame))
        given = self._like_fitted(X)
        holes = given.holes
        if not holes.any():
            warnings.warn("nothing is missing: the data are returned as they are", stacklevel=2)
            return X.copy() if isinstance(X, pd.DataFrame | pd.Series) else np.array(X)
        out = filled(given, self._median(given, holes), holes)
        if isinstance(X, pd.Series):
            return out.iloc[:, 0].rename(X.name)
        if not isinstance(X, pd.DataFrame):
            return out.to_numpy()
        found = pd.DataFrame(out)
        found.attrs = dict(X.attrs)
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean absolute error of the median in cells that are hidden for it, a tenth of
        the known ones, in standard deviations of their columns. What is measured must not have been
        fitted: X is another part than that of `fit`.

        Raises InputError where less than ten cells are known.
        """
        given = self._like_fitted(X)
        values = np.full(given.frame.shape, np.nan)
        for one in given.series:
            values[one.rows] = one.values
        known = np.isfinite(values) & ~np.asarray(self.model_.configuration.given)
        if known.sum() < 10:
            raise InputError("too few cells are known to hide some", value=int(known.sum()))
        away = hidden(known, "random", 0.1, 1, self.random_state or 0)
        part = pd.DataFrame(values, given.frame.index, given.frame.columns).mask(away)
        asked = self._like_fitted(part)
        middle = np.zeros(values.shape)
        middle[asked.holes] = self._median(asked, asked.holes)
        error = np.abs(middle - values) / np.asarray(self.model_.configuration.known.units)
        return -float(error[away].mean())

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

        X is the frame of `fit` by default; n samples, `num_samples` by default. They are at place
        level (n + 1) among the samples: levels nearer to 0 or 1 than 1 / (n + 1) need more of them.
        """
        _check_levels(levels, n or self.num_samples)
        given = self._like_fitted(self._seen(X))
        holes = given.holes
        drawn = self._cells(given, holes, n or self.num_samples)
        return table_of_quantiles(given.frame, holes, levels_of(drawn, levels), levels)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The columns: none comes or goes."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.configuration.known.columns, dtype=object)

    def _median(self, given: Table, holes: Any) -> np.ndarray[Any, Any]:
        return median_of(self._cells(given, holes, self.num_samples))

    def _cells(self, given: Table, holes: Any, count: int) -> np.ndarray[Any, Any]:
        """(samples, holes), float32 where they are many."""
        cells = int(holes.sum())
        kind = np.float64 if count * cells <= CELLS else np.float32
        drawn = np.empty((count, cells), dtype=kind)
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
class DiffusionForecaster(Estimator):
    """Continues a frame: the median, samples or quantiles of the rows after its last one.

    Parameters are those of `DiffusionImputer`, and

    method : "timegrad", row by row; or "csdi", all rows at once, which needs a `horizon` below
        the window.
    horizon : rows that CSDI hides in training; a quarter of its window by default.
    covariates : with them a frame to forecast holds the rows to be forecast already, with the
        covariates and nothing else.
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
        kinds: Mapping[str, Kind] | None = None,
        bounds: Mapping[str, Sequence[float | None]] | None = None,
        freq: str | None = None,
        covariates: Sequence[str] = (),
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
        self.kinds = kinds
        self.bounds = bounds
        self.freq = freq
        self.covariates = covariates
        self.options = options
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, minutes: float | None = None) -> DiffusionForecaster:
        """Fit to a frame, or an array (rows, columns), with or without holes, in at most so many
        `minutes`."""
        own: dict[str, Any] = {}
        if self.method == "csdi":
            own = {"targets": "forecasting", "horizon": self.horizon}
        self._fit(X, self.method, minutes, **own)
        return self

    def predict(self, horizon: int, X: Any = None) -> Any:
        """The median of the `horizon` rows after X, by default after the frame of `fit`; of polars
        or xarray when that is."""
        other = foreign(self._seen(X))
        if other is not None:
            return other.back(self.predict(horizon, other.frame))
        drawn = self.sample(self.num_samples, horizon, X)
        rows = len(drawn) // self.num_samples
        one = drawn.iloc[:rows].droplevel(0)
        cube = drawn.to_numpy(dtype=np.float64, na_value=np.nan).reshape(-1, rows, one.shape[1])
        return pd.DataFrame(median_of(cube), one.index, one.columns).astype(one.dtypes)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean absolute error of the median of the last rows of each series, as many as a
        quarter of a window, from the rows before them, in standard deviations of their columns."""
        whole = self._like_fitted(X)
        horizon = max(1, self.model_.configuration.length // 4)
        covariates = list(self.model_.configuration.given)
        if any(covariates):
            away = np.zeros(whole.frame.shape, dtype=bool)
            for one in whole.series:
                away[one.rows[-horizon:]] = ~np.asarray(covariates)
            parts = [whole.frame.mask(away)]
        else:
            parts = [whole.frame.iloc[one.rows[:-horizon]] for one in whole.series]
        truth = pd.concat([whole.frame.iloc[one.rows[-horizon:]] for one in whole.series])
        found = self.predict(horizon, pd.concat(parts))
        scale = np.asarray(self.model_.configuration.known.units)
        error = found.to_numpy(dtype=np.float64) - truth.to_numpy(dtype=np.float64, na_value=np.nan)
        return -float(np.nanmean(np.abs(error) / scale))

    def sample(self, n: int, horizon: int, X: Any = None) -> pd.DataFrame:
        """n futures below each other, numbered by the first index level, "sample"."""
        check_is_fitted(self, "model_")
        if not isinstance(horizon, int | np.integer) or horizon < 1:
            raise InputError("a horizon is a number of rows", value=horizon, limit=">= 1")
        given = self._like_fitted(self._seen(X))
        if self.model_.configuration.covariates:
            ends = np.concatenate([one.rows[-horizon:] for one in given.series])
            return _long(pd.DataFrame(f).iloc[ends] for f in self._draw(given, 0, n))
        whole = extended(given, int(horizon))
        new = whole.frame.index.difference(given.frame.index, sort=False)
        frames = self._draw(given, int(horizon), n)
        return _long(pd.DataFrame(f).loc[new] for f in frames)

    def quantiles(
        self, levels: Sequence[float], horizon: int, X: Any = None, n: int | None = None
    ) -> pd.DataFrame:
        """Quantiles of the `horizon` rows: index (time), columns (column, level), as
        `DiffusionImputer.quantiles`."""
        count = n or self.num_samples
        _check_levels(levels, count)
        drawn = self.sample(count, horizon, X)
        rows = len(drawn) // count
        one = drawn.iloc[:rows].droplevel(0)
        cube = drawn.to_numpy(dtype=np.float64).reshape(count, rows, -1)
        found = levels_of(cube, levels)
        parts = {
            q: pd.DataFrame(v, one.index, one.columns) for q, v in zip(levels, found, strict=True)
        }
        wide = pd.concat(parts, axis=1, names=["quantile"]).swaplevel(axis=1)
        return wide.sort_index(axis=1)


def _long(samples: Iterable[Filled]) -> pd.DataFrame:
    return pd.concat(
        {k: pd.DataFrame(sample) for k, sample in enumerate(samples)}, names=["sample"]
    )


def _check_levels(levels: Sequence[float], count: int) -> None:
    """InputError for what is no quantile; a warning for one that so few samples do not hold."""
    for level in levels:
        if not 0 <= level <= 1:
            raise InputError("a quantile lies between 0 and 1", value=level, limit="0 to 1")
    far = [level for level in levels if 0 < min(level, 1 - level) < 1 / (count + 1)]
    if far:
        least = math.ceil(1 / min(min(level, 1 - level) for level in far) - 1e-9) - 1
        warnings.warn(
            f"{count} samples do not reach the quantiles {far}: those of the outermost samples are"
            f" returned, which lie too far inside; draw at least {least}",
            stacklevel=3,
        )
