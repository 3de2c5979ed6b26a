"""What a request produces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from unnoise.domain import Domain
from unnoise.storage.files import replace_file, writable_folder
from unnoise.trajectory import Frame, concatenated


@final
@dataclass(frozen=True, eq=False)
class Output:
    """What a request produced.

    Attributes
    ----------
    samples : native objects, in the order of their numbers.
    states : final states, concatenated; a list of batches where their shapes differ.
    provenance : seed, model, versions, sampler, steps, evaluations, seconds.
    trajectory : a Frame per step, when it was asked for.
    """

    samples: list[Any]
    states: Any
    provenance: dict[str, Any]
    trajectory: list[Frame] = field(default_factory=list)
    domain: Domain | None = None
    inputs: tuple[int, ...] = ()

    def groups(self) -> list[list[Any]]:
        """The samples by input: one list for each of the request's inputs."""
        found: dict[int, list[Any]] = {i: [] for i in self.inputs}
        for i, sample in zip(self.inputs, self.samples, strict=True):
            found[i].append(sample)
        return [found[i] for i in sorted(found)]

    def save(self, folder: str | Path) -> list[Path]:
        """Write the samples and `provenance.json`; return the paths of the files of samples: one
        for each, or what the domain gathers them in."""
        paths = self.write(folder)
        assert self.domain is not None
        return gathered(self.domain, zip(self.inputs, paths, strict=True), Path(folder))

    def write(self, folder: str | Path) -> list[Path]:
        """As `save`, with one file per sample: of a batch of a request that has more of them."""
        assert self.domain is not None
        target = Path(folder)
        writable_folder(target)
        ids, domain = self.provenance["ids"], self.domain
        paths = [
            domain.write(sample, target, f"{i:05d}")
            for i, sample in zip(ids, self.samples, strict=True)
        ]
        replace_file(
            target / "provenance.json", json.dumps(self.provenance, indent=2, default=str).encode()
        )
        return paths


def gathered(domain: Domain, files: Iterable[tuple[int, Path]], folder: Path) -> list[Path]:
    """The files of a finished request, from pairs (input, file of one of its samples)."""
    groups: dict[int, list[Path]] = {}
    for i, path in files:
        groups.setdefault(i, []).append(path)
    return list(domain.gather([groups[i] for i in sorted(groups)], folder))


def collect(outputs: Iterable[Output]) -> Output:
    """One output from the batches of a request."""
    parts = list(outputs)
    first = parts[0]
    samples = [sample for part in parts for sample in part.samples]
    provenance = dict(first.provenance)
    provenance["ids"] = [i for part in parts for i in part.provenance["ids"]]
    provenance["evaluations"] = max(part.provenance["evaluations"] for part in parts)
    counts = Counter[str]()
    for part in parts:
        counts.update(part.provenance.get("counts", {}))
    if counts:
        provenance["counts"] = dict(counts)
    provenance["seconds"] = round(sum(part.provenance["seconds"] for part in parts), 3)
    same = len({len(part.trajectory) for part in parts}) == 1
    frames = [
        Frame(
            row[0].t,
            concatenated([f.x for f in row]),
            concatenated([f.x0 for f in row]),
            tuple(layout for f in row for layout in f.layouts),
        )
        for row in zip(*(part.trajectory for part in parts), strict=same)
    ]
    return replace(
        first,
        samples=samples,
        states=concatenated([part.states for part in parts]),
        provenance=provenance,
        trajectory=frames,
        inputs=tuple(i for part in parts for i in part.inputs),
    )
