"""Threads of operations: one for small networks, and the setting of the process as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from unnoise.engine.threads import SMALL, fitting, threads


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that takes two threads, and whose environment says nothing."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_networks_take_one_thread() -> None:
    network = nn.Linear(1000, 1000, bias=False)  # a million parameters
    rows = SMALL // 1_000_000
    assert fitting(network, torch.empty(rows - 1, 1)) == 1
    assert fitting(network, torch.empty(rows, 1)) is None
    parts = {"a": torch.empty(rows // 2, 1), "b": torch.empty(rows // 2, 1)}
    assert fitting(network, parts) is None
    assert fitting(network, {"a": parts["a"]}) == 1
    assert fitting(network, torch.empty(1, 1, device="meta")) is None


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_who_sets_the_environment_has_chosen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    assert fitting(nn.Linear(1, 1), torch.empty(1, 1)) is None


@pytest.mark.parametrize(("number", "inside"), [(None, 2), (1, 1), (2, 2), (3, 3)])
def test_the_process_keeps_its_setting(number: int | None, inside: int) -> None:
    with threads(number):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), threads(number):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2
