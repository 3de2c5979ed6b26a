"""Robust accuracy, measured so that it can be believed.

Each picture is attacked by every attack, and then asked about under noise that no attack has seen:

    one-shot    is the first answer right?
    repeated    are all of q answers right? An adversary may ask again, and so may everybody.

The second must be read beside its control, the unperturbed picture asked as often: a random defence
that is right 98 times of 100 is right 10 times in a row in 82 of 100 cases, with no attack at all.
(Testing while an attack optimises is repeated scoring in disguise, without the control.)

What is reported as robust accuracy is the least over the attacks. It is an upper bound of what a
stronger attack would leave: nothing here certifies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unnoise.errors import InputError
from unnoise.storage.kept import Kept, keeping
from unnoise.storage.tensors import digest
from unnoise_purify.attacks import PGD, Attack, Norm, RandomNoise, Trace, Transfer, norm_named
from unnoise_purify.defended import PurifiedClassifier, logits_of, votes_of
from unnoise_purify.draws import numbered, parts
from unnoise_purify.gradients import GRADIENTS, Full, Gradient
from unnoise_purify.pixels import check_unit
from unnoise_purify.report import Report, Row
from unnoise_purify.scoring import Scoring, scoring_named

_SCORING: Final = 1 << 40  # the noise of answers is another seed's than that of attacks
Progress = Callable[[str, float], None]


def evaluate_robustness(
    defence: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    *,
    norm: str | Norm | None = None,
    eps: float | None = None,
    gradients: Sequence[str | Gradient] | None = None,
    steps: int | None = None,
    eot: int | None = None,
    scoring: str | Scoring | None = None,
    extra: Sequence[Attack] = (),
    batch_size: int = 16,
    at_once: int = 1,
    seed: int = 0,
    record: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Clean and robust accuracy of a defence, or of a classifier without one.

    Parameters
    ----------
    images, labels : in [0, 1], and what they show.
    norm, eps : "l_inf" or "l_2", and the radius of the ball in units of [0, 1].
    gradients : through the purifier, of full, checkpointed, unclamped, adjoint, surrogate, bpda, or
        `unnoise_purify.gradients`: one PGD with expectation over transformation for each.
    steps, eot : of these, and draws of the noise at each step.
    scoring : "one-shot", "repeated" (10 answers) or `unnoise_purify.scoring`.
    extra : attacks of the same norm and eps besides these, random noise and the transfer from the
        undefended classifier.
    batch_size, at_once : pictures, and draws of the noise of each, that are computed at once.
    record : a file to which every finished batch is written, and from which a run that was stopped
        goes on.

    Raises
    ------
    InputError : robust accuracy without its norm, eps, gradients, steps, eot or scoring; labels of
        another length; pictures outside of [0, 1]. ConfigError : a record of another measurement.
    """
    ball, size, modes, count, draws, how = _complete(norm, eps, gradients, steps, eot, scoring)
    _check_data(images, labels)
    bare = not isinstance(defence, PurifiedClassifier)
    attacks: list[Attack] = [RandomNoise(ball, size)]
    if bare:  # it has one gradient and no noise
        attacks.append(PGD(ball, size, Full(), count, 1))
    else:
        attacks.append(Transfer(ball, size, count))
        attacks += [PGD(ball, size, mode, count, draws, at_once=at_once) for mode in modes]
    attacks += list(extra)
    _check_attacks(attacks, ball, size)
    about = {
        "images": digest(images, labels),
        "defence": described(defence),
        "weights": digest(defence.state_dict()),
        "norm": ball.name,
        "eps": size,
        "scoring": repr(how),
        "batch_size": batch_size,
        "seed": seed,
    }
    with keeping(None if record is None else Path(record), about) as kept:
        every = len(attacks) + 1

        def told(done: int) -> Progress | None:
            return progress and (lambda what, share: progress(what, (done + share) / every))

        clean, *rows = (
            measured(
                defence,
                images,
                labels,
                attack,
                scoring=how,
                batch_size=batch_size,
                at_once=at_once,
                seed=seed,
                kept=kept,
                progress=told(done),
            )
            for done, attack in enumerate([None, *attacks])
        )
    return Report(ball.name, size, how, described(defence), clean, rows)


def described(defence: nn.Module) -> str:
    """What a defence is, in a line."""
    if not isinstance(defence, PurifiedClassifier):
        return f"{type(defence).__name__}, undefended"
    own = defence.purifier
    return (
        f"{type(defence.classifier).__name__} behind {own.sampler!r}, {len(own.times) - 1} steps"
        f" from strength {own.reached:.4g}, {defence.votes} vote{'s' * (defence.votes > 1)}"
    )


