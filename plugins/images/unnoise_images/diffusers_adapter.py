"""A diffusers folder (UNet2DModel and its scheduler) as an unnoise model, and back.

    model = load_diffusers("folder")        # or unnoise.load("folder")
    out = model.generate(num_samples=4, steps=50)
    save_diffusers(model, "other")          # what `from_pretrained` of diffusers reads

See `unnoise_images.diffusers_model` for what is honoured.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from unnoise.compat import torch_untouched
from unnoise.domain import Trained
from unnoise.model import Model
from unnoise_images.diffusers_export import save_diffusers
from unnoise_images.diffusers_scheduler import DiffusersScheduler
from unnoise_images.domain import Images, from_diffusers

__all__ = ["DiffusersScheduler", "load_diffusers", "save_diffusers"]


@torch_untouched()
def load_diffusers(folder: str | Path) -> Model:
    """A folder written by diffusers' `save_pretrained` as a model of the domain "images".

    Raises
    ------
    PluginError : diffusers is not installed. BundleError : a file is missing or damaged, or the
    weights are pickled. ConfigError : a pipeline, UNet or scheduler field that is not supported.
    """
    found = from_diffusers(Images(), Path(folder))
    return Model(**{field.name: getattr(found, field.name) for field in fields(Trained)})
