"""The figures of the site, each made by code from the library itself: `FIGURES[name](path)`.

Colours and letters are chosen to be read on a light and on a dark page: nothing is filled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from builder import results, samplers
from unnoise import testing
from unnoise.codecs import Affine
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    Geometric,
    Linear,
    TransitionKernel,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Ancestral, Diffusion, grids
from unnoise.spaces import Euclidean, Layout, Tokens

F = torch.float64
GREY, BLUE, RED, GREEN, AMBER = "#8a8f98", "#3b82f6", "#e5484d", "#2f9e6e", "#d98a1f"
STYLE = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=[BLUE, RED, GREEN, AMBER, "#9b5de5", GREY]),
    "font.size": 11,
    "legend.frameon": False,
    "svg.hashsalt": "unnoise",
}


def figure(path: Path, draw: Callable[[Figure], None], size: tuple[float, float]) -> None:
    """Draw on an empty figure of that size in inches, and write it as SVG."""
    with mpl.rc_context(STYLE):
        made = plt.figure(figsize=size, layout="constrained")
        draw(made)
        made.savefig(path, format="svg", metadata={"Date": None})
        plt.close(made)


def panels(made: Figure, columns: int, rows: int = 1, **more: object) -> list[Axes]:
    found = made.subplots(rows, columns, squeeze=False, **more)  # type: ignore[arg-type]
    return [axis for row in found for axis in row]


TWO = [torch.tensor(v, dtype=F) for v in ([0.35, 0.65], [-1.0, 1.2], [0.25, 0.4])]
"""The data of most figures: a mixture of two Gaussians, by weights, means and deviations."""


def two(x: torch.Tensor, alpha: float = 1.0, sigma: float = 0.0) -> torch.Tensor:
    """The density at x of the mixture after alpha x_0 + sigma noise."""
    weights, means, stds = TWO
    std = (alpha**2 * stds**2 + sigma**2).sqrt()
    z = (x[:, None] - alpha * means) / std
    return (weights * (-0.5 * z**2).exp() / std / (2 * torch.pi) ** 0.5).sum(1)


def draws(count: int) -> torch.Tensor:
    """Of the mixture, (count, 1)."""
    dice = torch.Generator().manual_seed(0)
    weights, means, stds = TWO
    which = torch.multinomial(weights, count, replacement=True, generator=dice)
    return (means[which] + stds[which] * torch.randn(count, generator=dice, dtype=F))[:, None]


# --- a kernel destroys data


def destroying(path: Path) -> None:
    """The density of x_t of a Gaussian kernel at five times."""
    kernel, x = GaussianKernel(Euclidean(), VPCosine()), torch.linspace(-3, 3, 400, dtype=F)

    def draw(made: Figure) -> None:
        for axis, t in zip(panels(made, 5, sharey=True), (0.0, 0.2, 0.4, 0.7, 1.0), strict=True):
            alpha, sigma = float(kernel.schedule.alpha(t)), float(kernel.schedule.sigma(t))
            axis.plot(x, two(x, alpha, sigma), lw=2)
            axis.set_title(f"t = {t:g}", fontsize=11)
            axis.set_yticks([])
            axis.set_xlabel("x_t")

    figure(path, draw, (9, 1.9))


def destroying_tokens(path: Path) -> None:
    """A row of letters under three corruptions."""
    word = "a kernel destroys data"
    letters = sorted(set(word))
    x0 = torch.tensor([[letters.index(c) for c in word]])
    kinds: list[tuple[str, CategoricalKernel, list[str]]] = [
        ("absorbing", CategoricalKernel(Tokens(len(letters) + 1), Absorbing(len(letters))), ["·"]),
        ("uniform", CategoricalKernel(Tokens(len(letters)), Uniform()), []),
    ]

    def draw(made: Figure) -> None:
        for axis, (name, kernel, more) in zip(panels(made, 2), kinds, strict=True):
            axis.set_axis_off()
            axis.set_title(name, fontsize=11, loc="left")
            layout = Layout.dense(1, (len(word),), dtype=torch.int64)
            for at, t in enumerate((0.0, 0.2, 0.4, 0.6, 0.8, 1.0)):
                noise = NoiseSource(3, [0])
                x = kernel.marginal(x0, t, layout).sample(noise) if t else x0
                text = "".join([*letters, *more][i] for i in x[0].tolist())
                axis.text(0, 1 - at / 6, f"t = {t:.1f}   {text}", family="monospace", va="top")

    figure(path, draw, (9, 1.9))


def schedules(path: Path) -> None:
    """alpha and sigma of schedules, and their log SNR."""
    kinds = {
        "VPLinear": VPLinear(),
        "VPCosine": VPCosine(),
        "Linear (flow)": Linear(),
        "Geometric": Geometric(),
    }
    t = torch.linspace(0.002, 0.998, 300, dtype=F)

    def draw(made: Figure) -> None:
        one, other = panels(made, 2)
        for (name, kind), colour in zip(kinds.items(), (BLUE, RED, GREEN, AMBER), strict=True):
            one.plot(t, [float(kind.alpha(float(u))) for u in t], color=colour, label=name)
            one.plot(t, [float(kind.sigma(float(u))) for u in t], "--", color=colour, lw=1)
            other.plot(t, [float(kind.log_snr(float(u))) for u in t], color=colour)
        one.set_title("alpha (line) and sigma (dashes)", fontsize=11)
        other.set_title("log SNR", fontsize=11)
        one.set_xlabel("t")
        other.set_xlabel("t")
        one.legend(fontsize=9)

    figure(path, draw, (9, 2.9))


# --- a denoiser says what the data may have been


def law(path: Path) -> None:
    """p(x_0 | x_t) for one x_t at three times, and the Gaussian that the oracle returns."""
    kernel = GaussianKernel(Euclidean(), VPCosine())
    oracle = testing.MixtureOracle(kernel, *TWO)
    grid = torch.linspace(-2.5, 3, 500, dtype=F)
    layout = Layout.dense(1, (1,), dtype=F)

    def draw(made: Figure) -> None:
        for axis, t in zip(panels(made, 3), (0.2, 0.6, 0.9), strict=True):
            alpha, sigma = float(kernel.schedule.alpha(t)), float(kernel.schedule.sigma(t))
            x_t = 0.25
            seen = two(grid) * (-0.5 * ((x_t - alpha * grid) / sigma) ** 2).exp()
            seen = seen / (seen.sum() * (grid[1] - grid[0]))
            axis.plot(grid, two(grid), ":", color=GREY, label="data")
            axis.plot(grid, seen, color=BLUE, lw=2, label="p(x_0 | x_t)")
            said = oracle(torch.tensor([[x_t]], dtype=F), t, layout)
            mean, std = float(said.mean), float(said.std)
            bell = (-0.5 * ((grid - mean) / std) ** 2).exp() / std / (2 * torch.pi) ** 0.5
            axis.plot(grid, bell, "--", color=RED, label="Gaussian(mean, std)")
            axis.axvline(mean, color=GREEN, lw=1.5, label="Dirac(mean)")
            axis.set_title(f"x_t = {x_t}, t = {t}", fontsize=11)
            axis.set_yticks([])
        axis.legend(fontsize=8)

    figure(path, draw, (9, 2.6))


# --- Bayes' rule walks back


def back(path: Path) -> None:
    """Paths of ancestral sampling and of the ODE, from noise on the left to data on the right."""
    kernel = GaussianKernel(Euclidean(), VPCosine())
    oracle = testing.MixtureOracle(kernel, *TWO)
    count, steps = 60, 60
    layout = Layout.dense(count, (1,), dtype=F)

    def draw(made: Figure) -> None:
        titles = ("Ancestral: a draw of Bayes' posterior in each step", "DDIM: no noise")
        axes = panels(made, 2, sharey=True)
        for axis, title, sampler in zip(axes, titles, (Ancestral(), DDIM()), strict=True):
            run = Diffusion(oracle, layout, NoiseSource(2, range(count)))
            x = kernel.prior(layout).sample(NoiseSource(1, range(count)))
            ways, times = [x], [1.0]
            for step in sampler(run, x, grids.uniform(kernel, steps)):
                ways.append(step.x)
                times.append(float(step.t))
            axis.plot(times, torch.stack(ways)[:, :, 0], color=BLUE, lw=0.7, alpha=0.6)
            axis.invert_xaxis()
            axis.set_title(title, fontsize=11)
            axis.set_xlabel("t")
        axes[0].set_ylabel("x_t")

    figure(path, draw, (9, 3))


def few_steps(path: Path) -> None:
    """The variance that steps leave, by what the denoiser returns."""
    kernel = GaussianKernel(Euclidean(), VPCosine())
    gaussian = testing.GaussianOracle(kernel, 0.0, 0.25)
    counts = (1, 2, 4, 8, 16, 32, 64)
    batch = 4000
    layout = Layout.dense(batch, (1,), dtype=F)

    def draw(made: Figure) -> None:
        (axis,) = panels(made, 1)
        models = {
            "Dirac: DDPM": testing.PointEstimate(gaussian),
            "Gaussian: Analytic-DPM": gaussian,
        }
        for name, model in models.items():
            found = []
            for n in counts:
                x = kernel.prior(layout).sample(NoiseSource(1, range(batch)))
                run = Diffusion(model, layout, NoiseSource(2, range(batch)))
                *_, last = Ancestral()(run, x, grids.uniform(kernel, n))
                found.append(float(last.x.var()))
            axis.plot(counts, found, "o-", label=name)
        axis.axhline(0.25, color=GREY, ls=":", label="the data's variance")
        axis.set_xscale("log", base=2)
        axis.set_xlabel("steps")
        axis.set_ylabel("variance of samples")
        axis.legend(fontsize=9)

    figure(path, draw, (6, 2.8))


# --- codecs, turns, noise


def codec(path: Path) -> None:
    """The same data as they are and as states, with the kernel's prior."""
    x = 40 + 7 * draws(3000)
    layout = Layout.dense(len(x), (1,), dtype=F)
    affine = Affine(float(x.mean()), float(x.std()))
    z = affine.encode(x, layout, None, NoiseSource(0, range(len(x)))).state

    def draw(made: Figure) -> None:
        axes = panels(made, 2)
        for axis, values, title in zip(axes, (x, z), ("data, degrees", "state"), strict=True):
            axis.hist(values[:, 0], 60, density=True, histtype="step", color=BLUE, lw=1.5)
            axis.set_title(title, fontsize=11)
            axis.set_yticks([])
        bell = torch.linspace(-3, 3, 200, dtype=F)
        axes[1].plot(bell, (-0.5 * bell**2).exp() / (2 * torch.pi) ** 0.5, "--", color=RED)
        axes[1].text(0.98, 0.9, "the prior, dashed", transform=axes[1].transAxes, ha="right")

    figure(path, draw, (8, 2.2))


