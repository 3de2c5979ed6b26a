"""What can be asked of the molecules domain."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import InputError


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
        if (self.smiles is None) == (self.mols is None):
            raise InputError(
                "a request names its molecules once",
                value="both smiles and mols" if self.smiles is not None else "neither",
                fix="pass smiles= or mols=",
            )
        return self
