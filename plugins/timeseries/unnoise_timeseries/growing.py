"""A fit that stops where nothing is left to learn.

Some known cells are hidden from everything: single ones and runs. A classical law is chosen without
them and says what they may be. Then a network is trained on what the law leaves, in stages, each
with a learning rate that falls to 0; after some hundred steps it goes on as long as a stage says
more of the hidden cells than the best one before it. The network is kept where its CRPS is below
that of the law by more than noise, and by more than is worth its cost; else the law is the answer.
Last, the law is fitted again with the hidden cells known.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pandas as pd
import torch

from unnoise.denoise import UnitVariance
from unnoise.fields import configured
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.training.train import train
from unnoise_timeseries import metrics
from unnoise_timeseries.choice import refitted
from unnoise_timeseries.codec import standardised
from unnoise_timeseries.configuration import Configuration
from unnoise_timeseries.data import configure
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.frames import Table, table
from unnoise_timeseries.kinds import kinds_of
from unnoise_timeseries.windows import cut

STAGES: Final = (0.1, 0.25, 0.65)
"""Parts of the steps."""
_FAIR: Final = 400  # steps before which a network is not given up
_SHARE = 0.05  # of the known cells, hidden by each pattern
_FEWEST = 100  # hidden cells, to judge a network by
_ROWS = 1500  # on which it is judged
_DRAWS = 32
_WORTH = 0.01  # of the law's CRPS: less is not worth a network
_TRIED = 3  # steps that are timed before a fit
_SIGMAS = 2.0  # above the noise of the difference
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@final
@dataclass(frozen=True)
class Report:
    """What a fit found, in CRPS of hidden cells in standard deviations of their columns.

    Attributes
    ----------
    law : the classical law, in words.
    candidates : of each law that was tried: (single cells, runs).
    law_crps, network_crps : of cells that were hidden from both; None where it was not measured.
    error : of their difference, one standard error.
    network : whether the network is kept.
    steps : that it was trained for.
    seconds : of the whole fit, by the clock.
    """

    law: str
    candidates: Mapping[str, tuple[float, float]]
    law_crps: float | None = None
    network_crps: float | None = None
    error: float | None = None
    network: bool = False
    steps: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        head = f"classical law: {self.law}"
        if self.law_crps is None:
            return f"{head}; too little is known to judge a network"
        if self.network_crps is None or self.error is None:
            return f"{head}, CRPS {self.law_crps:.4f}; no network was asked for"
        gain = 100 * (1 - self.network_crps / self.law_crps)
        noise = 100 * self.error / self.law_crps
        said = "kept" if self.network else "left out: the law is the answer"
        return (
            f"{head}, CRPS {self.law_crps:.4f} of hidden cells; after {self.steps} steps a network"
            f" on what it leaves {self.network_crps:.4f}, {gain:+.1f} % (noise {noise:.1f}): {said}"
        )


@final
@dataclass(frozen=True, eq=False)
class _Judge:
    """Cells that are hidden from the fit: `truth` of the `mask` of `frame`, a part of the data."""

    frame: pd.DataFrame
    mask: Mask
    truth: np.ndarray[Any, np.dtype[np.float64]]

    def crps(self, model: Model) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Of each cell, in standard deviations of its column."""
        out = model.generate(data=self.frame, num_samples=_DRAWS, device="cpu")
        units = np.asarray(model.configuration.known.units)[np.nonzero(self.mask)[1]]
        drawn = [s.to_numpy(dtype=np.float64, na_value=np.nan)[self.mask] for s in out.samples]
        return metrics.cells_crps(np.stack(drawn) / units, self.truth / units)

    def difference(self, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float, float]:
        """Mean of a - b, and its standard error: rows that are near are alike."""
        rows = np.nonzero(self.mask)[0] // 24
        sums = np.bincount(rows, a - b)
        counts = np.bincount(rows)
        sums, counts = sums[counts > 0], counts[counts > 0]
        mean = float((a - b).mean())
        spread = math.sqrt(float(np.square(sums - mean * counts).sum()))
        return mean, spread / float(counts.sum())


