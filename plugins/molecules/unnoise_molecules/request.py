"""What can be asked of the molecules domain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import InputError
from unnoise.specs import Files

USES: Final[Mapping[str, Mapping[str, Any]]] = {
    "docking": {"relax": True, "energy": "mmff94s", "window": 10.0, "apart": 0.5},
    "pharmacophore": {"relax": True, "energy": "mmff94s", "window": 20.0, "apart": 0.8},
    "thermochemistry": {"relax": True, "energy": "gfn2", "window": 6.0, "apart": 0.125},
}
"""Fields by use. What binds is strained, and need be found within half an angstrom; a pharmacophore
is made of fewer shapes and wants the rare ones, too; a partition sum wants every minimum that has
weight, once."""


class Request(BaseModel):
    """Fields of `unnoise.generate("molecules", ...)`."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    smiles: str | list[str] | None = Field(
        None,
        title="SMILES",
        description="molecule as SMILES or InChI, or a .smi, .csv or .sdf file of them; several"
        " make num_samples conformers for each, in order",
    )
    smiles_file: Annotated[Path | None, Files((".smi", ".csv", ".tsv", ".sdf", ".mol", ".gz"))] = (
        Field(
            None, description="a .smi, .csv, .tsv, .sdf or .mol file of molecules, each also as .gz"
        )
    )
    mols: Annotated[Any, Files(sent=False)] = Field(
        None, description="RDKit molecules instead of SMILES: one, or a list"
    )
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
    scaffold: Annotated[Any, Files((".sdf", ".mol"))] = Field(
        None,
        description="a part that keeps its coordinates: an .sdf or .mol file or a Mol of it, whose"
        " heavy atoms are found in each molecule; conformers come out in its frame",
    )
    use: Literal["docking", "pharmacophore", "thermochemistry"] | None = Field(
        None,
        description="what the ensemble is for: sets relax, energy, window and apart where they are"
        " not given",
    )
    relax: bool = Field(
        False,
        description="relax afterwards to the nearest minimum of `energy`, of the force field"
        " MMFF94s by default; `check` looks at the result",
    )
    energy: Literal["mmff94s", "gfn2"] | None = Field(
        None,
        description="compute each conformer's energy, by MMFF94s or GFN2-xTB, and rank files by it",
    )
    window: float | None = Field(
        None, gt=0, description="kcal/mol above the lowest that files keep; needs energy"
    )
    apart: float | None = Field(
        None,
        ge=0,
        description="angstrom that conformers in files are apart at least: RMSD without the"
        " hydrogens of carbon",
    )
    temperature: float | None = Field(
        None, gt=0, description="kelvin, of Boltzmann weights in files; default: 298.15"
    )
    check: Literal["flag", "retry", "drop"] = Field(
        "retry",
        description="conformers of wrong stereo, bond lengths or with clashes: flag them, draw them"
        " again (5 times at most), or leave their coordinates out",
    )

    @model_validator(mode="before")
    @classmethod
    def _for_its_use(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("use") in USES:
            return {**USES[given["use"]], **given}
        return given

    @model_validator(mode="after")
    def _energies(self) -> Request:
        for name in ("window", "temperature"):
            if self.energy is None and getattr(self, name) is not None:
                raise InputError(
                    f"{name} needs energies",
                    value=getattr(self, name),
                    fix="pass energy='mmff94s' or energy='gfn2', too",
                )
        return self

    @model_validator(mode="after")
    def _about_a_scaffold(self) -> Request:
        if self.scaffold is not None and self.begin == "noise":
            raise InputError(
                "a run about a scaffold begins with an embedding about it",
                value="begin='noise'",
                fix="leave begin or scaffold out",
            )
        return self

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
    def level(self) -> Literal["mmff94s", "gfn2"] | None:
        """What energies and relaxation are of; None for neither."""
        return self.energy or ("mmff94s" if self.relax else None)

    @property
    def selection(self) -> dict[str, float]:
        """What is asked of an ensemble, as properties of its samples."""
        asked = {
            "window_kcal": self.window,
            "apart_angstrom": self.apart,
            "temperature_kelvin": self.temperature,
        }
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def source(self) -> Any:
        """Where the molecules come from."""
        given = (self.smiles, self.smiles_file, self.mols)
        return next(source for source in given if source is not None)
