"""What can be asked of the text2image domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

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

from unnoise.errors import InputError
from unnoise.storage.reading import whole
from unnoise_images.files import recorded
from unnoise_images.request import PICTURES

One: TypeAlias = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor
Given: TypeAlias = One | list[One] | None


class Request(BaseModel):
    """Fields of `unnoise.generate("text2image", ...)`; on the command line, pictures are file
    paths."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    prompt: str | list[str] = Field(
        "",
        description="what to draw, in words; a list makes num_samples for each, in order; an empty"
        " one draws anything",
    )
    negative_prompt: str | list[str] = Field(
        "", description="what to stay away from, in words, where guidance_scale is above 1"
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=100,
        description="how strongly the prompt is followed: 0 not at all, 1 as trained, more for"
        " clearer and less varied pictures",
    )
    guidance_interval: tuple[float, float] = Field(
        (0.0, 1.0),
        description="two strengths of noise, from 0 to 1, between which guidance_scale holds;"
        " outside them it is 1",
    )
    guidance_rescale: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of the contrast added by guidance that is taken back: 0 none, 1 all",
    )
    upsampler_scale: float | None = Field(
        None, ge=0, le=100, description="guidance_scale of the stage that enlarges"
    )
    upsampler_steps: int = Field(
        20, ge=1, le=10_000, description="steps of the stage that enlarges"
    )
    upsampler_noise: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="strength of the noise on the small picture before it is enlarged: more for"
        " new detail, less for faithfulness",
    )
    image: Annotated[Given, PICTURES] = Field(
        None,
        description="picture to paint into, with mask, to make others of, with strength, or for an"
        " upsampler to enlarge: a file, a PIL image, an array or a tensor, or a list of them",
    )
    mask: Annotated[Given, PICTURES] = Field(
        None,
        description="where to paint, of the size of image: white (or 1) is painted, black (or 0)"
        " is kept",
    )
    strength: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="how much of image is replaced by noise before it is walked back: its standard"
        " deviation s, the picture keeping sqrt(1 - s^2)",
    )

    @field_serializer("image", "mask", when_used="json")
    def _recorded(self, value: object, info: FieldSerializationInfo) -> Any:
        return recorded(value, info.field_name)

    @model_validator(mode="after")
    def _together(self) -> Request:
        for one in ("mask", "strength"):
            if self.image is None and getattr(self, one) is not None:
                raise InputError(f"{one} was given without image", fix="pass image= too")
        for name in ("prompt", "negative_prompt"):
            given = getattr(self, name)
            for text in given if isinstance(given, list) else [given]:
                whole(text, name)
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise InputError(
                "guidance_interval is two strengths, the smaller one first",
                value=self.guidance_interval,
                limit="0 to 1",
            )
        return self
