"""What the plugin provides. Light: imports neither torch nor torchaudio."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "audio",
            summary="mel spectrograms to speech: a vocoder of a few steps",
            target="unnoise_audio.domain:Vocoder",
            api_version=2,
        )
    ]
