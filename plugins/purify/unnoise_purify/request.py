"""What can be asked of the purify domain."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from unnoise.specs import Files

STRENGTH: Final = 0.5
STEPS: Final = 10


class Request(BaseModel):
    """Fields of `unnoise.generate("purify", ...)`; on the command line, pictures are file paths."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    images: Annotated[list[Any] | Any, Files(("image/png", "image/jpeg"))] = Field(
        description="pictures to purify: PNG or JPEG files, folders of them, PIL images, arrays, or"
        " a tensor (batch, channels, height, width) in [0, 1]; num_samples of each"
    )
    strength: float = Field(
        STRENGTH,
        gt=0,
        lt=1,
        description="sigma of the noise that is added, of a variance-preserving state: more removes"
        " more of an attack, and of the picture",
    )
    votes: int = Field(
        1,
        ge=1,
        le=1000,
        description="purifications of a picture, of which a sample is the mean, and a classifier's"
        " answer the mean of its probabilities",
    )
    classifier: Annotated[Any, Files(words=("digits",), sent=False)] = Field(
        None,
        description="whose answer is shown before and after: digits (shipped), a TorchScript file,"
        " a transformers folder, or a module from [0, 1] to logits",
    )
