"""What the plugin provides. Light: imports neither torch nor PIL."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "purify",
            summary="pictures freed of noise and of attacks, by another domain's model (DiffPure)",
            target="unnoise_purify.domain:Purify",
            api_version=2,
        )
    ]
