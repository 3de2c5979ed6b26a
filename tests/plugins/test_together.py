"""Requests of strangers to the shipped models in one batch: the samples that each has alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unnoise.api import model_for
from unnoise.discovery.domains import domain_named
from unnoise.engine.run import outputs, ready
from unnoise.engine.together import company, run_together

LEVEL = 1.0
"""Of 255: what rounding to a picture may make of a difference of 1e-5."""
AGREE = 1e-3
"""Of a coordinate in angstrom, after several rounds, and of sound in [-1, 1]."""


def strangers():
    demo = {name: domain_named(name).demo for name in ("audio", "latent", "purify")}
    a, b = demo["latent"]["source"][2], demo["latent"]["source_b"][3]
    return {
        "images": [
            {"label": 3, "steps": 6, "seed": 1},
            {"label": [4, 5], "steps": 6, "seed": 2, "num_samples": 2},
            {"label": 3, "steps": 6, "seed": 9},
        ],
        "text": [
            {"prompt": "we the people", "length": 12, "seed": 1},
            {"template": "the ____:3 is ____:4", "seed": 2, "num_samples": 2},
        ],
        "latent": [
            {"label": 3, "seed": 1, "num_samples": 2},
            {"source": a, "seed": 2, "num_samples": 2, "label": None},
            {"source": a, "source_b": b, "seed": 2, "num_samples": 3},
        ],
        "text2image": [
            {"prompt": "red apple", "steps": 3, "upsampler_steps": 3, "seed": 1},
            {"prompt": ["cat face", "red heart"], "steps": 3, "upsampler_steps": 3, "seed": 2},
        ],
        "molecules": [
            {"smiles": "CCO", "num_samples": 2, "seed": 1},
            {"smiles": ["CCN", "CC(=O)O"], "seed": 2},
        ],
        "audio": [
            {"source": demo["audio"]["source"], "project": 0, "steps": 2, "seed": 1},
            {"source": demo["audio"]["source"], "project": 0, "steps": 2, "seed": 2},
        ],
        "purify": [
            {"images": demo["purify"]["images"][0], "seed": 1, "steps": 3},
            {"images": demo["purify"]["images"][1:3], "seed": 2, "steps": 3},
        ],
    }


NAMES = ("images", "text", "latent", "text2image", "molecules", "audio", "purify")


@pytest.mark.parametrize("name", NAMES)
def test_strangers_change_nothing(name):
    domain, requests = domain_named(name), strangers()[name]
    model = model_for(domain)
    jobs = [ready(domain, model, request) for request in requests]
    keys = [company(job) for job in jobs]
    together = [k for k, key in enumerate(keys) if key is not None and key == keys[-1]]
    assert len(together) > 1, keys
    joint = [[] for _ in together]
    for place, output in run_together([jobs[k] for k in together]):
        joint[place].append(output)
    for k, mine in zip(together, joint, strict=True):
        alone = list(outputs(ready(domain, model, requests[k])))  # parts, where it hands out some
        assert [out.provenance["ids"] for out in mine] == [out.provenance["ids"] for out in alone]
        assert mine[0].provenance["request"] == alone[0].provenance["request"]
        for out, other in zip(mine, alone, strict=True):
            for one, two in zip(out.samples, other.samples, strict=True):
                _same(one, two)


def test_a_picture_of_ones_own_is_drawn_alone(tmp_path: Path):
    domain = domain_named("images")
    picture = str(domain_named("purify").demo["images"][0])
    request = {"image": picture, "strength": 0.5, "steps": 2}
    assert company(ready(domain, model_for(domain), request)) is None


def _same(one, other):
    if isinstance(one, str):
        assert one == other
    elif hasattr(one, "waveform"):
        np.testing.assert_allclose(one.waveform, other.waveform, atol=AGREE)
    elif hasattr(one, "GetConformer"):
        a, b = (np.asarray(mol.GetConformer().GetPositions()) for mol in (one, other))
        np.testing.assert_allclose(a, b, atol=AGREE)
    else:
        a, b = (np.asarray(picture, float) for picture in (one, other))
        np.testing.assert_allclose(a, b, atol=LEVEL)
