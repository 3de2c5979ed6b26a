"""A graph says what the molecule is, however it came: as SMILES, drawn, or in space."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdDepictor, rdDistGeom
from torch_geometric.data import Data

from unnoise_molecules.graph import ELEMENTS, graph
from unnoise_molecules.isomers import Isomers
from unnoise_molecules.molecules import read

HYDROGEN, S = 0, 1
PARTS = ("atoms", "pair_index", "pair_codes", "stereo_index", "stereo_sign")


@lru_cache
def sample_smiles() -> list[str]:
    """Molecules of the sample that comes with RDKit: one fragment, the elements of the model."""
    found = []
    lines = Path(RDConfig.RDDataDir, "NCI", "first_5K.smi").read_text().splitlines()
    with rdBase.BlockLogs():
        for line in lines:
            mol = Chem.MolFromSmiles(line.split()[0])
            if mol is None or mol.GetNumHeavyAtoms() < 2 or len(Chem.GetMolFrags(mol)) > 1:
                continue
            atoms = list(mol.GetAtoms())
            if any(a.GetNumRadicalElectrons() or a.GetSymbol() not in ELEMENTS for a in atoms):
                continue
            found.append(Chem.MolToSmiles(mol))
    return found


def differences(one: Data, other: Data) -> list[str]:
    return [name for name in PARTS if not torch.equal(one[name], other[name])]


def drawn(mol: Chem.Mol) -> Chem.Mol:
    """The molecule as it is read from a record with its hydrogens, drawn flat with wedges."""
    flat = with_wedges(mol)
    found = Chem.MolFromMolBlock(Chem.MolToMolBlock(flat), removeHs=False)
    Chem.AssignStereochemistry(found, cleanIt=True, force=True)
    return found


def embedded(mol: Chem.Mol) -> Chem.Mol | None:
    """The molecule as it is read from a record in space, as those of the training data are."""
    solid = Chem.Mol(mol)
    if rdDistGeom.EmbedMolecule(solid, randomSeed=3, maxAttempts=3) < 0:
        return None
    found = Chem.MolFromMolBlock(Chem.MolToMolBlock(solid), removeHs=False)
    Chem.AssignStereochemistryFrom3D(found)
    return found


def test_a_smiles_and_its_drawing_with_hydrogens_have_one_graph():
    flat = [s for s in sample_smiles() if not set(s) & set("@/\\")]  # a drawing may lose them
    assert len(flat[::8]) > 400
    for smiles in flat[::8]:
        (mol,) = read(smiles)
        assert not differences(graph(mol), graph(drawn(mol))), smiles


def test_a_smiles_and_its_conformer_have_one_graph():
    """Of the first stereoisomer, where the SMILES leaves that open."""
    compared, tagged = 0, 0
    small = [s for s in sample_smiles() if Chem.MolFromSmiles(s).GetNumAtoms() <= 12]
    for smiles in small[2::12]:
        isomer = Isomers(read(smiles)[0])[0].told
        solid = embedded(isomer)
        if solid is None or Chem.MolToSmiles(solid) != Chem.MolToSmiles(isomer):
            continue
        assert not differences(graph(isomer), graph(solid)), smiles
        compared += 1
        tagged += bool(set(isomer.GetProp("stereoisomer")) & set("@/\\"))
    assert compared > 100
    assert tagged > 20


def written(mols: list[Chem.Mol], path: Path, kekulized: bool) -> Path:
    """An SDF file of drawings with hydrogens."""
    with Chem.SDWriter(str(path)) as writer:
        writer.SetKekulize(kekulized)
        for mol in mols:
            writer.write(with_wedges(mol))
    return path


def test_every_way_in_gives_one_graph(tmp_path):
    """Stereochemistry included, which drawings tell by wedges."""
    tried = sample_smiles()
    asked = [s for s in tried if set(s) & set("@/\\")][:40] + tried[1::50]
    mols = [Chem.MolFromSmiles(smiles) for smiles in asked]
    base = read(asked)
    lines, table = tmp_path / "a.smi", tmp_path / "a.csv"
    lines.write_text("".join(f"{smiles} name-{k}\n" for k, smiles in enumerate(asked)))
    table.write_text("id,smiles\n" + "".join(f"{k},{smiles}\n" for k, smiles in enumerate(asked)))
    ways = {
        ".smi": lines,
        ".csv": table,
        ".sdf": written(base, tmp_path / "a.sdf", kekulized=True),
        ".sdf with aromatic bonds": written(base, tmp_path / "b.sdf", kekulized=False),
        "mols": mols,
        "mols with hydrogens": [Chem.AddHs(mol) for mol in mols],
        "mols that were read": base,
        "mol blocks": [Chem.MolFromMolBlock(Chem.MolToMolBlock(with_wedges(m))) for m in mols],
    }
    graphs = [graph(mol) for mol in base]
    for name, source in ways.items():
        found = read(source)
        assert len(found) == len(asked)
        for smiles, one, mol in zip(asked, graphs, found, strict=True):
            assert not differences(one, graph(mol)), f"{name}: {smiles}"


def with_wedges(mol: Chem.Mol) -> Chem.Mol:
    flat = Chem.Mol(mol)
    rdDepictor.Compute2DCoords(flat)
    return flat


def test_the_codes_of_glycine():
    """Element, degree, hydrogens, hybridisation, aromatic, ring, charge, by hand."""
    (mol,) = read("[NH3+]CC(=O)[O-]")
    hydrogen = [0, 1, 0, S, 0, 0, 1]
    assert graph(mol).atoms.tolist() == [
        [2, 4, 3, 4, 0, 0, 2],
        [1, 4, 2, 4, 0, 0, 1],
        [1, 3, 0, 3, 0, 0, 1],
        [3, 1, 0, 3, 0, 0, 1],
        [3, 1, 0, 3, 0, 0, 0],
        *[hydrogen] * 5,
    ]


def test_the_codes_of_benzene():
    """Pairs: kind, smallest common ring, hops."""
    (mol,) = read("c1ccccc1")
    found = graph(mol)
    assert found.atoms[:6].tolist() == [[1, 3, 1, 3, 1, 4, 1]] * 6
    codes = dict(
        zip(map(tuple, found.pair_index.T.tolist()), found.pair_codes.tolist(), strict=True)
    )
    assert codes[0, 1] == [4, 6, 1]  # an aromatic bond
    assert codes[0, 2] == [5 + 3, 6, 2]  # over an atom that is SP2
    assert codes[0, 3] == [10 + 4, 6, 3]  # over an aromatic bond
    assert codes[0, 6] == [1, 0, 1]  # a single bond to a hydrogen, in no ring with it
    assert codes[6, 9] == [0, 0, 5]  # far


@pytest.mark.parametrize("smiles", ["CCO", "[H][H]", "C#N", "[NH4+]", "O=S(=O)(O)c1ccccc1"])
def test_hydrogens_are_of_the_hybridisation_that_files_give_them(smiles):
    (mol,) = read(smiles)
    atoms = graph(mol).atoms
    assert (atoms[atoms[:, 0] == HYDROGEN][:, 3] == S).all()
    before = [atom.GetHybridization() for atom in mol.GetAtoms()]
    graph(mol)
    assert [atom.GetHybridization() for atom in mol.GetAtoms()] == before  # it was only looked at
