"""What the plugin provides. Light: imports neither torch nor RDKit."""

from __future__ import annotations

from unnoise.specs import DomainSpec, SamplerSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "molecules",
            summary="conformers: from SMILES to an ensemble of 3D structures",
            target="unnoise_molecules.domain:Molecules",
            api_version=2,
        )
    ]


@hookimpl
def unnoise_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "langevin",
            summary="GeoDiff's annealed Langevin dynamics, 5000 steps or fewer",
            target="unnoise_molecules.langevin:Langevin",
            api_version=2,
            requires="GaussianKernel",
            evaluations=1,
            order=1,
            stochastic=True,
            example="unnoise_molecules.langevin:examples",
        )
    ]
