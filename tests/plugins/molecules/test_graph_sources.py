"""What a network is told of a molecule does not depend on what it was read from."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdDepictor

from unnoise.errors import UnnoiseError
from unnoise_molecules.graph import ELEMENTS, graph
from unnoise_molecules.isomers import open_isomers, placed
from unnoise_molecules.molecules import items, molecule, read

NCI = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
COUNT = 1000
IN_SPACE = 20
"""Every n-th record has coordinates in space, the others are drawings with wedges."""
IMINE = Chem.MolFromSmarts("[#6]=!@[#7]-[#1]")  # its sides are nothing that a SMILES says


def known() -> list[Chem.Mol]:
    """Molecules whose stereochemistry is specified, with explicit hydrogens, from NCI's SMILES."""

    def usable():
        for record in items(NCI):
            try:
                mol = molecule(record, elements=frozenset(ELEMENTS), most_atoms=24)
            except UnnoiseError:
                continue
            if not mol.HasSubstructMatch(IMINE):
                yield open_isomers(mol, 1)[0]

    return list(islice(usable(), COUNT))


@pytest.mark.skipif(not NCI.exists(), reason="this RDKit carries no NCI molecules")
def test_the_graph_of_a_smiles_is_that_of_a_record(tmp_path: Path):
    mols, path = known(), tmp_path / "all.sdf"
    assert len(mols) == COUNT
    tagged, embedded, expected = 0, 0, []
    with rdBase.BlockLogs(), Chem.SDWriter(str(path)) as writer:
        for k, mol in enumerate(mols):
            drawn = Chem.Mol(mol)
            places = placed(mol, 1, 1) if k % IN_SPACE == 0 else None
            if places is None:
                rdDepictor.Compute2DCoords(drawn)
            else:
                conformer = Chem.Conformer(mol.GetNumAtoms())
                conformer.SetPositions(places)
                conformer.Set3D(True)
                drawn.AddConformer(conformer)
                embedded += 1
            writer.write(drawn)
            expected.append(graph(mol))
            tagged += expected[-1].stereo_sign.numel() > 0
    assert tagged > 100
    assert embedded > 0.8 * COUNT / IN_SPACE
    differ = []
    names = ("atoms", "pair_index", "pair_codes", "stereo_index", "stereo_sign")
    for mol, found, own in zip(mols, read(path), expected, strict=True):
        theirs = graph(found)
        if not all(torch.equal(own[name], theirs[name]) for name in names):
            differ.append(Chem.MolToSmiles(Chem.RemoveHs(mol)))
    assert not differ
