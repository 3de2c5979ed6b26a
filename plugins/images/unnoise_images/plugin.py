"""What the plugin provides. Light: imports neither torch nor PIL."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "images",
            summary="pictures by class label, and painting into a masked part of a picture",
            target="unnoise_images.domain:Images",
            api_version=2,
        )
    ]
