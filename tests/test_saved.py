"""What `save` writes, `load` reads: every domain, with every choice that its configuration offers.

Models of other libraries are in the tests of their adapters: diffusers' U-Nets and autoencoders,
masked language models of every family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import torch

import unnoise
from unnoise.discovery.domains import built, domain_named
from unnoise.domain import Trainable
from unnoise.model import Model
from unnoise.objectives import Networks
from unnoise.storage.bundle import read_bundle

QUICK = ["images", "latent", "timeseries"]
DOMAINS = ["audio", "images", "latent", "molecules", "text", "text2image", "timeseries"]
SMALL: Mapping[str, Mapping[str, Any]] = {
    "audio": {"width": 16, "layers": 1},
    "images": {"widths": (8, 8), "blocks": (1, 1)},
    "latent": {"widths": (8, 8), "prior_width": 16, "prior_layers": 1},
    "molecules": {"layers": 1, "scalars": 16, "pair": 8, "hidden": 16},
    "text2image": {
        "widths": (8, 8),
        "blocks": (1, 1),
        "upsampler_widths": (8, 8),
        "upsampler_blocks": (1, 1),
        "text_width": 16,
        "text_layers": 1,
    },
    "timeseries": {"channels": 16, "layers": 1},
}
NEEDS: Mapping[tuple[str, str, Any], Mapping[str, Any]] = {
    ("latent", "binarise", "threshold"): {"likelihood": "bernoulli"},
    ("latent", "binarise", "stochastic"): {"likelihood": "bernoulli"},
    ("latent", "schedule", "vdm"): {"weighting": None},
    ("images", "goal", "adversarial"): {"guidance_scale": 1.0},
}
"""What a choice asks of others."""
LEARNED: Mapping[tuple[str, str, Any], Mapping[str, Any]] = {
    ("text", "kernel", "nearest"): {},
    ("text", "kernel", "matrix"): {"chain": 3, "transitions": "q.npy"},
}
"""Choices that ask something of the data, which are a few letters and a file of numbers."""


def choices(annotation: Any) -> list[Any]:
    """The values that a field can have, if they can be counted."""
    if annotation is bool:
        return [False, True]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) is Annotated:
        return choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [value for option in get_args(annotation) for value in choices(option)]
    return []


def cases() -> Iterator[Any]:
    for name in DOMAINS:
        domain = domain_named(name)
        assert isinstance(domain, Trainable)
        for field, info in domain.Configuration.model_fields.items():
            marks = () if name in QUICK else pytest.mark.slow
            for value in choices(info.annotation):
                yield pytest.param(name, field, value, marks=marks)


@cache
def shipped(name: str) -> dict[str, Any]:
    domain = domain_named(name)
    assert isinstance(domain, Trainable)
    return {**read_bundle(domain.bundle).configuration, **SMALL.get(name, {})}


@pytest.mark.parametrize(("name", "field", "value"), list(cases()))
def test_every_family(name, field, value, tmp_path, monkeypatch):
    domain = domain_named(name)
    assert isinstance(domain, Trainable)
    if (asked := LEARNED.get((name, field, value))) is not None:
        monkeypatch.chdir(tmp_path)
        np.save("q.npy", np.eye(5))
        Path("data.txt").write_text("abc ab ca\n" * 40)
        configuration = domain.configure(Path("data.txt"), {field: value, **asked})
    else:
        options = {**shipped(name), field: value, **NEEDS.get((name, field, value), {})}
        configuration = domain.Configuration(**options)
    denoiser = built(domain, configuration)
    codec = domain.codec(configuration)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*denoiser.parameters(), *codec.parameters()]:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model = Model(
        domain,
        denoiser.eval(),
        configuration,
        domain.defaults(configuration),
        {"data": "none"},
        codec=codec.eval(),
    )
    again = unnoise.load(model.save(tmp_path / "saved"))
    assert again.configuration == model.configuration
    assert dict(again.defaults) == dict(model.defaults)
    kept, found = (Networks(m.denoiser, m.codec).state_dict() for m in (model, again))
    assert kept.keys() == found.keys()
    assert all(torch.equal(kept[key], found[key]) for key in kept)
    assert repr(again.denoiser.kernel) == repr(model.denoiser.kernel)
