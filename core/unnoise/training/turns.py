"""The turns of a run: what each moves, and its optimiser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.fields import configured
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Elapsed, Networks, Turn
from unnoise.training.optimizers import optimizer_of
from unnoise.training.options import TrainingConfiguration

OWN = ("optimizer", "betas", "weight_decay", "clip_norm")
"""Options that a turn may have otherwise than the run."""


class Loss(nn.Module):
    """Networks and turns as one module, which is what data parallelism wraps."""

    def __init__(self, networks: Networks, turns: Sequence[Turn]) -> None:
        super().__init__()
        self.networks, self.turns = networks, tuple(turns)

    def forward(
        self, number: int, batch: Batch, noise: NoiseSource, progress: Elapsed, scale: float
    ) -> Tensor:
        losses = losses_of(self.turns[number], self.networks, batch, noise, progress)
        if batch.weight is not None:
            losses = losses * batch.weight.to(losses)
        return losses.sum() * scale


def losses_of(
    turn: Turn, networks: Networks, batch: Batch, noise: NoiseSource, progress: Elapsed
) -> Tensor:
    """(B,) the losses of a turn; ConfigError where they have another shape."""
    losses = turn.loss(networks, batch, noise, progress)
    if losses.shape != (len(noise.ids),):
        raise ConfigError(
            "the objective must return one loss per sample",
            value=tuple(losses.shape),
            limit=(len(noise.ids),),
        )
    return losses


@dataclass(frozen=True)
class Optimised:
    """A turn of a run with what it moves. `optimizer` is accelerate's; `others` are the parameters
    that only other turns move."""

    turn: Turn
    label: str
    options: TrainingConfiguration
    parameters: Mapping[str, nn.Parameter]
    optimizer: Any
    others: Sequence[nn.Parameter] = ()

    def about(self, what: str) -> str:
        """What a row of the log calls a number of this turn: the first one's has no label."""
        return f"{what}/{self.label}" if self.label else what


def optimised(
    networks: Networks, turns: Sequence[Turn], options: TrainingConfiguration
) -> list[Optimised]:
    """The turns with an optimiser each. What none of them moves is frozen, and set to evaluate.

    Raises
    ------
    ConfigError : no turns, two of one name, an option or a part that does not exist.
    """
    if not turns:
        raise ConfigError("an objective has at least one turn", value=0)
    labels = ["", *(turn.name or str(number) for number, turn in enumerate(turns) if number)]
    if len(set(labels)) < len(labels):
        raise ConfigError("two turns of an objective have one name", value=labels)
    own = [turn.parameters(networks) for turn in turns]
    moved = {id(p): p for parameters in own for p in parameters.values()}
    for parameter in networks.parameters():
        parameter.requires_grad_(id(parameter) in moved)
    for part in networks.children():
        still = [id(p) not in moved for p in part.parameters()]
        part.train(not still or not all(still))
    found = []
    for turn, label, parameters in zip(turns, labels, own, strict=True):
        chosen = _options(turn, options)
        mine = {id(p) for p in parameters.values()}
        found.append(
            Optimised(
                turn,
                label,
                chosen,
                parameters,
                optimizer_of(networks, parameters, chosen, turn.rate),
                [p for key, p in moved.items() if key not in mine],
            )
        )
    return found


def described(turn: Turn) -> dict[str, Any]:
    """What a checkpoint says of a turn, so that only the same is continued."""
    return {
        "name": turn.name,
        "parts": list(turn.parts),
        "rates": dict(turn.rates),
        "every": turn.every,
        "options": json.loads(json.dumps(dict(turn.options))),  # as it comes back from a file
    }


def _options(turn: Turn, options: TrainingConfiguration) -> TrainingConfiguration:
    for name in turn.options:
        if name not in OWN:
            raise ConfigError(
                "a turn cannot have an option of its own called so", value=name, limit=OWN
            )
    return configured(TrainingConfiguration, {**options.model_dump(), **turn.options})
