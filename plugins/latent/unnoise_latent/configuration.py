"""What a latent model is: pictures, autoencoder, prior and how they are trained. Stored in the
bundle."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unnoise.errors import ConfigError
from unnoise.specs import FromData, Only
from unnoise_images.configuration import Configuration as Pictures
from unnoise_images.configuration import distinct
from unnoise_images.files import LARGEST, SMALLEST, Fit, colour
from unnoise_latent.adapters import KL

Method: TypeAlias = Literal["vae", "frozen", "lsgm", "unified"]
Weighting: TypeAlias = Literal["ll", "un", "re"]
Binarise: TypeAlias = Literal["none", "threshold", "stochastic"]
Likelihood: TypeAlias = Literal["bernoulli", "logistic", "categorical", "gaussian"]

OURS: Final = Only("autoencoder", (None,), "the autoencoder is a diffusers folder's")
LEARNING: Final = Only("method", ("vae", "lsgm", "unified"))


class Configuration(BaseModel):
    """Options of `unnoise train latent`. Size, channels and classes of the pictures are taken from
    the data when they are not given."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    height: int | None = Field(
        None, ge=SMALLEST, le=LARGEST, description="pixels; default: the size of the pictures"
    )
    width: int | None = Field(
        None, ge=SMALLEST, le=LARGEST, description="pixels; default: the size of the pictures"
    )
    picture_channels: Literal[1, 3] | None = Field(
        None, description="1 grey, 3 RGB; default: 3 when any picture has colour"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="names of the class folders, in the order of their labels"
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

    likelihood: Likelihood = Field(
        "logistic",
        description="what the decoder says of a value: bernoulli (black or white), logistic"
        " (rounded to 256 levels), categorical (a probability for each level), gaussian (rounded"
        " when it is measured, a density in training)",
    )
    binarise: Binarise | None = Field(
        None,
        description="black and white: none, threshold (above 127 is white) or stochastic (white"
        " with the probability value / 255, drawn anew each epoch; of held-out pictures once);"
        " default: stochastic for bernoulli, else none",
    )

    method: Method = Field(
        "lsgm",
        description="vae: the autoencoder with the prior N(0, I); frozen: the prior alone, for the"
        " autoencoder of `initial`; lsgm: both together by the bound; unified: the code's noise is"
        " the prior's least noise (Unified Latents)",
    )
    weighting: Annotated[Weighting | None, Only("method", ("frozen", "lsgm", "unified"))] = Field(
        None,
        description="how the prior's loss is weighted in time, ll, un or re; the encoder's always"
        " by ll; default: re, un for unified, and ll for vdm",
    )
    schedule: Annotated[
        Literal["geometric", "linear", "vdm"], Only("method", ("vae", "frozen", "lsgm"))
    ] = Field("geometric", description="noise in time: VPSDE, or learned end points (vdm)")
    groups: Annotated[int, OURS] = Field(
        2, ge=1, le=16, description="groups of latents, each given those before it"
    )
    channels: Annotated[int, OURS] = Field(
        16, ge=1, le=256, description="latent channels of all groups together"
    )
    widths: Annotated[tuple[Annotated[int, Field(ge=4, le=1024)], ...], OURS] = Field(
        (24, 48, 128),
        min_length=1,
        max_length=6,
        description="channels of the autoencoder at a half, a quarter, .. of the resolution; the"
        " latents have the last one",
    )
    blocks: Annotated[int, OURS] = Field(
        1, ge=1, le=8, description="residual blocks at each resolution"
    )
    prior_width: int = Field(128, ge=8, le=2048, description="channels of the prior's network")
    prior_layers: int = Field(3, ge=1, le=64, description="residual blocks of the prior's network")
    mixing: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the prior's network in the mixed score at the start, which is learned"
        " for each channel; the network starts as the normal law, too",
    )
    kl_warmup: Annotated[float, LEARNING] = Field(
        0.3, ge=0, le=1, description="share of the run over which the divergence is warmed up"
    )
    spectral: Annotated[float, LEARNING] = Field(
        0.0, ge=0, description="weight of the largest singular values of the autoencoder's layers"
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

    autoencoder: Annotated[KL | None, FromData()] = None

    @field_validator("classes")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return distinct(names)

    @field_validator("background")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            colour(name)
        return name

    @model_validator(mode="after")
    def _adopted(self) -> Configuration:
        if self.autoencoder is None:
            return self
        if self.method != "frozen" or self.likelihood != "gaussian":
            raise ValueError(
                "an adopted autoencoder does not learn, and has a normal law of pictures: use the"
                " method frozen and the likelihood gaussian"
            )
        channels, _ = self.autoencoder.channels
        if self.picture_channels not in (None, channels):
            raise ValueError(f"the adopted autoencoder takes pictures of {channels} channels")
        factor = self.autoencoder.factor
        if any(side is not None and side % factor for side in (self.height, self.width)):
            raise ValueError(
                f"the adopted autoencoder takes pictures whose sides are multiples of {factor}:"
                " choose height, width and fit"
            )
        return self

    @model_validator(mode="after")
    def _together(self) -> Configuration:
        if self.channels % self.groups:
            raise ValueError("channels is a multiple of groups")
        if (self.likelihood == "bernoulli") and self.binarise == "none":
            raise ValueError(
                "the likelihood bernoulli is of black and white: binarise the pictures"
            )
        if self.likelihood in ("logistic", "gaussian") and self.binarised != "none":
            raise ValueError(
                f"the likelihood {self.likelihood} is of 256 levels: use bernoulli or categorical"
            )
        if self.method == "unified" and self.schedule == "vdm":
            raise ValueError("unified latents have a schedule of their own: leave schedule out")
        if self.schedule == "vdm" and self.weighted != "ll":
            raise ValueError("the end points of vdm minimise the bound: leave weighting out")
        return self

    @property
    def weighted(self) -> Weighting:
        """How the prior's loss is weighted."""
        if self.weighting is not None:
            return self.weighting
        if self.schedule == "vdm":
            return "ll"
        return "un" if self.method == "unified" else "re"

    @property
    def binarised(self) -> Binarise:
        """What is done with the pictures."""
        default: Binarise = "stochastic" if self.likelihood == "bernoulli" else "none"
        return self.binarise or default

    @property
    def levels(self) -> int:
        """Of a value of a picture: 2 or 256; the data are the numbers 0 .. levels - 1."""
        return 256 if self.binarised == "none" else 2

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width) of the pictures, of a completed configuration."""
        if self.picture_channels is None or self.height is None or self.width is None:
            raise ConfigError(
                "the configuration has no size",
                fix="pass height=, width= and picture_channels=",
            )
        return self.picture_channels, self.height, self.width

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of the latents."""
        _, height, width = self.size
        if self.autoencoder is not None:
            (_, channels), factor = self.autoencoder.channels, self.autoencoder.factor
            return channels, height // factor, width // factor
        factor = 2 ** len(self.widths)
        return self.channels, math.ceil(height / factor), math.ceil(width / factor)

    @property
    def pictures(self) -> Pictures:
        """The same, of the plugin that reads pictures."""
        return Pictures(
            height=self.height,
            width=self.width,
            channels=self.picture_channels,
            classes=self.classes,
            fit=self.fit,
            background=self.background,
            unreadable=self.unreadable,
            held_out=self.held_out,
        )

    def of(self, pictures: Pictures) -> Configuration:
        """This configuration with what the plugin that reads pictures has found."""
        found = {
            "height": pictures.height,
            "width": pictures.width,
            "picture_channels": pictures.channels,
            "classes": pictures.classes,
            "held_out": pictures.held_out,
        }
        return Configuration(**(self.model_dump() | found))
