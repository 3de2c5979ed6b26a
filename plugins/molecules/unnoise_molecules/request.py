"""What can be asked of the molecules domain."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from rdkit import Chem

from unnoise.errors import InputError
from unnoise_molecules.molecules import read, stereoisomers


class Request(BaseModel):
    """Fields of `unnoise.generate("molecules", ...)`."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    smiles: str | list[str] | None = Field(
        None,
        description="molecule as SMILES, or a .smi, .csv or .sdf file of them; several make"
        " num_samples conformers for each, in order",
    )
    mols: Any = Field(None, description="RDKit molecules instead of SMILES: one, or a list")
    column: str | None = Field(None, description="column of a .csv file that holds the SMILES")
    begin: Literal["embedding", "noise"] = Field(
        "embedding",
        description="what is denoised: an ETKDG embedding with noise on it, or noise alone",
    )
    begin_level: float | None = Field(
        None, gt=0, le=10, description="noise on the embedding, angstrom; default: the model's"
    )
    rounds: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="how often noise of begin_level is put on the conformer and taken away again,"
        " in `steps` steps each time; default: the model's, and 1 for begin='noise'",
    )
    relax: bool = Field(False, description="relax by the MMFF94s force field afterwards")
    check: Literal["flag", "retry", "drop"] = Field(
        "retry",
        description="conformers of wrong stereo, bond lengths or with clashes: flag them, draw them"
        " again (5 times at most), or leave their coordinates out",
    )

    num_samples: int = Field(1, ge=1, description="conformers for each molecule")
    seed: int = Field(0, ge=0, description="of the embeddings and the noise")

    _read: dict[Any, list[Chem.Mol]] = PrivateAttr(default_factory=dict)
    _isomers: dict[int, list[Chem.Mol]] = PrivateAttr(default_factory=dict)

    def read(
        self, elements: tuple[str, ...] | None = None, most_atoms: int | None = None
    ) -> list[Chem.Mol]:
        """The molecules, with explicit hydrogens; read once. Errors: see `molecules.read`."""
        key = (elements, most_atoms)
        if key not in self._read:
            source = self.mols if self.smiles is None else self.smiles
            self._read[key] = read(
                source, column=self.column, elements=elements, most_atoms=most_atoms
            )
        return self._read[key]

    def isomers(self, mol: Chem.Mol) -> list[Chem.Mol]:
        """The stereoisomers of one of the molecules."""
        if id(mol) not in self._isomers:
            self._isomers[id(mol)] = stereoisomers(mol)
        return self._isomers[id(mol)]

    @model_validator(mode="after")
    def _one_source(self) -> Request:
        if (self.smiles is None) == (self.mols is None):
            raise InputError(
                "a request names its molecules once",
                value="both smiles and mols" if self.smiles is not None else "neither",
                fix="pass smiles= or mols=",
            )
        return self
