"""What can be asked of the images domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import InputError


class Request(BaseModel):
    """Fields of `unnoise.generate("images", ...)`; on the command line, pictures are file paths."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    label: int | list[int] | None = Field(
        None,
        description="class of the picture, as a number; a list makes num_samples for each, in"
        " order; none draws from all classes",
    )
    image: str | Path | Image.Image | np.ndarray[Any, Any] | None = Field(
        None, description="picture to paint into: a file, a PIL image or an array; needs mask"
    )
    mask: str | Path | Image.Image | np.ndarray[Any, Any] | None = Field(
        None, description="where to paint, of the size of image: white is painted, black is kept"
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
        if (self.image is None) != (self.mask is None):
            missing, given = ("image", "mask") if self.image is None else ("mask", "image")
            raise InputError(f"{given} was given without {missing}", fix=f"pass {missing}= too")
        return self
