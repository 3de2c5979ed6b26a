"""What the plugin provides. Light: imports neither torch nor pandas."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "timeseries",
            summary="data frames with holes, filled and continued with uncertainty",
            target="unnoise_timeseries.domain:TimeSeries",
            api_version=2,
        )
    ]
