"""`unnoise bundle RUN --into PLUGIN`: a trained model into the plugin that ships it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, final

from unnoise.api import load
from unnoise.discovery import registry
from unnoise.domain import Trainable
from unnoise.errors import ConfigError, InputError, LimitExceeded, PluginError
from unnoise.storage.bundle import WEIGHTS
from unnoise.testing.checks_plugin import PluginCase, wheel_contains_its_bundles
from unnoise.testing.report import CheckFailed, Skip

CARD: Final = ("data", "licence", "split", "command")
"""What a card must say of a model that others get: what it was trained on, the licences of data and
weights, what was held out, and the command that made it."""

LARGEST: Final = 100.0
"""Megabytes of weights that a package index takes in one file."""


@final
class Shipped(NamedTuple):
    """Where the bundle is, the bytes of its weights, and what is to be said about the wheel."""

    folder: Path
    size: int
    wheel: str


def bundle_into(
    run: Path | str,
    plugin: Path | str,
    *,
    card: Mapping[str, str] | None = None,
    precision: Literal["float32", "float16"] = "float32",
    most: float = LARGEST,
) -> Shipped:
    """Write the model of a finished run, or of any bundle, into the folder from which the plugin's
    domain ships its model, and check that a wheel of the plugin would contain it.

    Parameters
    ----------
    run : the folder of `unnoise train`, or another bundle.
    plugin : the sources of the plugin, with its pyproject.toml, installed by `pip install -e`.
    card : entries of the model's card, beside those that it has.
    precision : float16 halves the size; float32 weights are rounded to it.
    most : megabytes that the weights may have.

    Raises
    ------
    InputError : `plugin` is no such folder, or not where the model's domain is installed from.
    ConfigError : the card lacks an entry, or the domain names no folder for its model.
    LimitExceeded : the weights are too large. BundleError : the run has no sound model.
    PluginError : the bundle is written, but a wheel would lack it.
    """
    source = Path(plugin).resolve()
    if not (source / "pyproject.toml").is_file():
        raise InputError("this is no plugin's source: it has no pyproject.toml", value=str(plugin))
    model = load(run)
    folder = _folder(model.domain, source)
    said = {**model.card, **(card or {})}
    if lacking := [name for name in CARD if not str(said.get(name, "")).strip()]:
        raise ConfigError(
            f"the card of this model lacks {', '.join(lacking)}",
            limit=", ".join(CARD),
            fix="say " + " ".join(f"--card.{name} '...'" for name in lacking),
        )
    complete = replace(model, card=said)
    with tempfile.TemporaryDirectory() as place:
        size = (complete.save(Path(place) / "bundle", precision=precision) / WEIGHTS).stat().st_size
    if size > most * 1e6:
        raise LimitExceeded(
            "these weights are too large for a wheel",
            value=f"{size / 1e6:.1f} MB",
            limit=f"{most:g} MB",
            fix="train a smaller network, use --precision float16, or put the model on a hub",
        )
    complete.save(folder, precision=precision)
    return Shipped(folder, size, _packed(model.domain.name, folder, source))


def _folder(domain: Trainable, source: Path) -> Path:
    """Where the domain ships its model from, within the plugin's source."""
    if domain.bundle is None:
        raise ConfigError(
            f"the domain {domain.name!r} names no folder for its model",
            fix='in its class: bundle = Path(__file__).parent / "bundle"',
        )
    folder = domain.bundle.resolve()
    if not folder.is_relative_to(source):
        raise InputError(
            f"the domain {domain.name!r} is not installed from there",
            value=str(source),
            limit=str(folder),
            fix=f"pip install -e {source}, or name the plugin of this domain",
        )
    return folder


def _packed(name: str, folder: Path, source: Path) -> str:
    """What is known of the wheel. Raises PluginError when it would lack the bundle."""
    plugin = registry.domains()[name].plugin
    try:
        wheel_contains_its_bundles(PluginCase(registry.named(plugin)[0]))
    except Skip as reason:
        return f"whether a wheel contains it was not found out: {reason}"
    except CheckFailed as error:
        shown = folder.relative_to(source).as_posix()
        raise PluginError(
            f"the bundle is in {str(folder)!r}, but not in a wheel: {error}",
            fix=f'in pyproject.toml, [tool.hatch.build.targets.wheel]: artifacts = ["{shown}/*"]',
        ) from error
    return "a wheel of the plugin contains it"
