"""Twelve drugs from SMILES: CPU time and strain of a model beside what chemists use.

    python tests/benchmarks/drugs.py --ours check=retry rounds=1,steps=1 relax=true

Strain is GFN2-xTB's energy above the lowest conformer of any row, and MMFF94s' above the minimum of
each conformer, as means over molecules, kcal/mol. openconf is a row where it is installed.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from molecules import asked
from rdkit import Chem

import unnoise
from unnoise_molecules import baselines, evaluation, metrics, molecules, xtb

DRUGS = {
    "ibuprofen": "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "diazepam": "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "naproxen": "COc1ccc2cc(ccc2c1)[C@H](C)C(=O)O",
    "propranolol": "CC(C)NC[C@H](O)COc1cccc2ccccc12",
    "sulfamethoxazole": "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1",
    "fluoxetine": "CNCC[C@@H](Oc1ccc(cc1)C(F)(F)F)c1ccccc1",
    "nicotine": "CN1CCC[C@H]1c1cccnc1",
    "captopril": "C[C@H](CS)C(=O)N1CCC[C@H]1C(=O)O",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="molecules", help="a bundle folder, or molecules")
    parser.add_argument("--ours", nargs="*", default=["check=retry"], help="requests, as a=1,b=2")
    parser.add_argument("--conformers", type=int, default=10, help="of each molecule")
    chosen = parser.parse_args()

    model = unnoise.load(chosen.model)
    mols = [molecules.read(smiles)[0] for smiles in DRUGS.values()]
    counts = [chosen.conformers] * len(mols)
    model.generate(smiles="CCO")  # what is done once
    ways = {"ETKDGv3": lambda: evaluation.by_etkdg(mols, counts)}
    ways["ETKDGv3 + MMFF94s"] = lambda: evaluation.relaxed(evaluation.by_etkdg(mols, counts))
    ways["ETKDGv3 x 10, clustered"] = lambda: baselines.by_clusters(mols, counts)
    if baselines.has_openconf():
        ways["openconf, ensemble"] = lambda: baselines.by_openconf(mols, counts)
    for words in chosen.ours:
        ways[f"unnoise, {words}"] = lambda words=words: from_smiles(model, counts, asked(words))
    rows = {}
    for name, make in ways.items():
        begun = time.process_time()
        made = make().mols
        seconds = time.process_time() - begun
        energies = [xtb.energies(mol) for mol in made]
        strain = np.mean([np.nanmean(metrics.mmff_strain(mol)) for mol in made])
        passed = metrics.posebusters(made)["all"]
        rows[name] = (seconds, made, energies, float(strain), passed)
        print(f"measured {name}", flush=True)
    floor = [min(np.nanmin(row[2][i]) for row in rows.values()) for i in range(len(mols))]
    heads = ("method", "conformers", "CPU ms each", "xTB strain", "median", "MMFF", "PoseBusters")
    print(f"\n| {' | '.join(heads)} |")
    print("|---" * 7 + "|")
    for name, (seconds, made, energies, strain, passed) in rows.items():
        above = [float(np.nanmean(e)) - low for e, low in zip(energies, floor, strict=True)]
        total = sum(mol.GetNumConformers() for mol in made)
        print(
            f"| {name} | {total} | {1000 * seconds / total:.0f} | {np.mean(above):.1f} |"
            f" {np.median(above):.1f} | {strain:.1f} | {passed:.3f} |"
        )


def from_smiles(model: unnoise.Model, counts: list[int], request: dict) -> evaluation.Made:
    """As users ask: by SMILES."""
    out = model.generate(smiles=list(DRUGS.values()), num_samples=counts[0], **request)
    made = [
        evaluation.with_conformers(
            group[0], [m.GetConformer().GetPositions() for m in group if m.GetNumConformers()]
        )
        for group in out.groups()
    ]
    assert all(isinstance(mol, Chem.Mol) for mol in made)
    return evaluation.Made("", made, 0.0)


if __name__ == "__main__":
    main()
