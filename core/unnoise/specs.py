"""What a plugin says about itself. Light: importing this module imports no torch.

A plugin is an installed distribution with an entry point in the group ``unnoise``. Its value is a
small module of hooks, each returning a list of specs; what a spec points to (``target``) is
imported when somebody asks for it and not before:

    from unnoise.specs import DomainSpec, hookimpl

    @hookimpl
    def unnoise_domains():
        return [DomainSpec("text", summary="sentences", target="unnoise_text.domain:Text")]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, final

from pluggy import HookimplMarker

from unnoise.errors import PluginError

API_VERSION: Final = 2
"""The version of the interface between the core and its plugins that this release speaks."""

hookimpl = HookimplMarker("unnoise")

Kind = Literal["domains", "kernels", "spaces", "samplers", "schedules", "codecs"]
Health = Literal["ok", "broken", "conflict", "disabled", "ignored"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def normal(name: str) -> str:
    """The form in which names are compared (PEP 503): ``Zero_COM`` and ``zero-com`` are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_name(name: object) -> bool:
    """Whether `name` may name a plugin or something that a plugin provides."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Spec:
    """One thing that a plugin provides; see the six final classes below.

    Parameters
    ----------
    name : what users type, letters, digits and ``-_.``; compared after PEP 503 normalisation.
    summary : one line for listings.
    target : ``"module:attribute"``, imported on first use.
    api_version : the version of the plugin interface it was written for. A plugin says it: one
        that does not is taken for the present release's, whatever it was written for.
    example : ``"module:attribute"`` of a function without arguments that returns what the
        conformance kit is to check: a list of such objects, or of `unnoise.testing.Example`s.
        Needed where the target cannot be called without arguments. That of a domain says more than
        its demo: requests of several inputs, data to train on, what holds of samples.
    """

    name: str
    summary: str = ""
    target: str = ""
    api_version: int | None = None
    example: str = ""

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise PluginError("not a usable name", value=self.name, limit="letters, digits, -_.")
        if not isinstance(self.target, str) or not _TARGET.fullmatch(self.target):
            raise PluginError(
                f"{self.name!r} has no usable target", value=self.target, limit="'module:attribute'"
            )
        if not isinstance(self.example, str) or (
            self.example and not _TARGET.fullmatch(self.example)
        ):
            raise PluginError(
                f"{self.name!r} has no usable example",
                value=self.example,
                limit="'module:attribute'",
            )
        if not isinstance(self.summary, str):
            raise PluginError(
                f"{self.name!r} has no usable summary", value=self.summary, limit="one line of text"
            )


@final
class DomainSpec(Spec):
    """A kind of data: its target is a class that implements `unnoise.domain.Domain`."""


@final
class KernelSpec(Spec):
    """A way to destroy data: its target is a `TransitionKernel` class."""


@final
class SpaceSpec(Spec):
    """A place where data lives: its target is a `DataSpace` class."""


@final
@dataclass(frozen=True)
class SamplerSpec(Spec):
    """A way back from noise: its target is a `Sampler` class.

    For listings, the facts of an instance made without arguments, or of the first example where it
    needs some: the class name of the kernel that it requires, denoiser calls per step (0: it
    decides), order, whether it draws noise.
    """

    requires: str = ""
    evaluations: int = 1
    order: int = 1
    stochastic: bool = False


@final
class ScheduleSpec(Spec):
    """How much noise at which time: its target is a `Schedule` class or a function making one."""


@final
class CodecSpec(Spec):
    """What the data are to a diffusion: its target is a `Codec` class or a function making one."""


@final
class FromData:
    """Marks a field of a `Configuration` that the data decide, `Annotated[int, FromData()] = 0`:
    `Domain.configure` fills it in, and it is no flag of `unnoise train`."""


@final
@dataclass(frozen=True)
class Only:
    """Marks a field of a configuration that is read only where another one says so,
    `Annotated[int, Only("goal", ("adversarial",))] = 4`: elsewhere a run that is given it is
    refused.

    Attributes
    ----------
    option : the other field of the completed configuration, or a property of it.
    values : of that, where the marked field is read; where none are named, any that is true.
    because : why it is not read elsewhere, in the place of a sentence that names both.
    """

    option: str
    values: tuple[object, ...] = ()
    because: str = ""


@final
@dataclass(frozen=True)
class Files:
    """Says of a field of a `Request` which files it takes where requests come over a network,
    `Annotated[Any, Files(("image/*",))] = None`: there they are uploaded, and a path is refused.
    Without it a field takes any file if its type is `Any` or has a `Path` in it, and none else.

    Attributes
    ----------
    accept : endings, or types, of the files, as browsers know them; any by default.
    words : texts that may stand in the place of a file.
    sent : whether a file may be sent at all: not where one may hold code.
    """

    accept: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    sent: bool = True


KINDS: Final[Mapping[Kind, type[Spec]]] = MappingProxyType(
    {
        "domains": DomainSpec,
        "kernels": KernelSpec,
        "spaces": SpaceSpec,
        "samplers": SamplerSpec,
        "schedules": ScheduleSpec,
        "codecs": CodecSpec,
    }
)


@final
@dataclass(frozen=True)
class PluginInfo:
    """One plugin that was found: what it is, what it provides and whether it works.

    `state` is ``ok``; ``broken`` (`reason` says why, `fix` what to do); ``conflict`` (a name it
    claims belongs to another, the rest of it works); ``disabled`` by `unnoise plugins disable`; or
    ``ignored`` because the variable UNNOISE_PLUGINS leaves it out.
    """

    name: str
    distribution: str
    version: str
    provides: Mapping[Kind, tuple[str, ...]]
    state: Health
    reason: str = ""
    fix: str = ""


@final
@dataclass(frozen=True)
class DomainInfo:
    """One domain that can be used, and the distribution it comes from."""

    name: str
    summary: str
    plugin: str
    distribution: str
    version: str
