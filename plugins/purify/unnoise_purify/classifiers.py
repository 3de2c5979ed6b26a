"""Classifiers from what people have: a module, a state dict with its class, TorchScript, a
transformers folder. Each becomes a module from pictures (B, C, H, W) in [0, 1] to logits.

Nothing in a file is run: state dicts are read as weights alone (`weights_only`, safetensors), a
transformers folder with code of its own is refused, and TorchScript is run by its own interpreter,
which knows no Python.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, InputError
from unnoise.storage.reading import json_of
from unnoise.storage.tensors import fit_weights, read_tensors
from unnoise_images.foreign import loaded
from unnoise_purify.digits import digits

SHIPPED: Final = "digits"
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"


def load_classifier(
    source: Any,
    architecture: Callable[[], nn.Module] | nn.Module | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """A classifier, in eval mode.

    Parameters
    ----------
    source : "digits" (shipped), a module, a state dict, or a path: of a state dict (.safetensors,
        or what `torch.save` wrote), of TorchScript, or of a folder that
        `AutoModelForImageClassification` reads.
    architecture : of a state dict: a class that is called without arguments, or a module.
    mean, std : of each channel, what the classifier subtracts from pictures in [0, 1] and divides
        them by, where it does not do so itself. A transformers folder says its own.

    Raises
    ------
    InputError : there is no such file, it holds something else, or would run code. BundleError :
        weights that do not fit.
    """
    found = _loaded(source, architecture)
    if (mean is None) != (std is None):
        raise InputError("mean and std belong together", value=(mean, std))
    if mean is not None and std is not None:
        found = Normalised(found, mean, std)
    return found.eval()


@final
class Normalised(nn.Module):
    """A classifier of pictures that are resized, and normalised channel by channel, first."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise InputError("mean and std are one number a channel, std > 0", value=(mean, std))
        self.classifier, self.size = classifier, size
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1))

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Tensor:
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=True)
        if x.shape[1] == 1 < len(self.mean):
            x = x.expand(-1, len(self.mean), -1, -1)
        logits: Tensor = self.classifier((x - self.mean) / self.std)
        return logits


@final
class Logits(nn.Module):
    """The logits of a model that returns an object which has them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=x).logits
        return logits


def _loaded(source: Any, architecture: Callable[[], nn.Module] | nn.Module | None) -> nn.Module:
    if isinstance(source, nn.Module):
        return source
    if isinstance(source, dict):
        return _filled(architecture, source, "the state dict")
    if not isinstance(source, (str, Path)):
        raise InputError(
            "this is no classifier",
            value=type(source).__name__,
            limit="digits, a module, a state dict, a TorchScript file or a transformers folder",
        )
    if str(source) == SHIPPED and architecture is None:
        return digits()
    path = Path(source)
    if path.is_dir():
        return _transformers(path)
    if not path.is_file():
        raise InputError(
            "there is no such classifier", value=str(source), limit="digits, a file or a folder"
        )
    if architecture is not None:
        return _filled(architecture, _state_dict(path), repr(str(path)))
    return _torchscript(path)


def _filled(
    architecture: Callable[[], nn.Module] | nn.Module | None, state: dict[str, Tensor], what: str
) -> nn.Module:
    if architecture is None:
        raise InputError(
            f"{what} holds weights and no network", fix="pass architecture=, the network's class"
        )
    network = architecture if isinstance(architecture, nn.Module) else architecture()
    fit_weights(network, state, what)
    return network


def _state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"{str(path)!r} is no file of weights alone",
            fix="save state_dict(), best as safetensors; files that run code are not opened",
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{str(path)!r} holds no state dict", value=type(found).__name__)
    return found


def _torchscript(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return cast(nn.Module, found)
    except RuntimeError as error:
        raise InputError(
            f"{str(path)!r} is no TorchScript",
            fix="of a file of weights, pass the network's class as architecture=",
        ) from error


def _transformers(folder: Path) -> nn.Module:
    if not (folder / _CONFIG).is_file():
        raise InputError(
            f"there is no {_CONFIG} in {str(folder)!r}",
            limit="a folder written by save_pretrained",
        )
    without_broken_torchaudio()
    try:
        from transformers import AutoModelForImageClassification
    except ImportError as error:
        raise InputError(
            "this classifier needs transformers", fix="pip install 'unnoise-purify[transformers]'"
        ) from error
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"there are no safetensors in {str(folder)!r}",
            fix="save it with safe_serialization=True; pickled weights are not opened",
        )
    settings = _object(folder / _CONFIG)
    if "auto_map" in settings:
        raise InputError(
            f"{str(folder)!r} brings code of its own, which is not run", value=settings["auto_map"]
        )
    try:
        model = loaded(
            AutoModelForImageClassification,
            folder,
            trust_remote_code=False,
            dtype=torch.float32,  # half weights would stay half
        )
    except BundleError as error:
        raise InputError(f"{str(folder)!r} is no image classifier", value=str(error)) from error
    mean, std, size = _preprocessing(folder, int(settings.get("num_channels", 3)))
    return Normalised(Logits(model), mean, std, size)


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError."""
    try:
        found = json_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{str(path)!r} is damaged: it is not a JSON object")
    return found


def _preprocessing(
    folder: Path, channels: int
) -> tuple[Sequence[float], Sequence[float], tuple[int, int] | None]:
    """Mean, std and size that a folder asks for."""
    path = folder / _PREPROCESSOR
    told = _object(path) if path.is_file() else {}
    mean, std = [0.0] * channels, [1.0] * channels
    if told.get("do_normalize", True) and "image_mean" in told:
        mean, std = told["image_mean"], told["image_std"]
    size = told.get("size") if told.get("do_resize", True) else None
    if isinstance(size, int):
        return mean, std, (size, size)
    if isinstance(size, dict) and "height" in size:
        return mean, std, (int(size["height"]), int(size["width"]))
    if isinstance(size, dict) and "shortest_edge" in size:
        return mean, std, (int(size["shortest_edge"]), int(size["shortest_edge"]))
    return mean, std, None
