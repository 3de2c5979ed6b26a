"""Bundles: a trained model as a folder of `config.json` and `model.safetensors`.

The weights are named by part: "denoiser.", "codec.", and "others." for what was trained beside them
and is not needed to generate. `wrappers` says by name and fields what stands around the denoiser
that the domain builds, see `unnoise.denoise.wrapped`.

Nothing in a bundle is code. The weights are hashed in `config.json`, and the hash of a bundle is
the SHA-256 of its canonical `config.json`, so it covers the weights and every setting.

Replacing a bundle is safe at any moment: the new one is first completed in `.incoming/` (one
rename), then its files move up one by one. A reader prefers a file in `.incoming/`, so it sees
the old bundle before that rename and the new one after it, wherever a writer was killed.

Importing this module does not import torch; only the weights themselves need it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unnoise.errors import BundleError
from unnoise.storage.files import disk_errors, new_folder, remove_leftovers, sync_folder, write_file
from unnoise.storage.tensors import file_digest, read_tensors, some, tensor_bytes

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
SCHEMA = 2
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INCOMING = ".incoming"
OTHERS = "others."
PICKLES = frozenset((".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"))
_KINDS: Mapping[type, str] = {str: "a string", dict: "an object", list: "a list"}
_TRIES = 100  # readings of a bundle that somebody replaces meanwhile
_CONFIG_LIMIT = 16 << 20  # bytes; a configuration is text that a person could read


@dataclass(frozen=True)
class Bundle:
    """What a bundle folder says. `hash` identifies weights and settings together."""

    folder: Path
    domain: str
    configuration: Mapping[str, Any]
    wrappers: Sequence[Mapping[str, Any]]
    defaults: Mapping[str, Any]
    card: Mapping[str, Any]
    versions: Mapping[str, str]
    hash: str

    @property
    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights, on the CPU, read from the disk at each access."""
        return read_tensors(_file(self.folder, WEIGHTS))