def grid_figure(path: Path) -> None:
    """Twenty times of each grid, by time and by log SNR."""
    kernel: TransitionKernel = GaussianKernel(Euclidean(), VPLinear())
    kinds = {
        "uniform": grids.Uniform(),
        "quadratic": grids.Quadratic(),
        "linspace": grids.Linspace(),
        "karras": grids.Karras(),
        "log-snr": grids.LogSNR(),
    }

    def draw(made: Figure) -> None:
        one, other = panels(made, 2, sharey=True)
        for at, kind in enumerate(kinds.values()):
            times = kind.times(kernel, 20).tolist()
            one.plot(times, [at] * len(times), "|", ms=14, color=BLUE)
            levels = [float(kernel.schedule.log_snr(t)) for t in times if t > 0]
            other.plot(levels, [at] * len(levels), "|", ms=14, color=RED)
        one.set_yticks(range(len(kinds)), list(kinds))
        one.invert_xaxis()
        one.set_xlabel("t, noise on the left")
        other.set_xlabel("log SNR")
        one.invert_yaxis()

    figure(path, draw, (9, 2.8))


def unit(path: Path) -> None:
    """Sample 3 of seed 5 in three batches."""

    def draw(made: Figure) -> None:
        axes = panels(made, 3, sharey=True)
        batches = ([3], [0, 1, 2, 3], [7, 3, 5])
        for axis, ids in zip(axes, batches, strict=True):
            layout = Layout.dense(len(ids), (40,), dtype=torch.float32)
            noise = NoiseSource(5, ids).normal(layout)
            for row, number in enumerate(ids):
                colour, width = (RED, 1.6) if number == 3 else (GREY, 0.6)
                axis.plot(noise[row], color=colour, lw=width)
            axis.set_title(f"batch of samples {', '.join(map(str, ids))}", fontsize=11)
            axis.set_yticks([])

    figure(path, draw, (9, 1.9))


