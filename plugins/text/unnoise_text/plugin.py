"""What the plugin provides. Light: imports neither torch nor transformers."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "text",
            summary="text with a beginning, an end or gaps that are given",
            target="unnoise_text.domain:Text",
            api_version=2,
        )
    ]