def write_bundle(
    folder: str | os.PathLike[str],
    domain: str,
    configuration: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    defaults: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write a bundle into `folder`, replacing a bundle that is there, and return its hash.

    Other files in the folder (a training run's log and checkpoints) are left alone.

    Raises
    ------
    BundleError : a number that is not finite or a value that JSON cannot hold in the
        configuration, a pickle in the folder, or a `config.json` that is not a bundle's.
    LimitExceeded, InputError : the disk is full, or the folder cannot be written.
    """
    target = Path(folder)
    weights = tensor_bytes(state_dict)
    content = {
        "schema": SCHEMA,
        "domain": domain,
        "configuration": dict(configuration),
        "wrappers": [dict(wrapper) for wrapper in wrappers],
        "defaults": dict(defaults or {}),
        "card": dict(card or {}),
        "weights": {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)},
        "versions": _versions(),
    }
    config = json_bytes(content)
    with disk_errors(f"writing the bundle {str(target)!r}"):
        if target.exists():
            _replace(target, config, weights)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(target.parent, target.name + "-")
            with new_folder(target) as temporary:
                write_file(temporary / WEIGHTS, weights)
                write_file(temporary / CONFIG, config)
    return _hash(json.loads(config))


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The checked `config.json` of a bundle. Cheap: neither torch nor the weights are touched.

    Raises
    ------
    BundleError : no bundle there, not JSON, another schema, numbers that are not finite, a
        missing or mistyped entry.
    """
    root = Path(folder)
    path = _file(root, CONFIG)
    if not path.is_file():
        what = "no such folder" if not root.is_dir() else f"the folder has no {CONFIG}"
        raise BundleError(
            f"{str(root)!r} is not a bundle: {what}",
            fix=f"a bundle is a folder with {CONFIG} and {WEIGHTS}",
        )
    if path.stat().st_size > _CONFIG_LIMIT:
        raise BundleError(
            f"{str(path)!r} is too large", value=path.stat().st_size, limit=f"{_CONFIG_LIMIT} bytes"
        )
    try:
        content = json.loads(path.read_bytes(), parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{str(path)!r} is damaged: {error}", fix="copy or download the bundle again"
        ) from error
    _check_config(path, content)
    return content  # type: ignore[no-any-return]


def is_bundle(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder says that it is a bundle, good or damaged: its config.json has a schema, or
    is no JSON object at all."""
    root = Path(folder)
    try:
        content = json.loads(_steady(root, lambda: _file(root, CONFIG).read_bytes()))
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True
    return not isinstance(content, dict) or "schema" in content


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Open a bundle and check all of it: configuration, no pickle, weights against their hash. One
    that is replaced meanwhile is read again.

    Raises
    ------
    BundleError : see `read_config`; also missing, truncated or altered weights, and any file in
        the folder that is (or poses as) a pickle.
    """
    root = Path(folder)
    return _steady(root, lambda: _read(root))


def read_weights(folder: str | os.PathLike[str]) -> tuple[Bundle, dict[str, torch.Tensor]]:
    """`read_bundle` and its weights, which belong together even where the bundle is replaced."""
    root = Path(folder)
    return _steady(root, lambda: ((bundle := _read(root)), bundle.state_dict))


def _steady(root: Path, read: Callable[[], T]) -> T:
    """What `read` makes of a bundle that nobody replaced meanwhile."""
    for _ in range(_TRIES):
        before = _state(root)
        try:
            found = read()
        except (BundleError, OSError):
            if _state(root) == before:  # nobody is writing: it is as it is
                raise
        else:
            if _state(root) == before:
                return found
    raise BundleError(f"{str(root)!r} is replaced again and again while it is read", value=_TRIES)


def _state(root: Path) -> tuple[object, ...]:
    """What changes when somebody replaces a bundle; a rename leaves no trace but the path."""
    found: list[object] = [(root / INCOMING).exists()]
    for name in (CONFIG, WEIGHTS):
        path = _file(root, name)
        try:
            stat = path.stat()
            found.append((path, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def _read(root: Path) -> Bundle:
    content = read_config(root)
    _refuse_pickles(root)
    _check_weights(_file(root, WEIGHTS), content["weights"])
    return Bundle(
        folder=root,
        domain=content["domain"],
        configuration=content["configuration"],
        wrappers=content["wrappers"],
        defaults=content["defaults"],
        card=content["card"],
        versions=content["versions"],
        hash=_hash(content),
    )


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """`content` as readable JSON; BundleError names the entry that JSON cannot hold."""
    _check_finite(content, "")
    try:
        return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"the configuration cannot be written as JSON: {error}") from error


def _replace(target: Path, config: bytes, weights: bytes) -> None:
    if not target.is_dir():
        raise BundleError(f"{str(target)!r} is a file, not a folder", fix="choose another name")
    _refuse_pickles(target)
    if _file(target, CONFIG).exists():
        try:
            read_config(target)
        except BundleError as error:
            raise BundleError(
                f"{str(target)!r} holds a {CONFIG} that this version did not write and will not"
                f" replace: {error.message}",
                fix="choose another folder, or remove that file",
            ) from error
    remove_leftovers(target, INCOMING + "-")
    _move_up(target)
    with new_folder(target / INCOMING) as temporary:
        write_file(temporary / WEIGHTS, weights)
        write_file(temporary / CONFIG, config)
    _move_up(target)


def _move_up(target: Path) -> None:
    incoming = target / INCOMING
    if not incoming.is_dir():
        return
    for name in (WEIGHTS, CONFIG):
        if (incoming / name).exists():
            os.replace(incoming / name, target / name)
    sync_folder(target)
    incoming.rmdir()
    sync_folder(target)


def _file(folder: Path, name: str) -> Path:
    incoming = folder / INCOMING / name
    return incoming if incoming.exists() else folder / name


def _check_config(path: Path, content: object) -> None:
    if not isinstance(content, dict) or not _integer(content.get("schema")):
        raise BundleError(
            f"{str(path)!r} is not a bundle's configuration: it has no schema number",
            fix="a folder of another library needs an adapter",
        )
    schema = content["schema"]
    if schema > SCHEMA:
        versions = content.get("versions")
        writer = versions.get("unnoise") if isinstance(versions, dict) else None
        raise BundleError(
            f"{str(path)!r} was written by a newer unnoise",
            value=f"schema {schema}",
            limit=f"schema up to {SCHEMA}",
            fix=f"install unnoise {writer} or later" if writer else "install a newer unnoise",
        )
    if schema < SCHEMA:
        raise BundleError(
            f"{str(path)!r} is of a schema from before the first release, which is not read",
            value=schema,
            limit=SCHEMA,
            fix="train the model again, or ask for a bundle that this version wrote",
        )
    expected: dict[str, type] = {
        "domain": str,
        "configuration": dict,
        "wrappers": list,
        "defaults": dict,
        "card": dict,
        "weights": dict,
        "versions": dict,
    }
    for name, kind in expected.items():
        if not isinstance(content.get(name), kind):
            raise BundleError(
                f"{str(path)!r} is damaged: entry {name!r} is missing or of the wrong type",
                value=content.get(name),
                limit=_KINDS[kind],
            )
    for wrapper in content["wrappers"]:
        if not (
            isinstance(wrapper, dict)
            and isinstance(wrapper.get("name"), str)
            and isinstance(wrapper.get("fields"), dict)
        ):
            raise BundleError(
                f"{str(path)!r} is damaged: a wrapper must give 'name' and 'fields'", value=wrapper
            )
    weights = content["weights"]
    if not isinstance(weights.get("sha256"), str) or not _integer(weights.get("bytes")):
        raise BundleError(
            f"{str(path)!r} is damaged: 'weights' must give 'sha256' and 'bytes'", value=weights
        )
    _check_finite(content, "")


def _check_weights(path: Path, expected: Mapping[str, Any]) -> None:
    again = "copy or download the bundle again"
    if not path.is_file():
        raise BundleError(f"the bundle {str(path.parent)!r} has no {WEIGHTS}", fix=again)
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(9)
    # the format: 8 bytes of header length, then the header, a JSON object
    genuine = start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] <= size - 8
    if not genuine and start.startswith((b"PK\x03\x04", b"\x80")):
        raise BundleError(
            f"{str(path)!r} is refused: it is a pickle under another name, which can run code",
            fix="ask for the model as safetensors",
        )
    if size != expected["bytes"]:
        kind = "truncated" if size < expected["bytes"] else "longer than it should be"
        raise BundleError(
            f"{str(path)!r} is {kind}", value=size, limit=f"{expected['bytes']} bytes", fix=again
        )
    if not genuine:
        raise BundleError(f"{str(path)!r} is not a safetensors file", fix=again)
    digest = file_digest(path)
    if digest != expected["sha256"]:
        raise BundleError(
            f"{str(path)!r} is corrupted or was changed: its SHA-256 does not match {CONFIG}",
            value=digest,
            limit=expected["sha256"],
            fix=again,
        )


def _refuse_pickles(folder: Path) -> None:
    found = sorted(
        str(Path(parent, name).relative_to(folder))
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in PICKLES
    )
    if found:
        raise BundleError(
            f"the bundle {str(folder)!r} is refused: it contains {len(found)} file(s) that may be"
            f" pickles, which can run code ({some(found)})",
            limit=f"{CONFIG} and {WEIGHTS}",
            fix="remove them, or ask for the model as safetensors",
        )


def _check_finite(value: object, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BundleError("a number in the configuration is not finite", value=f"{where}: {value}")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_finite(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _check_finite(item, f"{where}[{number}]")


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_json(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _hash(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("unnoise", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # run from a source tree
    return found
