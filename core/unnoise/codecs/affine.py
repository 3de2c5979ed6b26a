"""Affine codecs: data moved and scaled, by fixed numbers or by what the condition says.

    z = (x - mean) / scale - shift,        x = mean + scale (z + shift),
    log |det dz / dx| = -sum over the entries of log scale.

Fixed, it brings levels to [-1, 1] or columns to mean 0 and variance 1. With mean and scale from the
condition a diffusion to N(0, I) in z is one to N(mean, scale^2) in x, the data-dependent prior of
PriorGrad (Lee 2022): the codec whitens, and the kernel stays the ordinary one. An error of z is
then one of x in units of scale, the weight S^-1 of that paper's loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, final

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from unnoise.codecs.base import Codec, Encoded
from unnoise.denoise import Condition
from unnoise.distributions import Dirac, Distribution, Gaussian
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import DataSpace, Euclidean, Layout, State, tensor

Number = float | Sequence[float] | Tensor
"""A number, or numbers that broadcast over an event."""


class Moments(NamedTuple):
    """What is subtracted from the data and what they are divided by, before the shift: tensors
    that broadcast over (rows, ...)."""

    mean: Tensor
    scale: Tensor


class LocationScale(Codec, ABC):
    """z = (x - mean) / scale - shift, entry by entry.

    A subclass says where mean and scale come from. Where they depend on the condition they must
    not depend on the data.

    Parameters
    ----------
    shift : in units of the state.
    space : where the data live. In a constrained one there is one scale, and no mean.
    data, state : dtypes of both, where they differ: float64 measurements for a float32 network.
    """

    def __init__(
        self,
        shift: float = 0.0,
        space: DataSpace | None = None,
        data: torch.dtype | None = None,
        state: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.shift, self.space = shift, space or Euclidean()
        self.data, self.state = data, state

    @abstractmethod
    def moments(self, layout: Layout, condition: Condition) -> Moments:
        """Mean and scale for a batch; what they say of padding does not matter.

        Raises InputError for a condition that does not say them.
        """

    @property
    def invertible(self) -> bool:
        return True

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        x = tensor(x)
        if tuple(x.shape) != layout.shape:
            raise InputError("wrong shape of the data", value=tuple(x.shape), limit=layout.shape)
        if not x.dtype.is_floating_point:
            raise InputError("data to scale are floating point", value=x.dtype, fix="use x.float()")
        mean, scale = self._broadcast(layout, condition, x.dtype)
        z = (x - mean) / scale
        z = z - self.shift if self.shift else z
        found = self.state_layout(layout)
        return found.zero_padding(z.to(found.dtype)), found

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        self.space.validate(x, layout)
        mean, scale = self._broadcast(layout, condition, torch.float64)
        for name, value in (("mean", mean), ("scale", scale)):
            bad = int((~torch.isfinite(value)).sum())
            if bad:
                raise NonFiniteError(f"the codec's {name} is not finite", value=bad, limit=0)
        if bool((scale <= 0).any()):
            raise InputError(
                "a codec's scale is positive: with another the data cannot be told from the state",
                value=float(scale.min()),
                limit="> 0",
            )
        z, found = self.embed(x, layout, condition)
        return Encoded(z, found, -self._log_volume(scale, layout))

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        return self.push(Dirac(tensor(z), layout), layout, condition)

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        if not isinstance(law, Dirac | Gaussian):
            return super().push(law, layout, condition)
        found = self.data_layout(layout)
        z = tensor(law.mean)
        if tuple(z.shape) != layout.shape:
            raise InputError("wrong shape of the state", value=tuple(z.shape), limit=layout.shape)
        dtype = torch.promote_types(z.dtype, found.dtype)
        mean, scale = self._broadcast(found, condition, dtype)
        z = z.to(dtype)
        x = found.zero_padding((z + self.shift if self.shift else z) * scale + mean)
        if isinstance(law, Dirac):
            return Dirac(x, found)
        if scale.numel() == 1:
            unit = float(scale)
            return Gaussian(x, law.std * unit, self.space, found)
        std = torch.as_tensor(law.scale, dtype=dtype, device=x.device) * scale
        return Gaussian(x, std.expand(x.shape), self.space, found)

    def state_layout(self, layout: Layout) -> Layout:
        return layout if self.state is None else replace(layout, dtype=self.state)

    def data_layout(self, layout: Layout) -> Layout:
        return layout if self.data is None else replace(layout, dtype=self.data)

    def _broadcast(self, layout: Layout, condition: Condition, dtype: torch.dtype) -> Moments:
        """Mean and scale in `dtype`, 0 and 1 in the padding; InputError for other shapes."""
        found = []
        for name, value in zip(Moments._fields, self.moments(layout, condition), strict=True):
            own = value.to(device=layout.device, dtype=dtype)
            last = layout.shape[len(layout.shape) - own.ndim :] if own.ndim else ()
            if len(last) != own.ndim or any(
                n not in (1, m) for n, m in zip(own.shape, last, strict=True)
            ):
                raise InputError(
                    f"the codec's {name} does not broadcast over the data",
                    value=tuple(own.shape),
                    limit=layout.shape,
                )
            found.append(own)
        mean, scale = found
        if layout.mask is None or not (mean.ndim or scale.ndim):
            return Moments(mean, scale)
        real = layout.mask.view(*layout.mask.shape, *(1,) * (len(layout.shape) - layout.mask.ndim))
        real = real.expand(layout.shape)
        return Moments(mean.where(real, 0.0), scale.where(real, 1.0))

    def _log_volume(self, scale: Tensor, layout: Layout) -> Float64[Tensor, " batch"]:
        """(B,) log |det dx / dz|."""
        dim = self.space.dim(layout)
        if scale.numel() == 1:
            return scale.log().reshape(()) * dim.double()
        if bool((dim != layout.sizes).any()):
            raise ConfigError(
                "a constrained space has one scale for all entries",
                value=type(self.space).__name__,
            )
        return layout.sum(scale.log().expand(layout.shape))


@final
class Affine(LocationScale):
    """Mean and scale are fixed: numbers, or tensors that broadcast over an event.

    They are no weights: like a kernel, the codec is rebuilt from a model's configuration.

    Affine(mean, scale) is (x - mean) / scale; `Affine.onto` brings a range to [-1, 1].
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        mean: Number = 0.0,
        scale: Number = 1.0,
        *,
        shift: float = 0.0,
        space: DataSpace | None = None,
        data: torch.dtype | None = None,
        state: torch.dtype | None = None,
    ) -> None:
        super().__init__(shift, space, data, state)
        found = {}
        for name, value in (("mean", mean), ("scale", scale)):
            found[name] = torch.as_tensor(value, dtype=torch.float64).clone()
            if not bool(torch.isfinite(found[name]).all()):
                raise ConfigError(f"a codec's {name} is finite", value=value)
            self.register_buffer(name, found[name], persistent=False)
        if not bool((found["scale"] > 0).all()):
            raise ConfigError(
                "a codec's scale is positive", value=float(found["scale"].min()), limit="> 0"
            )

    @staticmethod
    def onto(low: float, high: float) -> Affine:
        """x / half - centre / half: numbers from `low` to `high` as -1 to 1."""
        if not low < high:
            raise ConfigError("a range ends above its begin", value=(low, high))
        half = (high - low) / 2
        return Affine(scale=half, shift=(low + half) / half)

    @staticmethod
    def of(
        x: Shaped[Tensor, "rows ..."], layout: Layout | None = None, *, per_entry: bool = False
    ) -> Affine:
        """Mean 0 and variance 1 for data like `x`, padding left out: each entry of the last axis,
        or (`per_entry` False) all together.

        Raises
        ------
        InputError : an entry has no spread.
        """
        layout = layout or Euclidean().layout(x)
        Euclidean().validate(x, layout)
        real = layout.zero_padding(torch.ones_like(x, dtype=torch.float64)) > 0
        axes = tuple(range(x.ndim - 1 if per_entry else x.ndim))
        count = real.sum(axes).clamp(min=1)
        mean = layout.zero_padding(x.double()).sum(axes) / count
        scale = (layout.zero_padding((x.double() - mean) ** 2).sum(axes) / count).sqrt()
        # of equal numbers rounding leaves a spread of a few last bits
        flat = scale <= 1e-12 * mean.abs()
        if bool(flat.any()):
            raise InputError(
                "data without spread have no scale",
                value=f"{int(flat.sum())} of {flat.numel()} entries",
                fix="leave them out",
            )
        return Affine(mean, scale)

    def moments(self, layout: Layout, condition: Condition) -> Moments:
        return Moments(self.mean, self.scale)

    def extra_repr(self) -> str:
        said = [
            f"{name}={float(value):g}" if value.numel() == 1 else f"{name}={tuple(value.shape)}"
            for name, value in (("mean", self.mean), ("scale", self.scale))
        ]
        return ", ".join([*said, f"shift={self.shift:g}"])


