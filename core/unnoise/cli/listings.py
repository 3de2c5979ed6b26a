"""`unnoise domains` and `unnoise samplers`. Neither imports torch."""

from __future__ import annotations

from dataclasses import asdict

from unnoise.cli.text import as_json, table
from unnoise.discovery import registry
from unnoise.specs import SamplerSpec


def domains(*, json: bool = False) -> str:
    """What can be generated.

    Parameters
    ----------
    json
        Print JSON.
    """
    found = registry.domains()
    if json:
        return as_json({name: asdict(info) for name, info in found.items()})
    rows = [
        (info.name, f"{info.distribution} {info.version}", info.summary) for info in found.values()
    ]
    return table(("DOMAIN", "FROM", ""), rows, "no domain is installed; pip install unnoise-images")


def samplers(*, json: bool = False) -> str:
    """The ways from noise to data; `--sampler NAME` chooses one, `--sampler 'NAME(eta=1)'` with
    arguments.

    Parameters
    ----------
    json
        Print JSON.
    """
    found = registry.specs_of("samplers")
    if json:
        return as_json({name: asdict(spec) for name, spec in found.items()})
    rows = []
    for spec in found.values():
        assert isinstance(spec, SamplerSpec)
        calls = str(spec.evaluations or "any")
        noise = "stochastic" if spec.stochastic else "-"
        rows.append((spec.name, spec.requires or "?", calls, str(spec.order), noise, spec.summary))
    columns = ("SAMPLER", "REQUIRES", "CALLS PER STEP", "ORDER", "NOISE", "")
    return table(columns, rows, "none")
