"""The audio plugin: the speed of WaveGrad, and six steps of it.

    python tests/benchmarks/audio.py speed [--theirs FOLDER] [--frames 48] [--rounds 8]
    python tests/benchmarks/audio.py schedules
    python tests/benchmarks/audio.py heard --data speech/train [--model runs/wavegrad]

speed      one evaluation of the network of the port `wavegrad` 0.1.5 and of ours, of the same size,
           on the same mel, in one process with one thread: processor time, the least of alternating
           rounds. FOLDER: `pip install --no-deps --target FOLDER wavegrad==0.1.5`; its package
           imports what it does not need for the model, which is read past.
schedules  six steps, of DDIM unless another is named, with the exact Wiener denoiser of an AR(2)
           signal of variance 1 from N(0, I): mean |log ratio| of the power in 80 equal bands to the
           truth, for the published tables and for the grids fitted by
           `unnoise.samplers.optimised`, and what fitting costs in processor time. Fitting lessens
           the square error of samples, which loud frequencies rule.
heard      six steps of the shipped model, or of a WaveGrad of one's own, without projection, on
           crops of the validation part: log-mel error with the levels of the published tables, by
           DDIM and as published (ancestral), with equal steps in log SNR, and with grids that were
           fitted on other crops, and what fitting costs in processor time.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from scipy.optimize import brentq

import unnoise
from unnoise.denoise import Denoiser, NetworkDenoiser
from unnoise.distributions import Dirac
from unnoise.domain import Batch
from unnoise.kernels import BetaTable, GaussianKernel, Schedule
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Diffusion, Sampler, UniPC
from unnoise.samplers.grids import Custom, Grid, LogSNR, Uniform
from unnoise.samplers.optimised import optimised
from unnoise.spaces import Euclidean, Layout, tensor
from unnoise.training.data import read
from unnoise_audio.configuration import Configuration, Learned
from unnoise_audio.levels import SCHEDULES, LevelNoise, Levels, on_schedule
from unnoise_audio.metrics import log_mel
from unnoise_audio.wavegrad import WaveGrad

BANDS = 80
SIZE = 1024


def least(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of processor time of each, the least of rounds in which they take turns."""
    found = [math.inf] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for k, call in enumerate(calls):
            start = time.process_time()
            call()
            found[k] = min(found[k], time.process_time() - start)
    return found


def port(folder: Path) -> torch.nn.Module:
    """The port's network, without its package's own imports."""
    package = types.ModuleType("wavegrad")
    package.__path__ = [str(folder / "wavegrad")]
    sys.modules["wavegrad"] = package
    return importlib.import_module("wavegrad.model").WaveGrad(None).eval()