@final
class Whitening(LocationScale):
    """Mean and scale are entries of the condition: one row per sample (of a ragged batch, or per
    row of it), and what follows broadcasts over an event.

    Parameters
    ----------
    mean, scale : names of the entries; None for a mean of 0, or a scale of 1.
    """

    def __init__(
        self, mean: str | None = None, scale: str | None = None, *, shift: float = 0.0
    ) -> None:
        super().__init__(shift)
        self.mean, self.scale = mean, scale

    def moments(self, layout: Layout, condition: Condition) -> Moments:
        return Moments(
            self._entry(self.mean, 0.0, layout, condition),
            self._entry(self.scale, 1.0, layout, condition),
        )

    def _entry(
        self, name: str | None, default: float, layout: Layout, condition: Condition
    ) -> Tensor:
        if name is None:
            return torch.tensor(default, dtype=torch.float64)
        if condition is None or name not in condition:
            raise InputError(
                f"the codec reads {name!r} from the condition, which is not there",
                limit=", ".join(sorted(condition or ())) or "no condition",
            )
        value = condition[name]
        if value.ndim == 0 or value.shape[0] not in (layout.batch, layout.shape[0]):
            raise InputError(
                f"the codec's {name!r} has one row per sample",
                value=tuple(value.shape),
                limit=f"{layout.batch} rows",
            )
        if layout.index is not None and value.shape[0] == layout.batch:
            value = value[layout.index]  # that of the sample, for each of its rows
        missing = max(0, len(layout.shape) - value.ndim)
        return value.reshape(value.shape[0], *(1,) * missing, *value.shape[1:])

    def extra_repr(self) -> str:
        return f"mean={self.mean!r}, scale={self.scale!r}"
