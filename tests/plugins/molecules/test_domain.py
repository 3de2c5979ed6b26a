"""From a request to molecules: begins, checks, numbers, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from rdkit import Chem

from unnoise.domain import Draw
from unnoise.engine.options import Options
from unnoise.errors import Cancelled, InputError, LimitExceeded
from unnoise.kernels import VE, GaussianKernel
from unnoise.model import Model
from unnoise.objectives import ExactTrace
from unnoise.samplers import time_at
from unnoise.spaces import ZeroCoM
from unnoise.testing import GaussianOracle
from unnoise_molecules import domain as domain_module
from unnoise_molecules.begin import embedded
from unnoise_molecules.check import Check, check
from unnoise_molecules.configuration import Configuration
from unnoise_molecules.data import Conformers
from unnoise_molecules.domain import Molecules

ALANINE = "C[C@H](N)C(=O)O"


def places(mol: Chem.Mol) -> torch.Tensor:
    return torch.tensor(mol.GetConformer().GetPositions())


def test_samples_are_molecules_with_all_their_hydrogens(model: Model):
    out = model.generate(smiles=[ALANINE, "CCO"], num_samples=3, check="flag")
    assert [mol.GetNumAtoms() for mol in out.samples] == [13] * 3 + [9] * 3
    assert [mol.GetIntProp("sample") for mol in out.samples] == list(range(6))
    assert [len(group) for group in out.groups()] == [3, 3]
    assert all(mol.GetConformer().Is3D() for mol in out.samples)
    assert set(out.provenance["counts"]) >= {"passed", "stereo", "bonds", "clashes", "retried"}
    assert (
        sum(mol.GetProp("check") == "passed" for mol in out.samples)
        == (out.provenance["counts"]["passed"])
    )


def test_a_sample_does_not_depend_on_its_batch(model: Model):
    request = {"smiles": ["CCO", ALANINE], "num_samples": 3, "seed": 5}
    one = model.generate(**request, batch_size=1).samples
    many = model.generate(**request, batch_size=6).samples
    for a, b in zip(one, many, strict=True):
        assert torch.allclose(places(a), places(b), atol=1e-4)


@pytest.mark.parametrize("begin", ["embedding", "noise"])
def test_seed_and_number_decide(model: Model, begin: str):
    def make(seed: int) -> list[torch.Tensor]:
        out = model.generate(smiles="CCO", num_samples=2, seed=seed, begin=begin, check="flag")
        return [places(mol) for mol in out.samples]

    again, other = make(1), make(2)
    assert all(torch.equal(a, b) for a, b in zip(again, make(1), strict=True))
    assert not torch.allclose(again[0], other[0], atol=1e-2)
    assert not torch.allclose(again[0], again[1], atol=1e-2)


def test_embeddings_have_the_level_that_is_asked_for():
    for network in ("e3", "geodiff"):
        configuration = Configuration(network=network, layers=1, hidden=8)
        kernel = Molecules().build(configuration).kernel
        for level in (0.05, 0.5):
            t = time_at(kernel, level)
            rho = kernel.schedule.sigma(t) / kernel.schedule.alpha(t)
            assert rho == pytest.approx(level, rel=0.01)
            if kernel.steps:
                assert t * kernel.steps == round(t * kernel.steps)


def test_every_round_puts_its_noise_on(model: Model):
    """Of a denoiser that returns what it is given, `rounds` leave noise of sqrt(rounds) levels."""
    left = {}
    for rounds in (1, 16):
        out = model.generate(smiles="CCCCO", num_samples=8, rounds=rounds, check="flag")
        assert out.provenance["evaluations"] == 4 * rounds
        moved = [
            places(mol) - embedded(mol, (0, mol.GetIntProp("sample"), 0)) for mol in out.samples
        ]
        left[rounds] = torch.stack([m - m.mean(0) for m in moved]).square().mean().sqrt().item()
    assert left[1] == pytest.approx(0.03, rel=0.1)
    assert left[16] == pytest.approx(4 * left[1], rel=0.15)


def _failing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Every second sample fails its first `times` checks."""
    seen: list[int] = []

    def check(mol: Chem.Mol) -> Check:
        number = mol.GetIntProp("sample")
        seen.append(number)
        bad = number % 2 and seen.count(number) <= times
        return Check(stereo=((1,),)) if bad else Check()

    monkeypatch.setattr(domain_module, "check", check)
    return seen


def test_retry_draws_the_failed_samples_again_and_no_other(model: Model, monkeypatch):
    once = model.generate(smiles="CCO", num_samples=4, check="flag").samples
    plain = [places(mol) for mol in once]
    seen = _failing(monkeypatch, 2)
    out = model.generate(smiles="CCO", num_samples=4, check="retry")
    assert [seen.count(k) for k in range(4)] == [1, 3, 1, 3]
    assert [mol.GetIntProp("attempts") for mol in out.samples] == [1, 3, 1, 3]
    assert out.provenance["counts"] == {
        "passed": 4, "stereo": 0, "bonds": 0, "clashes": 0, "retried": 2, "dropped": 0,
    }  # fmt: skip
    for k in (0, 2):
        assert torch.equal(places(out.samples[k]), plain[k])
    assert not torch.allclose(places(out.samples[1]), plain[1], atol=1e-2)


