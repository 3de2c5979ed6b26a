"""A small untrained model of conformers, and a file of ensembles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.model import Model
from unnoise_molecules.configuration import Configuration
from unnoise_molecules.domain import Molecules


@pytest.fixture(scope="session")
def model() -> Model:
    """Its denoiser returns almost what it is given."""
    options = {"layers": 1, "scalars": 8, "vectors": 8, "pair": 8, "begin_level": 0.03}
    configuration = Configuration(**options)
    torch.manual_seed(0)
    domain = Molecules()
    return Model(domain, domain.build(configuration).eval(), configuration, defaults={"steps": 4})


@pytest.fixture
def ensembles(tmp_path: Path) -> Path:
    """Two conformers of each of 40 molecules, in an SDF file."""
    path = tmp_path / "ensembles.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for n in range(1, 41):
            smiles = "C" * (n % 7 + 1) + "N" * (n % 2) + "O" + "C" * (n // 7)
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            rdDistGeom.EmbedMultipleConfs(mol, 2, randomSeed=n)
            mol.SetProp("_Name", f"{n} {smiles}")
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    return path