def grown(
    source: pd.DataFrame,
    options: Mapping[str, Any],
    run: Mapping[str, Any],
    minutes: float | None,
    say: Callable[[str], None],
) -> tuple[Model, Report]:
    """The model of a frame, and what was found on the way.

    Parameters
    ----------
    options : of the configuration.
    run : of the training; its `steps` are the most that all stages take together, 0 for none.
    minutes : that the fit may take; the law is fitted whatever they are.
    """
    begun, found = time.monotonic(), table(source)
    until = math.inf if minutes is None else begun + 60 * minutes
    # cells are held out: no row needs to be, unless that is asked for
    options = {**options, "held_out": options.get("held_out") or 0.0}
    away = _hidden(found, options)
    part = source.mask(away)
    configuration = configure(part, _said(found, options))
    law = _alone(configuration)
    report = Report(str(configuration.law), configuration.known.tried)
    model = law
    judge = _judge(found, part, away)
    if judge is not None:
        base = judge.crps(law)
        report = replace(report, law_crps=float(base.mean()))
        say(f"classical law: {configuration.law}, CRPS {base.mean():.4f} of hidden cells")
        if run["steps"] and configuration.layers and time.monotonic() < until:
            trained, report = _staged(
                part, law, configuration.layers, judge, base, report, run, until, say
            )
            model = law if trained is None else trained
    model = _informed(model, found)
    report = replace(report, seconds=round(time.monotonic() - begun, 1))
    card = {**model.card, "choice": {**asdict(report), "said": str(report)}}
    say(str(report))
    return replace(model, card=card), report


