"""What can be asked of the latent domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, Union

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import InputError
from unnoise.specs import Files

Picture: TypeAlias = Union[str, Path, Image.Image, np.ndarray[Any, Any]]  # noqa: UP007

NONE = "none"
"""What stands in a list for no picture and no label; a file of that name is "./none"."""
PICTURES: Final = Files(("image/png", "image/jpeg"), words=(NONE,))


class Request(BaseModel):
    """Fields of `unnoise.generate("latent", ...)`; on the command line, pictures are file paths.

    Without `source` pictures are generated. With `source` alone it is reconstructed: first from the
    mean of its code, then from draws. With `source_b`, too, `num_samples` pictures lead from the
    reconstruction of one to that of the other, along the great circle between the means of their
    codes. `strength` puts noise on the code, and the prior takes it away again.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    label: int | str | list[int | str] | None = Field(
        None,
        description="class of the picture, by its name or number; a list makes num_samples for"
        ' each, in order; none, or "none" in a list, draws from all classes',
    )
    source: Annotated[Picture | list[Picture] | None, PICTURES] = Field(
        None,
        description="picture to reconstruct, or to start from: a file, a PIL image or an array; a"
        ' list makes num_samples for each, "none" in it generates',
    )
    source_b: Annotated[Picture | list[Picture] | None, PICTURES] = Field(
        None,
        description="picture to end at: num_samples pictures from source to it; in a list, as long"
        ' as that of source, "none" stands for none',
    )
    strength: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="how much of source is drawn again: the share of noise sigma in the code that"
        " the prior starts from, of variance 1; near 0 nothing is, near 1 everything",
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=100,
        description="how strongly the label is followed: 0 not at all, 1 as trained, more for"
        " clearer and less varied pictures",
    )

    @model_validator(mode="after")
    def _together(self) -> Request:
        for name in ("source_b", "strength"):
            if getattr(self, name) is not None and self.source is None:
                raise InputError(f"{name} was given without source", fix="pass source= too")
        return self
