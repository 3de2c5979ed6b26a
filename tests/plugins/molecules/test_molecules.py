"""What is read as a molecule, what is refused, and where the complaint says it was."""

import copy
import gzip
import pickle

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom

from unnoise.errors import InputError, LimitExceeded, NonFiniteError
from unnoise_molecules.molecules import read, require_3d, sample

ALANINE = "C[C@H](N)C(=O)O"


def embedded(smiles, seed=1):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    return mol


def smiles_of(mols):
    return [mol.GetProp("input") for mol in mols]


def test_a_smiles_has_explicit_hydrogens_and_no_coordinates():
    (mol,) = read(ALANINE)
    assert (mol.GetNumAtoms(), mol.GetNumConformers()) == (13, 0)
    assert mol.GetProp("_Name") == mol.GetProp("input") == ALANINE


def test_lists_keep_their_order_and_mix_smiles_with_mols():
    assert smiles_of(read(["CCO", Chem.MolFromSmiles("CN"), "C=O"])) == ["CCO", "CN", "C=O"]


def test_a_mol_keeps_the_order_of_its_atoms():
    mol = Chem.MolFromSmiles("[H]OCC", sanitize=False)
    Chem.SanitizeMol(mol)
    (found,) = read(mol)
    assert [a.GetSymbol() for a in found.GetAtoms()] == ["H", "O", "C", "C", *"HHHHH"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.smi", "CCO ethanol\n\n# remark\nCN\n"),
        ("a.csv", "name,SMILES\nethanol,CCO\nm,CN\n"),
        ("a.tsv", "name\tsmiles\nethanol\tCCO\nm\tCN\n"),
    ],
)
def test_files_of_smiles(tmp_path, name, text, packed):
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert smiles_of(read(path)) == smiles_of(read(str(path))) == ["CCO", "CN"]


def test_the_column_of_a_table_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,name\nCCO,a,b\nCN,c\nCC,\n")
    with pytest.raises(InputError, match="line 2 has another number of cells"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("smiles,name\nCCO,,\nCN\n")
    assert smiles_of(read(tmp_path / "a.csv")) == ["CCO", "CN"]
    (tmp_path / "a.csv").write_text("smiles,smiles\nCCO,CN\n")
    with pytest.raises(InputError, match="have one name; got 'smiles'"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("x,y\nCCO,CN\n")
    assert smiles_of(read(tmp_path / "a.csv", column="y")) == ["CN"]
    with pytest.raises(InputError, match=r"no column 'smiles'.*x, y"):
        read(tmp_path / "a.csv")


def test_an_sdf_gives_the_stereochemistry_of_its_coordinates(tmp_path):
    mol = embedded(ALANINE)
    for atom in mol.GetAtoms():
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    mol.SetProp("_Name", "alanine")
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        writer.write(mol)
        writer.write(embedded("C/C=C\\C"))
    first, second = read(tmp_path / "a.sdf")
    assert smiles_of([first, second]) == [ALANINE, "C/C=C\\C"]
    assert (first.GetProp("_Name"), first.GetNumConformers()) == ("alanine", 0)


def test_a_drawing_gives_the_stereochemistry_of_its_wedges(tmp_path):
    flat = Chem.MolFromSmiles(ALANINE)
    rdDepictor.Compute2DCoords(flat)
    (tmp_path / "flat.mol").write_text(Chem.MolToMolBlock(flat))
    assert smiles_of(read(tmp_path / "flat.mol")) == [ALANINE]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "no atoms"),
        ("C1CC", "not a valid SMILES; got 'C1CC'"),
        ("CC(C)(C)(C)C", "valence.*got 'CC"),
        ("c1cccc1", "kekulize"),
        ("CC.O", "several fragments.*e.g. CC"),
        ("[CH3]", "radical"),
        ("[He]", "not trained on; got 'He'; allowed: C, H, N, O"),
        ("[Fe]CC", "not trained on"),
        ("[OH-]", None),
        ("[O-2]", "single atom"),
        ("*CC", "placeholder"),
        (["CC", "C(("], "molecule 1"),
        (["CC", 4], "molecule 1 is no molecule; got 'int'"),
        ([], "no molecule"),
        (7, "no molecule"),
        ("nowhere.smi", "no file 'nowhere.smi'"),
    ],
)
def test_bad_input_is_named(source, said):
    if said is None:
        assert read(source, elements="HCNO")
        return
    with pytest.raises(InputError, match=said):
        read(source, elements="HCNO")


