"""The optimisers that a run can choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.training.options import TrainingConfiguration

Groups = list[dict[str, Any]]


def optimizer_of(
    module: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    options: TrainingConfiguration,
    rate: Callable[[str], float] = lambda name: 1.0,
) -> torch.optim.Optimizer:
    """The optimiser of `options` over `parameters` of `module`; weight decay is on tensors of two
    or more dimensions. Its groups have a "rate", what the learning rate of theirs is multiplied by.

    Raises ConfigError: nothing to train, or an optimiser that this torch does not have.
    """
    if not parameters:
        raise ConfigError("the network has no trainable parameter")
    if options.optimizer == "adamw":
        return _adamw(_groups(parameters, options, rate), options)
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            "this version of torch has no Muon", value=torch.__version__, limit="torch >= 2.9"
        )
    hidden = _hidden(module)
    matrices = {name: p for name, p in parameters.items() if id(p) in hidden}
    rest = {name: p for name, p in parameters.items() if id(p) not in hidden}
    if not matrices:
        raise ConfigError("Muon finds no matrix of a linear layer", fix="pass optimizer='adamw'")
    return MuonAdamW(_groups(matrices, options, rate), _groups(rest, options, rate), options)


@final
class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan 2024) for `matrices`, AdamW for `rest`, as one optimiser.

    The momentum of a matrix is made orthogonal by five steps of Newton and Schulz, and its step
    scaled to the root mean square of one of AdamW (Liu 2025), so that both share a learning rate.
    """

    def __init__(self, matrices: Groups, rest: Groups, options: TrainingConfiguration) -> None:
        muon = torch.optim.Muon(matrices, lr=options.learning_rate, adjust_lr_fn="match_rms_adamw")
        # AdamW comes first: a checkpoint looks there for whether it is fused
        self._parts = ([_adamw(rest, options)] if rest else []) + [muon]
        super().__init__([g for part in self._parts for g in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self._parts:
            number = len(part.param_groups)
            part.param_groups = self.param_groups[start : start + number]
            part.state = self.state
            start += number

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        if closure is not None:
            raise ConfigError("a step of this optimiser takes no closure")
        for part in self._parts:
            part.step()  # type: ignore[no-untyped-call,unused-ignore]


def _hidden(module: nn.Module) -> set[int]:
    """Identities of the weights of linear layers; without those that an embedding shares, which
    stand for categories."""
    embedded = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    return {id(m.weight) for m in module.modules() if isinstance(m, nn.Linear)} - embedded


def _groups(
    parameters: Mapping[str, nn.Parameter],
    options: TrainingConfiguration,
    rate: Callable[[str], float],
) -> Groups:
    found: dict[tuple[float, bool], list[Tensor]] = {}
    for decays in (True, False):
        for name, parameter in parameters.items():
            if (parameter.ndim >= 2) == decays:
                found.setdefault((rate(name), decays), []).append(parameter)
    return [
        {
            "params": members,
            "weight_decay": options.weight_decay if decays else 0.0,
            "rate": factor,
        }
        for (factor, decays), members in found.items()
    ]


def _adamw(groups: Sequence[Any], options: TrainingConfiguration) -> torch.optim.AdamW:
    """AdamW, fused where that exists."""
    arguments: dict[str, Any] = {"lr": options.learning_rate, "betas": options.betas}
    try:
        return torch.optim.AdamW([dict(group) for group in groups], fused=True, **arguments)
    except RuntimeError:  # a device or type without a fused kernel
        return torch.optim.AdamW([dict(group) for group in groups], foreach=True, **arguments)
