"""Conformer ensembles of molecules given as SMILES, from the model that ships with
unnoise-molecules.

    python examples/conformers.py [--out runs/conformers] [--num-samples 20] [--steps 50]
        [--smiles "C[C@H](N)C(=O)O" ...]

Writes an SDF file and a picture of each ensemble, and conformers.html, in which they can be turned
and gone through one by one. Prints what was checked, how far the conformers are from each other,
and how far each is from the nearest minimum of a force field.
"""

import argparse
from pathlib import Path

import numpy as np

import unnoise
from unnoise_molecules.ensemble import ensemble, write_xyz
from unnoise_molecules.metrics import mmff_strain, rmsd

MOLECULES = ["C[C@H](N)C(=O)O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"]  # alanine; ibuprofen, either hand


def main(folder: Path, smiles: list[str], num_samples: int, steps: int) -> None:
    # `num_samples` conformers for each molecule, in order. Those whose stereochemistry or bonds
    # came out wrong are drawn again; what is still wrong then says so in its property `check`.
    out = unnoise.generate(
        "molecules", smiles=smiles, num_samples=num_samples, steps=steps, check="retry", seed=1
    )
    paths = out.save(folder)

    for path, samples in zip(paths, out.groups(), strict=True):
        passed = sum(mol.GetProp("check") == "passed" for mol in samples)
        # Ibuprofen is asked for without its stereochemistry: its samples are of both hands in
        # turn. They are different molecules, and merged apart.
        by_isomer: dict[str, list] = {}
        for mol in samples:
            by_isomer.setdefault(mol.GetProp("stereoisomer"), []).append(mol)
        print(f"{path.name}: {passed} of {len(samples)} passed")
        for name, mols in by_isomer.items():
            merged = ensemble(mols)
            apart = rmsd(merged, merged)[np.triu_indices(len(mols), 1)]
            strain = mmff_strain(merged).mean()
            mean = apart.mean() if len(apart) else 0.0
            print(f"  {name}: {len(mols)} conformers, {mean:.2f} A apart, {strain:.1f} kcal/mol")
            write_xyz(merged, folder / f"{path.stem}-{list(by_isomer).index(name)}.xyz")
    print(f"open {folder / 'conformers.html'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/conformers"), help="a folder")
    parser.add_argument("--smiles", nargs="+", default=MOLECULES)
    parser.add_argument("--num-samples", type=int, default=20, help="of each molecule")
    parser.add_argument("--steps", type=int, default=50)
    chosen = parser.parse_args()
    main(chosen.out, chosen.smiles, chosen.num_samples, chosen.steps)
