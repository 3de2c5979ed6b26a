"""What can be asked of the images domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from PIL import Image
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    field_serializer,
    model_validator,
)
from torch import Tensor

from unnoise.conditioning import operator_named
from unnoise.errors import InputError
from unnoise.specs import Files
from unnoise_images.files import recorded

PICTURES: Final = Files(("image/png", "image/jpeg"))
Given: TypeAlias = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor | None


class Request(BaseModel):
    """Fields of `unnoise.generate("images", ...)`; on the command line, pictures are file paths."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    label: int | str | list[int | str] | None = Field(
        None,
        description="name of the class of the picture, or its number where no class is called by a"
        " number; a list makes num_samples for each, in order; none draws from all classes",
    )
    image: Annotated[Given, PICTURES] = Field(
        None,
        description="picture to paint into, with mask, or to make others of, with strength: a"
        " file, a PIL image, an array or a tensor",
    )
    mask: Annotated[Given, PICTURES] = Field(
        None,
        description="where to paint, of the size of image: white (or 1) is painted, black (or 0)"
        " is kept",
    )
    measure: Annotated[Given, PICTURES] = Field(
        None,
        description="what was seen of the picture: a file, a PIL image, an array or a tensor;"
        " pictures are made of which operator makes this, within the noise",
    )
    operator: str | None = Field(
        None,
        description="how it was seen: blur(2) a Gaussian blur of 2 pixels, downsample(4) means of"
        " 4 x 4 pixels; without one it is the picture itself, of which mask hides what is white",
    )
    noise: float = Field(
        0.05,
        gt=0,
        le=1,
        description="standard deviation of the noise of measure, as a part of black to white",
    )
    method: Literal["diffpir", "mmps", "particles"] = Field(
        "diffpir",
        description="how measure is followed: particles are exact if there are enough of them, the"
        " others are approximate, and cheaper",
    )
    particles: int = Field(
        64, ge=2, le=4096, description="for each picture, of the method particles: what it costs"
    )
    strength: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="how much of image is replaced by noise before it is walked back: its standard"
        " deviation s, the picture keeping sqrt(1 - s^2); 0.5 changes details, 0.95 most",
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=100,
        description="how strongly the label is followed: 0 not at all, 1 as trained, more for"
        " clearer and less varied pictures",
    )

    @field_serializer("image", "mask", "measure", when_used="json")
    def _recorded(self, value: object, info: FieldSerializationInfo) -> Any:
        return recorded(value, info.field_name)

    @model_validator(mode="after")
    def _together(self) -> Request:
        if self.measure is not None:
            return self._measured()
        for given in ("operator", "noise", "method", "particles"):
            if getattr(self, given) != type(self).model_fields[given].default:
                raise InputError(f"{given} was given without measure", fix="pass measure= too")
        for given in ("mask", "strength"):
            if self.image is None and getattr(self, given) is not None:
                raise InputError(f"{given} was given without image", fix="pass image= too")
        if self.image is not None and self.mask is None and self.strength is None:
            raise InputError(
                "image was given without mask",
                fix="pass mask= too, to paint into it, or strength= to make others of it",
            )
        return self

    def _measured(self) -> Request:
        for given in ("image", "strength"):
            if getattr(self, given) is not None:
                raise InputError(
                    f"{given} and measure do not go together", fix=f"leave {given} out"
                )
        if self.operator is not None:
            operator_named(self.operator)
            if self.mask is not None:
                raise InputError(
                    "a mask hides pixels of the picture itself",
                    value=self.operator,
                    fix="leave operator out, or mask",
                )
        if self.particles != 64 and self.method != "particles":
            raise InputError(
                "particles are of another method", value=self.method, fix="method='particles'"
            )
        return self
