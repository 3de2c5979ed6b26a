"""A network that the caller has built, as it is: nothing of it is changed, its dtype included."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unnoise.denoise import Condition, TokenNetwork
from unnoise.errors import ConfigError
from unnoise.spaces import Layout


@final
class Called(TokenNetwork):
    """Logits of `network(tokens)`, which returns them or an object that has them as `.logits`.

    Texts of one length go through it together, and those of another length by themselves: no
    padding, no mask.

    Parameters
    ----------
    network : (B, L) int64 -> (B, L, K).
    shift : what stands at place i - 1 are the logits of token i, as in a network that was an
        autoregressive one (Dream); the first token has those of its own place.
    """

    def __init__(self, network: nn.Module, shift: bool = False) -> None:
        super().__init__()
        self.network, self.shift = network, shift

    def forward(
        self, x_t: Tensor, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        """x_t (B, L) int64 -> (B, L, K) float32; the label is not used."""
        everywhere = torch.ones_like(x_t, dtype=torch.bool)
        return self.at(x_t, label, layout, everywhere).view(*x_t.shape, -1)

    def at(
        self,
        x_t: Int64[Tensor, "batch length"],
        label: Tensor,
        layout: Layout,
        where: Bool[Tensor, "batch length"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        lengths = layout.points.to(x_t.device)
        sample = where.nonzero()[:, 0]
        found: Tensor | None = None
        for length in lengths.unique().tolist():
            own = lengths == length
            rows = self._logits(x_t[own, :length])
            rows = nn.functional.pad(rows, (0, 0, 0, x_t.shape[1] - length))[where[own]].float()
            if found is None:
                found = rows.new_zeros(len(sample), rows.shape[-1])
            found[own[sample]] = rows
        assert found is not None
        return found

    def _logits(self, tokens: Tensor) -> Tensor:
        answer = self.network(tokens)
        logits = answer if isinstance(answer, Tensor) else getattr(answer, "logits", None)
        if not isinstance(logits, Tensor) or logits.shape[:2] != tokens.shape or logits.ndim != 3:
            raise ConfigError(
                "a network of tokens returns logits, a row over the vocabulary for each",
                value=tuple(logits.shape) if isinstance(logits, Tensor) else type(answer).__name__,
                limit=f"({tokens.shape[0]}, {tokens.shape[1]}, K)",
            )
        if not self.shift:
            return logits
        return torch.cat([logits[:, :1], logits[:, :-1]], 1)