def digits(path: Path) -> None:
    """What the first lines of the page about images make."""
    import unnoise

    out = unnoise.generate("images", label=[3, 7], num_samples=4, steps=20, seed=0)

    def draw(made: Figure) -> None:
        for axis, picture in zip(panels(made, 8), out.samples, strict=True):
            axis.imshow(picture, cmap="gray", interpolation="nearest")
            axis.set_axis_off()

    figure(path, draw, (9, 1.2))


# --- measurements


def orders(path: Path) -> None:
    """The three tables of `tests/benchmarks/order.py`."""
    titles = ("the ODE's end", "W2 to the data", "total variation, tokens")

    def draw(made: Figure) -> None:
        for axis, name, title in zip(panels(made, 3), samplers.TABLES, titles, strict=True):
            for row in results.load(name).rows:
                if found := samplers.points(row):
                    axis.loglog(
                        *zip(*found, strict=True), "o-", ms=2.5, lw=1, label=row[0].strip("`")
                    )
            axis.set_title(title, fontsize=11)
            axis.set_xlabel("evaluations")
            axis.legend(fontsize=6, labelspacing=0.2)

    figure(path, draw, (12, 4.6))


def order_of(name: str) -> Callable[[Path], None]:
    """The plot of one sampler in front of the others of its table."""

    def made_of(path: Path) -> None:
        def draw(made: Figure) -> None:
            found = samplers.measured(name)
            for axis, (table, own) in zip(panels(made, len(found)), found, strict=True):
                for row in table.rows:
                    if pairs := samplers.points(row):
                        axis.loglog(*zip(*pairs, strict=True), color=GREY, lw=0.5, alpha=0.6)
                for row in own:
                    if pairs := samplers.points(row):
                        label = row[0].strip("`")
                        axis.loglog(*zip(*pairs, strict=True), "o-", lw=2, ms=4, label=label)
                axis.set_xlabel("evaluations")
                axis.set_title(table.title, fontsize=9)
                axis.legend(fontsize=8)

        figure(path, draw, (5.2 * len(samplers.measured(name)), 3))

    return made_of


FIGURES: dict[str, Callable[[Path], None]] = {
    "destroying": destroying,
    "destroying-tokens": destroying_tokens,
    "schedules": schedules,
    "law": law,
    "back": back,
    "few-steps": few_steps,
    "codec": codec,
    "grids": grid_figure,
    "noise": unit,
    "digits": digits,
    "orders": orders,
    **{f"order-{name}": order_of(name) for name in samplers.WHEN if samplers.measured(name)},
}
