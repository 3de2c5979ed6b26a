"""Signs of volumes are those of RDKit's tags, for every kind of centre."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise_molecules import stereo
from unnoise_molecules.check import check, specified
from unnoise_molecules.graph import graph, signed_volumes
from unnoise_molecules.isomers import Isomers
from unnoise_molecules.molecules import positions, read

QUININE = "COc1ccc2nccc([C@@H](O)[C@@H]3C[C@@H]4CCN3C[C@@H]4C=C)c2c1"
KINDS = {
    "four neighbours": "F[C@](Cl)(Br)C",
    "a hydrogen": "C[C@H](N)C(=O)O",
    "a hydrogen that is written": "[H][C@](C)(N)C(=O)O",
    "rings": "C[C@H]1CCO[C@@H]1C",
    "sulfoxide": "C[S@](=O)CC",
    "charged sulfoxide": "C[S@+]([O-])c1ccccc1",
    "sulfinate ester": "CC[S@](=O)OC",
    "sulfonium": "CC[S@+](C)C(C)C",
    "sulfilimine": "C[S@](=N)CC",
    "sulfoximine": "C[S@](=O)(=N)CC",
    "ammonium": "C[N@+](CC)(CO)CF",
    "bridged amine": "C1C[N@]2CC[C@H]1C2",
    "aziridine": "C[N@]1C[C@@H]1C",
    "quinine": QUININE,
}


def embedded(mol: Chem.Mol, count: int = 5) -> Chem.Mol:
    many = Chem.Mol(mol)
    assert len(rdDistGeom.EmbedMultipleConfs(many, count, randomSeed=3)) == count
    return many


@pytest.mark.parametrize("smiles", KINDS.values(), ids=KINDS)
def test_volumes_have_the_sign_of_their_tags(smiles):
    """Of embeddings, in which RDKit sees to the tags; and the graph says the same."""
    for mol in Isomers(read(smiles)[0]).all():
        many = embedded(mol)
        assert stereo.centres(mol)
        condition = graph(mol)
        for conformer in many.GetConformers():
            x = conformer.GetPositions()
            shares = [stereo.volume(x, centre) for centre in stereo.centres(mol)]
            assert min(shares) > 2 * stereo.FLAT
            assert max(stereo.volume(-x, centre) for centre in stereo.centres(mol)) < 0
            volumes, _ = signed_volumes(torch.tensor(x), condition.stereo_index)
            assert torch.equal(volumes.sign().float(), condition.stereo_sign)
            assert not check(many, conformer.GetId()).stereo


def test_a_regular_centre_has_the_volume_one():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, -1, 1], [-1, 1, -1], [0, 0, 0]], dtype=float)
    whole = stereo.Centre(4, (0, 1, 2, 3), 1)
    lone = stereo.Centre(4, (0, 1, 2, 4), 1)
    assert abs(stereo.volume(corners * [1, 2, 3] / [1, 2, 3], whole)) == pytest.approx(1)
    assert stereo.volume(corners, whole) == pytest.approx(stereo.volume(corners, lone))
    flat = np.array([[1, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0], [0, 0, 9], [0, 0, 0]])
    assert stereo.volume(flat, lone) == pytest.approx(0)


def test_flat_centres_have_no_hand():
    mol = embedded(read("C[S@](=O)CC")[0], 1)
    x = positions(mol)
    a, b, c = (x[i] - x[1] for i in (0, 2, 3))
    normal = np.cross(a - b, a - c)
    x[1] += normal * (normal @ a) / (normal @ normal)  # into the plane of its neighbours
    mol.GetConformer().SetPositions(np.ascontiguousarray(x))
    assert check(mol).stereo == ((1,),)


@pytest.mark.parametrize("hand", ["CW", "CCW"])
def test_hindered_axes_have_a_hand(hand):
    mol = Chem.AddHs(Chem.MolFromSmiles("Cc1cccc(Br)c1-c1c(C)cccc1Cl"))
    mol.GetBondBetweenAtoms(7, 8).SetStereo(getattr(Chem.BondStereo, f"STEREOATROP{hand}"))
    assert specified(mol) == [(7, 8)]
    many = embedded(mol)
    for conformer in many.GetConformers():
        assert not check(many, conformer.GetId()).stereo
        mirrored = Chem.Mol(many, confId=conformer.GetId())
        mirrored.GetConformer().SetPositions(np.ascontiguousarray(-conformer.GetPositions()))
        assert check(mirrored).stereo == ((7, 8),)
