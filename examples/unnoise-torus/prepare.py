"""Pairs of neighbouring torsions from molecules in 3D: python prepare.py conformers.sdf.gz out.csv

Of every chain x-a-b-c-y of heavy atoms whose bonds a-b and b-c are single and in no ring, the two
torsions about them, with the atom b as a label. Needs RDKit.
"""

import csv
import gzip
import sys

from rdkit import Chem
from rdkit.Chem.rdMolTransforms import GetDihedralDeg

CHAIN = Chem.MolFromSmarts("[!#1]~[!#1]-;!@[!#1]-;!@[!#1]~[!#1]")
NAMES = {"C": "carbon", "N": "nitrogen", "O": "oxygen", "S": "sulfur"}


def kind(atom):
    """The element of the atom in the middle, and whether it is planar."""
    planar = atom.GetHybridization() == Chem.HybridizationType.SP2
    name = NAMES.get(atom.GetSymbol())
    return name and (f"planar {name}" if planar else name)


def main(source, target):
    with gzip.open(source) as file, open(target, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["first", "second", "label"])
        for mol in Chem.ForwardSDMolSupplier(file, removeHs=False):
            conformer = mol.GetConformer()
            for x, a, b, c, y in mol.GetSubstructMatches(CHAIN):
                label = kind(mol.GetAtomWithIdx(b))
                if label and x != c and y != a and x != y:
                    angles = (
                        GetDihedralDeg(conformer, *four) for four in ((x, a, b, c), (a, b, c, y))
                    )
                    writer.writerow([*(f"{angle:.1f}" for angle in angles), label])


if __name__ == "__main__":
    main(*sys.argv[1:])
