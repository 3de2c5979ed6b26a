"""What every request may say, and what is refused before any work."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import POINTS

import unnoise
from unnoise.engine.options import OPTIONS
from unnoise.engine.request import AUTO
from unnoise.engine.run import generate_iter
from unnoise.errors import (
    InputError,
    LimitExceeded,
    PluginError,
    UnnoiseError,
)

BAD = [
    ({"steps": 0}, InputError, ">= 1"),
    ({"steps": -5}, InputError, ">= 1"),
    ({"steps": 10**9}, InputError, "<= 100000"),
    ({"steps": 2.5}, InputError, "steps"),
    ({"steps": "many"}, InputError, "steps"),
    ({"steps": [1.0, 0.5, 0.7, 0.0]}, InputError, "decreasing"),
    ({"steps": [0.5, 0.0]}, InputError, "begin where"),
    ({"steps": [1.0, "half"]}, InputError, "steps"),
    ({"num_samples": 0}, InputError, ">= 1"),
    ({"num_samples": -3}, InputError, ">= 1"),
    ({"num_samples": 10**9}, LimitExceeded, "1000000"),
    ({"num_samples": "three"}, InputError, "num_samples"),
    ({"num_samples": 1.5}, InputError, "num_samples"),
    ({"num_samples": 400_000, "centre": [0.0, 1.0, 2.0]}, LimitExceeded, "1000000"),
    ({"ids": [8], "num_samples": 8}, InputError, "0 to 7"),
    ({"ids": [-1], "num_samples": 8}, InputError, "-1"),
    ({"ids": [], "num_samples": 8}, InputError, "at least one"),
    ({"ids": [1, 1], "num_samples": 8}, InputError, "distinct"),
    ({"ids": ["a"], "num_samples": 8}, InputError, "ids"),
    ({"ids": 3, "num_samples": 8}, InputError, "ids"),
    ({"batch_size": 0}, InputError, ">= 1"),
    ({"batch_size": "big"}, InputError, "batch_size"),
    ({"seed": -1}, InputError, "seed"),
    ({"seed": 2**64}, InputError, "seed"),
    ({"seed": 1.5}, InputError, "seed"),
    ({"deadline": 0}, InputError, "deadline"),
    ({"deadline": -1.0}, InputError, "deadline"),
    ({"deadline": "soon"}, InputError, "deadline"),
    ({"device": "abacus"}, InputError, "device"),
    ({"device": "cuda:99"}, InputError, "device"),
    ({"device": "meta"}, InputError, "holds no numbers"),
    ({"sampler": "ddmi"}, PluginError, "ddim"),
    ({"centr": 1.0}, InputError, "'centre'"),
    ({"num_sample": 1}, InputError, "'num_samples'"),
    ({"centre": "left"}, InputError, "centre"),
    ({"passes": -1}, InputError, "passes"),
    ({"centre": []}, InputError, "at least one input"),
    ({"observation": 3}, InputError, "observation"),
    ({"start": torch.zeros(1, 2)}, InputError, "start"),
    ({"sampler": 3}, InputError, "sampler"),
]


@pytest.mark.parametrize(("request_", "error", "message"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_request_is_refused_before_any_work(request_, error, message):
    calls = []
    handle = POINTS.denoiser.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        with pytest.raises(UnnoiseError) as caught:
            POINTS.generate(**request_)
    finally:
        handle.remove()
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert calls == []


def test_the_largest_requests_are_allowed():
    for asked in ({"num_samples": 10**9, "ids": [10**9 - 1]}, {"num_samples": 1_000_000}):
        assert next(generate_iter(POINTS.domain, POINTS, batch_size=1, steps=1, **asked)).samples


@pytest.mark.parametrize("function", [unnoise.generate, unnoise.generate_iter])
def test_every_option_is_in_the_signature_and_the_help(function):
    known = inspect.signature(function).parameters
    assert list(known) == ["domain", "model", *OPTIONS, "request"]
    assert known["num_samples"].default == 1
    assert known["steps"].default is None
    assert all(f"    {name} : " in unnoise.generate.__doc__ for name in OPTIONS)


@pytest.mark.parametrize("callback", [3, "print", lambda: None, lambda a, b: None])
def test_a_callback_is_looked_at_before_any_work(callback):
    with pytest.raises(InputError, match="callback"):
        POINTS.generate(callback=callback, num_samples=10**6)


@pytest.mark.parametrize("callback", [print, lambda *a: None, lambda a, b=1: None])
def test_a_callback_takes_one_argument(callback, capsys):
    assert len(POINTS.generate(callback=callback, steps=2).samples) == 1


def test_a_domain_may_say_how_many_samples_an_input_needs(monkeypatch):
    """What one input has does not change the samples of another."""
    request = {"centre": [0.0, 1.0, 2.0], "seed": 3}
    with pytest.raises(InputError, match=r"'toy' does not know.*pass a number"):
        POINTS.generate(num_samples="auto", **request)
    found = {}
    for middle in (0, 3):
        counts = {0.0: 2, 1.0: middle, 2.0: 1}
        monkeypatch.setattr(type(POINTS.domain), "enough", lambda self, one: counts[one[0]])  # noqa: B023
        found[middle] = POINTS.generate(num_samples="auto", **request)
    assert [len(group) for group in found[3].groups()] == [2, 3, 1]
    assert [len(group) for group in found[0].groups()] == [2, 1]
    assert found[3].provenance["ids"] == [0, 1, AUTO, AUTO + 1, AUTO + 2, 2 * AUTO]
    assert found[0].samples[2] == pytest.approx(found[3].samples[5])
    one = POINTS.generate(num_samples="auto", ids=[AUTO + 1], **request)
    assert one.samples[0] == pytest.approx(found[3].samples[3])
    monkeypatch.setattr(type(POINTS.domain), "enough", lambda self, one: AUTO + 1)
    with pytest.raises(LimitExceeded, match="too many samples for one input"):
        POINTS.generate(num_samples="auto", **request)
