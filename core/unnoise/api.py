"""The public functions: one `generate` for every modality, and `load`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from unnoise.compat import torch_untouched
from unnoise.denoise.wrappers import wrapped
from unnoise.discovery.domains import built, codec_of, domain_named
from unnoise.discovery.registry import domains, specs_of
from unnoise.discovery.reloading import loaded, reimport, unchanged
from unnoise.domain import Domain, Trainable, Trained
from unnoise.engine.options import described, signature
from unnoise.engine.output import Output, collect
from unnoise.engine.run import generate_iter as run
from unnoise.errors import BundleError, PluginError
from unnoise.model import Model
from unnoise.objectives import Networks
from unnoise.specs import PluginInfo
from unnoise.storage.bundle import CONFIG, OTHERS, WEIGHTS, Bundle, is_bundle, read_weights
from unnoise.storage.files import as_path
from unnoise.storage.tensors import fit_weights
from unnoise.training.checkpoint import as_bundle

__all__ = ["Output", "domain_named", "generate", "generate_iter", "load", "reload"]


def generate(domain: str, *, model: str | Path | Model | None = None, **request: Any) -> Output:
    return collect(generate_iter(domain, model=model, **request))


def generate_iter(
    domain: str, *, model: str | Path | Model | None = None, **request: Any
) -> Iterator[Output]:
    """As `generate`, in batches as they are finished: millions of samples in bounded memory. What a
    domain finishes before the rest of its batch comes at once.

    The request is checked and prepared when this is called, and runs as the iterator is read.
    """
    kind = domain_named(domain)
    return run(kind, model_for(kind, model), **request)


def model_for(domain: Domain, model: str | Path | Model | None = None) -> Model:
    """A model that `domain` runs on: the one that is named or given, else the shipped one.

    Raises BundleError when there is none, or when it belongs to a domain that is not adopted.
    """
    homes = (domain.name, *domain.adopt)
    if model is None:
        folder = shipped(domain)
        if folder is None:
            raise BundleError(f"the domain {domain.name!r} ships no model", fix="pass model=FOLDER")
        model = _cached(folder)
    chosen = model if isinstance(model, Model) else _cached(_folder(model))
    if chosen.domain.name not in homes:
        raise BundleError(
            f"the domain {domain.name!r} does not run on models of this one",
            value=chosen.domain.name,
            limit=", ".join(homes),
            fix=f"generate with the domain {chosen.domain.name!r}, or name another model",
        )
    return chosen


generate.__doc__ = f"""Generate samples of any domain.

    Parameters
    ----------
    domain : name of an installed domain, see `unnoise.domains()`.
    model : a bundle folder, a hub id or a loaded Model; the domain's shipped one by default.
{described()}
    **request : the domain's own fields, see `unnoise generate DOMAIN --help`.

    Raises
    ------
    PluginError : no such domain. InputError, LimitExceeded : a request that cannot be met.
    BundleError : a model that cannot be loaded. IncompatibleSampler : a sampler that does not fit.
    NonFiniteError : the model produced NaN. Cancelled : the deadline passed.
    """
generate.__signature__ = signature(generate)  # type: ignore[attr-defined]  # PEP 362
generate_iter.__signature__ = signature(generate_iter)  # type: ignore[attr-defined]  # as above


@torch_untouched()
def load(source: str | Path) -> Model:
    """Load a model: a bundle folder, the name of a domain (its shipped model), a hub id, a
    checkpoint of a run (its raw weights), or a folder of another library that an installed domain
    reads.

    Raises BundleError when there is no such model, or when it is damaged, unsafe or newer.
    """
    folder = _folder(source)
    if (checkpoint := as_bundle(folder)) is not None:
        return _built(source, *checkpoint)
    if not is_bundle(folder) and (foreign := _foreign(folder)) is not None:
        return foreign
    return _built(source, *read_weights(folder))


def _built(source: str | Path, bundle: Bundle, weights: dict[str, Tensor]) -> Model:
    domain = domain_named(bundle.domain)
    if not isinstance(domain, Trainable):
        raise BundleError(f"the domain {domain.name!r} has no models of its own", value=str(source))
    try:
        configuration = domain.Configuration(**bundle.configuration)
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            f"this bundle's configuration does not fit the domain {domain.name!r}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            value=str(source),
            fix="it was written by another version of the plugin",
        ) from error
    denoiser = wrapped(built(domain, configuration), bundle.wrappers)
    networks = Networks(denoiser, codec_of(domain, configuration))
    others = {k.removeprefix(OTHERS): weights.pop(k) for k in list(weights) if k.startswith(OTHERS)}
    fit_weights(networks, weights, f"the weights of {str(source)!r}")
    networks.eval()
    return Model(
        domain,
        networks.denoiser,
        configuration,
        bundle.defaults,
        bundle.card,
        bundle.hash,
        networks.codec,
        others,
    )


def _foreign(folder: Path) -> Model | None:
    """What a domain makes of a folder that another library has written."""
    for name in specs_of("domains"):
        try:
            domain = domain_named(name)
        except PluginError:  # a broken one is a row in a list, and reads nothing
            continue
        found = domain.foreign(folder) if isinstance(domain, Trainable) else None
        if found is not None:
            return Model(**{field.name: getattr(found, field.name) for field in fields(Trained)})
    return None


def reload(name: str | None = None) -> list[PluginInfo]:
    """Take up the code of a plugin as it is now, or of all plugins, and forget models that were
    made by what it was: for those who edit a plugin while Python runs.

    Returns what `unnoise.plugins` says afterwards. Objects that exist, and names that were imported
    from the plugin before, are of the old code: load and import them again.

    Raises PluginError when there is no such plugin, or a module of it cannot be imported.
    """
    _cached_at.cache_clear()
    return reimport(name)


@lru_cache(maxsize=4)
def _cached_at(folder: Path, changed: float) -> tuple[Model, dict[str, object]]:
    """The model, and marks of the code that made it."""
    return load(folder), loaded()


def _cached(folder: Path) -> Model:
    """The model in `folder`, read again only when a configuration in it or a plugin's code changed.
    Folders of other libraries have theirs one level deeper, too."""
    found = (path for path in (folder / CONFIG, *folder.glob("*/*.json")) if path.exists())
    changed = max((path.stat().st_mtime for path in found), default=0.0)
    model, code = _cached_at(folder, changed)
    if not unchanged(code):
        _cached_at.cache_clear()
        model, _ = _cached_at(folder, changed)
    return model


def _folder(source: str | Path) -> Path:
    """Where the bundle is; a folder wins over a domain of its name only if it holds a bundle."""
    path, name = as_path(source, "a model"), str(source)
    if name in domains() and not (path / CONFIG).exists():
        folder = shipped(domain_named(name))
        if folder is None:
            raise BundleError(f"the domain {name!r} ships no model", fix="pass model=FOLDER")
        return folder
    if path.name in (CONFIG, WEIGHTS) and is_bundle(path.parent):  # a file of it means the whole
        return path.parent
    if path.is_dir() or (path.suffix == ".safetensors" and path.is_file()):
        return path
    if path.exists():
        raise BundleError(
            "this file is no model", value=name, limit="a folder with config.json and weights"
        )
    if name.count("/") == 1 and not name.startswith(("/", ".")):
        return _variant(*name.split("/")) or _from_hub(name)
    raise BundleError(
        "there is no model here",
        value=name,
        limit=f"a bundle folder, a hub id (owner/name), or a domain: {', '.join(domains())}",
    )


def _variant(owner: str, name: str) -> Path | None:
    """The folder of a further model that a domain ships; None when `owner` is no domain."""
    if owner not in domains():
        return None
    domain = domain_named(owner)
    variants = domain.variants if isinstance(domain, Trainable) else {}
    if name not in variants:
        raise BundleError(
            f"the domain {owner!r} ships no model of this name",
            value=name,
            limit=", ".join([repr(owner), *(f"{owner}/{other}" for other in variants)]),
        )
    return variants[name]


def shipped(domain: Domain) -> Path | None:
    """The folder of the model that comes with a domain, or with the first that it adopts."""
    home = domain_named(domain.adopt[0]) if domain.adopt else domain
    folder = home.bundle if isinstance(home, Trainable) else None
    return folder if folder is not None and folder.is_dir() else None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, allow_patterns=["config.json", "*.safetensors", "*.md"])
        )
    except (OSError, HFValidationError, LocalEntryNotFoundError) as error:
        raise BundleError(
            "this model cannot be fetched from the hub",
            value=name,
            fix=f"{type(error).__name__}: check the name and the connection, or pass a folder",
        ) from error
