"""The model in the wheel: what a chemist does first, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rdkit import Chem

import unnoise
from unnoise.cli import main
from unnoise_molecules.check import check
from unnoise_molecules.domain import Molecules
from unnoise_molecules.metrics import mmff_strain

ALANINE = "C[C@H](N)C(=O)O"
BUNDLE = Molecules.bundle


def records(path):
    return list(Chem.SDMolSupplier(str(path), removeHs=False))


def test_the_bundle_is_small_and_says_what_it_is():
    assert BUNDLE is not None
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= 15 << 20
    card = json.loads((BUNDLE / "config.json").read_text())["card"]
    assert card


@pytest.mark.parametrize(("smiles", "hand"), [(ALANINE, "S"), ("C[C@@H](N)C(=O)O", "R")])
def test_alanine_has_the_hand_that_was_asked_for(tmp_path, smiles, hand):
    words = ["generate", "molecules", "--smiles", smiles, "--num-samples", "20"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    found = records(tmp_path / "conformers.sdf")
    assert len(found) == 20
    for mol in found:
        Chem.AssignStereochemistryFrom3D(mol)
        assert Chem.FindMolChiralCenters(mol, useLegacyImplementation=False) == [(1, hand)]
        assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == smiles
        assert mol.GetNumAtoms() == 13
    passed = sum(check(mol).passed for mol in found)
    assert passed >= 19
    assert Image.open(tmp_path / "conformers.png").size == (960, 720)
    assert "$3Dmol" in (tmp_path / "conformers.html").read_text()
    assert json.loads((tmp_path / "provenance.json").read_text())["ids"] == list(range(20))


def test_bonds_to_hydrogen_have_their_lengths():
    """Of molecules from SMILES, whose hydrogens nobody gave: C-H 1.09, N-H 1.01, O-H .96 A."""
    smiles = [ALANINE, "CCOC(=O)/C=C/c1ccccc1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "OCC(O)CN", "C#CC=O"]
    lengths: dict[str, list[float]] = {}
    strains = []
    for mol in unnoise.generate("molecules", smiles=smiles, num_samples=3, seed=1).samples:
        x = mol.GetConformer().GetPositions()
        for bond in mol.GetBonds():
            pair = {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()}
            if "H" in pair:
                length = np.linalg.norm(x[bond.GetBeginAtomIdx()] - x[bond.GetEndAtomIdx()])
                lengths.setdefault((pair - {"H"}).pop(), []).append(length)
        strains += list(mmff_strain(mol))
    assert 1.07 < np.mean(lengths["C"]) < 1.12
    assert 1.0 < min(lengths["C"]) <= max(lengths["C"]) < 1.16
    assert 0.98 < np.mean(lengths["N"]) < 1.05
    assert 0.92 < np.mean(lengths["O"]) < 1.0
    assert np.mean(strains) < 15  # kcal/mol; 60 and more with hydrogens of no hybridisation


def test_batches_change_nothing():
    asked = {"smiles": [ALANINE, "CCO"], "num_samples": 3, "steps": 10, "seed": 5}
    whole = unnoise.generate("molecules", **asked).samples
    parts = unnoise.generate("molecules", batch_size=2, **asked).samples
    for a, b in zip(whole, parts, strict=True):
        moved = a.GetConformer().GetPositions() - b.GetConformer().GetPositions()
        assert abs(moved).max() < 1e-2


def test_open_stereochemistry_takes_turns():
    out = unnoise.generate("molecules", smiles="CC(F)C=C", num_samples=4, steps=20)
    found = [mol.GetProp("stereoisomer") for mol in out.samples]
    assert found == ["C=C[C@@H](C)F", "C=C[C@H](C)F"] * 2


def test_files_of_molecules(tmp_path):
    (tmp_path / "two.smi").write_text("CCO ethanol\nCN methylamine\n")
    out = unnoise.generate("molecules", smiles=str(tmp_path / "two.smi"), num_samples=2, steps=5)
    assert [mol.GetProp("_Name") for mol in out.samples] == ["ethanol"] * 2 + ["methylamine"] * 2
    paths: list[Path] = out.save(tmp_path / "out")
    assert [len(records(path)) for path in paths] == [2, 2]


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("C((", "not a valid SMILES"),
        ("CC.O", "several fragments"),
        ("[CH3]", "radical"),
        ("CC[Fe]", "not trained on"),
        ("C" * 400, "too large"),
        ("C1C[C@H]2CC[C@H]1C2", "no conformer"),
    ],
)
def test_bad_input_ends_in_one_line(smiles, said, tmp_path, capsys):
    words = ["generate", "molecules", "--smiles", smiles, "--out", str(tmp_path / "x")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
