"""What a module exports is documented: a docstring of its own, in words."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from builder import reference

NAMES = [
    (module, name)
    for module in reference.MODULES
    for name, value in reference.public(importlib.import_module(module))
    if value.__module__.startswith("unnoise")  # no alias, such as `unnoise.samplers.Times`
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_each_public_name_says_what_it_is(module, name):
    value: Any = getattr(importlib.import_module(module), name)
    text = reference.own_doc(value)
    assert len(text.split()) >= 3, f"{module}.{name}: {text!r}"
