"""What a vocoder is: front end, network and noise. Stored in the bundle."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unnoise.errors import ConfigError
from unnoise.specs import FromData, Only
from unnoise_audio.front_ends import front_end
from unnoise_audio.mel import MelConfiguration
from unnoise_audio.rates import default_factors, reach

MDCT: Final = Only("method", ("mdct",))
WAVEGRAD: Final = Only("method", ("wavegrad",))


class Learned(BaseModel):
    """What the training part says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: tuple[float, ...] = Field(
        description="root mean square of each coefficient in units of the mel's envelope"
    )
    mean: float = Field(description="of the envelope's logarithm")
    spread: float = Field(gt=0, description="standard deviation of the envelope's logarithm")


class Configuration(BaseModel):
    """Options of `unnoise train audio`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mel: MelConfiguration = Field(
        MelConfiguration(), description="the front end; a name or its fields"
    )
    held_out: float = Field(
        0.05, ge=0, lt=1, description="share of the files kept for validation, by their names"
    )
    crop: int = Field(128, ge=8, le=8192, description="frames of a training example")
    level: float | None = Field(
        -22.0, le=0, description="dB below full scale that each file is brought to; None: as it is"
    )
    gain: tuple[float, float] = Field(
        (-10.0, 6.0), description="dB of random gain, so that the level does not matter"
    )
    silence: float | None = Field(
        -50.0,
        lt=0,
        description="dB below a file's loudest moment that its two ends are cut at; None: kept",
    )
    unreadable: Literal["error", "skip"] = Field(
        "error", description="what is done about files that cannot be used, silent ones included"
    )
    method: Literal["mdct", "wavegrad"] = Field(
        "mdct", description="mdct: coefficients of frames, patches; wavegrad: samples, as published"
    )
    factors: Annotated[tuple[int, ...] | None, WAVEGRAD] = Field(
        None, description="wavegrad: repetitions whose product is the hop; default: five small ones"
    )
    size: Annotated[Literal["base", "large"], WAVEGRAD] = Field(
        "base", description="wavegrad: as published"
    )
    prior: Annotated[Literal["standard", "mel"], WAVEGRAD] = Field(
        "standard", description="wavegrad: mel: noise as loud as each frame (PriorGrad)"
    )
    patch: Annotated[int, MDCT] = Field(
        40, ge=1, le=16_384, description="samples of a patch; divides the hop"
    )
    width: Annotated[int, MDCT] = Field(96, ge=8, le=4096, description="channels of the network")
    layers: Annotated[int, MDCT] = Field(
        6, ge=1, le=64, description="residual blocks of the network"
    )
    expansion: Annotated[int, MDCT] = Field(
        3, ge=1, le=16, description="inner width of a block, in widths"
    )
    kernel: Annotated[int, MDCT] = Field(
        15, ge=1, le=63, description="patches that a block mixes; an odd number"
    )
    learned: Annotated[Learned | None, FromData()] = Field(None, description="from the data")

    @field_validator("mel", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return front_end(value) if isinstance(value, str) else value

    @field_validator("kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a kernel is odd: it has a middle")
        return value

    @property
    def factors_used(self) -> tuple[int, ...]:
        """Of WaveGrad; see `default_factors`.

        Raises ConfigError for factors with another product.
        """
        found = self.factors or default_factors(self.mel.hop)
        if math.prod(found) != self.mel.hop or min(found) < 2:
            raise ConfigError(
                "the product of the factors, each at least 2, is the hop",
                value=found,
                limit=self.mel.hop,
            )
        return found

    @property
    def reach(self) -> int:
        """Frames on each side that an output of the network depends on: patches that its blocks
        mix, and the neighbours of a frame in four transforms."""
        if self.method == "wavegrad":
            return reach(self.factors_used, self.size == "large")
        return 4 + -(-self.layers * (self.kernel // 2) * self.patch // self.mel.hop)

    @property
    def known(self) -> Learned:
        """What was learned from the data."""
        if self.learned is None:
            raise ConfigError("the configuration has seen no data", fix="use unnoise.train")
        return self.learned
