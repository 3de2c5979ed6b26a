"""A part of a molecule keeps its coordinates."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolTransforms

import unnoise
from unnoise.cli import main
from unnoise.errors import InputError
from unnoise_molecules.scaffold import Scaffold, find, read_scaffold

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"


@pytest.fixture(scope="module")
def core():
    """Toluene somewhere in space, with its hydrogens, as a crystal structure has it."""
    mol = Chem.AddHs(Chem.MolFromSmiles("Cc1ccccc1"))
    AllChem.EmbedMolecule(mol, randomSeed=3)
    AllChem.MMFFOptimizeMolecule(mol)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    moved = mol.GetConformer().GetPositions() @ turn + [12.0, -7.0, 31.0]
    for i, xyz in enumerate(moved.tolist()):
        mol.GetConformer().SetAtomPosition(i, xyz)
    return mol


def heavy(core):
    return Chem.RemoveHs(core).GetConformer().GetPositions()


def of_core(core, sample):
    match = sample.GetSubstructMatch(Chem.RemoveHs(core))
    return sample.GetConformer().GetPositions()[list(match)]


@pytest.mark.parametrize("relax", [False, True])
def test_the_core_stays_and_the_rest_is_drawn(core, relax):
    out = unnoise.generate(
        "molecules", smiles=IBUPROFEN, scaffold=core, num_samples=3, seed=1, relax=relax
    )
    for sample in out.samples:
        assert sample.GetProp("check") == "passed"
        np.testing.assert_allclose(of_core(core, sample), heavy(core), atol=1e-3)
        # what a chemist checks first: hydrogens where they belong, and the hand that was asked for
        ring = sample.GetSubstructMatch(Chem.MolFromSmarts("c-[#1]"))
        assert rdMolTransforms.GetBondLength(sample.GetConformer(), *ring) == pytest.approx(
            1.09, abs=0.04
        )
        Chem.AssignStereochemistryFrom3D(sample)
        wanted = Chem.MolToSmiles(Chem.MolFromSmiles(IBUPROFEN))
        assert Chem.MolToSmiles(Chem.RemoveHs(sample)) == wanted
    a, b = (s.GetConformer().GetPositions() for s in out.samples[:2])
    assert np.abs(a - b).max() > 0.3


def test_a_sample_does_not_depend_on_its_batch(core):
    asked = {"smiles": IBUPROFEN, "scaffold": core, "num_samples": 3, "seed": 1}
    together = unnoise.generate("molecules", **asked).samples[2]
    alone = unnoise.generate("molecules", **asked, ids=[2]).samples[0]
    np.testing.assert_allclose(
        together.GetConformer().GetPositions(), alone.GetConformer().GetPositions(), atol=1e-3
    )


def test_the_command_with_a_file_of_which_one_lacks_the_core(core, tmp_path):
    Chem.MolToMolFile(core, str(tmp_path / "core.mol"))
    (tmp_path / "in.smi").write_text(f"{IBUPROFEN} ibuprofen\nCCO ethanol\n")
    words = ["generate", "molecules", "--smiles-file", str(tmp_path / "in.smi")]
    words += ["--scaffold", str(tmp_path / "core.mol"), "--num-samples", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").glob("*.sdf")
    (sample,) = Chem.SDMolSupplier(str(file), removeHs=False)
    np.testing.assert_allclose(of_core(core, sample), heavy(core), atol=2e-3)


def test_a_scaffold_is_laid_without_a_mirror():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(6, 3))
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    moved = x @ turn + 5
    laid = Scaffold((0, 1, 2, 3), moved[:4]).laid(x)
    np.testing.assert_allclose(laid, moved, atol=1e-9)
    mirrored = Scaffold((0, 1, 2, 3), (moved * [1, 1, -1])[:4]).laid(x)
    assert np.linalg.det(mirrored[1:4] - mirrored[0]) * np.linalg.det(x[1:4] - x[0]) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mol: [mol, mol], "one molecule"),
        (lambda mol: Chem.MolFromSmiles("c1ccccc1"), "coordinates in space"),
        (lambda mol: "c1ccccc1", "coordinates in space"),
        (lambda mol: "none.sdf", "none.sdf"),
    ],
)
def test_scaffolds_that_say_no_places(core, change, said):
    with pytest.raises(InputError, match=said):
        unnoise.generate("molecules", smiles=IBUPROFEN, scaffold=change(core))


def test_what_does_not_fit(core):
    with pytest.raises(InputError, match="does not contain the scaffold"):
        unnoise.generate("molecules", smiles="CCO", scaffold=core)
    with pytest.raises(InputError, match="begins with an embedding"):
        unnoise.generate("molecules", smiles=IBUPROFEN, scaffold=core, begin="noise")
    two = Chem.AddHs(Chem.MolFromSmiles("CC"))
    AllChem.EmbedMolecule(two, randomSeed=1)
    with pytest.raises(InputError, match="three heavy atoms"):
        read_scaffold(two)


def test_its_hydrogens_do_not_hinder(core):
    """A carbon that the molecule goes on from has fewer of them there."""
    found = find(read_scaffold(core), Chem.AddHs(Chem.MolFromSmiles(IBUPROFEN)), "ibuprofen")
    assert len(found.atoms) == 7
