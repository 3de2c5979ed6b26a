"""An E(3)-equivariant tensor-product network for conformers, with irreps from e3nn.

Every atom holds features that are scalars (0e), pseudoscalars (0o), vectors (1o) and axial vectors
(1e); every pair of atoms holds invariants e_ij. A layer

    e_ij += MLP(e_ij, P h_i * P h_j, (U_i - U_j) . u_ij)
    A_i   = sum_j w(e_ij) Y(u_ij) h_j         h_j all features, Y of degree 0 and 1
    h_i  += Gate(Linear(CG(A_i), TP(h_i, h_i)))

is a tensor-product convolution with spherical harmonics Y. The Clebsch-Gordan product CG is linear,
so it is taken after the sum over neighbours, once per atom instead of once per pair. The weights w
are shared by a head of channels, which makes the sum a product of matrices. Only `padded` knows
that a batch is ragged: molecules of similar size go through it together.

Noise level and true distances are inputs of all layers. The stereo tags enter as the vector
s grad V and the scalar s V at the neighbours of a centre, V the signed volume and s its sign in the
SMILES: both keep their meaning in the mirror, where V and s change sign.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, final

import torch
from e3nn import nn as enn
from e3nn import o3
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unnoise.denoise import Condition
from unnoise.errors import ConfigError, InputError
from unnoise.spaces import Layout
from unnoise_molecules.buckets import Pads, padded, rows_at
from unnoise_molecules.graph import ATOM_SIZES, PAIR_SIZES, signed_volumes

_CROWD = 4.0
"""About the square root of the number of atoms that a sum runs over."""


@final
class E3Network(nn.Module):
    """F(x, label) for the `Preconditioned` parametrization of a zero-centred Gaussian kernel.

    Parameters
    ----------
    scalars, pseudoscalars, vectors, axial : channels of each irrep, multiples of `heads`.
    pair : channels of a pair.
    heads : groups of channels that share their radial weights.
    layers : number of layers.
    sigma_data : of the parametrization: undoes the scale of its inputs, so that distances are
        in angstrom at every noise level.
    radius : pairs farther apart, in angstrom, have no influence.
    bucket : molecules of similar size that are padded to a common one. A whole batch in one bucket
        wastes a little, and is one graph for torch.compile, whatever the batch.
    """

    def __init__(
        self,
        scalars: int = 128,
        pseudoscalars: int = 16,
        vectors: int = 32,
        axial: int = 16,
        pair: int = 64,
        heads: int = 16,
        layers: int = 5,
        sigma_data: float = 1.0,
        radius: float = 10.0,
        bucket: int = 8,
    ) -> None:
        super().__init__()
        channels = (scalars, pseudoscalars, vectors, axial)
        if any(c % heads for c in channels):
            raise ConfigError("channels are multiples of the heads", value=channels, limit=heads)
        self.sigma_data, self.radius, self.bucket = sigma_data, radius, bucket
        irreps = o3.Irreps(list(zip(channels, ("0e", "0o", "1o", "1e"), strict=True)))
        self.odd, self.axial = irreps[1].dim, irreps[3].dim
        self.atoms = nn.ModuleList(nn.Embedding(size, scalars) for size in ATOM_SIZES)
        self.pairs = nn.ModuleList(nn.Embedding(size, pair) for size in PAIR_SIZES)
        self.noise = nn.Sequential(_Levels(32), nn.Linear(32, 64), nn.SiLU())
        self.noise_atom = nn.Linear(64, scalars)
        self.noise_pair = nn.Linear(64, pair)
        self.radial = Radial(32, radius)
        self.distance = nn.Linear(self.radial.size, pair)
        self.centre = nn.Linear(1, scalars, bias=False)
        self.push = nn.Linear(1, vectors, bias=False)
        self.layers = nn.ModuleList(_Layer(channels, pair, heads) for _ in range(layers))
        self.last = o3.Linear(irreps, "1x1o")
        self.pull = nn.Sequential(nn.LayerNorm(pair), nn.Linear(pair, 1))
        self.scale = nn.Parameter(torch.zeros(2))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """torch.compile of the layers, where nearly all the time goes: what is around them depends
        on the data. Each is compiled once without gradients and once with, for all batches."""
        limit = 8 * len(self.layers)  # of one function; e3nn makes every layer a function anew
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, limit)
        self.bucket = sys.maxsize
        for layer in self.layers:
            layer.compile(*args, **kwargs)

    def forward(
        self, inputs: Float[Tensor, "rows 3"], label: Tensor, layout: Layout, condition: Condition
    ) -> Float[Tensor, "rows 3"]:
        if condition is None or layout.index is None:
            raise InputError("a molecule's graph is needed, and a ragged layout")
        if torch.is_autocast_enabled(inputs.device.type):
            raise ConfigError(
                "distances of molecules are computed in float32",
                value=str(torch.get_autocast_dtype(inputs.device.type)).removeprefix("torch."),
                limit="no other precision",
                fix="leave dtype=, or the precision of a training, out",
            )
        sigma = torch.exp(4 * label.double())
        unit = torch.sqrt(sigma**2 + self.sigma_data**2)
        x = inputs * layout.expand(unit, inputs)
        index, codes = condition["pair_index"], condition["pair_codes"]
        pads, index, codes = padded(layout, index, codes, x, self.radius, self.bucket)
        i, j = index
        between = x[i] - x[j]
        d = torch.sqrt((between**2).sum(-1, keepdim=True) + 1e-12)
        direction = o3.spherical_harmonics("1o", between, normalize=True, normalization="norm")
        fade = _fade(d / self.radius)
        turns = [bucket.dense(torch.cat([u, -u])) for bucket, u in pads.parts(direction)]
        noise = self.noise(label.to(x.dtype))
        e = self.distance(self.radial(d)) + self.noise_pair(noise)[layout.index[i]]
        for column, table in enumerate(self.pairs):
            e = e + table(codes[:, column])
        h = self.noise_atom(noise)[layout.index]
        for column, table in enumerate(self.atoms):
            h = h + table(condition["atoms"][:, column])
        h, push = self._stereo(x, h, condition)
        odd, axial = h.new_zeros(len(h), self.odd), h.new_zeros(len(h), self.axial)
        h = torch.cat([h, odd, push, axial], 1)
        for layer in self.layers:
            h, e = layer(h, e, index, direction, fade, pads, turns)
        pull = self.pull(e) * fade * direction
        moved = torch.zeros_like(x).index_add(0, i, pull).index_add(0, j, -pull)
        out = self.scale[0] * self.last(h) + self.scale[1] * moved
        return out - layout.mean_point(out)

    def _stereo(
        self, x: Tensor, h: Tensor, condition: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Node scalars, and the vector features that say where the stereo tags pull."""
        vectors = x.new_zeros(len(x), 3)
        index = condition["stereo_index"]
        if index.shape[1]:
            volume, slope = signed_volumes(x, index)
            sign = condition["stereo_sign"].to(x.dtype)
            right = (sign * volume / (1 + volume.abs())).unsqueeze(-1)
            ends = index.reshape(-1)
            size = 1 + slope.square().sum(-1, keepdim=True).sqrt()
            pushes = (slope * sign[:, None] / size).reshape(-1, 3)
            vectors = vectors.index_add(0, ends, pushes)
            told = self.centre(right).repeat(4, 1)
            h = h.index_add(0, ends, told)
        return h, (self.push.weight[None] * vectors[:, None]).flatten(1)


