"""What a caller has set in torch changes no result and nothing that is kept, and is given back."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import unnoise
from unnoise import api
from unnoise.errors import InputError, PluginError
from unnoise_images.domain import Images

REQUEST = {"num_samples": 2, "steps": 3, "label": 3}


@contextmanager
def default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS = {
    "double": lambda: default(torch.float64),
    "half": lambda: default(torch.float16),
    "bfloat16": lambda: default(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "no gradient": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.fixture(scope="module")
def usual():
    api._cached_at.cache_clear()
    return unnoise.generate("images", **REQUEST).states


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_the_caller_changes_no_training(name, tmp_path):
    rows = [(np.full((8, 8), 60 * k, np.uint8), "ab"[k % 2]) for k in range(4)]
    options = {"steps": 2, "batch_size": 2, "widths": [8], "blocks": [1], "bound_samples": 0}
    options |= {"quiet": True, "validation_batches": 0, "samples_every": 0}
    expected = unnoise.train("images", rows, tmp_path / "a", **options).denoiser.state_dict()
    random.seed(5)
    state = random.getstate()
    with SETTINGS[name]():
        found = unnoise.train("images", rows, tmp_path / "b", **options).denoiser.state_dict()
    assert random.getstate() == state
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("domain", [None, 3, b"images", Images])
def test_what_is_no_domain(domain, tmp_path):
    with pytest.raises(PluginError, match="by its name"):
        unnoise.generate(domain)
    with pytest.raises(PluginError, match="by its name"):
        unnoise.train(domain, [], tmp_path / "a")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_the_caller_changes_nothing(usual, name):
    api._cached_at.cache_clear()  # the model is built under the setting, and kept
    with SETTINGS[name]():
        before = torch.get_default_dtype(), torch.get_default_device()
        inside = unnoise.generate("images", **REQUEST).states
        assert (torch.get_default_dtype(), torch.get_default_device()) == before
    after = unnoise.generate("images", **REQUEST)
    for found in (inside, after.states):
        assert found.device.type == "cpu"
        assert found.dtype == torch.float32
        assert torch.equal(found, usual)
    model = api.model_for(Images())
    assert {p.dtype for p in model.denoiser.parameters()} == {torch.float32}
    assert not any(p.is_inference() for p in model.denoiser.parameters())


def test_random_numbers_of_the_caller_go_on():
    api._cached_at.cache_clear()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = unnoise.load("images")
    model.generate(**REQUEST)
    assert torch.equal(torch.rand(3), expected)


def test_a_failure_is_not_kept(monkeypatch):
    api._cached_at.cache_clear()

    def broken(self, configuration):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Images, "build", broken)
        with pytest.raises(RuntimeError):
            unnoise.generate("images", **REQUEST)
    assert len(unnoise.generate("images", **REQUEST).samples) == 2


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "float16", torch.float16])
def test_half_precision_on_request(usual, dtype):
    found = unnoise.generate("images", **REQUEST, dtype=dtype).states
    assert found.dtype == torch.float32
    assert 0 < (found - usual).abs().mean() < 0.1


@pytest.mark.parametrize("dtype", ["float64", torch.float64, torch.int8, "fp16", 16])
def test_other_precisions_are_named(dtype):
    with pytest.raises(InputError, match=r"'dtype'.*float32.*bfloat16.*float16"):
        unnoise.generate("images", **REQUEST, dtype=dtype)