def test_the_limit_counts_hydrogens():
    assert read("CCO", most_atoms=9)
    with pytest.raises(LimitExceeded, match=r"9 atoms, hydrogens included.*allowed: 8"):
        read("CCO", most_atoms=8)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.smi", b"CC\nC((\n", "line 2"),
        ("a.csv", b"smiles\nCC\n\nC((\n", "line 4"),
        ("a.csv", b"n,smiles\n1,CC\n2\n", "line 3 has no SMILES"),
        ("a.csv", b"", "the file is empty"),
        ("a.smi", b"CC\n\xff\xfe\n", "line 2 is not UTF-8"),
        ("a.smi", b"", "there is no molecule"),
        ("a.smi.gz", gzip.compress(b"CC\n" * 100, mtime=0)[:20], "damaged or cut off"),
        ("a.sdf", b"nonsense\n\n\n$$$$\n", "record 1"),
        ("a.sdf", Chem.MolToMolBlock(embedded("CCO")).encode()[:200], "record 1"),
        ("a.pdb", b"", "of no kind that is known"),
    ],
)
def test_bad_files_are_named(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        read(tmp_path / name)


def test_columns_belong_to_tables(tmp_path):
    (tmp_path / "a.smi").write_text("CC\n")
    with pytest.raises(InputError, match=r"no columns"):
        read(tmp_path / "a.smi", column="x")


def test_samples_keep_their_properties_through_pickle():
    (mol,) = read("CCO")
    given = {"number": 3, "energy": -1.5, "ok": True, "check": "passed"}
    made = sample(mol, np.arange(27.0).reshape(9, 3), given)
    again = pickle.loads(pickle.dumps(made))
    for each in (made, again, copy.copy(made), Chem.Mol(made)):
        found = each.GetPropsAsDict()
        assert {name: found[name] for name in given} == given
        assert each.GetProp("_Name") == "CCO"
    assert again.GetConformer().Is3D()
    assert again.GetConformer().GetPositions()[2].tolist() == [6, 7, 8]


def test_samples_are_finite_and_of_the_right_size():
    (mol,) = read("CCO")
    with pytest.raises(NonFiniteError):
        sample(mol, np.full((9, 3), np.nan), {})
    with pytest.raises(InputError, match=r"\(8, 3\)"):
        sample(mol, np.zeros((8, 3)), {})


def test_3d_is_told_from_2d():
    require_3d(embedded("CCO"), "x")
    require_3d(embedded("c1ccccc1"), "x")
    benzene = embedded("c1ccccc1")
    flat = benzene.GetConformer().GetPositions()
    flat[:, 2] = 0
    benzene.GetConformer().SetPositions(flat)
    require_3d(benzene, "x")  # is flat
    drawn = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    with pytest.raises(InputError, match="x has no coordinates"):
        require_3d(drawn, "x")
    rdDepictor.Compute2DCoords(drawn)
    with pytest.raises(InputError, match="x has 2D coordinates"):
        require_3d(drawn, "x")
    drawn.GetConformer().Set3D(True)
    with pytest.raises(InputError, match="x has 2D coordinates"):
        require_3d(drawn, "x")
    with pytest.raises(InputError, match="lacks hydrogens"):
        require_3d(Chem.RemoveHs(embedded("CCO")), "x")


def test_inchi_and_columns_and_properties_come_back(tmp_path):
    inchi = Chem.MolToInchi(Chem.MolFromSmiles(ALANINE))
    (tmp_path / "a.smiles").write_text(f"{inchi} alanine\nCCO  ethyl alcohol\n")
    first, second = read(tmp_path / "a.smiles")
    assert (first.GetProp("input"), first.GetProp("_Name")) == (ALANINE, "alanine")
    assert second.GetProp("_Name") == "ethyl alcohol"
    (tmp_path / "a.tsv").write_text(f'ID\tInChI\tnote\tcheck\nx1\t{inchi}\t"a\nb"\tgood\n')
    (mol,) = read(tmp_path / "a.tsv")
    assert (mol.GetProp("_Name"), mol.GetProp("ID"), mol.GetProp("note")) == ("x1", "x1", "a\nb")
    assert not mol.HasProp("check")  # a name of ours: it would be taken for what was found here
    given = Chem.MolFromSmiles("CCO")
    given.SetProp("_Name", "ethanol\nof\r\nmine")
    given.SetDoubleProp("pKa", 15.9)
    given.SetProp("relaxed", "by another program")
    (mol,) = read(given)
    assert mol.GetProp("_Name") == "ethanol of mine"
    assert mol.GetDoubleProp("pKa") == 15.9
    assert not mol.HasProp("relaxed")


def test_salts_are_stripped_when_that_is_asked_for():
    (mol,) = read("[Na+].CC(=O)[O-]", salts="largest")
    assert mol.GetProp("input") == "CC(=O)[O-]"
    assert mol.GetProp("stripped_from") == "CC(=O)[O-].[Na+]"
    (mol,) = read(embedded("C[C@H](N)C(=O)O.Cl"), salts="largest")
    assert mol.GetProp("input") == ALANINE


def test_coordinates_that_are_all_zero_are_none():
    """They say nothing of the stereochemistry, which stays that of the tags."""
    mol = embedded(ALANINE)
    mol.GetConformer().SetPositions(np.zeros((13, 3)))
    assert smiles_of(read(mol)) == [ALANINE]
    benzene = embedded("c1ccccc1")
    benzene.GetConformer().SetPositions(np.zeros((12, 3)))
    with pytest.raises(InputError, match="2D"):
        require_3d(benzene, "x")
