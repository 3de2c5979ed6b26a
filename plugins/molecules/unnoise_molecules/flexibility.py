"""How many conformers a molecule needs, by how flexible it is.

Rotatable bonds (RDKit's strict count, to which amides and rings do not belong) are degrees of
freedom, and a ring of s single bonds that are not conjugated has s - 3 more: cyclohexane 3,
proline's ring 2, benzene none. The numbers for 4 and more are those of Ebejer, Morris and Deane
(J. Chem. Inf. Model. 2012): 50 conformers up to 7 rotatable bonds, 200 up to 12 and 300 above.
Below 4, fewer do.
"""

from __future__ import annotations

from typing import Final

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

STEPS: Final = ((0, 5), (1, 10), (3, 25), (7, 50), (12, 200))
MOST: Final = 300


def freedom(mol: Chem.Mol) -> int:
    """Torsions that are free to turn: rotatable bonds, and what rings add."""
    mol = Chem.RemoveHs(mol)  # a bond to OH or methyl is not counted
    turning = int(rdMolDescriptors.CalcNumRotatableBonds(mol))
    for ring in mol.GetRingInfo().BondRings():
        bonds = [mol.GetBondWithIdx(i) for i in ring]
        loose = [
            b for b in bonds if b.GetBondType() == Chem.BondType.SINGLE and not b.GetIsConjugated()
        ]
        turning += max(0, len(loose) - 3)
    return turning


def enough(mol: Chem.Mol) -> int:
    """How many conformers to draw."""
    free = freedom(mol)
    return next((count for limit, count in STEPS if free <= limit), MOST)
