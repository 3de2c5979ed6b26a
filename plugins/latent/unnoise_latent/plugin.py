"""What the plugin provides. Light: imports neither torch nor PIL."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "latent",
            summary="pictures through a learned latent space: made, reconstructed, interpolated,"
            " edited",
            target="unnoise_latent.domain:Latent",
            api_version=2,
        )
    ]
