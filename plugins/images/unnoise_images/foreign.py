"""Networks of diffusers and transformers from folders: weights that fit whole, or an error.

Where some are missing the libraries fill in random numbers and say so in a log at most, and what
they have no place for they drop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, PluginError
from unnoise.storage.tensors import some


def of_diffusers(name: str, extra: str) -> Any:
    """A class of diffusers. PluginError says what to install: `extra`."""
    without_broken_torchaudio()
    try:
        import diffusers

        return getattr(diffusers, name)
    except Exception as error:  # OSError of a library it imports, RuntimeError of diffusers itself
        missing = isinstance(error, ModuleNotFoundError) and error.name == "diffusers"
        raise PluginError(
            "diffusers is not installed" if missing else f"diffusers cannot be imported: {error}",
            fix=f"pip install '{extra}'",
        ) from error


def loaded(kind: Any, path: Path, **options: Any) -> nn.Module:
    """`kind.from_pretrained(path)`, from safetensors alone.

    Parameters
    ----------
    options : of `from_pretrained`, the dtype among them: each library has its own name and default.

    Raises
    ------
    BundleError : the files cannot be loaded, or weights are missing, unexpected or of another
        shape.
    """
    try:
        with _quiet():
            network, told = kind.from_pretrained(
                path,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # whatever the libraries and safetensors meet in it
        raise unloadable(repr(str(path)), kind.__name__, error) from error
    for what in ("missing", "unexpected", "mismatched"):
        if names := sorted(map(str, told[f"{what}_keys"])):
            raise BundleError(
                f"weights of {str(path)!r} are {what}",
                value=f"{len(names)}: {some(names)}",
                limit=f"those of a {type(network).__name__}",
            )
    assert isinstance(network, nn.Module)
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """What the libraries write about weights on stderr is in our error."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def unloadable(what: str, name: str, error: Exception) -> BundleError:
    """Of a folder or a configuration that a library has refused."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return BundleError(
        f"{what} holds no loadable {name}: {reason}",
        fix="save it with save_pretrained(..., safe_serialization=True)",
    )