def test_a_retried_sample_does_not_depend_on_its_batch(model: Model, monkeypatch):
    request = {"smiles": "CCO", "num_samples": 4, "check": "retry"}
    _failing(monkeypatch, 1)
    many = model.generate(**request).samples
    _failing(monkeypatch, 1)
    few = model.generate(**request, batch_size=2).samples
    for a, b in zip(many, few, strict=True):
        assert torch.allclose(places(a), places(b), atol=1e-4)


def test_what_fails_for_good_is_flagged_or_dropped(model: Model, monkeypatch, tmp_path: Path):
    for asked, conformers in (("flag", 1), ("retry", 1), ("drop", 0)):
        _failing(monkeypatch, 99)
        out = model.generate(smiles="CCO", num_samples=2, check=asked)
        good, bad = out.samples
        assert good.GetProp("check") == "passed"
        assert bad.GetProp("check") == "stereo 1"
        assert bad.GetNumConformers() == conformers
        assert out.provenance["counts"]["dropped"] == 1 - conformers
    out.save(tmp_path)
    files = list(tmp_path.glob("*.sdf"))
    assert len(files) == 1
    assert len(list(Chem.SDMolSupplier(str(files[0]), removeHs=False))) == 1


def test_open_stereochemistry_is_drawn_by_the_number_of_the_sample(model: Model):
    out = model.generate(smiles="CC(N)C(=O)O", num_samples=4, check="flag")
    names = [mol.GetProp("stereoisomer") for mol in out.samples]
    assert names[:2] == names[2:]
    assert len(set(names)) == 2


def test_relax_is_reported(model: Model):
    (mol,) = model.generate(smiles="CCO", relax=True).samples
    assert mol.GetProp("relaxed").startswith("MMFF94s")
    assert mol.GetDoubleProp("mmff_kcal") <= mol.GetDoubleProp("mmff_before_kcal")


def test_the_check_is_of_what_was_relaxed(model: Model):
    """Noise of .3 A breaks bonds and MMFF94s mends them; and what is still wrong is drawn again."""
    asked = {"smiles": "CCCCO", "num_samples": 6, "begin_level": 0.3, "check": "flag"}
    rough = model.generate(**asked)
    relaxed = model.generate(**asked, relax=True)
    assert rough.provenance["counts"]["passed"] < 6
    assert relaxed.provenance["counts"]["passed"] == 6
    for mol in relaxed.samples:
        assert mol.GetProp("check") == ("passed" if check(mol).passed else "failed")


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        ({"smiles": "C1CC"}, InputError, "C1CC"),
        ({"smiles": ["CCO", "nonsense"]}, InputError, "1"),
        ({"smiles": "CCO.CCN"}, InputError, "fragments"),
        ({"smiles": "[Na+]"}, InputError, ""),
        ({"smiles": "C[Si](C)(C)C"}, InputError, "Si"),
        ({"smiles": "[He]"}, InputError, ""),
        ({"smiles": "C[CH2]"}, InputError, "radical"),
        ({"smiles": "C" * 80}, LimitExceeded, "242"),
        ({"smiles": ""}, InputError, ""),
        ({"smiles": []}, InputError, ""),
        ({}, InputError, "none of them"),
        ({"smiles": "CCO", "mols": Chem.MolFromSmiles("C")}, InputError, "smiles and mols"),
        ({"smiles": "CCO", "check": "always"}, InputError, "check"),
        ({"smiles": "CCO", "begin_level": 0.0}, InputError, "begin_level"),
        ({"smile": "CCO"}, InputError, "smiles"),
    ],
)
def test_what_is_refused(model: Model, request_, error, says):
    with pytest.raises(error) as caught:
        model.generate(**request_)
    assert says in str(caught.value)


def test_everything_is_refused_before_any_work_is_lost(model: Model):
    with pytest.raises(InputError, match="Si"):
        next(iter(generated(model, ["CCO"] * 3 + ["C[Si](C)(C)C"])))


def generated(model: Model, smiles: list[str]):
    return model.generate_iter(smiles=smiles, batch_size=1)


BAD = {
    "line 3": "C1CC((",
    "line 5": "CC(=O)[O-].[Na+]",
    "line 6": "CC[Fe]",
    "line 7": "",
    "line 8": "C1C[C@H]2CC[C@H]1C2",  # not known to be impossible before it is embedded
}


def table(path: Path) -> Path:
    rows = ["CCO", BAD["line 3"], "CN", *list(BAD.values())[1:], "C=O"]
    lines = [f"mol-{k},{smiles},{k / 2}" for k, smiles in enumerate(rows)]
    path.write_text("\n".join(["id,smiles,pIC50", *lines, ""]))
    return path


