"""What the plugin provides. Light: imports neither torch nor PIL."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "text2image",
            summary="pictures from words, painting into pictures and varying them by words",
            target="unnoise_text2image.domain:Text2Image",
            api_version=2,
        )
    ]