@final
class _Layer(nn.Module):
    def __init__(self, channels: tuple[int, int, int, int], pair: int, heads: int) -> None:
        super().__init__()
        self.heads, self.sizes = heads, tuple(c // heads for c in channels)
        even, odd, vectors, axial = self.sizes
        irreps = o3.Irreps(list(zip(channels, ("0e", "0o", "1o", "1e"), strict=True)))
        few = 16
        self.dims = [part.dim for part in irreps]
        self.norm = nn.LayerNorm(channels[0])
        self.pair_norm = nn.LayerNorm(pair)
        self.product = nn.Linear(channels[0], pair // 2, bias=False)
        self.slopes = o3.Linear(irreps, f"{few}x1o")
        self.pair_mlp = nn.Sequential(
            nn.Linear(pair + pair // 2 + few, pair), nn.SiLU(), nn.Linear(pair, pair)
        )
        self.weights = nn.Linear(pair, 2 * heads)
        # what the Clebsch-Gordan product of a convolution makes, in the order of `_coupled`
        summed = o3.Irreps(
            [
                (heads * (even + vectors), "0e"),
                (heads * (odd + axial), "0o"),
                (heads * (even + vectors + axial), "1o"),
                (heads * (odd + axial + vectors), "1e"),
            ]
        )
        self.left, self.right = (
            o3.Linear(irreps, f"{few}x1o+{few}x1e"),
            o3.Linear(irreps, f"{few}x1o+{few}x1e"),
        )
        self.own = o3.ElementwiseTensorProduct(
            f"{few}x1o+{few}x1e", f"{few}x1o+{few}x1e", ["0e", "0o", "1e", "1o"]
        )
        self.gate = enn.Gate(
            o3.Irreps([(channels[0], "0e"), (channels[1], "0o")]),
            [nn.functional.silu, torch.tanh],
            o3.Irreps([(channels[2] + channels[3], "0e")]),
            [torch.sigmoid],
            o3.Irreps([(channels[2], "1o"), (channels[3], "1e")]),
        )
        self.mix = o3.Linear(summed + self.own.irreps_out + irreps, self.gate.irreps_in)
        self.out = o3.Linear(irreps, irreps)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels[0]),
            nn.Linear(channels[0], 2 * channels[0]),
            nn.SiLU(),
            nn.Linear(2 * channels[0], channels[0]),
        )
        for name, (one, other, third) in {"trace": (1, 1, 0), "cross": (1, 1, 1)}.items():
            table = o3.wigner_3j(one, other, third, dtype=torch.float64)
            table = table * math.sqrt(2 * third + 1)
            self.register_buffer(name, table.squeeze(-1) if third == 0 else table, False)

    def forward(
        self,
        h: Tensor,
        e: Tensor,
        index: Int64[Tensor, "2 pairs"],
        direction: Tensor,
        fade: Tensor,
        pads: Pads,
        turns: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        i, j = index
        calm = self._calm(h)
        p = self.product(calm[:, : self.dims[0]])
        u = self.slopes(calm).view(len(h), -1, 3)
        slope = ((rows_at(u, i) - rows_at(u, j)) * direction[:, None]).sum(-1)
        e = e + self.pair_mlp(
            torch.cat([self.pair_norm(e), rows_at(p, i) * rows_at(p, j), slope], 1)
        )
        summed = self._convolve(calm, self.weights(e) * fade, pads, turns)
        own = self.own(self.left(calm), self.right(calm))
        h = h + self.out(self.gate(self.mix(torch.cat([summed, own, calm], 1))))
        more = self.mlp(h[:, : self.dims[0]])
        return torch.cat([h[:, : self.dims[0]] + more, h[:, self.dims[0] :]], 1), e

    def _calm(self, h: Tensor) -> Tensor:
        """Normalised features: of scalars the layer norm, of the others v / sqrt(1 + mean v^2)."""
        scalars, *others = torch.split(h, self.dims, 1)
        sizes = [torch.rsqrt(1 + v.square().mean(1, keepdim=True)) for v in others]
        calmed = (v * size for v, size in zip(others, sizes, strict=True))
        return torch.cat([self.norm(scalars), *calmed], 1)

    def _convolve(self, h: Tensor, w: Tensor, pads: Pads, turns: list[Tensor]) -> Tensor:
        """CG(sum_j w_ij Y(u_ij) h_j): (rows, irreps of `summed`)."""
        shapes = torch.split(h, self.dims, 1)
        parts = [part.reshape(len(h), self.heads, -1) for part in shapes]
        h = torch.cat(parts, 2)  # (rows, heads, channels of a head)
        sums = [
            bucket.sums(torch.cat([own, own]), turn, h)
            for (bucket, own), turn in zip(pads.parts(w), turns, strict=True)
        ]
        total = rows_at(torch.cat(sums), pads.back)
        return self._coupled(total / _CROWD)

    def _coupled(self, total: Tensor) -> Tensor:
        even, odd, vectors, axial = self.sizes
        rows = len(total)
        zero, one = total[:, :, 0], total[:, :, 1:]
        s, p, v, a = torch.split(zero, [even, odd, 3 * vectors, 3 * axial], 2)
        sy, py, vy, ay = torch.split(one, [even, odd, 3 * vectors, 3 * axial], 3)
        vy = vy.reshape(rows, self.heads, 3, vectors, 3)
        ay = ay.reshape(rows, self.heads, 3, axial, 3)
        trace, cross = self.trace.to(total.dtype), self.cross.to(total.dtype)
        even_parts = [s, torch.einsum("rhmcn,mn->rhc", vy, trace)]
        odd_parts = [p, torch.einsum("rhmcn,mn->rhc", ay, trace)]
        vector_parts = [
            v.reshape(rows, self.heads, vectors, 3),
            sy.transpose(2, 3),
            torch.einsum("rhmcn,mnk->rhck", ay, cross),
        ]
        axial_parts = [
            a.reshape(rows, self.heads, axial, 3),
            py.transpose(2, 3),
            torch.einsum("rhmcn,mnk->rhck", vy, cross),
        ]
        return torch.cat(
            [
                torch.cat(even_parts, 2).flatten(1),
                torch.cat(odd_parts, 2).flatten(1),
                torch.cat(vector_parts, 2).flatten(1),
                torch.cat(axial_parts, 2).flatten(1),
            ],
            1,
        )


@final
class _Levels(nn.Module):
    """sin and cos of the label ln(sigma) / 4."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(-0.5, 1.0, size // 2), False)

    def forward(self, label: Tensor) -> Tensor:
        angle = 2 * math.pi * label[:, None] * self.frequencies.to(label.dtype)
        return torch.cat([angle.sin(), angle.cos()], 1)


@final
class Radial(nn.Module):
    """exp(-b_k (exp(-d) - m_k)^2), narrow where bonds are, and d itself (Unke & Meuwly 2019)."""

    def __init__(self, count: int, radius: float) -> None:
        super().__init__()
        low = math.exp(-radius)
        self.size = count + 1
        self.width = (2 / count * (1 - low)) ** -2
        self.register_buffer("means", torch.linspace(low, 1, count), False)

    def forward(self, d: Float[Tensor, "pairs 1"]) -> Float[Tensor, "pairs size"]:
        close = torch.exp(-self.width * (torch.exp(-d) - self.means.to(d.dtype)) ** 2)
        return torch.cat([close, d / 3 - 1], 1)


def _fade(x: Tensor) -> Tensor:
    """1 - 10 x^3 + 15 x^4 - 6 x^5: from 1 at 0 to 0 at 1, with two derivatives."""
    x = x.clamp(max=1)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2)
