"""Is the uncertainty of the shipped conditional models true? One row each.

    python tests/benchmarks/calibration.py images=mnist latent=mnist timeseries=weather.csv

For each DOMAIN=DATA what `unnoise calibrate DOMAIN --data DATA` says of its shipped model: held-out
items are drawn again from what the model is told of them, and the truth is ranked among the draws.
"covers" is the part of the truths in intervals of about 80 %, of the number that is farthest off;
power is how often a variance of 0.8, a shift and a lost mode would be found with so many items. A
model that cannot be calibrated this way says why.
"""

from __future__ import annotations

import argparse

import torch

import unnoise
from unnoise.calibration import coverage, power, ranks_of, verdict
from unnoise.discovery.domains import trainable_named
from unnoise.errors import UnnoiseError
from unnoise.training.data import held_out_of


def row(domain: str, data: str, asked: argparse.Namespace) -> str:
    model = unnoise.load(domain)
    try:
        items = held_out_of(trainable_named(domain), model, data, asked.items, asked.seed)
        steps = {} if asked.steps is None else {"steps": asked.steps}
        truths, draws = model.again(items, asked.draws, seed=asked.seed, **steps)
    except UnnoiseError as error:
        return f"| {domain} |  |  | {error.message} |  |  |  |"
    ranks = ranks_of(truths, draws)
    known = power(draws, trials=asked.trials) if asked.trials else {}
    found = verdict(ranks, power=known)
    every = [coverage(ranks, name) for name in ranks.names]
    k = int(abs(every[0].nominal - 0.8).argmin())
    far = max(every, key=lambda one: abs(one.found[k] - one.nominal[k]))
    cells = [
        domain,
        str(found.items),
        str(found.draws),
        "no error was found" if found.passed else "not true",
        f"{found.p_value:.3f}",
        f"{far.found[k]:.2f} of {far.nominal[k]:.2f}",
        ", ".join(f"{name} {value:.2f}" for name, value in known.items()),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="DOMAIN=DATA")
    parser.add_argument("--items", type=int, default=150)
    parser.add_argument("--draws", type=int, default=19)
    parser.add_argument("--steps", type=int, help="of the sampler; default: the model's")
    parser.add_argument("--trials", type=int, default=40, help="of each planted error")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | items | draws | verdict at 5 % | p | covers | power |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for pair in asked.pairs:
        domain, _, data = pair.partition("=")
        print(row(domain, data, asked), flush=True)


if __name__ == "__main__":
    main()
