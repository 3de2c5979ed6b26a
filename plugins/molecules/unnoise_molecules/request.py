"""What can be asked of the molecules domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import InputError


class Request(BaseModel):
    """Fields of `unnoise.generate("molecules", ...)`."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    smiles: str | list[str] | None = Field(
        None,
        description="molecule as SMILES or InChI, or a .smi, .csv or .sdf file of them; several"
        " make num_samples conformers for each, in order",
    )
    smiles_file: Path | None = Field(
        None, description="a .smi, .csv, .tsv, .sdf or .mol file of molecules, each also as .gz"
    )
    mols: Any = Field(None, description="RDKit molecules instead of SMILES: one, or a list")
    unreadable: Literal["error", "skip"] | None = Field(
        None,
        description="molecules that cannot be used: an error, or left out and on record;"
        " default: skip in a file, error elsewhere",
    )
    salts: Literal["refuse", "largest"] = Field(
        "refuse", description="several fragments are refused, or the largest is taken"
    )
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
    relax: bool = Field(
        False,
        description="relax by the MMFF94s force field afterwards; `check` looks at the result",
    )
    check: Literal["flag", "retry", "drop"] = Field(
        "retry",
        description="conformers of wrong stereo, bond lengths or with clashes: flag them, draw them"
        " again (5 times at most), or leave their coordinates out",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Request:
        given = {"smiles": self.smiles, "smiles_file": self.smiles_file, "mols": self.mols}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise InputError(
                "a request names its molecules once",
                value=" and ".join(named) or "none of them",
                fix="pass smiles=, smiles_file= or mols=",
            )
        return self

    @property
    def source(self) -> Any:
        """Where the molecules come from."""
        given = (self.smiles, self.smiles_file, self.mols)
        return next(source for source in given if source is not None)
