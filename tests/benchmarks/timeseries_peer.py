"""PyPOTS' CSDI or SAITS on the windows of `timeseries.py`, in a virtual environment of its own.

PyPOTS 1.5 pins an older transformers, so that it does not share an environment with unnoise. It is
called by `timeseries.py --peer PYTHON`; it needs numpy, torch and pypots and nothing of this
repository. `fit` of PyPOTS has no limit of time: an epoch is timed, and as many as fit into the
time are run, one at least.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from pypots.imputation import CSDI, SAITS


def build(args: argparse.Namespace, rows: int, columns: int, epochs: int) -> CSDI | SAITS:
    shape = {"n_steps": rows, "n_features": columns, "batch_size": 16, "epochs": epochs}
    if args.model == "SAITS":
        return SAITS(n_layers=2, d_model=128, n_heads=4, d_k=32, d_v=32, d_ffn=128, **shape)
    return CSDI(
        n_layers=args.layers,
        n_channels=args.channels,
        n_heads=8,
        d_time_embedding=128,
        d_feature_embedding=16,
        d_diffusion_embedding=128,
        n_diffusion_steps=50,
        schedule="quad",
        beta_start=1e-4,
        beta_end=0.5,
        **shape,
    )


def fill(model: CSDI | SAITS, args: argparse.Namespace, path: Path) -> tuple[np.ndarray, float]:
    """(samples, windows, rows, columns) of the windows in a file, and the seconds it took."""
    case = {"X": np.load(path)["X"]}
    begun = time.monotonic()
    if args.model == "CSDI":
        made = model.predict(case, n_sampling_times=args.samples)["imputation"]
        samples = np.moveaxis(made, 1, 0)
    else:
        samples = model.predict(case)["imputation"][None]
    return samples, time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("CSDI", "SAITS"), required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--cases", nargs="*", default=[], help="answers go beside them")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument(
        "--speed", action="store_true", help="print windows per second of a fit, and s to fill"
    )
    args = parser.parse_args()
    X = np.load(args.train)["X"]
    begun = time.monotonic()
    trial = build(args, *X.shape[1:], 1)
    trial.fit({"X": X})
    epoch = time.monotonic() - begun
    if args.speed:
        seconds = [fill(trial, args, path)[1] for path in map(Path, args.cases)]
        print(len(X) / epoch, *seconds)
        return
    epochs = max(1, round(args.seconds / epoch))
    begun = time.monotonic()
    model = build(args, *X.shape[1:], epochs)
    model.fit({"X": X})
    fit = time.monotonic() - begun
    for path in map(Path, args.cases):
        samples, seconds = fill(model, args, path)
        np.savez(path.with_suffix(f".{args.model}.npz"), samples=samples, fit=fit, impute=seconds)


if __name__ == "__main__":
    main()
