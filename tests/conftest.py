"""Shapes and types in the signatures of the mathematics are checked while the tests run."""

from __future__ import annotations

import sys
from types import ModuleType

import jaxtyping
import pytest
import torch
from beartype import BeartypeConf, beartype

PACKAGES = (
    "spaces",
    "distributions",
    "kernels",
    "noise",
    "denoise",
    "codecs",
    "samplers",
    "objectives",
)

# Tests run beside each other on few cores; sums over several threads would not repeat either.
torch.set_num_threads(1)

# jaxtyping names the checker by its module. Numbers as in PEP 484: an int will do for a float.
_checker = ModuleType("unnoise_signatures")
_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[_checker.__name__] = _checker
jaxtyping.install_import_hook(
    [f"unnoise.{name}" for name in PACKAGES], f"{_checker.__name__}.check"
)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No checks of signatures: for tests of the errors that a user sees instead."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
