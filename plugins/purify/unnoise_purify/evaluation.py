"""What `unnoise evaluate purify` measures, on the validation part of a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from unnoise.engine.place import device_of
from unnoise.errors import InputError
from unnoise.model import Metric
from unnoise.training.data import read
from unnoise_purify.attacks import PGD, Adaptive, Attack, LowFrequency, Margin, Square, norm_named
from unnoise_purify.certificate import BATCH, Smoothed, certify, majority
from unnoise_purify.check import check_defense
from unnoise_purify.classifiers import load_classifier
from unnoise_purify.corruptions import SEVERITIES, corrupted
from unnoise_purify.defended import PurifiedClassifier, answers
from unnoise_purify.draws import numbered
from unnoise_purify.gradients import Full, Unclamped
from unnoise_purify.pixels import pixels_of
from unnoise_purify.purifier import Purifier
from unnoise_purify.request import STEPS, STRENGTH
from unnoise_purify.robustness import evaluate_robustness, gradient_named
from unnoise_purify.statistics import Share

if TYPE_CHECKING:
    from unnoise.model import Model

Report = Callable[[str, float], None]


class Defended(Metric):
    """What all metrics share: pictures, a classifier and the purifier before it."""

    classifier: str = Field(
        "digits", description="digits (shipped), a TorchScript file or a transformers folder"
    )
    strength: float = Field(STRENGTH, gt=0, lt=1, description="sigma of the noise that is added")
    purify_steps: int = Field(STEPS, ge=1, description="evaluations of one purification")
    votes: int = Field(1, ge=1, description="purifications of a picture in one answer")
    num_samples: int = Field(64, ge=1, description="pictures, evenly spaced over the part")
    batch_size: int = Field(16, ge=1, description="pictures that run at once")
    at_once: int = Field(1, ge=1, description="draws of the noise of each that run at once")
    seed: int = Field(0, ge=0)
    device: str | None = Field(None, description="cpu, cuda; by default a GPU when there is one")

    def defence(self, model: Model, **other: Any) -> PurifiedClassifier:
        """The classifier behind the purifier."""
        settings = {"strength": self.strength, "steps": self.purify_steps, **other}
        purifier = Purifier(model, **settings)
        network = load_classifier(self.classifier)
        return self.placed(PurifiedClassifier(purifier, network, votes=self.votes))

    def placed(self, defence: PurifiedClassifier) -> PurifiedClassifier:
        """A defence where it is to compute."""
        return defence.to(device_of(self.device))

    def pictures(self, model: Model, source: Any) -> tuple[Tensor, Tensor]:
        """Pictures (n, C, H, W) in [0, 1] of the validation part, and their labels."""
        data: Any = model.domain.dataset(source, model.configuration, "validation")
        count = min(self.num_samples, len(data))
        if count == 0:
            raise InputError("the data have no validation part", value=str(source))
        places = [i * len(data) // count for i in range(count)]
        batch = model.domain.collate([read(data, place, 0, place) for place in places])
        label = (batch.condition or {}).get("label")
        if not isinstance(batch.x0, Tensor) or label is None:
            raise InputError(
                "robustness is measured on pictures with labels", fix="use a folder of classes"
            )
        pixels, device = pixels_of(model), device_of(self.device)
        return pixels.unit(batch.x0.float()).to(device), label.to(device)


@final
class Robustness(Defended):
    """Robust accuracy as the least over attacks, with the control, and what is suspicious of it."""

    norm: Literal["l_inf", "l_2"] | None = Field(None, description="of perturbations")
    eps: float | None = Field(None, gt=0, description="radius of the ball, in units of [0, 1]")
    gradients: tuple[str, ...] | None = Field(
        None,
        description="an attack through each of these: full, checkpointed, unclamped, adjoint,"
        " surrogate, bpda",
    )
    attack_steps: int | None = Field(None, ge=1, description="steps of each attack")
    eot: int | None = Field(None, ge=1, description="draws of the noise at each step")
    scoring: Literal["one-shot", "repeated"] | None = Field(
        None, description="answers to a picture that must be right: one, or each of ten"
    )
    adaptive: bool = Field(
        False,
        description="also attack low frequencies and the margin, through the first gradient, take"
        " the gradient of predictions that are not clamped, and keep the best of several ascents",
    )
    square: int = Field(0, ge=0, description="also a random search of this many queries (l_inf)")
    undefended: bool = Field(True, description="also the classifier without the purifier")
    record: Path | None = Field(
        None, description="file of finished batches; a run that was stopped goes on from it"
    )

    def measure(self, model: Model, source: Any, report: Report) -> Mapping[str, Any]:
        defence = self.defence(model)
        x, y = self.pictures(model, source)
        asked: dict[str, Any] = {
            "norm": self.norm,
            "eps": self.eps,
            "gradients": self.gradients,
            "steps": self.attack_steps,
            "eot": self.eot,
            "scoring": self.scoring,
            "batch_size": self.batch_size,
            "at_once": self.at_once,
            "seed": self.seed,
            "progress": report,
        }
        found = evaluate_robustness(defence, x, y, **asked, extra=self._extra(), record=self.record)
        few = slice(0, min(8, len(x)))
        suspicious = check_defense(defence, x[few], y[few], found, seed=self.seed)
        result: dict[str, Any] = {"defended": found.json(), "table": found.text()}
        if self.undefended:
            bare = evaluate_robustness(defence.classifier, x, y, **asked)
            result |= {"undefended": bare.json()}
            result["table"] = f"{bare.text()}\n\n{result['table']}"
        return {**result, "suspicious": [str(one) for one in suspicious]}

    def _extra(self) -> list[Attack]:
        """Attacks beyond those of every report."""
        known = (self.norm, self.eps, self.gradients, self.attack_steps, self.eot)
        if None in known or not self.gradients:
            return []  # which is refused with a reason where the rest is
        assert self.norm is not None
        assert self.eps is not None
        assert self.attack_steps is not None
        assert self.eot is not None
        norm, way = norm_named(self.norm), gradient_named(self.gradients[0])
        found: list[Attack] = []
        if self.adaptive:
            own = PGD(norm, self.eps, way, self.attack_steps, self.eot, at_once=self.at_once)
            found += [replace(own, subspace=LowFrequency()), replace(own, loss=Margin())]
            if "unclamped" not in self.gradients:
                found.append(replace(own, gradient=Unclamped()))
            told = (self.attack_steps, self.eot)
            found.append(Adaptive(norm, self.eps, way, *told, at_once=self.at_once))
        if self.square:
            if self.norm != "l_inf":
                raise InputError("the square search is one of l_inf", value=self.norm)
            found.append(Square(self.eps, self.square))
        return found

    def text(self, result: Mapping[str, Any]) -> str:
        lines = [str(result["table"])]
        lines += [f"suspicious: {one}" for one in result["suspicious"]]
        return "\n".join(lines)


@final
class Certified(Defended):
    """Accuracy that no l_2 perturbation of a size can lower: of the smoothed classifier, which is
    noise at `strength`, one evaluation of the model, and the classifier. It can be attacked, too:
    what is left is never below what is certified, else one of the two is wrong."""

    radii: tuple[float, ...] = Field((0.25, 0.5, 1.0, 1.5), description="l_2, in units of [0, 1]")
    draws: int = Field(1000, ge=1, description="of the noise, for each picture")
    alpha: float = Field(1e-3, gt=0, lt=1, description="probability that a certificate is wrong")
    attack_steps: int | None = Field(None, ge=1, description="steps of each attack")
    eot: int | None = Field(None, ge=1, description="draws of the noise at each step")

    def measure(self, model: Model, source: Any, report: Report) -> Mapping[str, Any]:
        if (self.attack_steps is None) != (self.eot is None):
            raise InputError(
                "an attack has steps and draws of the noise", value=(self.attack_steps, self.eot)
            )
        smoothed = Smoothed(Purifier(model, self.strength), load_classifier(self.classifier))
        self.placed(smoothed.defence)
        x, y = self.pictures(model, source)

        def show(share: float) -> None:
            report("certifying", share)

        found = certify(
            smoothed.noisy,
            x,
            smoothed.sigma,
            numbers=range(len(x)),
            draws=self.draws,
            alpha=self.alpha,
            seed=self.seed,
            batch=max(BATCH, self.at_once),
            report=show,
        )
        sure = [
            one.radius if one.answer == int(label) else -1.0
            for one, label in zip(found, y, strict=True)
        ]
        rows = [{"radius": 0.0, "certified": _share(size >= 0 for size in sure).json()}]
        for done, radius in enumerate(self.radii):
            kept = [size >= radius for size in sure]
            row: dict[str, Any] = {"radius": radius, "certified": _share(kept).json()}
            if self.attack_steps is not None:
                report(f"attacking within {radius}", done / len(self.radii))
                right = self._attacked(smoothed, x, y, radius)
                row["empirical"] = _share(right).json()
                row["below"] = sum(k and not r for k, r in zip(kept, right, strict=True))
            rows.append(row)
        return {
            "sigma": smoothed.sigma,
            "draws": self.draws,
            "alpha": self.alpha,
            "abstained": sum(one.answer is None for one in found),
            "rows": rows,
        }

    def _attacked(self, smoothed: Smoothed, x: Tensor, y: Tensor, radius: float) -> list[bool]:
        """Whether the smoothed classifier is right about each picture after PGD."""
        assert self.attack_steps is not None
        assert self.eot is not None
        ball, told = norm_named("l_2"), (self.attack_steps, self.eot)
        attack = PGD(ball, radius, Full(), *told, at_once=self.at_once)
        right: list[bool] = []
        for begin in range(0, len(x), self.batch_size):
            some = slice(begin, begin + self.batch_size)
            numbers = range(begin, begin + len(x[some]))
            shown = attack.run(smoothed.defence, x[some], y[some], numbers, self.seed).pictures
            said = majority(smoothed.noisy, shown, numbers=numbers, seed=self.seed + 1)
            right += [answer == int(label) for answer, label in zip(said, y[some], strict=True)]
        return right

    def text(self, result: Mapping[str, Any]) -> str:
        lines = [
            f"smoothed by noise of {result['sigma']:.3g}, {result['draws']} draws a picture",
            "",
            "| l_2 radius | certified | left by PGD |",
            "|---|---|---|",
        ]
        for row in result["rows"]:
            cells = [
                str(Share(row[key]["right"], row[key]["total"])) if key in row else ""
                for key in ("certified", "empirical")
            ]
            lines.append(f"| {row['radius']} | {cells[0]} | {cells[1]} |")
        if below := sum(row.get("below", 0) for row in result["rows"]):
            lines.append(f"{below} certified answers were changed: attack or certificate is wrong")
        return "\n".join(lines)


@final
class Corruptions(Defended):
    """Accuracy under ordinary damage, with and without purification."""

    severities: tuple[int, ...] = Field((1, 3, 5), description="1 to 5")

    def measure(self, model: Model, source: Any, report: Report) -> Mapping[str, Any]:
        defence = self.defence(model)
        x, y = self.pictures(model, source)
        cases = [("none", 0), *((kind, k) for kind in SEVERITIES for k in self.severities)]
        rows = []
        for done, (kind, severity) in enumerate(cases):
            report(f"{kind} {severity}", done / len(cases))
            bare = kept = 0
            for begin in range(0, len(x), self.batch_size):
                some = slice(begin, begin + self.batch_size)
                numbers = range(begin, begin + len(x[some]))
                shown = x[some]
                if severity:
                    shown = corrupted(shown, kind, severity, numbers=numbers, seed=self.seed)
                noise = numbered(self.seed, numbers, 0, self.votes)
                with torch.no_grad():
                    before = answers(defence.classifier, shown).argmax(1)
                    after = defence.logits(shown, noise).argmax(1)
                bare += int((before == y[some]).sum())
                kept += int((after == y[some]).sum())
            row = {"corruption": kind, "severity": severity, "total": len(x)}
            rows.append({**row, "without": bare, "with": kept})
        return {"strength": self.strength, "purify_steps": self.purify_steps, "rows": rows}

    def text(self, result: Mapping[str, Any]) -> str:
        lines = ["| corruption | severity | without | purified |", "|---|---|---|---|"]
        for row in result["rows"]:
            shares = [str(Share(row[key], row["total"])) for key in ("without", "with")]
            severity = row["severity"] or ""
            lines.append(f"| {row['corruption']} | {severity} | {shares[0]} | {shares[1]} |")
        return "\n".join(lines)


def _share(right: Iterable[bool]) -> Share:
    counted = list(right)
    return Share(sum(counted), len(counted))
