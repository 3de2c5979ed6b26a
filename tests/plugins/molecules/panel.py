"""Whether molecules of many kinds are generated with the right stereochemistry, or refused for a
true reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdDistGeom

from unnoise.model import Model
from unnoise_molecules.check import check
from unnoise_molecules.graph import ELEMENTS

PANEL = Path(__file__).parent / "panel.smi"
NCI = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
NCI_COUNT = 491


def panel() -> list[str]:
    """The molecules of the file beside this one."""
    lines = PANEL.read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def nci(count: int = NCI_COUNT) -> list[str]:
    """Molecules of NCI's that RDKit carries, evenly spaced; none where it carries none."""
    lines = NCI.read_text().splitlines() if NCI.exists() else []
    return [lines[i * len(lines) // count].split()[0] for i in range(count if lines else 0)]


def judged(model: Model, smiles: Sequence[str], **request: Any) -> dict[str, list[str]]:
    """What became of each: `right`; `flagged`, of the right stereochemistry with bonds or clashes
    that the check names; of `wrong stereo`; `refused` for a reason that is true; `refused wrongly`.
    """
    kinds = ("right", "flagged", "wrong stereo", "refused", "refused wrongly")
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    asked = {"num_samples": 1, "unreadable": "skip", **request}
    out = model.generate(smiles=list(smiles), **asked)
    for mol, i in zip(out.samples, out.inputs, strict=True):
        seen = check(mol)
        kind = "right" if seen.passed else "flagged"
        if seen.stereo or not perceived(mol):
            kind = "wrong stereo"
        found[kind].append(f"{smiles[i]} {mol.GetProp('check')}")
    for one in out.provenance.get("refused", ()):
        text = smiles[int(re.findall(r"\d+", one["where"])[0])]
        kind = "refused" if justified(text, one["reason"]) else "refused wrongly"
        found[kind].append(f"{text} {one['reason'][:100]}")
    return found


def perceived(mol: Chem.Mol) -> bool:
    """Whether RDKit sees the molecule in the coordinates that was asked for, as far as it sees: the
    carbons' hands and the sides of C=C."""
    seen = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(seen)
    return all(
        found.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED
        or found.GetChiralTag() == asked.GetChiralTag()
        or mirrored(mol, seen)
        for asked, found in zip(mol.GetAtoms(), seen.GetAtoms(), strict=True)
        if asked.GetAtomicNum() == 6 and asked.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED
    )


def mirrored(mol: Chem.Mol, seen: Chem.Mol) -> bool:
    """Whether centres that depend on each other are drawn the other way: one molecule."""
    return Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.MolToSmiles(Chem.RemoveHs(seen))


def justified(smiles: str, reason: str) -> bool:
    """Whether what a refusal says is so, by RDKit's own judgement."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            return "not a" in reason
        if "fragments" in reason:
            return len(Chem.GetMolFrags(mol)) > 1
        whole = Chem.AddHs(mol)
        if "not trained on" in reason:
            return bool({a.GetSymbol() for a in whole.GetAtoms()} - set(ELEMENTS))
        if "radical" in reason:
            return any(a.GetNumRadicalElectrons() for a in mol.GetAtoms())
        if "single atom" in reason:
            return whole.GetNumAtoms() == 1
        if "too large" in reason:
            return whole.GetNumAtoms() > 200
        if "placeholder" in reason:
            return any(a.GetAtomicNum() == 0 for a in mol.GetAtoms())
        if "no conformer" in reason:
            options = rdDistGeom.ETKDGv3()
            options.randomSeed, options.maxIterations = 1, 100
            return rdDistGeom.EmbedMolecule(whole, options) < 0
    return False
