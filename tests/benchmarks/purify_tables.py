"""What purify.py measured, as tables, and accuracy against strength as a plot.

    python tests/benchmarks/purify_tables.py runs/purify

reads rows.jsonl there and writes strength.csv and strength.png beside it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from purify import BUDGETS, MIDDLE, PLAIN, read

from unnoise_purify.evaluation import Certified, Corruptions
from unnoise_purify.statistics import Share


def share(found: dict[str, Any]) -> Share:
    return Share(found["right"], found["total"])


def tables(out: Path) -> None:
    have = read(out)
    if clean := have.get("table"):
        print(f"{clean['device']}, torch {clean['torch']}, strength {clean['strength']}")
        own = clean["rows"][0]
        print(f"\nclean {share(own['one_shot'])}, ten times {share(own['repeated'])} (control)")
    for budget in BUDGETS:
        rows = [
            (line["rows"][0], line["seconds"])
            for key, line in have.items()
            if key.startswith(f"table/{budget}/")
        ]
        if not rows:
            continue
        print(f"\n## {budget}\n\n| attack | right at once | right ten times | gradient | s |")
        print("|---|---|---|---|---|")
        control = {**clean["rows"][0], "attack": "none (the control)"} if clean else None
        shown = rows if control is None else [(control, clean["seconds"]), *rows]
        for row, seconds in shown:
            size = f"{row['gradient_norm']:.3g}" if "gradient_norm" in row else ""
            cells = (share(row["one_shot"]), share(row["repeated"]), size, f"{seconds:.0f}")
            print(f"| {row['attack']} | {' | '.join(map(str, cells))} |")
        for name in ("one_shot", "repeated"):
            least = min((row for row, _ in rows), key=lambda row: row[name]["right"])
            print(f"\nleast, {name}: {share(least[name])}: {least['attack']}")
    for key, line in have.items():
        if line["job"].split("/")[0] in ("plain", "reference"):
            clean = share(line["rows"][0]["one_shot"])
            print(f"\n## {key}\n\n| budget | least of {len(PLAIN)} | attack |\n|---|---|---|")
            print(f"| clean | {clean} | |")
            for budget in BUDGETS:
                rows = [row for row in line["rows"] if row.get("budget") == budget]
                least = min(rows, key=lambda row: row["one_shot"]["right"])
                print(f"| {budget} | {share(least['one_shot'])} | {least['attack']} |")
        elif key.startswith("certified"):
            print(f"\n## {key}\n\n{Certified().text(line['found'])}")
        elif key == "damage":
            print(f"\n## damage\n\n{Corruptions().text(line['found'])}")
    effort(have)
    strength(have, out)


def effort(have: dict[str, dict[str, Any]]) -> None:
    lines = {key: line for key, line in have.items() if key.startswith("effort/")}
    if lines:
        if usual := have.get(f"table/{MIDDLE}/full"):
            lines["usual"] = usual
        print(f"\n## effort, {MIDDLE}\n\n| attack | right at once | last loss |\n|---|---|---|")
        for line in lines.values():
            row = line["rows"][0]
            print(f"| {row['attack']} | {share(row['one_shot'])} | {row['loss'][-1]:.2f} |")


def strength(have: dict[str, dict[str, Any]], out: Path) -> None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for key, line in have.items():
        kind, *rest = key.split("/")
        if kind == "strength" or key in ("table", *(f"table/{MIDDLE}/{n}" for n in PLAIN)):
            name = next((one for one in rest if one in PLAIN), "clean")
            value = line["rows"][0]["one_shot"]["accuracy"]
            curves.setdefault(name, []).append((line["strength"], value))
    rows = [(name, *point) for name, curve in curves.items() for point in sorted(curve)]
    with open(out / "strength.csv", "w", newline="") as file:
        csv.writer(file).writerows([("attack", "strength", "accuracy"), *rows])
    print("\n## strength\n\n| attack | strength | right at once |\n|---|---|---|")
    for name, at, value in rows:
        print(f"| {name} | {at} | {100 * value:.1f} % |")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        label = "clean" if name == "clean" else f"l_inf 0.2, {name}"
        axes.plot(*zip(*sorted(curve), strict=True), "o-", label=label)
    axes.set(xlabel="strength", ylabel="accuracy", ylim=(0, 1))
    axes.legend()
    figure.savefig(out / "strength.png", dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    tables(Path(sys.argv[1]))
