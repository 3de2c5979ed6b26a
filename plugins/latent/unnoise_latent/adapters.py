"""Autoencoders that others have trained, as codecs: a diffusers folder, or any two modules.

    codec = load_autoencoder_kl("stable-diffusion/vae")
    codec = modules(encoder, decoder, Downsampled(8, data_channels=3, code_channels=4))

A diffusers AutoencoderKL has q(h | x) = N(mean, exp(log variance)), and what a prior sees of h is

    z = (h - shift) scaling,          h = z / scaling + shift,

with "scaling_factor" and "shift_factor" of its config.json. diffusers itself takes .18215 where the
first is missing, the number of one model of 2022: here it is an error. Its pictures are in [-1, 1].

What is adopted does not learn: its parameters have no gradient and its layers are never in training
mode, so that dropout and the statistics of batches stand still. A gradient goes through it.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unnoise.codecs import (
    Affine,
    Autoencoder,
    Chain,
    Codec,
    DiagonalGaussian,
    Downsampled,
    FixedGaussian,
    Geometry,
    Head,
    Point,
)
from unnoise.denoise import Condition
from unnoise.errors import (
    BundleError,
    ConfigError,
    InputError,
    NonFiniteError,
    nearest,
)
from unnoise.spaces import Layout
from unnoise.storage.reading import json_of
from unnoise_images.foreign import loaded, of_diffusers

_KIND: Final = "AutoencoderKL"
_NORMALISED: Final = ("latents_mean", "latents_std")  # other models' way to say shift and scale


def modules(
    encoder: nn.Module,
    decoder: nn.Module,
    geometry: Geometry,
    posterior: Head | None = None,
    likelihood: Head | None = None,
) -> Codec:
    """Two trained modules, tensor in and tensor out, as a codec.

    Parameters
    ----------
    encoder, decoder : called with the data, and with the codes, alone. What they make of one sample
        must not depend on the others.
    geometry : how the shapes of data and codes correspond.
    posterior, likelihood : what the outputs say of codes and data, by default points: codes to
        generate with, without a density of data.

    Raises
    ------
    InputError, NonFiniteError : when it is used, for an output that is no tensor, of another shape
        or dtype, or not finite; for data of another dtype than the weights.
    """
    return Autoencoder(
        _Adopted(encoder, "encoder"),
        _Adopted(decoder, "decoder"),
        geometry,
        posterior or Point(),
        likelihood or Point(),
    )


def load_autoencoder_kl(
    folder: str | Path,
    *,
    black_white: tuple[float, float] = (-1.0, 1.0),
    spread: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Codec:
    """A diffusers AutoencoderKL as `save_pretrained` writes it; nothing is downloaded.

    Data are (B, channels, height, width), states (B, latent channels, height / f, width / f).

    Parameters
    ----------
    folder : it, or one with it under `vae/`.
    black_white, spread : see `KL`.
    dtype : of weights and data.

    Raises
    ------
    PluginError : diffusers is not installed. BundleError : a file is missing or damaged, weights
    are pickled or incomplete. ConfigError : no scaling factor, an unknown field, another class.
    """
    told = read_autoencoder_kl(folder, black_white=black_white, spread=spread)
    return told.over(_pretrained(_found(folder), dtype))


@final
class KL(BaseModel):
    """What a diffusers config.json says of an AutoencoderKL, and how it is used: with weights from
    elsewhere all that is needed to build it. What a bundle stores.

    Attributes
    ----------
    architecture : arguments of diffusers' class.
    scaling_factor, shift_factor : of the codes.
    black_white : the numbers in the data that are -1 and 1 to the autoencoder: (0, 255) of levels.
    spread : standard deviation of p(x | z) around the decoder's output, in the units of the data;
        by default it is a point, without a density of data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    architecture: Mapping[str, Any]
    scaling_factor: float = Field(gt=0)
    shift_factor: float = 0.0
    black_white: tuple[float, float] = (-1.0, 1.0)
    spread: float | None = Field(None, gt=0)

    @property
    def factor(self) -> int:
        """By how much codes are smaller than pictures, a side: every block but the last halves."""
        return 2 ** (len(self.architecture["block_out_channels"]) - 1)

    @property
    def channels(self) -> tuple[int, int]:
        """Of pictures and of codes."""
        return self.architecture["in_channels"], self.architecture["latent_channels"]

    def fresh(self) -> Codec:
        """With fresh weights, to load others into. PluginError, ConfigError: as when read."""
        try:
            network = _class().from_config(dict(self.architecture))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"diffusers cannot build this {_KIND}: {error}") from error
        return self.over(network)

    def over(self, network: Any) -> Codec:
        """The codec of diffusers' module `network`."""
        low, high = self.black_white
        middle, half = (high + low) / 2, (high - low) / 2
        encoder: list[nn.Module] = [_Move(1 / half, -middle / half), network.encoder]
        decoder: list[nn.Module] = [network.decoder, _Move(half, middle)]
        if network.quant_conv is not None:
            encoder.append(network.quant_conv)
        if network.post_quant_conv is not None:
            decoder.insert(0, network.post_quant_conv)
        data, code = self.channels
        autoencoder = modules(
            nn.Sequential(*encoder),
            nn.Sequential(*decoder),
            Downsampled(self.factor, data, code),
            DiagonalGaussian(axis=1),
            None if self.spread is None else FixedGaussian(self.spread),
        )
        return Chain(autoencoder, Affine(self.shift_factor, 1 / self.scaling_factor))


