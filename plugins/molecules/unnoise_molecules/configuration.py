"""What a model of conformers is: network, noise and data. Stored in the bundle."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.specs import Only
from unnoise_molecules.graph import ELEMENTS

E3: Final = Only("network", ("e3",))


class Configuration(BaseModel):
    """Options of `unnoise train molecules`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: Literal["e3", "geodiff"] = Field(
        "e3",
        description="e3: tensor products of irreps, conditioned on noise level and stereo tags;"
        " geodiff: the dual encoder of GeoDiff, on distances",
    )
    layers: Annotated[int, E3] = Field(5, ge=1, le=20, description="layers of the e3 network")
    scalars: Annotated[int, E3] = Field(96, ge=1, le=1024, description="scalars per atom (e3)")
    pseudoscalars: Annotated[int, E3] = Field(
        8, ge=1, le=256, description="pseudoscalars per atom (e3)"
    )
    vectors: Annotated[int, E3] = Field(24, ge=1, le=256, description="vectors per atom (e3)")
    axial: Annotated[int, E3] = Field(8, ge=1, le=256, description="axial vectors per atom (e3)")
    pair: Annotated[int, E3] = Field(
        48, ge=2, le=512, description="channels per pair of atoms (e3)"
    )
    heads: Annotated[int, E3] = Field(
        8, ge=1, le=64, description="radial weights per pair (e3); divides every kind of channel"
    )
    hidden: Annotated[int, Only("network", ("geodiff",))] = Field(
        128, ge=8, le=1024, description="channels of the geodiff network"
    )
    radius: float = Field(
        10.0, gt=1, le=100, description="pairs of atoms farther apart have no influence, angstrom"
    )
    sigma_min: Annotated[float, E3] = Field(
        0.02, gt=0, le=1, description="smallest noise (e3), angstrom"
    )
    sigma_max: Annotated[float, E3] = Field(
        10.0, gt=1, le=100, description="largest noise (e3), angstrom"
    )
    sigma_data: Annotated[float, E3] = Field(
        1.0, gt=0, le=100, description="scale of the preconditioning (e3), angstrom"
    )
    focus: Annotated[float, E3] = Field(
        1.5,
        gt=0,
        le=10,
        description="noise in angstrom below which most of the training happens (e3)",
    )
    begin_level: float = Field(
        0.25,
        gt=0,
        le=10,
        description="noise put on an embedding before it is denoised, angstrom; what generation"
        " begins with when a request does not say",
    )
    rounds: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="how often noise of begin_level is put on a conformer and taken away again,"
        " when a request does not say; default: 2 for e3, 1 for geodiff",
    )
    embeddings: Annotated[int, E3] = Field(
        0,
        ge=0,
        le=1000,
        description="embeddings of each training molecule whose errors are part of the noise below"
        " begin_level (e3); 0 for plain noise",
    )
    most_atoms: int = Field(
        200, ge=2, le=2000, description="largest molecule that is accepted, with hydrogens"
    )
    elements: tuple[str, ...] = Field(ELEMENTS, description="elements of the training set")

    @model_validator(mode="after")
    def _heads(self) -> Configuration:
        for name in ("scalars", "pseudoscalars", "vectors", "axial"):
            if getattr(self, name) % self.heads:
                raise ValueError(f"heads ({self.heads}) divides {name}")
        if set(self.elements) - set(ELEMENTS):
            raise ValueError(f"elements are among {', '.join(ELEMENTS)}")
        return self
