"""`unnoise evaluate audio --metric speech`: sounds are made again from their mels, by the model and
by Griffin-Lim, and compared with what they were. The row of noise is the projection by itself.

Rows of numbers are means over the files of a voice, errors those of the mean: the deviation of the
files over the root of their number, which is that of the files asked for and not of the voice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from unnoise.errors import InputError
from unnoise.model import Metric
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, tensor
from unnoise.storage.kept import Kept, keeping
from unnoise_audio import metrics
from unnoise_audio.data import files_of, levelled, split
from unnoise_audio.griffin_lim import griffin_lim
from unnoise_audio.inputs import mel_of
from unnoise_audio.mel import MelConfiguration
from unnoise_audio.projection import projected
from unnoise_audio.reading import load_mono
from unnoise_audio.sound import Audio

if TYPE_CHECKING:
    from unnoise.model import Model

Score = Literal["log_mel", "stft", "si_sdr", "pesq", "stoi", "dnsmos"]
_DIGITS: Final = {
    "log_mel": 3,
    "stft": 3,
    "si_sdr": 1,
    "pesq": 2,
    "stoi": 3,
    "dnsmos": 2,
    "factor": 3,
}
_SECONDS: Final = 1.0  # of a file that is long enough to be scored


@final
class Speech(Metric):
    """Every score of each voice: a voice is a folder in that of the data."""

    at: tuple[int, ...] = Field((1, 3, 6, 12, 50), description="steps of the model")
    project: tuple[int, ...] = Field((0, 2, 16), description="rounds of projection after each")
    griffin_lim: tuple[int, ...] = Field(
        (32, 100), description="iterations of Griffin-Lim; the projection follows the last"
    )
    scores: tuple[Score, ...] = Field(
        ("log_mel", "pesq", "stoi", "dnsmos"),
        description="of log_mel, stft, si_sdr, pesq, stoi, dnsmos",
    )
    limit: int | None = Field(
        None, ge=1, description="files of each voice, evenly spaced over them; default: all"
    )
    part: Literal["all", "validation"] = Field(
        "all", description="of the files; validation: what training on this folder leaves out"
    )
    level: float | None = Field(
        metrics.LEVEL, le=0, description="dB below full scale that each file is brought to"
    )
    seed: int = Field(0, ge=0)
    keep: Path | None = Field(
        None,
        description="JSON lines, a file's numbers as soon as it is measured; what is in there"
        " already is not measured again",
    )

    def measure(
        self, model: Model, source: Any, report: Callable[[str, float], None]
    ) -> Mapping[str, Any]:
        self._check()
        if self.keep is not None and not model.hash:
            raise InputError(
                "numbers of a model without a hash cannot be kept: it is not told from another one",
                fix="save the model and load it",
            )
        voices = self._files(Path(source), model.configuration.held_out)
        total, done = sum(map(len, voices.values())), 0
        found: dict[str, Any] = {}
        left_out: dict[str, str] = {}
        with keeping(self.keep, self._decisive(model)) as kept:
            for voice, paths in voices.items():
                rows: dict[str, list[dict[str, float]]] = {}
                count, seconds = 0, 0.0
                for path in paths:
                    one = self._of_file(path, Path(source), model, kept, report, done / total)
                    done += 1
                    if "left_out" in one:
                        left_out[str(path)] = one["left_out"]
                        continue
                    count, seconds = count + 1, seconds + one["seconds"]
                    for name, row in one["rows"].items():
                        rows.setdefault(name, []).append(row)
                found[voice] = {
                    "files": count,
                    "seconds": seconds,
                    "rows": {name: _mean(each) for name, each in rows.items()},
                    "errors": {name: _error(each) for name, each in rows.items()},
                }
        if not any(one["files"] for one in found.values()):
            raise InputError("no file can be scored", value=next(iter(left_out.items()), source))
        return {"level": self.level, "voices": found, "left_out": left_out}

    def _decisive(self, model: Model) -> dict[str, Any]:
        """What decides the numbers of a file: the model, and all options but which files."""
        own = self.model_dump(mode="json", exclude={"keep", "limit", "part"})
        return {"metric": "speech", "model": model.hash, **own}

    def _of_file(
        self,
        path: Path,
        root: Path,
        model: Model,
        kept: Kept,
        report: Callable[[str, float], None],
        part: float,
    ) -> Mapping[str, Any]:
        """ "seconds" and "rows" of a file, or "left_out": why it has none."""
        name = path.relative_to(root).as_posix()
        key = f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        if (before := kept.get(key)) is not None:
            return before
        report(name, part)
        own = model.configuration.mel
        try:
            truth = self._sound(path, own)
            rows = {row: self._scored(one, truth, own) for row, one in self._made(truth, model)}
        except InputError as error:
            return kept.add(key, {"left_out": str(error)})
        return kept.add(key, {"seconds": len(truth) / own.sample_rate, "rows": rows})

    def text(self, result: Mapping[str, Any]) -> str:
        """A table for each voice."""
        lines = []
        for voice, one in result["voices"].items():
            head = f"{voice or 'all'}: {one['files']} files, {one['seconds']:.0f} s"
            lines += [f"{head}, at {result['level']} dB", ""]
            lines += ["| | " + " | ".join([*self.scores, "factor"]) + " |"]
            lines += ["|---|" + "---|" * (len(self.scores) + 1)]
            for name, row in one["rows"].items():
                cells = [_cell(row, one["errors"][name], key) for key in (*self.scores, "factor")]
                lines.append("| " + " | ".join([name, *cells]) + " |")
            lines.append("")
        lines += ["±: standard error of the mean over files"]
        lines += ["factor: seconds of one thread for a second of sound"]
        lines += [f"left out: {path}: {why}" for path, why in result["left_out"].items()]
        return "\n".join(lines)

    def _check(self) -> None:
        """Wrong numbers and a missing extra are said before work is done."""
        for name, least in (("at", 1), ("project", 0), ("griffin_lim", 1)):
            for value in getattr(self, name):
                if value < least:
                    raise InputError(f"{name} is out of range", value=value, limit=f">= {least}")
        metrics.needed(self.scores)

    def _files(self, root: Path, held_out: float) -> dict[str, list[Path]]:
        paths = files_of(root)
        if self.part == "validation":
            paths = split(paths, root, held_out, "validation")
        voices: dict[str, list[Path]] = {}
        for path in paths:
            inner = path.relative_to(root).parts
            voices.setdefault(inner[0] if len(inner) > 1 else "", []).append(path)
        if not voices:
            raise InputError("the data have no validation part", value=str(root))
        return {voice: _spaced(each, self.limit) for voice, each in voices.items()}

    def _sound(self, path: Path, own: MelConfiguration) -> Tensor:
        """A whole number of hops, at the level asked for."""
        wave, _ = load_mono(path, own.sample_rate)
        wave = wave[: len(wave) // own.hop * own.hop]
        if len(wave) < _SECONDS * own.sample_rate:
            raise InputError("the file is too short", value=len(wave), limit=f"{_SECONDS} s")
        if not wave.any():
            raise InputError("the file is silent")
        return wave if self.level is None else levelled(wave, self.level)

    def _made(self, truth: Tensor, model: Model) -> Iterator[tuple[str, metrics.Timed]]:
        """What is compared, by name."""
        own = model.configuration.mel
        rate, mel = own.sample_rate, mel_of(truth, own)
        for steps in self.at:

            def generate(steps: int = steps) -> Tensor:
                told = Audio(truth[None], rate)
                out = model.generate(source=told, project=0, steps=steps, seed=self.seed, threads=1)
                wave: Tensor = out.samples[0].waveform[0]
                return wave

            made = metrics.real_time_factor(generate, rate)
            yield from self._projections(f"model, {steps} steps", made, mel, own)

        def noise() -> Tensor:
            return _noise(mel, model, self.seed, len(truth))

        made = metrics.real_time_factor(noise, rate)
        yield from self._projections("noise in the mel's envelope", made, mel, own)
        for k, iterations in enumerate(self.griffin_lim):

            def invert(iterations: int = iterations) -> Tensor:
                given, count = mel.T[None], len(truth)
                return griffin_lim(given, own, iterations=iterations, length=count)[0]

            made = metrics.real_time_factor(invert, rate)
            name = f"Griffin-Lim {iterations}"
            if k + 1 == len(self.griffin_lim):
                yield from self._projections(name, made, mel, own)
            else:
                yield name, made
        yield "original", metrics.Timed(truth, 0.0)

    def _projections(
        self, name: str, made: metrics.Timed, mel: Tensor, own: MelConfiguration
    ) -> Iterator[tuple[str, metrics.Timed]]:
        for rounds in self.project:
            if not rounds:
                yield name, made
                continue

            def nearer(rounds: int = rounds) -> Tensor:
                return projected(made.waveform, mel, own, rounds)

            after = metrics.real_time_factor(nearer, own.sample_rate)
            yield f"{name} + {rounds}", after._replace(factor=made.factor + after.factor)

    def _scored(
        self, made: metrics.Timed, truth: Tensor, own: MelConfiguration
    ) -> dict[str, float]:
        rate, wave = own.sample_rate, made.waveform.clamp(-1, 1)
        if made.waveform is truth:  # it is compared with nothing
            return {"dnsmos": metrics.dnsmos(truth, rate)} if "dnsmos" in self.scores else {}
        each: dict[str, Callable[[], float]] = {
            "log_mel": lambda: metrics.log_mel(wave, truth, own),
            "stft": lambda: metrics.stft(wave, truth, rate),
            "si_sdr": lambda: metrics.si_sdr(wave, truth, rate),
            "pesq": lambda: metrics.pesq(wave, truth, rate),
            "stoi": lambda: metrics.stoi(wave, truth, rate),
            "dnsmos": lambda: metrics.dnsmos(wave, rate),
        }
        return {**{name: each[name]() for name in self.scores}, "factor": made.factor}


def _noise(mel: Tensor, model: Model, seed: int, samples: int) -> Tensor:
    """What the model starts from, as sound: what the projection does without it."""
    own: MelConfiguration = model.configuration.mel
    layout = Layout.dense(1, (len(mel), own.hop))
    state = NoiseSource(seed, [0]).normal(layout)
    wave = tensor(model.decode(state, layout, {"mel": mel[None]})).flatten()
    return wave[own.offset : own.offset + samples]


def _spaced(paths: Sequence[Path], limit: int | None) -> list[Path]:
    count = len(paths) if limit is None else min(limit, len(paths))
    return [paths[k * len(paths) // count] for k in range(count)]


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
    return {name: torch.tensor([row[name] for row in rows]).double() for name in rows[0]}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in _columns(rows).items()}


def _error(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The standard errors of the means; nothing for one file."""
    if len(rows) < 2:
        return {}
    return {
        name: float(value.std()) / math.sqrt(len(rows)) for name, value in _columns(rows).items()
    }


def _cell(row: Mapping[str, float], errors: Mapping[str, float], name: str) -> str:
    if name not in row:
        return ""
    digits = _DIGITS[name]
    text = f"{row[name]:.{digits}f}"
    if name in errors and name != "factor":
        text += f" ± {errors[name]:.{digits}f}"
    return text
