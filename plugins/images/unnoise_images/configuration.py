"""What a model of pictures is: size, classes, network and noise. Stored in the bundle."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unnoise.errors import ConfigError
from unnoise.objectives import Goal
from unnoise.specs import FromData, Only
from unnoise_images.files import LARGEST, SMALLEST, Fit, colour

Width: TypeAlias = Annotated[int, Field(ge=1, le=8192)]
Blocks: TypeAlias = Annotated[int, Field(ge=0, le=64)]
"""Of a network, at a resolution."""

OURS: Final = Only("diffusers", (None,), "the network and its noise are a diffusers folder's")
PREDICTS: Final = Only("goal", (*get_args(Goal), "adversarial"))
NOT_LEARNED: Final = Only("goal", ("simple", "min-snr", "likelihood", "hybrid", "adversarial"))
NO_GUIDANCE: Final = "a model with the goal adversarial draws pictures and cannot be guided"


def distinct(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Names of classes. Raises ValueError for one that is named twice."""
    if twice := sorted({name for name in names or () if (names or ()).count(name) > 1}):
        raise ValueError(f"a class is named twice: {twice[0]!r}")
    return names


class Configuration(BaseModel):
    """Options of `unnoise train images`. Size, channels and classes are taken from the data when
    they are not given."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    height: int | None = Field(
        None, ge=SMALLEST, le=LARGEST, description="pixels; default: the size of the pictures"
    )
    width: int | None = Field(
        None, ge=SMALLEST, le=LARGEST, description="pixels; default: the size of the pictures"
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 grey, 3 RGB; default: 3 when any picture has colour"
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="names of the class folders to train on, in order; default: all, numbers in"
        " numeric order; no name: a model without classes",
    )
    fit: Fit = Field(
        "refuse",
        description="pictures of another size: refuse, resize (changes proportions), or crop"
        " (scale to cover, cut at the centre)",
    )
    background: str | None = Field(
        None,
        description="colour behind transparent pictures, white or #ffcc00; default: they are"
        " refused",
    )
    unreadable: Literal["error", "skip"] = Field(
        "error", description="files that cannot be read: stop, or leave out, naming them"
    )
    held_out: int | None = Field(
        None,
        ge=0,
        description="pictures kept for validation, the last of each class in order of names;"
        " default: a tenth, at most 1000",
    )
    flip: bool = Field(
        False, description="train on each picture or its mirror image; not for digits or letters"
    )
    shift: int = Field(
        0,
        ge=0,
        le=LARGEST // 4,
        description="train on pictures moved by up to so many pixels, their edges continued",
    )

    widths: Annotated[tuple[Width, ...], OURS] = Field(
        (16, 32, 64), min_length=1, max_length=6, description="channels at each resolution"
    )
    blocks: Annotated[tuple[Blocks, ...], OURS] = Field(
        (1, 1, 2), min_length=1, max_length=6, description="residual blocks at each resolution"
    )
    attention: Annotated[bool, OURS, PREDICTS] = Field(
        True, description="self-attention at the lowest resolution"
    )
    parametrization: Annotated[Literal["v", "noise", "clean"], OURS, PREDICTS] = Field(
        "v", description="what the network predicts"
    )
    schedule: Annotated[Literal["cosine", "linear"], OURS, NOT_LEARNED] = Field(
        "cosine", description="how noise grows with time; with the goal vdm it is learned"
    )
    goal: Annotated[Goal | Literal["adversarial", "energy"], OURS] = Field(
        "simple",
        description="what is minimised: simple and min-snr for pictures that look good; likelihood,"
        " vdm (learned schedule) and hybrid (learned variance) for a better bound; adversarial"
        " against a second network, for pictures in the few steps of --chain; energy for a density"
        " up to a constant, by recovery likelihood",
    )
    chain: Annotated[int, Only("goal", ("adversarial",))] = Field(
        4, ge=1, le=1000, description="steps of a picture, with the goal adversarial"
    )
    discriminator_rate: Annotated[float, Only("goal", ("adversarial",))] = Field(
        0.78,
        gt=0,
        le=1000,
        description="learning rate of the second network, as a multiple of the first one's",
    )
    r1: Annotated[float, Only("goal", ("adversarial",))] = Field(
        0.02, ge=0, le=1000, description="weight of the penalty on the second network's gradient"
    )
    r1_every: Annotated[int, Only("goal", ("adversarial",))] = Field(
        15, ge=1, le=1_000_000, description="steps from one such penalty to the next"
    )
    fourier: Annotated[tuple[Annotated[int, Field(ge=0, le=12)], ...] | None, OURS] = Field(
        None,
        max_length=8,
        description="n of the sin and cos of 2^n pi x that the network sees beside the picture x,"
        " for detail below its levels; default: 6 and 7 for the goal vdm, else none",
    )
    label_dropout: Annotated[float, Only("classes")] = Field(
        0.15,
        ge=0,
        le=1,
        description="share of training pictures shown without their label, for guidance",
    )
    guidance_scale: Annotated[float, Only("classes")] = Field(
        1.0, ge=0, le=100, description="guidance when a request does not say"
    )

    diffusers: Annotated[dict[str, Any] | None, FromData()] = Field(
        None,
        description="the configurations of a diffusers UNet2DModel and its scheduler, in the place"
        " of network, schedule and parametrization above",
    )

    @field_validator("background")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            colour(name)
        return name

    @field_validator("classes")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return distinct(names)

    @model_validator(mode="after")
    def _known_to_the_network(self) -> Configuration:
        if self.diffusers is not None and self.classes is not None:
            count = self.diffusers["unet"].get("num_class_embeds") or 0
            if len(self.classes) != count:
                raise ValueError(
                    f"this network has a fixed number of classes, {count}, and there are"
                    f" {len(self.classes)}"
                )
        return self

    @model_validator(mode="after")
    def _levels(self) -> Configuration:
        if len(self.widths) != len(self.blocks):
            raise ValueError("widths and blocks name the same resolutions")
        if self.blocks[-1] < 1:
            raise ValueError("blocks: the lowest resolution needs one")
        return self

    @model_validator(mode="after")
    def _drawn(self) -> Configuration:
        if self.goal == "adversarial" and self.guidance_scale != 1:
            raise ValueError(f"{NO_GUIDANCE}: guidance_scale is 1 there")
        return self

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width) of a completed configuration."""
        if self.channels is None or self.height is None or self.width is None:
            raise ConfigError(
                "the configuration has no size", fix="pass height=, width= and channels="
            )
        return self.channels, self.height, self.width
