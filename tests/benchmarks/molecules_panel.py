"""How many molecules of a panel, and of NCI's that RDKit carries, come out right.

    python tests/benchmarks/molecules_panel.py --nci 491

prints how many are generated with the stereochemistry that was asked for, how many of them with
bonds or clashes that the check flags, how many of wrong stereochemistry, and how many are refused:
for a true reason, and wrongly (RDKit embeds them).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "molecules"))
from panel import judged, nci, panel

import unnoise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="molecules", help="a bundle folder, or molecules")
    parser.add_argument("--nci", type=int, default=491, help="molecules of NCI's; 0 for none")
    parser.add_argument("--rounds", type=int, default=1, help="as of generate")
    chosen = parser.parse_args()
    model = unnoise.load(chosen.model)
    for name, smiles in (("panel", panel()), ("NCI", nci(chosen.nci) if chosen.nci else [])):
        if not smiles:
            continue
        found = judged(model, smiles, rounds=chosen.rounds)
        said = ", ".join(f"{len(which)} {kind}" for kind, which in found.items())
        print(f"{name}: {len(smiles)} molecules, {said}")
        for kind in ("flagged", "wrong stereo", "refused", "refused wrongly"):
            for line in found[kind]:
                print(f"    {kind}: {line}")


if __name__ == "__main__":
    main()