def test_bad_records_of_a_file_are_left_out_and_on_record(model: Model, tmp_path: Path):
    out = model.generate(smiles_file=table(tmp_path / "a.csv"), num_samples=2, check="flag")
    assert [mol.GetProp("_Name") for mol in out.samples] == ["mol-0"] * 2 + ["mol-2"] * 2 + [
        "mol-7"
    ] * 2
    assert [mol.GetProp("pIC50") for mol in out.samples[::2]] == ["0.0", "1.0", "3.5"]
    assert out.provenance["ids"] == [0, 1, 4, 5, 14, 15]  # those of the others stay
    refused = out.provenance["refused"]
    assert [one["where"].split(", ")[1] for one in refused] == list(BAD)
    for one, said in zip(
        refused, ("SMILES", "fragments", "Fe", "no SMILES", "no conformer"), strict=True
    ):
        assert said in one["reason"]
    alone = model.generate(smiles=["CCO", "C", "CN"], num_samples=2, check="flag", ids=[4])
    assert torch.allclose(places(alone.samples[0]), places(out.samples[2]), atol=1e-4)


def test_bad_records_are_errors_when_that_is_asked_for(model: Model, tmp_path: Path):
    path = table(tmp_path / "a.csv")
    with pytest.raises(InputError, match="line 3"):
        model.generate(smiles_file=path, unreadable="error")
    out = model.generate(smiles=["CCO", "C1CC(("], unreadable="skip", check="flag")
    assert len(out.samples) == len(out.provenance["refused"]) == 1
    with pytest.raises(InputError, match="none of 2 inputs"):
        model.generate(smiles=["C1CC((", "[Na+]"], unreadable="skip")


def test_a_deadline_counts_what_is_embedded(model: Model, monkeypatch):
    monkeypatch.setattr(domain_module.time, "monotonic", iter([0.0, 0.0, 9.0]).__next__)
    prepared = model.domain.prepare(
        model.domain.Request(smiles="CCO"), model, Options(deadline=5.0)
    )
    assert prepared[0].isomer(Draw(0, 0, 0)).mol.GetProp("input") == "CCO"
    with pytest.raises(Cancelled, match="before the SMILES was embedded"):
        prepared[0].isomer(Draw(1, 0, 1))


def test_a_likelihood_has_three_n_minus_one_dimensions(ensembles: Path):
    """Of data N(0, v) in the 3 (n - 1) dimensions of centred positions, exactly."""
    domain, configuration, v = Molecules(), Configuration(), 1.3
    kernel = GaussianKernel(ZeroCoM(), VE(0.001, 300.0))
    exact = Model(domain, GaussianOracle(kernel, 0.0, v), configuration)
    items = domain.dataset(ensembles, configuration, "train")
    pair = [items[0], items[9]]
    batch = domain.collate(pair)
    d = 3 * batch.layout.points - 3
    assert ZeroCoM().dim(batch.layout).tolist() == d.tolist()
    square = batch.layout.sum(batch.x0**2).double()
    expected = -square / (2 * v) - d / 2 * math.log(2 * math.pi * v)
    found = exact.log_likelihood(pair, trace=ExactTrace()).nats
    assert torch.allclose(found, expected, rtol=2e-3)


@pytest.mark.slow
def test_the_density_does_not_change_under_rotations(model: Model, ensembles: Path):
    items = model.domain.dataset(ensembles, model.configuration, "train")
    graph, x, error = items[3]
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.linalg.det(q)
    turned = (x.double() @ q.T).float()
    a, b = model.log_likelihood(
        [(graph, x, error), (graph, turned, error)], trace=ExactTrace()
    ).nats.tolist()
    assert a == pytest.approx(b, abs=1e-3 * abs(a))


def test_dataset_parts_share_no_scaffold(ensembles: Path, capsys, caplog):
    caplog.set_level("INFO", "unnoise_molecules")
    domain, configuration = Molecules(), Configuration()
    train = domain.dataset(ensembles, configuration, "train")
    validation = domain.dataset(ensembles, configuration, "validation")
    names = [{e.name for e in part.ensembles} for part in (train, validation)]
    assert not names[0] & names[1]
    assert "leakage check: no scaffolds shared" in caplog.text
    assert capsys.readouterr() == ("", "")  # a library is silent
    graph, x, _ = train[0]
    assert x.shape == (graph.num_nodes, 3)
    assert x.mean(0).abs().max() < 1e-5


def test_a_model_in_training_makes_conformers_of_a_held_out_molecule(model: Model, ensembles: Path):
    # molecules without rings are one scaffold, none of which is held out
    held_out = model.domain.dataset(ensembles, model.configuration, "train")
    out = model.generate(**model.domain.trial(model.configuration, held_out), check="flag")
    known = held_out.ensembles[len(held_out.ensembles) // 2].mol
    assert len(out.samples) == 4
    assert {Chem.MolToSmiles(mol) for mol in out.samples} == {Chem.MolToSmiles(known)}
    nothing = Conformers([])
    assert model.domain.trial(model.configuration, nothing)["smiles"] == ALANINE
