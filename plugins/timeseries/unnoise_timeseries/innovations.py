"""The codec of the classical law: what each hidden cell has new, u = F (z - m).

    z   = (x - mean) / scale                                  of each column, float64 to float32,
    u_t = F_t0 d_t + F_t1 d_(t-1) + .. + F_tp d_(t-p),        d = z - m, 0 of given cells,

F_t0 lower triangular, so that u is N(0, I) where the law is right, log |det du / dz| is the sum of
log diag F_t0 over the hidden cells, and z follows from u row by row. See `law` for F and m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unnoise.codecs import Affine, Codec, Encoded
from unnoise.denoise import Condition
from unnoise.distributions import Dirac, Distribution
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, tensor


@final
class Innovations(Codec):
    """Reads "guess" (B, L, K), m, and "bands" (B, L, p + 1, K, K), F, from the condition; bands
    that are one for all samples, expanded, are solved once.

    Parameters
    ----------
    standard : the columns' mean and scale.
    """

    def __init__(self, standard: Affine) -> None:
        super().__init__()
        self.standard = standard

    @property
    def invertible(self) -> bool:
        return True

    def encode(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> Encoded:
        _, bands = _told(condition)
        found = self.standard.encode(x, layout)
        size = bands[:, :, 0].diagonal(dim1=-2, dim2=-1).double().log().expand(layout.shape)
        u = self._new(tensor(found.state), found.layout, condition)
        return Encoded(u, found.layout, found.log_density + layout.sum(size))

    def embed(
        self,
        x: State,
        layout: Layout,
        condition: Condition = None,
        noise: NoiseSource | None = None,
    ) -> tuple[State, Layout]:
        z, found = self.standard.embed(x, layout)
        return self._new(tensor(z), found, condition), found

    def decode(self, z: State, layout: Layout, condition: Condition = None) -> Distribution:
        guess, bands = _told(condition)
        u = layout.zero_padding(tensor(z)).double()
        if bands.stride(0) == 0:
            bands = bands[:1]
        bands = bands.to(u)
        eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
        inverse = torch.linalg.solve_triangular(bands[:, :, 0], eye, upper=False)
        own = (inverse @ u[..., None])[..., 0]
        back = (inverse[:, :, None] @ bands[:, :, 1:]).transpose(2, 3).flatten(3)
        found = layout.zero_padding(_followed(own, back) + guess.to(u))
        return self.standard.decode(found.to(layout.dtype), layout)

    def push(self, law: Distribution, layout: Layout, condition: Condition = None) -> Distribution:
        if isinstance(law, Dirac):
            return self.decode(law.value, layout, condition)
        return Carried(law, self, self.data_layout(layout), layout, condition)

    def state_layout(self, layout: Layout) -> Layout:
        return self.standard.state_layout(layout)

    def data_layout(self, layout: Layout) -> Layout:
        return self.standard.data_layout(layout)

    def _new(self, z: Tensor, layout: Layout, condition: Condition) -> Tensor:
        guess, bands = _told(condition)
        d, rows = layout.zero_padding(z.double() - guess), z.shape[1]
        u = torch.zeros_like(d)
        for lag in range(bands.shape[2]):
            before = F.pad(d, (0, 0, lag, 0))[:, :rows]
            u = u + (bands[:, :, lag].to(d) @ before[..., None])[..., 0]
        return layout.zero_padding(u.to(layout.dtype))


@final
@dataclass(frozen=True, eq=False)
class Carried(Distribution):
    """The law of data whose state follows `law`."""

    law: Distribution
    codec: Innovations
    data: Layout
    layout: Layout
    condition: Condition

    @property
    def mode(self) -> State:
        return self.codec.decode(self.law.mode, self.layout, self.condition).mode

    def sample(self, noise: NoiseSource) -> State:
        return self.codec.decode(self.law.sample(noise), self.layout, self.condition).mode

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        found = self.codec.encode(x, self.data, self.condition)
        return self.law.log_prob(found.state) + found.log_density

    def kl(self, other: Distribution) -> Float[Tensor, " batch"]:
        raise ConfigError("this law has no divergence in closed form", value=type(other).__name__)


def _followed(
    own: Float[Tensor, "b l k"], back: Float[Tensor, "b l k pk"]
) -> Float[Tensor, "b l k"]:
    """d_t = own_t - back_t (d_(t-1), .., d_(t-p))."""
    batch, rows, _ = own.shape
    history = own.new_zeros(batch, back.shape[-1])
    one, found = len(back) == 1, []
    for t in range(rows):
        gain = back[:, t].mT
        told = history @ gain[0] if one else (history[:, None] @ gain)[:, 0]
        found.append(own[:, t] - told)
        history = torch.cat([found[-1], history], -1)[:, : history.shape[-1]]
    return torch.stack(found, 1)


def _told(condition: Condition) -> tuple[Tensor, Tensor]:
    for name in ("guess", "bands"):
        if condition is None or name not in condition:
            raise InputError(
                f"the codec reads {name!r} from the condition, which is not there",
                limit=", ".join(sorted(condition or ())) or "no condition",
            )
    assert condition is not None
    return condition["guess"], condition["bands"]
