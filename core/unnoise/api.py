"""The public functions: one `generate` for every modality, and `load`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unnoise.denoise.analytic import restored
from unnoise.discovery.domains import domain_named
from unnoise.discovery.registry import domains
from unnoise.discovery.reloading import loaded, reimport, unchanged
from unnoise.domain import Domain
from unnoise.engine.output import Output, collect
from unnoise.engine.run import generate_iter as run
from unnoise.errors import BundleError
from unnoise.model import Model
from unnoise.specs import PluginInfo
from unnoise.storage.bundle import CONFIG, fit_weights, read_bundle

__all__ = ["Output", "domain_named", "generate", "generate_iter", "load", "reload"]


def generate(domain: str, *, model: str | Path | Model | None = None, **request: Any) -> Output:
    """Generate samples of any domain.

    Parameters
    ----------
    domain : name of an installed domain, see `unnoise.domains()`.
    model : a bundle folder, a hub id or a loaded Model; the domain's shipped one by default.
    num_samples : samples per input, 1 to 1,000,000 in all.
    steps : number of steps, or the decreasing times of a grid; the model's own by default.
    grid : how that number of steps is spread: uniform, quadratic, linspace, karras or log_snr.
    sampler : a name (`unnoise samplers`), with arguments as in "edm(churn=20)", or a Sampler; the
        model's own by default.
    seed : sample i of a seed is the same at any batch size, order, process and device.
    device : "cpu", "cuda", ...; a GPU when there is one.
    batch_size : samples run at once, 64 by default.
    guidance_scale : strength of the condition, for domains that have one.
    observation : an `Observation`, the known part of the states.
    start : a `Start`, a state to begin with.
    callback : called with a `Progress` after each step; what it raises ends the run.
    return_trajectory : keep every state.
    deadline : seconds after which `Cancelled` is raised.
    ids : the sample numbers to generate, out of all `num_samples`; all by default.
    **request : the domain's own fields, see `unnoise generate DOMAIN --help`.

    Raises
    ------
    PluginError : no such domain. InputError, LimitExceeded : a request that cannot be met.
    BundleError : a model that cannot be loaded. IncompatibleSampler : a sampler that does not fit.
    NonFiniteError : the model produced NaN. Cancelled : the deadline passed.
    """
    return collect(generate_iter(domain, model=model, **request))


def generate_iter(
    domain: str, *, model: str | Path | Model | None = None, **request: Any
) -> Iterator[Output]:
    """As `generate`, in batches as they are finished: millions of samples in bounded memory."""
    kind = domain_named(domain)
    if model is None:
        model = _cached(_shipped(kind))
    chosen = model if isinstance(model, Model) else _cached(_folder(model))
    if chosen.domain.name != kind.name:
        raise BundleError(
            f"this model belongs to the domain {chosen.domain.name!r}",
            value=domain,
            fix=f"call generate({chosen.domain.name!r}, ...)",
        )
    return run(chosen, **request)


def load(source: str | Path) -> Model:
    """Load a model: a bundle folder, the name of a domain (its shipped model), or a hub id.

    Raises BundleError when there is no such model, or when it is damaged, unsafe or newer.
    """
    bundle = read_bundle(_folder(source))
    domain = domain_named(bundle.domain)
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
    denoiser = restored(domain.build(configuration), bundle.state_dict)
    fit_weights(denoiser, bundle.state_dict, f"the weights of {str(source)!r}")
    return Model(
        domain,
        denoiser.eval(),
        configuration,
        domain.codec(configuration).eval(),
        bundle.defaults,
        bundle.card,
        bundle.hash,
    )


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
    """The model in `folder`, read again only when its configuration or a plugin's code changed."""
    config = folder / CONFIG
    changed = config.stat().st_mtime if config.exists() else 0.0
    model, code = _cached_at(folder, changed)
    if not unchanged(code):
        _cached_at.cache_clear()
        model, _ = _cached_at(folder, changed)
    return model


def _folder(source: str | Path) -> Path:
    """Where the bundle is; a folder wins over a domain of its name only if it holds a bundle."""
    path, name = Path(source), str(source)
    if name in domains() and not (path / CONFIG).exists():
        return _shipped(domain_named(name))
    if path.is_dir():
        return path
    if name.count("/") == 1 and not name.startswith(("/", ".")):
        return _from_hub(name)
    raise BundleError(
        "there is no model here",
        value=name,
        limit=f"a bundle folder, a hub id (owner/name), or a domain: {', '.join(domains())}",
    )


def _shipped(domain: Domain) -> Path:
    if domain.bundle is None or not domain.bundle.is_dir():
        raise BundleError(f"the domain {domain.name!r} ships no model", fix="pass model=FOLDER")
    return domain.bundle


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