def _staged(
    part: pd.DataFrame,
    law: Model,
    layers: int,
    judge: _Judge,
    base: np.ndarray[Any, Any],
    report: Report,
    run: Mapping[str, Any],
    until: float,
    say: Callable[[str], None],
) -> tuple[Model | None, Report]:
    domain, total = TimeSeries(), int(run["steps"])
    kept: Model | None = None
    best, taken = base, 0
    latest: Model | None = None
    own = law.configuration.model_dump(exclude_defaults=True) | {"layers": layers}
    if not run["quiet"]:
        # what has to be worth it: most fits stop after the first stage
        say(announced(domain, part, configured(Configuration, own), run) + " at most")
    with tempfile.TemporaryDirectory() as folder:
        for k, share in enumerate(STAGES):
            steps = max(1, round(share * total)) if k < len(STAGES) - 1 else total - taken
            left = (until - time.monotonic()) / 60
            if steps < 1 or left <= 0:
                break
            start = {"initial": latest} if latest is not None else {}
            settings = {name: value for name, value in run.items() if name != "steps"}
            latest = train(
                domain, part, Path(folder) / str(k), steps=steps, warmup=min(50, steps // 4),
                max_minutes=None if math.isinf(left) else left, **start, **own, **settings,
            )  # fmt: skip
            taken += steps
            tried = few(latest)
            crps = judge.crps(tried)
            gain, error = judge.difference(base, crps)
            say(f"after {taken} steps: CRPS {crps.mean():.4f}, the law alone {base.mean():.4f}")
            better = best.mean() - crps.mean()
            if crps.mean() < best.mean():
                kept, best = tried, crps
                report = replace(report, network_crps=float(crps.mean()), error=error)
            if report.network_crps is None:
                report = replace(report, network_crps=float(crps.mean()), error=error)
            if taken >= _FAIR and better < _WORTH / 2 * base.mean():
                break
    report = replace(report, steps=taken)
    gain, error = judge.difference(base, best)
    if kept is None or gain < max(_SIGMAS * error, _WORTH * float(base.mean())):
        return None, report
    return kept, replace(report, network=True)


def sizes(cells: int) -> dict[str, Any]:
    """A network for so many known cells: what more would bring is less than what it costs."""
    if cells < 100_000:
        return {"channels": 32, "layers": 2, "heads": 4, "time_width": 64, "step_width": 64}
    return {"channels": 64, "layers": 3, "heads": 8}


def few(model: Model) -> Model:
    """The model with the spread that a law leaves at every step, so that few steps are enough: of
    states that are near N(0, I) a step of any length is then near exact."""
    denoiser = UnitVariance(model.denoiser)
    return replace(model, denoiser=denoiser, defaults={"steps": 4, "sampler": "ancestral"})


def _alone(configuration: Configuration) -> Model:
    """The classical law without a network."""
    domain, own = TimeSeries(), configuration.model_copy(update={"layers": 0})
    return Model(domain, domain.build(own), own, domain.defaults(own))


def _hidden(found: Table, options: Mapping[str, Any]) -> Mask:
    """Known cells to hide from the fit: single ones, and runs of rows in one column."""
    rng, covariates = np.random.default_rng(0), options.get("covariates", ())
    free = np.asarray([name not in covariates for name in found.columns])
    away = np.zeros(found.holes.shape, dtype=bool)
    for one in found.series:
        rows, columns = one.values.shape
        run = max(2, min(24, rows // 10))
        own = rng.random((rows, columns)) < _SHARE
        starts = rng.random((rows, columns)) < _SHARE / run
        for back in range(run):
            own[back:] |= starts[: rows - back]
        away[one.rows] = own & np.isfinite(one.values) & free
    seen = ~found.holes
    away &= (away & seen).sum(0) < seen.sum(0) / 2  # a column that is seldom known stays
    return away if int(away.sum()) >= _FEWEST else np.zeros_like(away)


def _said(found: Table, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the kinds and bounds that the dtypes say: hidden cells change dtypes."""
    own = kinds_of(found, options["kinds"], options["bounds"])
    named = dict(zip(found.columns, own, strict=True))
    return {
        **options,
        "kinds": {name: kind for name, (kind, _, _) in named.items()},
        "bounds": {n: (a, b) for n, (_, a, b) in named.items() if (a, b) != (None, None)},
    }


def _judge(found: Table, part: pd.DataFrame, away: Mask) -> _Judge | None:
    rows = np.zeros(len(part), dtype=bool)
    for one in found.series:
        if rows.sum() >= _ROWS:
            break
        rows[one.rows[-_ROWS:]] = True
    mask = away[rows]
    if mask.sum() < _FEWEST / 2:
        return None
    truth = np.full(found.holes.shape, np.nan)
    for one in found.series:
        truth[one.rows] = one.values
    return _Judge(part[rows], mask, truth[rows][mask])


def _informed(model: Model, found: Table) -> Model:
    """With the law fitted to all that is known of the training part."""
    known, kept = model.configuration.known, model.configuration.kept
    parts = [standardised(one.values[: cut(len(one.values), kept)], known) for one in found.series]
    parts = [part.astype(np.float64) for part in parts]
    indices = [one.index[: len(part)] for one, part in zip(found.series, parts, strict=True)]
    law = refitted(model.configuration.law, parts, indices)
    limit = max(known.limit, *(float(np.nanmax(np.abs(p), initial=0.0)) for p in parts))
    learned = known.model_copy(update={"law": law, "limit": limit})
    configuration = model.configuration.model_copy(update={"learned": learned})
    domain = TimeSeries()
    return replace(model, configuration=configuration, codec=domain.codec(configuration).eval())


def announced(
    domain: TimeSeries, source: Any, configuration: Configuration, run: Mapping[str, Any]
) -> str:
    """How long a training will take: a few steps are timed on a network that is thrown away."""
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
    return (
        f"fitting {len(data)} windows of {configuration.length} rows x"
        f" {len(configuration.known.columns)} columns: {run['steps']} steps, about"
        f" {seconds / 60:.1f} min here on the CPU"
    )
