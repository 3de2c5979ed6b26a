"""What the plugin provides. Light: imports neither torch nor PIL."""

from __future__ import annotations

from unnoise.specs import DomainSpec, SamplerSpec, hookimpl


@hookimpl
def unnoise_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "diffusers-ddim",
            summary="diffusers' own DDIM step: clipped pictures, noise as predicted",
            target="unnoise_images.diffusers_model:DiffusersDDIM",
            api_version=2,
            requires="GaussianKernel",
        )
    ]


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
