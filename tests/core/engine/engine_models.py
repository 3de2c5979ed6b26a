"""Models of the toy domain."""

from __future__ import annotations

import torch
from engine_toy import Configuration, Toy

from unnoise.model import Model
from unnoise.samplers import DDIM, Ancestral

CLOSE = {"rtol": 0, "atol": 1e-4}


def model(kind: str = "points", **configuration) -> Model:
    settings = Configuration(kind=kind, **configuration)
    torch.manual_seed(0)
    return Model(Toy(), Toy().build(settings), settings, defaults={"steps": 6}, hash="toy")


POINTS, TOKENS, RAGGED = model(), model("tokens"), model("ragged")
MODELS = {"points": POINTS, "tokens": TOKENS, "ragged": RAGGED}
CASES = [
    ("points", DDIM()),
    ("points", DDIM(0.5)),
    ("points", Ancestral()),
    ("tokens", Ancestral()),
    ("ragged", DDIM()),
    ("ragged", Ancestral()),
]


def close(a, b) -> None:
    torch.testing.assert_close(torch.tensor(a).double(), torch.tensor(b).double(), **CLOSE)