def read_autoencoder_kl(
    folder: str | Path,
    *,
    black_white: tuple[float, float] = (-1.0, 1.0),
    spread: float | None = None,
) -> KL:
    """What the config.json of an AutoencoderKL says, every field known and honoured.

    Raises BundleError, ConfigError, PluginError: see `load_autoencoder_kl`.
    """
    path = _found(folder) / "config.json"
    raw = _json(path)
    if raw.get("_class_name") != _KIND:
        raise ConfigError(
            "this diffusers autoencoder is not supported", value=raw.get("_class_name"), limit=_KIND
        )
    if "auto_map" in raw:
        raise BundleError(
            "this folder brings code of its own, which is never run",
            value=str(path),
            limit=f"an {_KIND} of diffusers itself, without auto_map",
        )
    given = {name: value for name, value in raw.items() if not name.startswith("_")}
    scaling = given.pop("scaling_factor", None)
    if not _number(scaling) or scaling <= 0:
        raise ConfigError(
            "the folder does not say how its codes are scaled",
            value=f"scaling_factor {scaling!r} in {str(path)!r}",
            limit="a number > 0",
            fix="write the one that its priors were trained with into config.json (Stable"
            " Diffusion 1 and 2: 0.18215), or 1 / the standard deviation of its codes",
        )
    shift = given.pop("shift_factor", None)
    shift = 0.0 if shift is None else shift
    if not _number(shift):
        raise ConfigError("shift_factor is a number or null", value=shift)
    for name in _NORMALISED:
        if given.pop(name, None) is not None:
            raise ConfigError(
                f"the field {name!r} is not honoured: a scale and a shift for each channel",
                value=str(path),
                fix="set it to null if its priors use scaling_factor and shift_factor alone",
            )
    known = inspect.signature(_class().__init__).parameters
    for name in given:
        if name not in known:
            raise ConfigError(
                f"unknown autoencoder field {name!r}", value=given[name], fix=nearest(name, known)
            )
    # what the file leaves out is written down: another version may have another default
    of_class = {
        name: parameter.default
        for name, parameter in known.items()
        if name not in (*_NORMALISED, "self", "scaling_factor", "shift_factor")
    }
    architecture = json.loads(json.dumps(of_class | given))
    _check(architecture)
    if not (math.isfinite(black_white[0]) and black_white[0] < black_white[1] < math.inf):
        raise ConfigError("black and white are two numbers in order", value=black_white)
    if spread is not None and not 0 < spread < math.inf:
        raise ConfigError("a standard deviation is positive", value=spread, limit="> 0")
    return KL(
        architecture=architecture,
        scaling_factor=scaling,
        shift_factor=shift,
        black_white=black_white,
        spread=spread,
    )


@final
class _Move(nn.Module):
    """scale x + shift."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return x if (self.scale, self.shift) == (1.0, 0.0) else x * self.scale + self.shift


@final
class _Adopted(nn.Module):
    """A trained module in the signature of a codec's networks, its output checked."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module.requires_grad_(False).eval(), name

    def train(self, mode: bool = True) -> _Adopted:
        return super().train(False)

    def forward(self, x: Tensor, layout: Layout, condition: Condition = None) -> Tensor:
        own = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), x.dtype)
        if x.dtype.is_floating_point and x.dtype != own:
            raise InputError(
                f"the {self.name}'s weights are of another dtype than what it is given",
                value=x.dtype,
                limit=own,
                fix=f"move one of them: codec.to({x.dtype})",
            )
        found = self.module(x)
        if not isinstance(found, Tensor):
            raise InputError(
                f"the {self.name} returns no tensor",
                value=type(found).__name__,
                fix="wrap it in a module that returns the tensor alone",
            )
        if found.dtype != own:
            raise InputError(f"the {self.name} returns another dtype", value=found.dtype, limit=own)
        bad = int((~torch.isfinite(found)).sum())
        if bad:
            raise NonFiniteError(
                f"the {self.name} returns NaN or infinite numbers for finite ones", value=bad,
                limit=0,
            )  # fmt: skip
        return found


def _found(folder: str | Path) -> Path:
    root = Path(folder)
    return root / "vae" if (root / "vae").is_dir() else root


def _class() -> Any:
    return of_diffusers(_KIND, "unnoise-latent[diffusers]")


def _pretrained(path: Path, dtype: torch.dtype) -> Any:
    return loaded(_class(), path, torch_dtype=dtype)


def _check(architecture: Mapping[str, Any]) -> None:
    """ConfigError for numbers that diffusers would take without a word and misread."""
    blocks = [
        architecture[name] for name in ("block_out_channels", "down_block_types", "up_block_types")
    ]
    sizes = [len(block) if isinstance(block, Sequence) else 0 for block in blocks]
    if len(set(sizes)) > 1 or not sizes[0]:
        raise ConfigError("an autoencoder names as many blocks up as down", value=sizes)
    for name in ("in_channels", "out_channels", "latent_channels"):
        if not isinstance(architecture[name], int) or architecture[name] < 1:
            raise ConfigError(f"autoencoder field {name!r}", value=architecture[name], limit=">= 1")
    if architecture["in_channels"] != architecture["out_channels"]:
        raise ConfigError(
            "an autoencoder gives back as many channels as it takes",
            value=(architecture["in_channels"], architecture["out_channels"]),
        )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json_of(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"there is no {path.name} in {str(path.parent)!r}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{str(path)!r} is damaged: it is not a JSON object")
    return content
