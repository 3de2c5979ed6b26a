"""What the plugin provides. Light: imports no torch."""

from unnoise.specs import DomainSpec, KernelSpec, SpaceSpec, hookimpl


@hookimpl
def unnoise_spaces():
    return [SpaceSpec("torus", "angles", "unnoise_torus.circle:Torus", api_version=2)]


@hookimpl
def unnoise_kernels():
    return [
        KernelSpec(
            "wrapped-normal",
            "angles turn at random",
            "unnoise_torus.circle:WrappedNormal",
            api_version=2,
        )
    ]


@hookimpl
def unnoise_domains():
    return [
        DomainSpec(
            "angles",
            summary="rows of angles that belong together, such as torsions of molecules",
            target="unnoise_torus.domain:Angles",
            api_version=2,
        )
    ]
