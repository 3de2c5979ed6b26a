"""Pairs of an embedding and the reference it belongs to."""

from __future__ import annotations

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from unnoise_molecules.couplings import coupled, errors
from unnoise_molecules.data import MOST_ERRORS, Conformers
from unnoise_molecules.ensembles import Ensemble
from unnoise_molecules.evaluation import with_conformers
from unnoise_molecules.metrics import bond_lengths, rmsd


def minima(smiles: str) -> Ensemble:
    """The distinct minima of MMFF94s that thirty embeddings lead to."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    mol.SetProp("_Name", smiles)
    rdDistGeom.EmbedMultipleConfs(mol, 30, randomSeed=3)
    energies = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
        mol, maxIters=2000, mmffVariant="MMFF94s"
    )
    # mirror images that are conformers of one molecule have one energy, and both are kept
    distinct: dict[tuple[float, ...], torch.Tensor] = {}
    for conformer, (_, energy) in zip(mol.GetConformers(), energies, strict=True):
        x = torch.tensor(conformer.GetPositions())
        handed = torch.linalg.det(x[:3] - x[3]).sign().item()
        distinct.setdefault((round(energy, 2), handed), x.float())
    return Ensemble(with_conformers(mol, []), torch.stack(list(distinct.values())))


def moved(ensemble: Ensemble, row: int, shifts: torch.Tensor) -> Chem.Mol:
    places = ensemble.positions[row] + shifts
    return with_conformers(ensemble.mol, places.double().numpy())


@pytest.mark.parametrize(
    "smiles", ["CCCC", "OCCO", "C[C@H](N)C(=O)O", "Cc1ccc(C)cc1", "CC(C)(C)CO"]
)
def test_what_belongs_to_a_minimum_relaxes_to_it(smiles):
    ensemble = minima(smiles)
    found = coupled(ensemble, 12)
    assert sum(map(len, found)) == 12
    for row, shifts in enumerate(found):
        if not len(shifts):
            continue
        start = moved(ensemble, row, shifts)
        # atoms are matched: no bond is longer than an embedding's, and little is left to move
        lengths = bond_lengths(start)
        assert all(0.8 < x < 1.8 for values in lengths.values() for x in values)
        assert float((shifts**2).sum(-1).mean(-1).sqrt().max()) < 0.8
        assert float(shifts.mean(1).abs().max()) < 1e-5
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(start, maxIters=2000, mmffVariant="MMFF94s")
        reference = with_conformers(ensemble.mol, ensemble.positions[row : row + 1].numpy())
        assert float(rmsd(start, reference).max()) < 0.2


def test_a_reference_that_nothing_relaxes_to_has_no_partner():
    ensemble = minima("CCCC")
    stretched = ensemble.positions[:1] * 1.5
    both = Ensemble(ensemble.mol, torch.cat([ensemble.positions, stretched]))
    found = coupled(both, 6)
    assert len(found[-1]) == 0
    assert sum(map(len, found)) == 6


def test_errors_are_computed_once_and_trained_on(tmp_path, monkeypatch):
    ensembles = [minima("CCCC"), minima("OCCO")]
    first = errors(ensembles, 10, tmp_path)
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    again = errors(ensembles, 10, tmp_path)
    assert path.stat().st_mtime_ns == written
    for kept, read in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(kept, read, strict=True))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    data = Conformers(ensembles, 10)
    assert len(data) == sum(min(max(1, len(m)), MOST_ERRORS) for e in first for m in e)
    for _, x0, error in (data[i] for i in range(len(data))):
        assert float(x0.mean(0).abs().max()) < 1e-5
        assert torch.isfinite(error).all()
    assert len(Conformers(ensembles)) == sum(len(e.positions) for e in ensembles)
