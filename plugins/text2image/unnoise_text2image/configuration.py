"""What a model of captioned pictures is: sizes, text encoder, networks and noise. Stored in the
bundle."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.errors import ConfigError
from unnoise.objectives import Goal
from unnoise.specs import FromData, Only
from unnoise_images.configuration import Blocks, Width
from unnoise_images.files import LARGEST, SMALLEST, Fit

BASE: Final = Only("stage", ("base",))
UPSAMPLER: Final = Only("stage", ("upsampler",))
OURS: Final = Only("diffusers", (None,), "the networks and their noise are a diffusers folder's")
NOT_LEARNED: Final = Only("goal", ("simple", "min-snr", "likelihood", "hybrid"))


class Configuration(BaseModel):
    """Options of `unnoise train text2image`. Sizes and the vocabulary are taken from the data when
    they are not given."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    stage: Literal["base", "upsampler", "cascade"] = Field(
        "base",
        description="base draws small pictures, upsampler enlarges them; each is trained for"
        " itself, and `unnoise_text2image.cascade.joined` makes a cascade of the two",
    )
    side: int | None = Field(
        None,
        ge=SMALLEST,
        le=LARGEST,
        description="pixels of the sides of a finished picture; default: those of the data",
    )
    base_side: int | None = Field(
        None,
        ge=SMALLEST,
        le=LARGEST,
        description="pixels of what the base draws, of which side is a multiple; default: half",
    )
    fit: Fit = Field(
        "refuse",
        description="pictures of another size: refuse, resize (changes proportions), or crop"
        " (scale to cover, cut at the centre)",
    )
    background: str | None = Field(
        "white", description="colour behind transparent pictures; none refuses them"
    )
    without_caption: Literal["error", "skip", "empty"] = Field(
        "error",
        description="pictures without a caption: stop, naming them, leave them out, or show them"
        " without a word",
    )
    held_out: int | None = Field(
        None,
        ge=0,
        description="pictures kept for validation where the captions name no split, the last in"
        " order; default: a tenth, at most 1000",
    )

    length: Annotated[int, OURS] = Field(
        24, ge=2, le=512, description="tokens that are read of a caption"
    )
    vocabulary: Annotated[int, OURS] = Field(
        4096, ge=64, le=100_000, description="tokens of the text encoder"
    )
    text_width: Annotated[int, OURS] = Field(
        128, ge=8, le=4096, description="channels of the text encoder"
    )
    text_layers: Annotated[int, OURS] = Field(
        3, ge=1, le=48, description="layers of the text encoder"
    )
    text_heads: Annotated[int, OURS] = Field(
        4, ge=1, le=64, description="attention heads of the text encoder"
    )
    tokenizer: Annotated[dict[str, Any] | None, FromData()] = Field(
        None, description="of the library tokenizers, made from the captions"
    )

    widths: Annotated[tuple[Width, ...], OURS, BASE] = Field(
        (32, 64, 128), min_length=1, max_length=6, description="channels at each resolution"
    )
    blocks: Annotated[tuple[Blocks, ...], OURS, BASE] = Field(
        (1, 1, 2), min_length=1, max_length=6, description="residual blocks at each resolution"
    )
    upsampler_widths: Annotated[tuple[Width, ...], OURS, UPSAMPLER] = Field(
        (16, 32, 64, 96), min_length=1, max_length=6, description="channels of the upsampler"
    )
    upsampler_blocks: Annotated[tuple[Blocks, ...], OURS, UPSAMPLER] = Field(
        (1, 1, 1, 2), min_length=1, max_length=6, description="residual blocks of the upsampler"
    )
    parametrization: Annotated[Literal["v", "noise", "clean"], OURS] = Field(
        "v", description="what the networks predict"
    )
    schedule: Annotated[Literal["cosine", "linear"], OURS, NOT_LEARNED] = Field(
        "cosine", description="how noise grows with time"
    )
    goal: Annotated[Goal, OURS] = Field(
        "hybrid",
        description="what is minimised: hybrid also learns the variance of the reverse steps;"
        " simple and min-snr do not; likelihood and vdm (learned schedule) are for the bound",
    )
    augmentation: Annotated[float, UPSAMPLER] = Field(
        0.5,
        ge=0,
        lt=1,
        description="largest strength of the noise on the small pictures that an upsampler is"
        " trained on",
    )
    painter: Annotated[bool, BASE] = Field(
        False,
        description="train a base to paint: it is told the rest of a picture in channels whose"
        " weights begin at 0, so that it may start from a base of words (initial)",
    )
    caption_dropout: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of training pictures shown without their caption, for guidance",
    )
    guidance_scale: Annotated[float, BASE] = Field(
        3.0, ge=0, le=100, description="guidance of the base when a request does not say"
    )
    upsampler_scale: Annotated[float, UPSAMPLER] = Field(
        1.0, ge=0, le=100, description="guidance of the upsampler when a request does not say"
    )

    diffusers: Annotated[dict[str, Any] | None, FromData()] = Field(
        None,
        description="the configurations of a diffusers UNet2DConditionModel, its text encoder, its"
        " scheduler and its autoencoder, if any, in the place of network, schedule and"
        " parametrization above",
    )

    @model_validator(mode="after")
    def _fitting(self) -> Configuration:
        for widths, blocks in (
            (self.widths, self.blocks),
            (self.upsampler_widths, self.upsampler_blocks),
        ):
            if len(widths) != len(blocks):
                raise ValueError("widths and blocks name the same resolutions")
            if blocks[-1] < 1:
                raise ValueError("blocks: the lowest resolution needs one")
        if self.text_width % self.text_heads:
            raise ValueError("text_width is a multiple of text_heads")
        if self.side and self.base_side and self.side % self.base_side:
            raise ValueError("side is a multiple of base_side")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Sides of the small and of the finished picture, of a completed configuration."""
        if self.side is None or self.base_side is None:
            raise ConfigError("the configuration has no size", fix="pass side= and base_side=")
        return self.base_side, self.side

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the states of the first stage."""
        if self.diffusers is None:
            return 3, self.sides[0], self.sides[0]
        unet = self.diffusers["unet"]
        return unet.get("in_channels", 4), unet["sample_size"], unet["sample_size"]

    @property
    def factor(self) -> int:
        """How many times larger the finished picture is."""
        small, large = self.sides
        return large // small
