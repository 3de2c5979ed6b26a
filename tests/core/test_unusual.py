"""`Model.unusual`: levels and power on Gaussians with the exact denoiser."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "engine"))
sys.path.insert(0, str(Path(__file__).parent))
from engine_models import POINTS
from test_model import KERNEL, Rows

from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.kernels import CategoricalKernel, Linear, Uniform
from unnoise.model import Model
from unnoise.objectives import auroc
from unnoise.spaces import Tokens
from unnoise.testing import GaussianOracle, PmfOracle

WIDTH = 16
FAST = {"steps": 200, "evaluations": 12}


def rows(n: int, std: float = 0.5, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(std * torch.randn(n, WIDTH, generator=generator, dtype=torch.float64))


def saved(name: str = "one") -> Model:
    return Model(Rows(), GaussianOracle(KERNEL, 0.0, 0.25), None, hash=name)


@pytest.fixture(scope="module")
def usual():
    return saved().reference(rows(199), **FAST)


def test_terms_add_up_to_the_bound(usual):
    found = saved().unusual(rows(3, seed=1), usual)
    total = sum(values for name, values in found.terms.items() if name != "nats")
    torch.testing.assert_close(total, found.terms["nats"])
    names = list(found.terms)
    assert names[:2] == ["nats", "prior"]
    assert names[2].endswith("to 1")  # from noise to data
    assert names[-1] == "reconstruction"
    assert len(names) == 3 + 4
    assert set(found.by_term) == {*names} - {"nats"}
    alone = saved().unusual(rows(3, seed=1)[2:], usual)  # the noise is that of any item
    torch.testing.assert_close(alone.terms["nats"][0], found.terms["nats"][2])


def test_the_level_is_held(usual):
    """Of 2,000 usual items the part a is called unusual, for n held-out items up to the spread of
    that part over the draw of them, Beta with sd sqrt(a (1 - a) / n): 5 of these."""
    found = saved().unusual(rows(2000, seed=2), usual, batch_size=500)
    for level in (0.05, 0.2, 0.5):
        spread = math.sqrt(level * (1 - level) * (1 / 199 + 1 / 2000))
        for p in (found.p_value, found.p_likelihood, *found.by_term.values()):
            assert abs(float((p <= level).double().mean()) - level) < 5 * spread + 2 / 200
        assert torch.equal(found.at(level), found.p_value <= level + 1e-12)


def test_what_the_likelihood_alone_takes_for_more_usual_is_found(usual):
    """Constants, and items of a fifth of the variance: more probable than any usual item."""
    model = saved()
    constant = model.unusual([torch.zeros(WIDTH, dtype=torch.float64)], usual)
    assert float(constant.p_likelihood) > 0.99
    assert bool(constant.at(0.05))
    low = model.unusual(rows(200, 0.2, seed=3), usual)
    usual_ones = model.unusual(rows(200, seed=4), usual)
    assert float(low.at(0.05).double().mean()) > 0.9
    assert float((low.p_likelihood <= 0.05).double().mean()) == 0.0
    by_likelihood = auroc(-usual_ones.terms["nats"], -low.terms["nats"])
    by_p = auroc(usual_ones.p_value, low.p_value)
    assert by_likelihood < 0.05  # worse than chance
    assert by_p > 0.95
    high = model.unusual(rows(50, 1.5, seed=5), usual)
    assert bool(high.at(0.05).all())


def test_tokens():
    """Too many of the usual token are as unusual as too many of the rare one."""
    size, kernel = 10, CategoricalKernel(Tokens(2), Uniform(Linear()))
    pmf = torch.tensor([0.6, 0.4], dtype=torch.float64)
    joint = pmf
    for _ in range(size - 1):
        joint = joint[..., None] * pmf
    model = Model(Rows(), PmfOracle(kernel, joint), None)
    generator = torch.Generator().manual_seed(0)
    words = list((torch.rand(139, size, generator=generator) > 0.6).long())
    usual = model.reference(words[:99], **FAST)
    assert float(model.unusual(words[99:], usual).at(0.05).double().mean()) < 0.2
    for token in (0, 1):
        found = model.unusual([torch.full((size,), token)], usual)
        assert bool(found.at(0.05))


def test_conditions_are_met():
    items = [([0.1 * k, -0.1], 0.1) for k in range(30)]
    usual = POINTS.reference(items, **FAST, bands=1)
    found = POINTS.unusual([([50.0, -50.0], 0.1), items[12]], usual)
    assert found.p_value[0] < found.p_value[1]


def test_what_is_kept_is_not_measured_again(tmp_path):
    path, parts = tmp_path / "kept.jsonl", []
    first = saved().reference(rows(40), **FAST, kept=path, report=parts.append, batch_size=16)
    assert parts == [16 / 40, 32 / 40, 1.0]
    lines = path.read_bytes().count(b"\n")
    again = saved().reference(rows(40), **FAST, kept=path, report=parts.append)
    assert len(parts) == 3
    for name, values in first.terms.items():
        assert torch.equal(values, again.terms[name])
    more = saved().reference(rows(50)[:40] + rows(2, seed=9), **FAST, kept=path)
    assert path.read_bytes().count(b"\n") > lines
    assert len(more) == 42
    with pytest.raises(ConfigError, match="model"):
        saved("another").reference(rows(40), **FAST, kept=path)
    with pytest.raises(ConfigError, match="seed"):
        saved().reference(rows(40), **FAST, kept=path, seed=1)
    with pytest.raises(ConfigError, match="was not"):
        saved("").reference(rows(40), **FAST, kept=tmp_path / "other")


def test_what_does_not_fit_is_said(usual):
    model = saved()
    with pytest.raises(InputError, match="no held-out"):
        model.unusual(rows(1), [])
    with pytest.raises(InputError, match="no items"):
        model.unusual([], usual)
    with pytest.raises(InputError, match="too few held-out"):
        model.unusual(rows(1), model.reference(rows(10), **FAST))
    with pytest.raises(InputError, match="too few held-out items for this level"):
        model.unusual(rows(1), usual).at(0.001)
    with pytest.raises(ConfigError, match="another model"):
        saved("another").unusual(rows(1), usual)
    with pytest.raises(NonFiniteError):
        model.unusual([torch.full((WIDTH,), math.nan, dtype=torch.float64)], usual)
    for wrong in ({"bands": 0}, {"bands": 30}, {"evaluations": 0}, {"batch_size": 0}):
        with pytest.raises(InputError):
            model.reference(rows(40), **{**FAST, **wrong})
