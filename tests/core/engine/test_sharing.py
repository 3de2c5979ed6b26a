"""A model that others hold: several threads, training in progress, another precision."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import MODELS, POINTS, close, model

from unnoise.engine.place import computing, placed

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["points", "tokens"])
def test_six_threads_on_one_model(kind):
    shared = MODELS[kind]
    asked = [
        {"num_samples": 4, "seed": seed, "steps": 3 + seed, "guidance_scale": 1.0 + seed % 2}
        for seed in range(6)
    ]
    alone = [shared.generate(**request) for request in asked]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda request: shared.generate(**request), asked * 3))
    for out, expected in zip(together, alone * 3, strict=True):
        assert out.samples == expected.samples
        assert out.provenance["evaluations"] == expected.provenance["evaluations"]
    assert [out.provenance["evaluations"] for out in alone[:2]] == [3, 8]


def test_generating_in_the_middle_of_training_changes_nothing():
    m = model()
    dropout = torch.nn.Dropout(0.5)
    m.denoiser.network.net.insert(1, dropout)
    m.denoiser.train()
    m.denoiser.network.net[0].eval()  # somebody froze a part
    flags = [module.training for module in m.denoiser.modules()]
    first = m.generate(num_samples=3).samples
    assert [module.training for module in m.denoiser.modules()] == flags
    assert all(p.requires_grad for p in m.denoiser.parameters())
    assert m.generate(num_samples=3).samples == first  # no dropout
    # the weights change: what was copied before is not used again
    with torch.no_grad():
        m.denoiser.network.net[0].weight.mul_(2)
    assert m.generate(num_samples=3).samples != first
    m.denoiser.eval()
    expected = m.generate(num_samples=3).samples
    m.denoiser.train()
    assert m.generate(num_samples=3).samples == expected


def test_a_module_that_is_in_place_is_used_as_it_is():
    network = POINTS.denoiser.eval()
    assert placed(network, CPU) is network
    network.train()
    copy = placed(network, CPU)
    assert copy is not network
    assert placed(network, CPU) is copy
    assert not copy.training
    network.eval()


def test_threads_and_precision_are_those_of_the_run_alone():
    before = torch.get_num_threads()
    inside = []
    out = POINTS.generate(
        num_samples=2,
        threads=before + 1,
        dtype="bfloat16",
        callback=lambda _: inside.append(
            (torch.get_num_threads(), torch.is_autocast_enabled("cpu"))
        ),
    )
    assert set(inside) == {(before + 1, True)}
    assert torch.get_num_threads() == before
    assert not torch.is_autocast_enabled("cpu")
    assert out.states.dtype == torch.float32
    whole = POINTS.generate(num_samples=2)
    assert out.samples != whole.samples
    assert (out.states - whole.states).abs().max() < 0.1
    with pytest.raises(RuntimeError, match="on the way"), computing(CPU, "float32", before + 1):
        raise RuntimeError("on the way")
    assert torch.get_num_threads() == before
    close(POINTS.generate(num_samples=2).samples, whole.samples)