def speed(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    known = Learned(scale=(1.0,), mean=0.0, spread=1.0)
    own = Configuration(mel="wavegrad", method="wavegrad", learned=known)
    ours, frames = WaveGrad(own).eval(), args.frames
    wave, mel = torch.randn(1, frames * 300), torch.rand(1, 128, frames)
    level, layout = torch.tensor([0.7]), Layout.dense(1, (frames, 300))
    blocks, told = wave.view(1, frames, 300), {"mel": mel.mT.contiguous()}
    calls: list[Callable[[], object]] = [lambda: ours(blocks, level, layout, told)]
    if args.theirs:
        theirs = port(args.theirs)
        same = [sum(p.numel() for p in m.parameters()) for m in (ours, theirs)]
        assert same[0] == same[1], same
        calls.append(lambda: theirs(wave, mel, level))
    with torch.inference_mode():
        seconds = least(calls, args.rounds)
    names = ["ours", "wavegrad 0.1.5"]
    print(f"one evaluation of {frames} frames, {frames * 300 / 22_050:.2f} s of sound\n")
    print("| network | ms | ratio |\n|---|---|---|")
    for name, own_time in zip(names, seconds, strict=False):
        print(f"| {name} | {1e3 * own_time:.0f} | {own_time / seconds[-1]:.2f} |")


class Wiener(Denoiser):
    """E[x_0 | x_t] of a stationary signal with this power at each frequency."""

    def __init__(self, power: torch.Tensor, schedule: Schedule) -> None:
        super().__init__()
        self.power, self.kernel = power, GaussianKernel(Euclidean(), schedule)

    def forward(self, x_t, t, layout, condition=None):
        alpha, sigma = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        gain = alpha * self.power / (alpha**2 * self.power + sigma**2)
        return Dirac(torch.fft.ifft(gain * torch.fft.fft(x_t)).real, layout)


def miss(
    denoiser: Wiener, steps: int, grid: Grid, sampler: Sampler | None = None, rows: int = 256
) -> float:
    """Mean |log power of a band - that of the signal| from N(0, I), after DDIM by default."""
    layout = Layout.dense(rows, (SIZE,), dtype=torch.float64)
    run = Diffusion(denoiser, layout, NoiseSource(1, range(rows)))
    x = run.noise.normal(layout)
    for step in (sampler or DDIM())(run, x, grid.times(run.kernel, steps)):
        x = tensor(step.x)
    half = slice(1, SIZE // 2)
    made = torch.fft.fft(x, norm="ortho").abs().square().mean(0)[half]
    bands = [
        [piece.mean() for piece in power.tensor_split(BANDS)]
        for power in (made, denoiser.power[half])
    ]
    return sum(abs(math.log(a / b)) for a, b in zip(*bands, strict=True)) / BANDS


def schedules(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    w = 2 * math.pi * torch.fft.fftfreq(SIZE, dtype=torch.float64)
    power = 1 / (1 - 1.6 * torch.exp(-1j * w) + 0.81 * torch.exp(-2j * w)).abs() ** 2
    power = power / power.mean()
    exact = Wiener(power, Levels())
    layout = Layout.dense(64, (SIZE,), dtype=torch.float64)
    rows: list[tuple[str, float, str]] = []
    for name, betas in SCHEDULES.items():
        if name == "linear-1000":
            continue
        steps = len(betas.betas)
        rows.append((f"{name}, its own start", miss(Wiener(power, betas), steps, Uniform()), ""))
    rows.append(("6 of linear-1000", miss(exact, 6, Uniform()), ""))
    levels = _levels(SCHEDULES["wg-6"])
    held = [1.0, *(Levels().time(level) for level in levels[-2::-1])]
    rows.append(("wg-6, its first level that of linear-1000", miss(exact, 6, Custom(held)), ""))
    for sampler in (DDIM(), UniPC()):
        own = miss(exact, 6, LogSNR(), sampler)
        rows.append((f"{type(sampler).__name__}, equal steps in log SNR", own, ""))
        start = time.process_time()
        run = Diffusion(exact, layout, NoiseSource(0, range(64)))
        fitted = optimised(run, 6, sampler=sampler, candidates=32)
        spent = time.process_time() - start
        error = miss(exact, 6, Custom(fitted.values), sampler)
        rows.append((f"fitted to {type(sampler).__name__}", error, f"{spent:.1f} s"))
    rows.append(
        (
            "wg-6 by UniPC, its first level that of linear-1000",
            miss(exact, 6, Custom(held), UniPC()),
            "",
        )
    )
    rows.append(("1000 of linear-1000", miss(exact, 1000, Uniform()), ""))
    print("| six steps | error of the log power | cost of fitting |\n|---|---|---|")
    for name, error, cost in rows:
        print(f"| {name} | {error:.3f} | {cost} |")


@torch.no_grad()
def heard(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    model = unnoise.load(args.model)
    own, denoiser, codec = model.configuration, model.denoiser, model.codec
    crops = model.domain.dataset(args.data, own, "validation")
    items = [read(crops, k * len(crops) // (2 * args.clips), 0, k) for k in range(2 * args.clips)]
    fit, batch = (model.domain.collate(items[k::2]) for k in (0, 1))
    truth = batch.x0.flatten(1)

    def states(of: Batch) -> Layout:
        return codec.encode(of.x0, of.layout, of.condition).layout

    def error(on: Denoiser, steps: int, grid: Grid, sampler: Sampler) -> float:
        run = Diffusion(on, states(batch), NoiseSource(1, range(len(truth))), batch.condition)
        x = run.kernel.prior(run.layout).sample(run.noise)
        for step in sampler(run, x, grid.times(run.kernel, steps)):
            x = step.x
        made = tensor(codec.decode(x, run.layout, batch.condition).mode).flatten(1)
        if not bool(made.isfinite().all()):  # of a network that has learned little
            return math.nan
        pairs = zip(made, truth, strict=True)
        return sum(log_mel(one, true, own.mel) for one, true in pairs) / len(truth)

    print(f"{args.clips} crops of {own.crop} frames")
    print("| six steps | by | log-mel error | cost of fitting |\n|---|---|---|---|")
    for name in ("linear-1000", "wg-6", "port-6"):
        on, grid = _on(denoiser, name)
        for sampler in (DDIM(), Ancestral()):
            found = error(on, 6, grid, sampler)
            print(f"| {name} | {type(sampler).__name__} | {found:.3f} | |", flush=True)
    for sampler in (UniPC(), DDIM()):
        found = error(denoiser, 6, LogSNR(), sampler)
        print(f"| equal in log SNR | {type(sampler).__name__} | {found:.3f} | |", flush=True)
        run = Diffusion(denoiser, states(fit), NoiseSource(0, range(args.clips)), fit.condition)
        start = time.process_time()
        values = optimised(run, 6, sampler=sampler, candidates=32, refinements=10).values
        spent = f"{time.process_time() - start:.0f} s, {run.evaluations} evaluations"
        found = error(denoiser, 6, Custom(values), sampler)
        print(f"| fitted | {type(sampler).__name__} | {found:.3f} | {spent} |", flush=True)


def _on(denoiser: NetworkDenoiser, name: str) -> tuple[Denoiser, Grid]:
    """A network that is told levels on a table's own schedule; any other at the times at which its
    own schedule has the levels of six steps, the first one its own."""
    if isinstance(denoiser.parametrization, LevelNoise):
        return on_schedule(denoiser, name), Uniform()
    table, schedule = SCHEDULES[name], denoiser.kernel.schedule
    held = [1.0]
    for k in range(5, 0, -1):
        level = float(table.alpha(k / 6 if len(table.betas) == 6 else round(1000 * k / 6) / 1000))
        held.append(brentq(lambda t, level=level: float(schedule.alpha(t)) - level, 1e-9, 1.0))
    return denoiser, Custom([*held, 0.0])


def _levels(table: BetaTable) -> list[float]:
    count = len(table.betas)
    return [float(table.alpha(k / count)) for k in range(count + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("speed")
    one.add_argument("--theirs", type=Path, default=None)
    one.add_argument("--frames", type=int, default=48)
    one.add_argument("--rounds", type=int, default=8)
    one.set_defaults(run=speed)
    kinds.add_parser("schedules").set_defaults(run=schedules)
    two = kinds.add_parser("heard")
    two.add_argument("--model", default="audio", help="the shipped one, or the folder of a run")
    two.add_argument("--data", type=Path, required=True)
    two.add_argument("--clips", type=int, default=4, help="to fit on, and as many to measure")
    two.set_defaults(run=heard)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
