"""CSDI's network (Tashiro 2021): what noise is in the hidden cells, given the observed ones.

Residual layers of a transformer over time, then one over features. The side information (place in
the window, feature, what is given) enters every layer through a projection of its own. These
projections depend on neither noise nor values: they are the encoding that all samples of a window
share, over all steps (`CSDI.side`). Everything after the first layer's input mixes with the noisy
state, and can not be shared in this architecture.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.denoise import Condition
from unnoise.errors import InputError
from unnoise.spaces import Layout


def sinusoids(
    positions: Float[Tensor, " places"], width: int, longest: float = 10_000.0
) -> Float[Tensor, "places width"]:
    """sin and cos of positions at `width` / 2 geometric frequencies."""
    exponents = torch.arange(width // 2, device=positions.device) / (width // 2)
    angles = positions[:, None].float() * longest**-exponents
    return torch.cat([angles.sin(), angles.cos()], -1)


@final
class Transformer(nn.Module):
    """One encoder layer over the second axis of (batch, places, channels), normalised after each
    half."""

    def __init__(self, channels: int, heads: int, dropout: float, inner: int = 64) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(channels, 3 * channels)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.join = nn.Linear(channels, channels)
        self.inner, self.outer = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.first, self.second = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "batch n c"]) -> Float[Tensor, "batch n c"]:
        batch, n, channels = x.shape
        rate = self.dropout if self.training else 0.0
        q, k, v = self.project(x).view(batch, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        mixed = self.join(mixed.transpose(1, 2).reshape(batch, n, channels))
        x = self.first(x + F.dropout(mixed, rate))
        hidden = F.dropout(F.gelu(self.inner(x)), rate)
        return self.second(x + F.dropout(self.outer(hidden), rate))


@final
class Layer(nn.Module):
    """A gated residual layer."""

    def __init__(self, channels: int, heads: int, step: int, dropout: float) -> None:
        super().__init__()
        self.step = nn.Linear(step, channels)
        self.over_time = Transformer(channels, heads, dropout)
        self.over_features = Transformer(channels, heads, dropout)
        self.middle = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, 2 * channels)

    @property
    def pointwise(self) -> tuple[nn.Linear, nn.Linear]:
        return self.middle, self.out

    def forward(
        self, x: Tensor, step: Float[Tensor, "batch s"], side: Float[Tensor, "batch l k c2"]
    ) -> tuple[Tensor, Tensor]:
        batch, rows, columns, channels = x.shape
        y = x + self.step(step)[:, None, None]
        y = y.transpose(1, 2).reshape(batch * columns, rows, channels)
        y = self.over_time(y).view(batch, columns, rows, channels).transpose(1, 2)
        if columns > 1:  # over one feature there is nothing to mix
            y = self.over_features(y.reshape(batch * rows, columns, channels))
            y = y.view(batch, rows, columns, channels)
        gate, value = (self.middle(y) + side).chunk(2, -1)
        rest, skip = self.out(gate.sigmoid() * value.tanh()).chunk(2, -1)
        return (x + rest) / math.sqrt(2), skip


@final
class CSDI(nn.Module):
    """eps(x_t, t | observed).

    Parameters
    ----------
    columns : number of variables.
    channels, layers, heads : 64, 4, 8 in the paper.
    time, feature, step : widths of the embeddings of place in the window, variable, and t.
    chain : T, so that t is embedded as a step number.
    dropout : in the transformers; 0.1 in the reference implementation.
    bridged : whether guess and spread of each hidden cell come with the condition.
    calendar : numbers of a row's place in its cycles.
    """

    places: Tensor

    def __init__(
        self,
        columns: int,
        channels: int = 64,
        layers: int = 4,
        heads: int = 8,
        time: int = 128,
        feature: int = 16,
        step: int = 128,
        chain: int = 50,
        dropout: float = 0.0,
        bridged: bool = False,
        calendar: int = 0,
    ) -> None:
        super().__init__()
        self.time, self.step_width, self.chain, self.bridged = time, step, chain, bridged
        self.calendar = calendar
        self.input = nn.Linear(4 if bridged else 2, channels)
        self.feature = nn.Embedding(columns, feature)
        self.step = nn.Sequential(
            nn.Linear(step, step), nn.SiLU(), nn.Linear(step, step), nn.SiLU()
        )
        self.sides = nn.Linear(time + feature + 1 + calendar, layers * 2 * channels)
        self.layers = nn.ModuleList(Layer(channels, heads, step, dropout) for _ in range(layers))
        self.mix = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, 1)
        parts: list[Layer] = list(self.layers)  # type: ignore[arg-type]
        for module in (self.input, self.sides, self.mix, *(m for p in parts for m in p.pointwise)):
            nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.output.weight)  # fresh, its answer is 0: what the prior says
        nn.init.zeros_(self.output.bias)

    def side(
        self,
        given: Bool[Tensor, "batch l k"],
        calendar: Float[Tensor, "batch l c"] | None = None,
    ) -> Float[Tensor, "batch l k all"]:
        """The side information of every layer: a function of mask and calendar alone."""
        batch, rows, columns = given.shape
        places = torch.arange(rows, device=given.device)
        time = sinusoids(places.float(), self.time)[None, :, None].expand(batch, -1, columns, -1)
        feature = self.feature.weight[None, None].expand(batch, rows, -1, -1)
        known = [time, feature, given[..., None].float()]
        if self.calendar:
            if calendar is None:
                raise InputError("the network is told the place in its cycles: pass calendar")
            known.append(calendar[:, :, None].expand(batch, -1, columns, -1))
        return self.sides(torch.cat(known, -1))

    def forward(
        self, x: Tensor, t: Float[Tensor, " batch"], layout: Layout, condition: Condition = None
    ) -> Float[Tensor, "batch l k"]:
        """The noise in the targets (the layout's real entries), 0 elsewhere.

        `condition` has "observed" (B, L, K), zero where not given, and "given" (B, L, K) bool; or
        "side", `side(given, calendar)`, in place of the latter. With a calendar also "calendar"
        (B, L, C). A bridged network also reads "guess" and "spread".
        """
        if condition is None:
            raise InputError("CSDI needs to know what is observed: pass observed and given")
        side = (
            condition["side"]
            if "side" in condition
            else self.side(condition["given"], condition.get("calendar"))
        )
        inputs = [condition["observed"], layout.zero_padding(x)]
        if self.bridged:
            spread = condition["spread"]
            hidden = spread > 0
            inputs += [condition["guess"], torch.where(hidden, spread, 1.0).log() / 2]
        y = F.relu(self.input(torch.stack(inputs, -1)))
        step = self.step(sinusoids(t * self.chain, self.step_width))
        total = torch.zeros_like(y)
        for layer, own in zip(self.layers, side.chunk(len(self.layers), -1), strict=True):
            y, skip = layer(y, step, own)
            total = total + skip
        y = F.relu(self.mix(total / math.sqrt(len(self.layers))))
        return layout.zero_padding(self.output(y)[..., 0])
