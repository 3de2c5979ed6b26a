"""A model whose network is a UNet2DModel as a folder that diffusers loads.

    save_diffusers(model, "folder")
    DDIMPipeline.from_pretrained("folder")      # or UNet2DModel.from_pretrained("folder/unet")

What is written is what was read, with the weights as they are now: the UNet, the configuration of
its scheduler, and of a model without classes the pipeline, for those of diffusers pass no labels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from unnoise.domain import Trained
from unnoise.errors import InputError
from unnoise.storage.files import disk_errors
from unnoise.storage.tensors import tensor_bytes
from unnoise_images.configuration import Configuration
from unnoise_images.diffusers_model import DiffusersNetwork

_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_PIPELINES: Final = {"DDIMScheduler": "DDIMPipeline", "PNDMScheduler": "PNDMPipeline"}


def save_diffusers(model: Trained, folder: str | Path) -> Path:
    """Write `model` into `folder`, which is new or empty, and return it.

    Raises
    ------
    InputError : the network is no UNet2DModel, or there is something in the folder.
    LimitExceeded : the disk is full.
    """
    folder = Path(folder)
    configuration: Configuration = model.configuration
    network = getattr(model.denoiser, "network", None)
    if configuration.diffusers is None or not isinstance(network, DiffusersNetwork):
        raise InputError(
            "only a model whose network is a UNet2DModel can be written for diffusers",
            value=type(network).__name__,
            fix="train one: unnoise.train(..., initial=unnoise.load('folder of diffusers'))",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "the folder is written anew, and there is something in it",
            value=str(folder),
            fix="name a folder that does not exist",
        )
    scheduler = configuration.diffusers["scheduler"]
    kind = scheduler["_class_name"]
    files = {
        "unet/config.json": _text(configuration.diffusers["unet"]),
        f"unet/{_WEIGHTS}": tensor_bytes(network.unet.state_dict()),
        "scheduler/scheduler_config.json": _text(scheduler),
    }
    if not configuration.classes:
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", kind]}
        name = _PIPELINES.get(kind, "DDPMPipeline")
        files["model_index.json"] = _text({"_class_name": name, **parts})
    with disk_errors("writing a folder of diffusers"):
        for place, content in files.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(content)
    return folder


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
