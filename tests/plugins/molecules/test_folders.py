"""GEOM- and QM9-style folders, made here as those are."""

import pickle

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError
from unnoise_molecules.data import read_ensembles
from unnoise_molecules.folders import convert, main
from unnoise_molecules.molecules import positions


def embedded(smiles, count=3):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=1)
    return mol


def one(mol, k):
    made = Chem.Mol(mol)
    made.RemoveAllConformers()
    made.AddConformer(Chem.Conformer(mol.GetConformer(k)), assignId=True)
    return made


def geom(folder, smiles, weights=(0.2, 0.5, 0.3), **more):
    """A pickle with the fields of GEOM's, as its numpy numbers too."""
    mol = embedded(smiles, len(weights))
    rows = [
        {"rd_mol": one(mol, k), "boltzmannweight": w, "relativeenergy": np.float64(k), "set": 1}
        for k, w in enumerate(weights)
    ]
    record = {"conformers": rows, "smiles": smiles, "uniqueconfs": len(rows), **more}
    (folder / f"{len(list(folder.iterdir()))}.pickle").write_bytes(pickle.dumps(record))
    return mol


def qm9(folder, smiles, said=None):
    """An .xyz file as QM9's: properties, Mulliken charges, frequencies, SMILES twice, InChI."""
    mol = embedded(smiles, 1)
    lines = [str(mol.GetNumAtoms()), "gdb 1\t157.7\t1.5"]
    for atom, (x, y, z) in zip(mol.GetAtoms(), positions(mol), strict=True):
        shown = f"{z:.10f}" if abs(z) > 1e-3 else f"{z * 1e6:.4f}*^-6"
        lines.append(f"{atom.GetSymbol()}\t{x:.10f}\t{y:.10f}\t{shown}\t-0.535689")
    lines += ["1341.307\t1341.3284", f"{said or smiles}\t{said or smiles}", "InChI=1S/CH4"]
    (folder / f"dsgdb9nsd_{len(list(folder.iterdir())):06d}.xyz").write_text("\n".join(lines))
    return mol


def test_geom(tmp_path):
    (folder := tmp_path / "drugs").mkdir()
    mol = geom(folder, "C[C@H](N)C(=O)O")
    geom(folder, "CCO", (1.0,))
    counts = convert(folder, tmp_path / "out.sdf.gz", allow_pickle=True)
    assert counts == {"molecules": 2, "conformers": 4}
    first, second = read_ensembles(tmp_path / "out.sdf.gz")
    assert (first.name, second.name) == ("C[C@H](N)C(=O)O", "CCO")
    for k, x in zip((1, 2, 0), first.positions, strict=True):  # by weight
        assert np.abs(x.numpy() - positions(mol, k)).max() < 1e-4
    few = convert(folder, tmp_path / "few.sdf", allow_pickle=True, most_conformers=2, most=1)
    assert few == {"molecules": 1, "conformers": 2}
    assert Chem.SDMolSupplier(str(tmp_path / "few.sdf"))[0].GetDoubleProp("boltzmann_298K") == 0.5


def test_pickles_are_opened_only_when_asked_for(tmp_path, capsys):
    (folder := tmp_path / "drugs").mkdir()
    geom(folder, "CCO")
    with pytest.raises(InputError, match=r"run any code.*allow_pickle=True"):
        convert(folder, tmp_path / "out.sdf")
    assert main([str(folder), str(tmp_path / "out.sdf")]) == 2
    assert "pass --allow-pickle" in capsys.readouterr().err
    assert not (tmp_path / "out.sdf").exists()


class Evil:
    def __reduce__(self):
        return print, ("this has run",)


def test_a_pickle_runs_nothing(tmp_path, capsys):
    (folder := tmp_path / "drugs").mkdir()
    geom(folder, "CCO", extra=Evil())
    counts = convert(folder, tmp_path / "out.sdf", allow_pickle=True)
    assert counts == {"molecules": 0, "conformers": 0, "a pickle names what it has no need of": 1}
    assert "this has run" not in capsys.readouterr().out


def test_what_is_damaged_is_left_out_and_counted(tmp_path):
    (folder := tmp_path / "mixed").mkdir()
    geom(folder, "CCO")
    (folder / "a.pickle").write_bytes(b"\x80\x04nonsense")
    (folder / "b.pickle").write_bytes(pickle.dumps({"smiles": "C"}))
    (folder / "c.xyz").write_text("5\nmethane")
    counts = convert(folder, tmp_path / "out.sdf", allow_pickle=True)
    assert counts == {
        "molecules": 1,
        "conformers": 3,
        "a pickle is damaged, or not one of GEOM": 2,
        "an .xyz file is damaged, or not one of QM9": 1,
    }


def test_conformers_that_turned_over_are_left_out(tmp_path):
    (folder := tmp_path / "drugs").mkdir()
    mol = embedded("C[C@H](N)C(=O)O", 2)
    mol.GetConformer(1).SetPositions(positions(mol, 1) * [-1, 1, 1])
    rows = [
        {"rd_mol": one(mol, k), "boltzmannweight": 1 - k / 2, "relativeenergy": k} for k in (0, 1)
    ]
    record = {"conformers": rows, "smiles": "C[C@H](N)C(=O)O"}
    (folder / "a.pickle").write_bytes(pickle.dumps(record))
    assert convert(folder, tmp_path / "out.sdf", allow_pickle=True)["conformers"] == 1


def test_qm9(tmp_path):
    (folder := tmp_path / "qm9").mkdir()
    mol = qm9(folder, "C[C@H](O)C#N")
    qm9(folder, "CC=O")
    qm9(folder, "CCO", said="COC")
    counts = convert(folder, tmp_path / "out.sdf")
    assert counts == {"molecules": 2, "conformers": 2, "bonds do not give the SMILES": 1}
    first, second = read_ensembles(tmp_path / "out.sdf")
    assert (first.name, second.name) == ("C[C@H](O)C#N", "CC=O")
    assert np.abs(first.positions[0].numpy() - positions(mol)).max() < 2e-4


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        convert(tmp_path / "nowhere", tmp_path / "out.sdf")
    with pytest.raises(InputError, match="no such files"):
        convert(tmp_path, tmp_path / "out.sdf")
    with pytest.raises(InputError, match=r"an SDF file"):
        convert(tmp_path, tmp_path / "out.xyz")
