"""What the plugin provides. Light: imports neither torch nor RDKit."""

from __future__ import annotations

from unnoise.specs import DomainSpec, hookimpl


@hookimpl
def unnoise_domains() -> list[DomainSpec]:
    return [
        DomainSpec(
            "molecules",
            summary="conformers: from SMILES to an ensemble of 3D structures",
            target="unnoise_molecules.domain:Molecules",
        )
    ]