def measured(
    defence: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    attack: Attack | None,
    *,
    scoring: Scoring,
    batch_size: int = 16,
    at_once: int = 1,
    seed: int = 0,
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> Row:
    """What a defence answers to pictures after one attack, or as they are: a row of
    `evaluate_robustness`, with which it shares the parameters. `kept` are the batches there are.
    """
    if batch_size < 1 or at_once < 1:
        raise InputError(
            "a batch has a picture, and a draw of it", value=(batch_size, at_once), limit=">= 1"
        )
    job = _Job(defence, scoring, at_once, seed)
    name = "clean" if attack is None else attack.name
    lines = []
    for begin in range(0, len(images), batch_size):
        if progress is not None:
            progress(f"{name}: picture {begin + 1}", begin / len(images))
        key, some = f"{name} @ {begin}", slice(begin, begin + batch_size)
        line = None if kept is None else kept.get(key)
        if line is None:
            line = job.line(attack, images[some], labels[some], begin)
            line = line if kept is None else kept.add(key, line)
        lines.append(line)
    return Row.of(name, attack is not None and attack.black, lines)


@final
@dataclass(frozen=True, eq=False)
class _Job:
    """One measurement."""

    defence: nn.Module
    scoring: Scoring
    at_once: int
    seed: int

    def line(self, attack: Attack | None, x: Tensor, y: Tensor, begin: int) -> dict[str, Any]:
        """One batch of it, whose first picture has the number `begin`."""
        numbers = range(begin, begin + len(x))
        started, trace = time.process_time(), Trace()
        shown = x
        if attack is not None:
            found = attack.run(self.defence, x, y, numbers, self.seed)
            _check_inside(attack, x, found.pictures)
            shown, trace = found.pictures, found.trace
        seconds = time.process_time() - started
        return {
            "seed": self.seed,
            "right": self._answers(shown, y, numbers).tolist(),
            "loss": list(trace.loss),
            "gradient": list(trace.gradient),
            "zero": trace.zero,
            "broken": trace.broken,
            "seconds": seconds,
        }

    @torch.no_grad()
    def _answers(self, x: Tensor, y: Tensor, numbers: range) -> Bool[Tensor, "batch queries"]:
        """For each picture, whether each answer is right."""
        votes, found = votes_of(self.defence), []
        for begin, count in parts(self.scoring.queries, self.at_once):
            noise = numbered(self.seed + _SCORING, numbers, begin, votes, count)
            logits = logits_of(self.defence, x.repeat_interleave(count, 0), noise)
            found.append(logits.argmax(1).view(len(x), count) == y[:, None])
        return torch.cat(found, 1)


def _complete(
    norm: str | Norm | None,
    eps: float | None,
    gradients: Sequence[str | Gradient] | None,
    steps: int | None,
    eot: int | None,
    scoring: str | Scoring | None,
) -> tuple[Norm, float, list[Gradient], int, int, Scoring]:
    """What robust accuracy means here; InputError naming everything that was not said."""
    told: Mapping[str, Any] = {
        "norm": norm,
        "eps": eps,
        "gradients": gradients or None,
        "steps": steps,
        "eot": eot,
        "scoring": scoring,
    }
    if missing := [name for name, value in told.items() if value is None]:
        raise InputError(
            "robust accuracy means nothing without what it was measured against",
            value=f"no {', '.join(missing)}",
            fix="say norm, eps, gradients, steps, eot and scoring",
        )
    assert norm is not None
    assert eps is not None
    assert gradients
    assert steps is not None
    assert eot is not None
    assert scoring is not None
    modes = [gradient_named(one) for one in gradients]
    return norm_named(norm), float(eps), modes, steps, eot, scoring_named(scoring)


def gradient_named(name: str | Gradient) -> Gradient:
    """A gradient by its name; InputError says which there are."""
    if isinstance(name, Gradient):
        return name
    if name not in GRADIENTS:
        raise InputError("there is no such gradient", value=name, limit=", ".join(GRADIENTS))
    return GRADIENTS[name]


def _check_data(images: Tensor, labels: Tensor) -> None:
    check_unit(images)
    if len(images) == 0 or tuple(labels.shape) != (len(images),) or labels.is_floating_point():
        raise InputError(
            "there is one label, a whole number, for each of at least one picture",
            value=(len(images), tuple(labels.shape)),
        )


def _check_attacks(attacks: Sequence[Attack], norm: Norm, eps: float) -> None:
    names = [attack.name for attack in attacks]
    if len(set(names)) != len(names):
        raise InputError("two attacks are the same", value=names)
    for attack in attacks:
        if attack.norm != norm or attack.eps != eps:
            raise InputError(
                "an attack has another ball than the report",
                value=(attack.norm.name, attack.eps),
                limit=(norm.name, eps),
            )


def _check_inside(attack: Attack, x: Tensor, attacked: Tensor) -> None:
    """An attack that leaves its ball proves nothing."""
    check_unit(attacked)
    most = float(attack.norm.size(attacked - x).max())
    if most > attack.eps * (1 + 1e-4):
        raise InputError(f"the attack {attack.name!r} left its ball", value=most, limit=attack.eps)
