"""Ensembles of held-out molecules: a model beside RDKit's ETKDGv3, raw and relaxed by MMFF94s.

All methods make twice as many conformers as there are references, of the same molecules, and no
force field touches what the model makes. `--part validation` is for choices: its molecules were
not trained on, and are not among the held-out ones. Each `--ours` is a request, e.g.

    python tests/benchmarks/molecules.py --data conformers-xtb.sdf.gz
    python tests/benchmarks/molecules.py --data conformers-xtb.sdf.gz --model runs/mine \
        --ours steps=50 steps=50,begin=noise
    python tests/benchmarks/molecules.py --data conformers-xtb.sdf.gz --model runs/mine \
        --molecules 10 --ours steps=50 sampler=langevin,steps=5000,begin=noise

without a model, the baselines alone. COV and MAT are of heavy atoms, at .5 A up to 9 heavy atoms
and .75 A above; strain is GFN2-xTB's above the lowest reference and MMFF94s' above the minimum.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import unnoise
from unnoise_molecules import evaluation


def asked(words: str) -> dict[str, Any]:
    """`steps=50,begin=noise` as keywords; numbers are read as such."""
    found: dict[str, Any] = {}
    for word in filter(None, words.split(",")):
        name, _, value = word.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="a bundle folder, or molecules for the shipped one")
    parser.add_argument("--ours", nargs="+", default=["steps=50"])
    parser.add_argument("--sets", nargs="+", default=["small", "medium"])
    parser.add_argument(
        "--part", choices=("held out", "validation"), default="held out", help="which molecules"
    )
    parser.add_argument("--molecules", type=int, help="of each set, evenly spaced; default: all")
    parser.add_argument("--per-reference", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="no strain and no PoseBusters")
    parser.add_argument("--compile", action="store_true", help="the network, by torch.compile")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    chosen = parser.parse_args()

    model = unnoise.load(chosen.model) if chosen.model else None
    if model and chosen.compile:
        model.denoiser.network.compile(dynamic=True)
    tables = {}
    for size, ensembles in evaluation.sets_of(chosen.data, chosen.part, chosen.molecules).items():
        if size not in chosen.sets:
            continue
        mols = [evaluation.bare(e) for e in ensembles]
        counts = [chosen.per_reference * len(e.positions) for e in ensembles]
        raw = evaluation.by_etkdg(mols, counts, chosen.seed)
        rows = [raw, evaluation.relaxed(raw)]
        for words in chosen.ours if model else []:
            request = {"seed": chosen.seed, "check": "retry", **asked(words)}
            print(f"{size}: {words}", file=sys.stderr)
            rows.append(evaluation.by_model(model, mols, counts, f"unnoise {words}", **request))
        tables[size] = evaluation.table(
            rows,
            [evaluation.references(e) for e in ensembles],
            evaluation.THRESHOLDS[size],
            strain=not chosen.quick,
            busted=not chosen.quick,
            report=lambda what, part: print(f"{part:4.0%} {what}", file=sys.stderr),
        )
        print(evaluation.as_text(size, tables[size]), end="\n\n", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(tables, indent=2))


if __name__ == "__main__":
    main()
