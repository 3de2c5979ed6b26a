"""`unnoise new`: a plugin that works, to be replaced part by part. Templates for copier."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal, TypeAlias

from unnoise.discovery.registry import plugins, specs_of
from unnoise.errors import InputError
from unnoise.specs import API_VERSION, is_name, normal
from unnoise.specs import Kind as Provided
from unnoise.storage.files import disk_errors, new_folder

Kind: TypeAlias = Literal["domain", "kernel", "sampler", "space", "codec", "schedule"]

_LISTS: Final[dict[Kind, Provided]] = {
    "domain": "domains",
    "kernel": "kernels",
    "sampler": "samplers",
    "space": "spaces",
    "codec": "codecs",
    "schedule": "schedules",
}
_BASES: Final = ("transition", "data")
"""`TransitionKernel` and `DataSpace` are classes to inherit from."""
_LONGEST: Final = 50


def new_plugin(name: str, kind: Kind = "domain", folder: Path | str = ".") -> Path:
    """Write the distribution unnoise-NAME into `folder`, and return where it is.

    What is written installs, is found, passes its own tests and the conformance kit, mypy and
    pyright; a domain generates from a small model and can be trained, and so does the toy domain
    that a kernel brings.

    Raises
    ------
    InputError : the name is unusable or taken, there is no such kind, or the folder of the
        distribution exists.
    LimitExceeded : the disk is full.
    """
    if kind not in _LISTS:
        raise InputError("no such kind of plugin", value=kind, limit=", ".join(_LISTS))
    plain = normal(name) if is_name(name) else ""
    if not plain or not plain[0].isalpha() or len(plain) > _LONGEST:
        raise InputError(
            "not a usable name of a plugin",
            value=name,
            limit=f"letters, digits, - and _, a letter first, {_LONGEST} at most",
        )
    if plain.startswith("unnoise"):
        raise InputError(
            "the distribution is called unnoise- by itself", value=name, fix="leave that out"
        )
    taken = {normal(other) for other in specs_of(_LISTS[kind])}
    taken |= {normal(info.name) for info in plugins()}
    if plain in taken or plain in _BASES:
        raise InputError("the name is taken", value=name, fix="choose another")
    target = Path(folder) / f"unnoise-{plain}"
    if target.exists() or target.is_symlink():
        raise InputError("the folder exists", value=str(target), fix="remove it, or choose --out")
    answers = {
        "name": plain,
        "kind": kind,
        "module": plain.replace("-", "_"),
        "class_name": "".join(part.title() for part in plain.split("-")) + kind.title(),
        "api": API_VERSION,
        "releases": _releases(version("unnoise")),
    }
    import copier  # slow to import

    templates = Path(__file__).parent / "templates"
    with disk_errors(f"writing {str(target)!r}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(target) as made:
            for part in ("common", kind):
                source = str(templates / part)
                copier.run_copy(source, made, answers, defaults=True, overwrite=True, quiet=True)
    return target


def _releases(version: str) -> str:
    """The releases of unnoise with the interface of this one: up to the next one that may break."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<" + (f"{major + 1}" if major else f"0.{minor + 1}")
