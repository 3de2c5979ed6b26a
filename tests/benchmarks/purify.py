"""The purify plugin: robust accuracy by budget, and accuracy against strength.

    python tests/benchmarks/purify.py table --data mnist --out runs/purify [--budgets linf-0.2]
    python tests/benchmarks/purify.py strength --data mnist --out runs/purify
    python tests/benchmarks/purify.py converged --data mnist --out runs/purify

`mnist` is the folder that plugins/images/prepare_mnist.py writes; the pictures are those of the
validation part, evenly spaced. Every finished batch is a line of a record in the folder `--out`,
and a run that is stopped goes on from it.

table      for each budget (l_inf .1, .2, .3 and l_2 1.5) the classifier undefended, behind the
           purifier, and, with --adversarial WEIGHTS (what `train_classifier.py --adversarial`
           wrote), the reference that was trained on attacked pictures; certified accuracy of the
           smoothed classifier. PGD of 40 steps with 10 draws through the full gradient, that of
           unclamped predictions, a surrogate and BPDA, low frequencies, the margin, a random
           search, one answer and ten with control.
strength   clean and attacked accuracy at strengths from .2 to .9: strength.csv and strength.png.
converged  accuracy under the full gradient by steps and by draws.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import unnoise
from unnoise_purify.attacks import PGD, LowFrequency, Margin, Square, norm_named
from unnoise_purify.classifiers import load_classifier
from unnoise_purify.digits import DigitsNet
from unnoise_purify.evaluation import Certified, Robustness
from unnoise_purify.gradients import Full, Surrogate, Unclamped
from unnoise_purify.robustness import evaluate_robustness

BUDGETS = {
    "linf-0.1": ("l_inf", 0.1),
    "linf-0.2": ("l_inf", 0.2),
    "linf-0.3": ("l_inf", 0.3),
    "l2-1.5": ("l_2", 1.5),
}
STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def say(what: str, share: float) -> None:
    sys.stderr.write(f"\r{100 * share:5.1f} %  {what:60.60}")
    sys.stderr.flush()


def setting(args: argparse.Namespace, **own: object) -> tuple:
    """The metric, the defence, pictures and labels."""
    metric = Robustness(
        strength=args.strength,
        purify_steps=args.purify_steps,
        num_samples=args.pictures,
        batch_size=args.batch,
        votes=args.votes,
        **own,
    )
    model = unnoise.load("images")
    return (metric, metric.defence(model), *metric.pictures(model, args.data))


def table(args: argparse.Namespace) -> None:
    _, defence, x, y = setting(args)
    gradients = [Full(), Unclamped(), Surrogate(max(1, args.purify_steps // 4)), "bpda"]
    for name in args.budgets:
        norm, eps = BUDGETS[name]
        ball = norm_named(norm)
        told = {
            "norm": norm,
            "eps": eps,
            "gradients": gradients,
            "steps": args.steps,
            "eot": args.eot,
            "scoring": "repeated",
            "batch_size": args.batch,
            "progress": say,
        }
        own = (ball, eps, Full(), args.steps, args.eot)
        extra = [PGD(*own, subspace=LowFrequency()), PGD(*own, loss=Margin())]
        if norm == "l_inf":
            extra.append(Square(eps, args.queries))
        begun = time.process_time()
        rows = {
            "undefended": (defence.classifier, ()),
            "purified": (defence, extra),
        }
        if args.adversarial:
            rows["adversarial training"] = (load_classifier(args.adversarial, DigitsNet), ())
        for row, (network, more) in rows.items():
            record = args.out / f"{name}-{row.replace(' ', '-')}.jsonl"
            report = evaluate_robustness(network, x, y, **told, extra=more, record=record)
            (args.out / f"{name}-{row.replace(' ', '-')}.json").write_text(
                json.dumps(report.json(), indent=1)
            )
            print(f"\n## {name}: {row}\n\n{report.text()}\n")
        print(f"{(time.process_time() - begun) / 3600:.2f} hours of one processor, this session")
    certified = Certified(strength=args.strength, num_samples=args.pictures, draws=args.draws)
    found = certified.measure(unnoise.load("images"), args.data, say)
    print(f"\n## certified\n\n{certified.text(found)}")


def strength(args: argparse.Namespace) -> None:
    rows = []
    for value in STRENGTHS:
        args.strength = value
        _, defence, x, y = setting(args)
        report = evaluate_robustness(
            defence,
            x,
            y,
            norm="l_inf",
            eps=0.2,
            gradients=["full"],
            steps=args.steps,
            eot=args.eot,
            scoring="one-shot",
            batch_size=args.batch,
            record=args.out / f"strength-{value}.jsonl",
            progress=say,
        )
        robust = report.robust
        rows.append((value, report.clean.once.value, robust.once.value, robust.name))
        print(f"| {value} | {report.clean.once} | {robust.once} | {robust.name} |")
    with open(args.out / "strength.csv", "w", newline="") as file:
        csv.writer(file).writerows([("strength", "clean", "robust", "attack"), *rows])
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(STRENGTHS, [row[1] for row in rows], "o-", label="clean")
    axes.plot(STRENGTHS, [row[2] for row in rows], "s-", label="l_inf 0.2, least over attacks")
    axes.set(xlabel="strength", ylabel="accuracy", ylim=(0, 1))
    axes.legend()
    figure.savefig(args.out / "strength.png", dpi=150)


def converged(args: argparse.Namespace) -> None:
    _, defence, x, y = setting(args)
    print("| steps | draws | right at once |\n|---|---|---|")
    for steps, eot in ((10, 10), (20, 10), (40, 10), (80, 10), (40, 1), (40, 4), (40, 20)):
        report = evaluate_robustness(
            defence,
            x,
            y,
            norm="l_inf",
            eps=0.2,
            gradients=["full"],
            steps=steps,
            eot=eot,
            scoring="one-shot",
            batch_size=args.batch,
            record=args.out / f"converged-{steps}-{eot}.jsonl",
            progress=say,
        )
        print(f"| {steps} | {eot} | {report.attacks[-1].once} |")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("what", choices=["table", "strength", "converged"])
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--budgets", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    words.add_argument("--pictures", type=int, default=128)
    words.add_argument("--batch", type=int, default=16)
    words.add_argument("--strength", type=float, default=0.5)
    words.add_argument("--purify-steps", type=int, default=10)
    words.add_argument("--votes", type=int, default=1)
    words.add_argument("--steps", type=int, default=40)
    words.add_argument("--eot", type=int, default=10)
    words.add_argument("--queries", type=int, default=500)
    words.add_argument("--draws", type=int, default=1000)
    words.add_argument("--adversarial", type=Path)
    args = words.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    {"table": table, "strength": strength, "converged": converged}[args.what](args)


if __name__ == "__main__":
    main()
