"""The optimisers that a run can choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from unnoise.errors import ConfigError
from unnoise.training.options import TrainingConfiguration


def optimizer_of(module: nn.Module, options: TrainingConfiguration) -> torch.optim.Optimizer:
    """The optimiser of `options` over the trainable parameters of `module`; weight decay is on
    tensors of two or more dimensions.

    Raises ConfigError: nothing to train, or an optimiser that this torch does not have.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise ConfigError("the network has no trainable parameter")
    if options.optimizer == "adamw":
        return _adamw(trainable, options)
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            "this version of torch has no Muon", value=torch.__version__, limit="torch >= 2.9"
        )
    matrices = _hidden(module)
    rest = [p for p in trainable if id(p) not in {id(q) for q in matrices}]
    if not matrices:
        raise ConfigError("Muon finds no matrix of a linear layer", fix="pass optimizer='adamw'")
    return MuonAdamW(matrices, rest, options)


@final
class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan 2024) for `matrices`, AdamW for `rest`, as one optimiser.

    The momentum of a matrix is made orthogonal by five steps of Newton and Schulz, and its step
    scaled to the root mean square of one of AdamW (Liu 2025), so that both share a learning rate.
    """

    def __init__(
        self, matrices: Sequence[Tensor], rest: Sequence[Tensor], options: TrainingConfiguration
    ) -> None:
        muon = torch.optim.Muon(
            list(matrices),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
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


def _hidden(module: nn.Module) -> list[Tensor]:
    """Weights of linear layers; not those that an embedding shares, which stand for categories."""
    embedded = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    found: Mapping[int, Tensor] = {
        id(m.weight): m.weight
        for m in module.modules()
        if isinstance(m, nn.Linear) and m.weight.requires_grad
    }
    return [weight for key, weight in found.items() if key not in embedded]


def _adamw(parameters: Sequence[Tensor], options: TrainingConfiguration) -> torch.optim.AdamW:
    """AdamW, fused where that exists."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    arguments: dict[str, Any] = {"lr": options.learning_rate, "betas": options.betas}
    try:
        return torch.optim.AdamW(groups, fused=True, **arguments)
    except RuntimeError:  # a device or type without a fused kernel
        return torch.optim.AdamW(groups, foreach=True, **arguments)
