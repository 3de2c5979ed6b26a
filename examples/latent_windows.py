"""Diffusion in a latent space over another plugin's data: windows of a table, as the timeseries
plugin cuts them, by an autoencoder and a prior that learn together (LSGM).

    python examples/latent_windows.py [--data table.csv --unit 0.1] [--out FOLDER] [--steps 3000]

Without --data, a relaxation oscillator with random kicks is drawn, read off in steps of 0.05. Every
value is a level, to which a model gives a probability: the bits per value of the held-out end of
the table are a true bound for the latent model, beside a linear autoregression (each value from all
before it in its window, least squares, normal residuals).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, create_model
from torch import nn

import unnoise
from unnoise.codecs import Autoencoder, DiagonalGaussian, Features
from unnoise.denoise import NetworkDenoiser, Noise
from unnoise.distributions import Gaussian
from unnoise.domain import Batch, Task, Trainable
from unnoise.kernels import GaussianKernel, Geometric
from unnoise.objectives import Quantised
from unnoise.spaces import Euclidean, Layout
from unnoise_latent.mixed import Mixed
from unnoise_latent.objective import LSGM
from unnoise_timeseries.domain import TimeSeries
from unnoise_timeseries.loaders import load

CODE, WIDTH, WINDOW = 6, 128, 24


class Network(nn.Module):
    """In the signatures of a codec's networks and of a prior's, which is told the time."""

    def __init__(self, inputs, shape):
        super().__init__()
        hidden = nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU()
        self.shape, self.layers = shape, nn.Sequential(*hidden, nn.Linear(WIDTH, math.prod(shape)))

    def forward(self, x, *told):
        if len(told) == 3:  # label, layout, condition
            angles = told[0][:, None] * torch.pi * 2.0 ** torch.arange(-1, 3)
            x = torch.cat([x, angles.sin(), angles.cos()], 1)
        return self.layers(x.flatten(1)).unflatten(1, self.shape)


class Configuration(BaseModel):
    shape: tuple[int, int]  # rows of a window, columns
    low: float
    high: float
    levels: int


class Windows(Trainable):
    """Whole windows of a table."""

    name, Request, Configuration = "windows", create_model("Request"), Configuration

    def build(self, configuration):
        prior = Mixed(Network(CODE + 8, (CODE,)), Geometric(), CODE)
        return NetworkDenoiser(prior, GaussianKernel(Euclidean(), Geometric()), Noise())

    def codec(self, configuration):
        rows, columns = configuration.shape
        encoder, decoder = Network(rows * columns, (2 * CODE,)), Network(CODE, (rows, 2 * columns))
        shapes = Features(configuration.shape, (CODE,))
        return Autoencoder(encoder, decoder, shapes, DiagonalGaussian(), DiagonalGaussian())

    def objective(self, configuration):
        return LSGM(warmup=0.3)

    def dataset(self, source, configuration, part):
        return source[part]

    def collate(self, items):
        x0 = torch.stack(list(items))
        return Batch(x0, Layout.dense(len(x0), x0.shape[1:]))

    def data_type(self, own):
        return Quantised(own.levels, own.low, own.high)

    def plan(self, inputs, model, draws):
        layout = Layout.dense(len(draws), (CODE,))
        return list(model.decode((yield Task(layout)), layout))

    def write(self, sample, folder, stem):
        raise NotImplementedError  # main writes one table of all


def oscillator(rows=12_000, unit=0.05):
    """x' = 3 (x - x^3 / 3 - w), w' = x / 3, kicked, and read off every 0.35."""
    seen = [(1.0, 0.0)]
    for a, b in np.random.default_rng(0).normal(size=(10 * rows - 1, 2)):
        x, w = seen[-1]
        seen.append((x + 0.105 * (x - x**3 / 3 - w) + 0.02 * a, w + 0.035 * x / 3 + 0.01 * b))
    table = np.round(np.array(seen[::10]) / unit) * unit
    return pd.DataFrame(table, pd.date_range("2026", periods=rows, freq="s"), ["x", "w"])


def autoregression(train, test, kind):
    """Bits per value of `test` (B, d), each from those before it in its row."""
    total, layout = 0.0, Layout.dense(len(test), (1,), dtype=torch.float64)
    for i in range(train.shape[1]):
        a, b = (torch.cat([x[:, :i], torch.ones(len(x), 1)], 1).double() for x in (train, test))
        own = train[:, i : i + 1].double()
        weights = torch.linalg.lstsq(a, own, driver="gelsd").solution
        law = Gaussian(b @ weights, float((a @ weights - own).std()), Euclidean(), layout)
        total -= float(kind.log_prob(law, test[:, i : i + 1], layout).sum())
    return total / test.numel() / math.log(2)


def main(data, unit, folder, steps):
    frame = oscillator(unit=unit) if data is None else load(data)
    known, parts = TimeSeries().configure(frame, {"window": WINDOW, "held_out": 0.2}), {}
    for part in ("train", "validation"):
        windows = TimeSeries().dataset(frame, known, part)
        parts[part] = [torch.round(x / unit).float() * unit for x, _, _ in windows]
    train, test = (torch.stack(part) for part in parts.values())
    low, high = (float(f(torch.cat([train, test]))) for f in (torch.min, torch.max))
    told = {"low": low, "high": high, "levels": round((high - low) / unit) + 1}
    told |= {"shape": tuple(test.shape[1:]), "steps": steps, "batch_size": 128, "decay": "cosine"}
    model = unnoise.train(Windows(), parts, folder / "run", learning_rate=2e-3, **told)

    test = test[::WINDOW]  # no two overlap
    bits = model.bound(list(test), steps=None).total.mean() / math.log(2)
    flat = train.flatten(1), test.flatten(1)
    linear = autoregression(*flat, Windows().data_type(model.configuration))
    print(f"bits per value of {len(test)} held-out windows of {tuple(test.shape[1:])}:")
    print(f"  diffusion of {CODE} numbers, at most {float(bits) / test[0].numel():.3f}")
    print(f"  linear autoregression {linear:.3f}\n8 new windows: {folder / 'samples.csv'}")
    drawn = model.generate(num_samples=8, steps=20, seed=0).samples
    tables = {k: pd.DataFrame(x.numpy(), columns=frame.columns) for k, x in enumerate(drawn)}
    pd.concat(tables, names=["sample", "row"]).to_csv(folder / "samples.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="CSV, parquet or Excel without holes")
    parser.add_argument("--unit", type=float, default=0.05, help="in which the table is read off")
    parser.add_argument("--out", type=Path, default=Path("runs/windows"), help="a folder")
    parser.add_argument("--steps", type=int, default=3000, help="of training")
    chosen = parser.parse_args()
    main(chosen.data, chosen.unit, chosen.out, chosen.steps)
