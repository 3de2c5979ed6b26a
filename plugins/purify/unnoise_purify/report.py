"""What a measurement of robustness found, as numbers and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from unnoise_purify.attacks import Trace
from unnoise_purify.scoring import Scoring
from unnoise_purify.statistics import Share


@final
@dataclass(frozen=True)
class Row:
    """One attack, or the clean pictures.

    Attributes
    ----------
    once : right at the first answer.
    always : right at every answer; the same as `once` where there is one.
    trace : means over the batches.
    seconds : of the processor, for the attack on one picture.
    black : whether it looks at answers alone.
    right : of each picture, whether each answer was right.
    """

    name: str
    black: bool
    once: Share
    always: Share
    trace: Trace
    seconds: float
    right: tuple[tuple[bool, ...], ...] = ()

    @staticmethod
    def of(name: str, black: bool, lines: Sequence[Mapping[str, Any]]) -> Row:
        """From the lines of a record, one for each batch."""
        right = tuple(tuple(map(bool, answers)) for line in lines for answers in line["right"])
        sizes = [len(line["right"]) for line in lines]
        total = len(right)

        def mean(name: str) -> float:
            pairs = zip(lines, sizes, strict=True)
            return float(sum(line[name] * size for line, size in pairs) / total)

        def means(name: str) -> tuple[float, ...]:
            columns = zip(*(line[name] for line in lines), strict=True)
            return tuple(
                sum(v * size for v, size in zip(column, sizes, strict=True)) / total
                for column in columns
            )

        trace = Trace(means("loss"), means("gradient"), mean("zero"), mean("broken"))
        once = Share(sum(answers[0] for answers in right), total)
        always = Share(sum(map(all, right)), total)
        seconds = sum(line["seconds"] for line in lines) / total
        return Row(name, black, once, always, trace, seconds, right)

    def json(self) -> dict[str, Any]:
        """As plain numbers."""
        found: dict[str, Any] = {
            "attack": self.name,
            "black_box": self.black,
            "one_shot": self.once.json(),
            "repeated": self.always.json(),
            "seconds_per_picture": self.seconds,
        }
        if self.trace.loss:
            found["loss"] = [self.trace.loss[0], self.trace.loss[-1]]
        if self.trace.gradient:
            found["gradient_norm"] = sum(self.trace.gradient) / len(self.trace.gradient)
            found["zero_gradients"] = self.trace.zero
            found["broken_gradients"] = self.trace.broken
        return found


@final
@dataclass(frozen=True)
class Report:
    """Clean and robust accuracy of one defence in one ball."""

    norm: str
    eps: float
    scoring: Scoring
    defence: str
    clean: Row
    attacks: Sequence[Row]

    @property
    def robust(self) -> Row:
        """The attack that left least, at the first answer: the headline."""
        return min(self.attacks, key=lambda row: row.once.right)

    @property
    def robust_repeated(self) -> Row:
        """The attack that left least when every answer counts; beside it stands
        `clean.always`, the control."""
        return min(self.attacks, key=lambda row: row.always.right)

    def json(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return {
            "norm": self.norm,
            "eps": self.eps,
            "scoring": repr(self.scoring),
            "defence": self.defence,
            "pictures": self.clean.once.total,
            "clean": self.clean.json(),
            "attacks": [row.json() for row in self.attacks],
            "robust_accuracy": {"attack": self.robust.name, **self.robust.once.json()},
            "robust_accuracy_repeated": {
                "attack": self.robust_repeated.name,
                **self.robust_repeated.always.json(),
                "control": self.clean.always.json(),
            },
        }

    def text(self) -> str:
        """A table, and the headline below it."""
        several = self.scoring.queries > 1
        head = ["", "right at once"]
        head += [f"right {self.scoring.queries} times"] if several else []
        head += ["gradient", "CPU s"]
        lines = [
            f"{self.defence}; {self.norm} {self.eps:g}, {self.clean.once.total} pictures",
            "",
            "| " + " | ".join(head) + " |",
            "|---" * len(head) + "|",
        ]
        for row in (self.clean, *self.attacks):
            cells = [row.name, str(row.once)]
            cells += [str(row.always)] if several else []
            trace = row.trace
            size = f"{sum(trace.gradient) / len(trace.gradient):.3g}" if trace.gradient else ""
            cells += [size, f"{row.seconds:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", f"robust accuracy, one answer: {self.robust.once}: {self.robust.name}"]
        if several:
            lines.append(
                f"robust accuracy, {self.scoring.queries} answers: {self.robust_repeated.always}:"
                f" {self.robust_repeated.name} (control, no attack: {self.clean.always})"
            )
        return "\n".join(lines)
