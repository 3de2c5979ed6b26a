"""What makes a measurement of robustness suspicious (Carlini 2019; Tramer 2020; Croce 2022).

Each finding is a reason not to believe a number yet, with the figure that it rests on. None proves
that a defence is bad, and no finding proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.errors import InputError
from unnoise_purify.attacks import CrossEntropy, Loss, Margin
from unnoise_purify.attacks.base import Trace
from unnoise_purify.defended import logits_of, votes_of
from unnoise_purify.draws import numbered
from unnoise_purify.report import Report, Row

VANISHING: Final = 1e-6
"""Norm of a gradient with respect to pictures in [0, 1], below which it is called so."""
EXPLODING: Final = 1e4
_RISING: Final = 0.05
"""Share of its whole rise that a loss may still gain in the last tenth of an attack's steps."""


@final
@dataclass(frozen=True)
class Finding:
    """`kind` in a word, and why."""

    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


def check_defense(
    defence: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    report: Report | None = None,
    *,
    seed: int = 0,
) -> list[Finding]:
    """What is suspicious of a defence, and of a report about it.

    A few pictures do: two answers and two gradients of each are taken. `report` is that of
    `evaluate_robustness`.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise InputError("there is a label for each picture", value=(len(images), len(labels)))
    numbers = range(len(images))

    def ask(x: Tensor, query: int) -> Tensor:
        return logits_of(defence, x, numbered(seed, numbers, query, votes_of(defence)))

    with torch.no_grad():
        first, second = ask(images, 0), ask(images, 1)
    found = [*_random(first, second), *_probabilities(first)]
    losses: list[Loss] = [CrossEntropy(), Margin()]
    for loss in losses:
        x = images.detach().clone().requires_grad_()
        logits = ask(x, 0)
        if not logits.requires_grad:
            found.append(Finding("no gradient", "the answers do not depend on the pictures"))
            break
        (grad,) = torch.autograd.grad(loss(logits, labels).sum(), x)
        found += _gradients(grad, loss.name)
    return found if report is None else [*found, *check_report(report)]


def check_report(report: Report) -> list[Finding]:
    """What is suspicious of a report."""
    found = []
    noise = next((row for row in report.attacks if row.name == "random noise"), None)
    white = [row for row in report.attacks if not row.black]
    black = [row for row in report.attacks if row.black and row is not noise]
    best = min(white, key=lambda row: row.once.right, default=None)
    for row in white:
        if noise is not None and row.once.right > noise.once.right:
            why = f"{row.name} leaves {row.once}, random noise of the same size {noise.once}"
            found.append(Finding("weaker than noise", why))
        found += _converged(row)
    for row in black:
        if best is not None and row.once.right < best.once.right:
            why = f"{row.name} leaves {row.once}, {best.name} {best.once}"
            found.append(Finding("black box beats white box", why))
    return found


def _random(first: Tensor, second: Tensor) -> list[Finding]:
    if torch.equal(first, second):
        return []
    changed = float((first.argmax(1) != second.argmax(1)).float().mean())
    why = (
        f"two answers to a picture differ, {100 * changed:.0f} % of them in the class; attack it"
        " with expectation over transformation, and read repeated scoring beside its control"
    )
    return [Finding("stochastic", why)]


def _probabilities(found: Tensor) -> list[Finding]:
    sums = found.sum(1)
    if float(found.min()) < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return []
    why = "the answers are probabilities: hand over logits, else a second softmax hides gradients"
    return [Finding("softmax outputs", why)]


def _gradients(grad: Tensor, loss: str) -> list[Finding]:
    rows = grad.flatten(1)
    if not bool(torch.isfinite(rows).all()):
        return [Finding("broken gradients", f"NaN or infinity, of the loss {loss}")]
    sizes = rows.norm(dim=1)
    found = []
    if share := float((sizes < VANISHING).float().mean()):
        why = f"{100 * share:.0f} % of the pictures, below {VANISHING:g}, of the loss {loss}"
        found.append(Finding("vanishing gradients", why))
    if share := float((sizes > EXPLODING).float().mean()):
        why = f"{100 * share:.0f} % of the pictures, above {EXPLODING:g}, of the loss {loss}"
        found.append(Finding("exploding gradients", why))
    return found


def _converged(row: Row) -> list[Finding]:
    trace: Trace = row.trace
    if len(trace.loss) < 10:
        return [] if not trace.loss else [Finding("few steps", f"{row.name}: {len(trace.loss)}")]
    tenth = max(1, len(trace.loss) // 10)
    last = sum(trace.loss[-tenth:]) / tenth
    before = sum(trace.loss[-2 * tenth : -tenth]) / tenth
    rise = last - trace.loss[0]
    if rise <= 0:
        return [Finding("attack did not start", f"{row.name}: the loss did not rise")]
    if (last - before) / rise > _RISING:
        why = f"{row.name}: {100 * (last - before) / rise:.0f} % of the rise in the last tenth"
        return [Finding("attack not converged", why)]
    return []
