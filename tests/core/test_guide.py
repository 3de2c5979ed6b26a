"""The authors' guide says everything about the interface, and its example works."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "training"))
from training_toy import Toy

from unnoise import hookspecs
from unnoise.domain import Domain
from unnoise.kernels import TransitionKernel
from unnoise.spaces import DataSpace
from unnoise.specs import API_VERSION, KINDS, DomainSpec
from unnoise.training.train import train

GUIDE = (Path(__file__).parents[2] / "docs/pages/plugins/guide.md").read_text(encoding="utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("unnoise_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_what_it_returns(hook):
    kind = hook.removeprefix("unnoise_")
    assert re.search(rf"\| `{hook}\(\)` \| `{KINDS[kind].__name__}` \|", GUIDE)


def test_there_is_a_hook_for_every_kind():
    assert sorted(HOOKS) == sorted(f"unnoise_{kind}" for kind in KINDS)


@pytest.mark.parametrize(
    "field", sorted({field.name for spec in KINDS.values() for field in fields(spec)})
)
def test_every_field_of_the_specs_is_documented(field):
    assert re.search(rf"^\| `{field}` \| \S", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("noun", [DataSpace, TransitionKernel, Domain])
def test_everything_that_must_be_implemented_is_named(noun):
    for method in noun.__abstractmethods__:
        assert re.search(rf"`{method}[`(]", GUIDE), method


def test_the_objective_of_the_guide_trains(tmp_path):
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "Turn(" in c)
    exec(code, found := {"__name__": "guide"})
    objective = found["Judged"](torch.nn.Linear(2, 1))
    options = {"steps": 4, "batch_size": 8, "validation_batches": 1, "bound_samples": 0}
    model = train(Toy(), 0.0, tmp_path, objective=objective, **options)
    assert set(model.others) == {"judge.weight", "judge.bias"}
    assert model.card["validation"]["validation_loss/judge"] > 0


def test_the_eight_line_plugin_is_one():
    code = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    found: dict[str, object] = {}
    exec(code, found)
    (spec,) = found["unnoise_domains"]()
    assert type(spec) is DomainSpec
    assert spec.api_version == API_VERSION
