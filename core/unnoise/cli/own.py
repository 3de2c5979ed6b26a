"""The model that a command measures."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from unnoise.api import load
from unnoise.domain import Domain
from unnoise.errors import InputError
from unnoise.model import Model


def own_model(domain: Domain, source: str | None) -> Model:
    """The model in `source`, or the shipped one. InputError for one of another domain."""
    model = load(source or domain.name)
    if model.domain.name != domain.name:
        raise InputError("this model belongs to another domain", value=model.domain.name)
    return model


def made(domain: Domain, out: Path) -> str:
    """Where a model is, and the command line that uses it."""
    command = f"unnoise generate {domain.name} --model {quote(str(out))} --out samples"
    return f"the model is in {out}; {command}"
