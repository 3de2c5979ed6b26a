"""What can be asked of the audio domain."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import InputError
from unnoise.specs import Files
from unnoise_audio.front_ends import FRONT_ENDS


class Request(BaseModel):
    """Fields of `unnoise.generate("audio", ...)`; on the command line, sounds and mels are file
    paths."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    source: Annotated[list[Any] | Any, Files((".wav", ".flac", ".ogg"))] = Field(
        None,
        description="sound to make again from its mel: a wav, flac or ogg file, an Audio, or"
        " (array, sample rate); a list makes num_samples of each",
    )
    mel: Annotated[list[Any] | Any, Files((".npy", ".npz"))] = Field(
        None,
        description="mel spectrogram to make sound from: an array (mels, frames), or a .npy or .npz"
        " file; a list makes num_samples of each; needs mel_configuration",
    )
    mel_configuration: Annotated[Any, Files((".json",), words=tuple(FRONT_ENDS))] = Field(
        None,
        description="how mel was made: a MelConfiguration, its fields, a JSON file of them, or the"
        " name of a front end; a .npz file may hold its own",
    )
    project: int = Field(
        16,
        ge=0,
        le=1000,
        description="rounds in which the result is brought closer to the mel, magnitude by"
        " magnitude",
    )
    chunk: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="seconds of sound that are made and handed out at once; changes no sample;"
        " default: 30, of many at once fewer",
    )

    @model_validator(mode="after")
    def _one(self) -> Request:
        if (self.source is None) == (self.mel is None):
            both = "both" if self.mel is not None else "neither"
            raise InputError(
                "a vocoder is given a sound or a mel", value=both, fix="pass source= or mel="
            )
        if self.mel is None and self.mel_configuration is not None:
            raise InputError(
                "mel_configuration says how mel was made, and there is no mel",
                fix="leave it out: the mel of a source is made as the model wants it",
            )
        return self
