"""The hooks that a plugin may implement. None takes an argument; each returns a list of specs."""

from __future__ import annotations

from pluggy import HookspecMarker

from unnoise.specs import CodecSpec, DomainSpec, KernelSpec, SamplerSpec, ScheduleSpec, SpaceSpec

hookspec = HookspecMarker("unnoise")


@hookspec
def unnoise_domains() -> list[DomainSpec]:  # type: ignore[empty-body]  # pluggy calls no body
    """Kinds of data: what `unnoise.generate` and `unnoise.train` take as their first argument."""


@hookspec
def unnoise_kernels() -> list[KernelSpec]:  # type: ignore[empty-body]  # as above
    """Ways to destroy data, for configurations that choose a kernel by its name."""


@hookspec
def unnoise_spaces() -> list[SpaceSpec]:  # type: ignore[empty-body]  # as above
    """Places where data lives."""


@hookspec
def unnoise_samplers() -> list[SamplerSpec]:  # type: ignore[empty-body]  # as above
    """Ways back from noise: what `sampler=` takes."""


@hookspec
def unnoise_schedules() -> list[ScheduleSpec]:  # type: ignore[empty-body]  # as above
    """How much noise there is at which time."""


@hookspec
def unnoise_codecs() -> list[CodecSpec]:  # type: ignore[empty-body]  # as above
    """What data are to a diffusion: scales, whitenings, autoencoders."""
