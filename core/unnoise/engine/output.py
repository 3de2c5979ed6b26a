"""What a request produces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from unnoise.domain import Domain
from unnoise.errors import ConfigError, InputError
from unnoise.storage.files import as_path, removed_unused, replace_file, writable_folder
from unnoise.trajectory import Frame, concatenated

RECORD: Final = "provenance.json"
_SHOWN: Final = 64
"""Samples that a notebook shows."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Output:
    """What a request produced.

    Attributes
    ----------
    samples : native objects, in the order of their numbers.
    states : final states, concatenated; a list of batches where their shapes differ; None for what
        is handed out before a batch is finished.
    provenance : seed, model, versions, sampler, steps, evaluations, seconds; "sampled" is what the
        sampler said of each sample, by number.
    domain : what they are samples of.
    inputs : the input that each sample belongs to.
    parts : 0, or for a sample that is handed out in parts the number of this one.
    trajectory : a Frame per step, when it was asked for.
    """

    samples: list[Any]
    states: Any
    provenance: dict[str, Any]
    domain: Domain
    inputs: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    trajectory: list[Frame] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Any]:
        """The samples."""
        return iter(self.samples)

    def __getitem__(self, place: int | slice) -> Any:
        """A sample by its place, or some of them."""
        return self.samples[place]

    def __repr__(self) -> str:
        kinds = ", ".join(sorted({type(sample).__name__ for sample in self.samples}))
        record = self.provenance
        steps = _short(record["steps"])
        made = f"seed={record['seed']}, sampler={record['sampler']!r}, steps={steps}"
        return f"Output({record['domain']!r}, {len(self)} samples ({kinds}), {made})"

    def _repr_html_(self) -> str:
        """For notebooks: the first samples as their domain shows them."""
        shown = self.samples[:_SHOWN]
        more = f"<p>and {len(self) - len(shown)} more</p>" if len(self) > len(shown) else ""
        return self.domain.display.preview(shown) + more

    def groups(self) -> list[list[Any]]:
        """The samples by input: one list for each of the request's inputs."""
        found: dict[int, list[Any]] = {i: [] for i in self.inputs}
        for i, sample in zip(self.inputs, self.samples, strict=True):
            found[i].append(sample)
        return [found[i] for i in sorted(found)]

    def save(self, folder: str | Path) -> list[Path]:
        """Write the samples and `provenance.json`; return the paths of the files of samples: one
        for each, or what the domain gathers them in."""
        target = as_path(folder, "the folder of samples")
        earlier = recorded(target)
        paths = self.write(folder)
        found = gathered(self.domain, zip(self.inputs, paths, strict=True), target)
        record(target, self.provenance, found, earlier)
        return found

    def write(self, folder: str | Path) -> list[Path]:
        """As `save`, with one file per sample, of a batch of a request that has more of them; later
        parts of a sample are files of their own, 00003.1 after 00003."""
        target = as_path(folder, "the folder of samples")
        paths = []
        with removed_unused(target):
            writable_folder(target)
            for number, part, sample in zip(
                self.provenance["ids"], self.parts, self.samples, strict=True
            ):
                stem = f"{number:05d}.{part}" if part else f"{number:05d}"
                paths.append(self._written(sample, target, stem))
        replace_file(target / RECORD, json.dumps(self.provenance, indent=2, default=str).encode())
        return paths

    def _written(self, sample: Any, folder: Path, stem: str) -> Path:
        path = self.domain.write(sample, folder, stem)
        if not isinstance(path, Path):
            raise ConfigError(
                f"the domain {self.domain.name!r} does not say which file it wrote",
                value=type(path).__name__,
                limit="a pathlib.Path",
            )
        return path


def _short(steps: Any) -> str:
    return f"{len(steps)} times" if isinstance(steps, list) else str(steps)


def recorded(folder: str | Path) -> set[str]:
    """Names of the files that the record in a folder says an earlier request left there."""
    try:
        found = json.loads((Path(folder) / RECORD).read_text("utf-8")).get("files", [])
        return {name for name in found if isinstance(name, str) and Path(name).name == name}
    except (OSError, ValueError, AttributeError):
        return set()


def record(
    folder: Path, provenance: Mapping[str, Any], files: Sequence[Path], earlier: Iterable[str]
) -> None:
    """Write the record of a finished request with the names of its files. Those of an `earlier`
    request into the same folder that it has not written anew are removed."""
    names = [path.name for path in files if path.parent == folder]
    for name in set(earlier) - set(names):
        stem = name.partition(".")[0]
        beside = folder.glob(f"{stem}.*") if stem.isdigit() else [folder / name]
        for path in beside:  # a domain may write several files for a sample
            if path.name not in names:
                path.unlink(missing_ok=True)
    content = {**provenance, "files": names}
    replace_file(folder / RECORD, json.dumps(content, indent=2, default=str).encode())


def gathered(domain: Domain, files: Iterable[tuple[int, Path]], folder: Path) -> list[Path]:
    """The files of a finished request, from pairs (input, file of one of its samples)."""
    groups: dict[int, list[Path]] = {}
    for i, path in files:
        groups.setdefault(i, []).append(path)
    return list(domain.display.gather([groups[i] for i in sorted(groups)], folder))


def collect(outputs: Iterable[Output]) -> Output:
    """One output from the batches of a request, samples that came in parts joined."""
    found = list(outputs)
    if not found:
        raise InputError("all samples of this request are finished", fix="leave finished out")
    samples: dict[int, list[Any]] = {}
    inputs: dict[int, int] = {}
    for out in found:
        for number, i, sample in zip(out.provenance["ids"], out.inputs, out.samples, strict=True):
            samples.setdefault(number, []).append(sample)
            inputs[number] = i
    ways = [out.trajectory for out in found if out.trajectory]
    same = len({len(way) for way in ways}) == 1
    frames = [
        Frame(row[0].t, tuple(part for frame in row for part in frame.parts))
        for row in zip(*ways, strict=same)
    ]
    domain = found[0].domain
    return Output(
        samples=[one[0] if len(one) == 1 else domain.join(one) for one in samples.values()],
        states=concatenated([out.states for out in found if out.states is not None]),
        provenance=merged([out.provenance for out in found]),
        domain=domain,
        inputs=tuple(inputs.values()),
        parts=(0,) * len(samples),
        trajectory=frames,
    )


def merged(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One provenance from those of the batches of a request."""
    found = dict(records[0])
    found["ids"] = list(dict.fromkeys(number for record in records for number in record["ids"]))
    found["evaluations"] = max(record["evaluations"] for record in records)
    found["seconds"] = round(sum(record["seconds"] for record in records), 3)
    if said := {k: v for record in records for k, v in record.get("sampled", {}).items()}:
        found["sampled"] = said
    if refused := {one["where"]: one for record in records for one in record.get("refused", ())}:
        found["refused"] = list(refused.values())
    counts = Counter[str]()
    for record in records:
        counts.update(record.get("counts", {}))
    if counts:
        found["counts"] = dict(counts)
    return found
