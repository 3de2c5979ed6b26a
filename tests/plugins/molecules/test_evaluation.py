"""The table of methods, with a model that is perfect and one that is bad."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.errors import InputError
from unnoise_molecules import evaluation
from unnoise_molecules.ensemble import ensemble, write_sdf
from unnoise_molecules.molecules import positions, read, sample
from unnoise_molecules.relax import relax
from unnoise_molecules.split import part

SMALL = ["CCCO", "C[C@H](N)C=O", "OCCN", "CC(F)C", "NC=O", "CCCN", "CSC=C"]
MEDIUM = ["CCOC(=O)c1ccccc1", "Cc1ccc(CCN)cc1C", "O=C(NC1CCCC1)C1CC1", "CCCCCCCCCCO"]


@dataclass
class Perfect:
    """A model that remembers: sample k of a molecule is its reference k mod n, moved by `noise`."""

    known: dict[str, Chem.Mol]
    noise: float = 0.0
    drop: int = -1
    hash: str = "perfect"
    asked: dict = field(default_factory=dict)

    def generate(self, *, mols, num_samples, ids, **asked):
        self.asked = asked
        made, rng = [], np.random.default_rng(0)
        for number in ids:
            mol = mols[number // num_samples]
            reference = self.known[Chem.MolToSmiles(mol)]
            k = number % num_samples
            x = positions(reference, k % reference.GetNumConformers())
            one = sample(mol, x + self.noise * rng.normal(size=x.shape), {})
            if k == self.drop:
                one.RemoveAllConformers()
            made.append(one)
        record = {"sampler": "memory", "evaluations": 3, "steps": 2}
        return SimpleNamespace(samples=made, provenance=record)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An SDF file of held-out and other molecules with three references each."""
    folder = tmp_path_factory.mktemp("data")
    parts = []
    for smiles in [*SMALL, *MEDIUM]:
        (mol,) = read(smiles)
        many = Chem.Mol(mol)
        rdDistGeom.EmbedMultipleConfs(many, 3, randomSeed=3)
        rows = [relax(sample(mol, positions(many, k), {})) for k in range(3)]
        parts.append(write_sdf(ensemble(rows), folder / f"{len(parts)}.sdf").read_text())
    path = folder / "all.sdf"
    path.write_text("".join(parts))
    return path


@pytest.fixture
def everything_is_held_out(monkeypatch):
    monkeypatch.setattr(evaluation, "part", lambda mol: "held out")


def model(data, **how):
    sets = evaluation.sets_of(data)
    known = [e for ensembles in sets.values() for e in ensembles]
    return Perfect(
        {Chem.MolToSmiles(evaluation.bare(e)): evaluation.references(e) for e in known}, **how
    )


def measured(data, how=None, **options):
    quick = {"strain": False, "posebusters": False, **options}
    return evaluation.Conformers(**quick).measure(model(data, **(how or {})), data, lambda *_: None)


def test_only_what_is_held_out_is_measured(data):
    mols = {Chem.MolToSmiles(Chem.RemoveHs(read(s)[0])): read(s)[0] for s in [*SMALL, *MEDIUM]}
    expected = {name for name, mol in mols.items() if part(mol) == "held out"}
    assert 0 < len(expected) < len(mols)  # else the test is blind
    found = evaluation.sets_of(data)
    names = {e.name for ensembles in found.values() for e in ensembles}
    assert names == expected
    others = evaluation.sets_of(data, "train")
    assert not names & {e.name for ensembles in others.values() for e in ensembles}


@pytest.mark.usefixtures("everything_is_held_out")
def test_sets_are_by_heavy_atoms_and_evenly_spaced(data):
    sets = evaluation.sets_of(data)
    assert [len(sets[name]) for name in ("small", "medium")] == [7, 4]
    assert [e.name for e in evaluation.sets_of(data, most=2)["medium"]] == [
        sets["medium"][0].name,
        sets["medium"][2].name,
    ]


@pytest.mark.usefixtures("everything_is_held_out")
def test_a_perfect_model_has_perfect_numbers(data):
    for found in measured(data, per_reference=2)["sets"].values():
        floor, ours, raw, relaxed = found["rows"]
        assert "cov_r" not in floor
        assert (ours["cov_r"], ours["cov_p"]) == (1, 1)
        for name in ("mat_r", "mat_p", "bonds", "angles"):
            assert ours[name] == pytest.approx(0, abs=1e-4)
        assert ours["stereo"] == raw["stereo"] == 1
        assert 0 < relaxed["mat_r"] < raw["mat_r"]
        assert relaxed["bonds"] < raw["bonds"]
        assert ours["dropped"] == 0
        count = found["protocol"].split()[0]
        assert f"{3 * int(count)} references, {6 * int(count)} samples" in found["protocol"]


@pytest.mark.usefixtures("everything_is_held_out")
def test_a_bad_model_has_bad_numbers(data):
    found = measured(data, how={"noise": 1.0})["sets"]["small"]["rows"]
    assert found[1]["mat_r"] > 3 * found[2]["mat_r"]
    assert found[1]["bonds"] > 0.1
    assert found[1]["stereo"] < 1


@pytest.mark.usefixtures("everything_is_held_out")
def test_what_was_dropped_is_counted(data):
    found = measured(data, how={"drop": 1}, per_reference=1)["sets"]["small"]
    assert found["rows"][1]["dropped"] == 7
    assert found["rows"][1]["mat_r"] > 1e-3
    assert "14 samples" in found["protocol"]


@pytest.mark.usefixtures("everything_is_held_out")
def test_strain_has_the_references_as_its_floor(data):
    pytest.importorskip("tblite")
    found = measured(data, strain=True, num_samples=3)["sets"]["small"]["rows"]
    floor, ours, raw, relaxed = found
    assert ours["xtb"] == pytest.approx(floor["xtb"])
    assert ours["mmff"] == pytest.approx(0, abs=0.01)
    assert raw["xtb"] > relaxed["xtb"] + 1
    assert raw["mmff"] > 1


@pytest.mark.usefixtures("everything_is_held_out")
def test_options_reach_the_model_and_the_text_says_what_was_done(data):
    judge = evaluation.Conformers(
        strain=False, posebusters=False, steps=20, sampler="heun", begin="noise", seed=4, small=0.3
    )
    ours = model(data)
    result = judge.measure(ours, data, lambda *_: None)
    assert ours.asked == {
        "steps": 20, "sampler": "heun", "begin": "noise", "seed": 4, "check": "retry",
        "batch_size": 64,
    }  # fmt: skip
    said = judge.text(result)
    assert "COV at 0.3 A" in said
    assert "COV at 0.75 A" in said
    assert "| ETKDGv3 + MMFF94s | " in said
    assert said.count("\n| unnoise, 2 steps | 1.000 | 0.000 ") == 2
    assert json.loads(json.dumps(result)) == result


def test_data_without_a_held_out_part_is_an_error(data, monkeypatch):
    monkeypatch.setattr(evaluation, "part", lambda mol: "train")
    with pytest.raises(InputError, match="in the part 'held out'"):
        evaluation.sets_of(data)
