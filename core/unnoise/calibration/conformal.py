"""How unusual an item is beside held-out ones, with an exact level.

An item and n held-out ones that come from one law are exchangeable, whatever the law. A score that
treats all n + 1 alike then ranks the item uniformly among them, and

    p = (1 + #{held-out items whose score is at least the item's}) / (n + 1)

is at most a with probability at most a, for each a (full conformal prediction, Vovk, Gammerman &
Shafer 2005). A smaller p than 1 / (n + 1) does not exist: a level needs 1 / level - 1 items.

The score of `typicality` is two-sided. Each of the K numbers of row i is standardised over the
n + 1 rows, and so is its normal score Phi^-1(rank / (n + 2)), as numbers may be skewed so that the
smallest are never far from the centre. With z_ik either, S their scatter,

    a_i = sum_k max z_ik^2                 far off in many numbers
    h_i = max z_i^T S^+ z_i                numbers that do not go with each other (Mahalanobis)

the maxima over the two kinds of z; the score is the better rank that an item has by a and by h. A
likelihood alone is one-sided, and ranks what is simpler than the data, a constant, above the data
themselves (Nalisnick et al. 2019).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from unnoise.errors import InputError, NonFiniteError

_TIE = 1e-9  # relative: rows that are equal have scores that are equal but for rounding
_RANK = 1e-10  # of the largest eigenvalue of the scatter
_AT_ONCE = 2**21  # numbers in memory


def conformal(
    score: Float[Tensor, " items"], held_out: Float[Tensor, " n"]
) -> Float64[Tensor, " items"]:
    """(B,) p-values of scores beside those of held-out items, for a score that is fixed before
    either is seen; large ones are unusual.

    Raises
    ------
    InputError : no held-out scores, or not one number an item. NonFiniteError : NaN.
    """
    _check(score[:, None] if score.ndim == 1 else score, held_out[:, None])
    above = held_out.double()[None, :] >= score.double()[:, None]
    return (1 + above.sum(1)).double() / (1 + len(held_out))


def typicality(
    rows: Float[Tensor, "items terms"], held_out: Float[Tensor, "n terms"]
) -> tuple[Float64[Tensor, " items"], Float64[Tensor, " items"]]:
    """(B,) p-values and scores a / K of rows of K numbers beside held-out rows.

    Columns that do not vary say nothing, unless an item differs there.

    Raises
    ------
    InputError : fewer than 4 held-out rows a column, or other columns. NonFiniteError : NaN, or
        infinite numbers.
    """
    _check(rows, held_out)
    n, terms = held_out.shape
    if n < 4 * terms:
        raise InputError(
            "too few held-out items to tell what is usual of so many terms",
            value=n,
            limit=f">= {4 * terms} for {terms} terms",
            fix="pass more held-out items, or compare fewer levels",
        )
    found = [torch.zeros(2, 0, dtype=torch.float64)]
    for some in torch.split(rows.double(), max(1, _AT_ONCE // ((n + 1) * terms))):
        others = held_out.double().expand(len(some), n, terms)
        found.append(_compared(torch.cat([some[:, None], others], 1)))
    p, scores = torch.cat(found, 1)
    return p, scores


def flagged(p: Float64[Tensor, " items"], held_out: int, level: float) -> Bool[Tensor, " items"]:
    """(B,) bool, p <= level: of usual items at most the part `level`.

    Raises
    ------
    InputError : no level in (0, 1), or one that n held-out items cannot give.
    """
    if not 0 < level < 1:
        raise InputError("a level is a probability", value=level, limit="0 < level < 1")
    if level * (held_out + 1) < 1 - 1e-12:
        raise InputError(
            "too few held-out items for this level: no p-value could be as small",
            value=f"{held_out} items, level {level:g}",
            limit=f">= {math.ceil(1 / level - 1e-9) - 1} items",
            fix=f"pass more held-out items, or a level of at least {1 / (held_out + 1):.2g}",
        )
    return p <= level + 1e-12


def _compared(rows: Float64[Tensor, "items n terms"]) -> Float64[Tensor, "2 items"]:
    """The p-value and the score of the first row of each table."""
    centred = rows - rows.mean(1, keepdim=True)
    size = centred.square().mean(1, keepdim=True).sqrt()
    varies = size > 1e-12 * (1 + rows.abs().amax(1, keepdim=True))
    plain = torch.where(varies, centred / size.clamp_min(1e-300), 0)
    ranks = _ranks(rows.transpose(1, 2)).transpose(1, 2)
    normal = torch.special.ndtri(ranks / (rows.shape[1] + 1))
    normal = normal / normal.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    far = torch.maximum(plain.square(), normal.square()).sum(2)
    odd = torch.maximum(_leverages(plain), _leverages(normal))
    best = torch.maximum(*(_ranks(_rounded(score), last=True) for score in (far, odd)))
    p = (best >= best[:, :1]).double().mean(1)
    return torch.stack([p, far[:, 0] / rows.shape[2]])


def _rounded(score: Float64[Tensor, "items n"]) -> Float64[Tensor, "items n"]:
    """Scores that differ by rounding only are tied."""
    step = score.amax(1, keepdim=True) * _TIE
    return torch.where(step > 0, (score / step.clamp_min(1e-300)).round(), 0)


def _ranks(values: Float64[Tensor, "... n"], last: bool = False) -> Float64[Tensor, "... n"]:
    """From 1, along the last axis; of those that are tied the mean, or the `last`."""
    values = values.contiguous()
    ordered = values.sort(-1).values
    until = torch.searchsorted(ordered, values, right=True)
    if last:
        return until.double()
    return (torch.searchsorted(ordered, values) + until + 1).double() / 2


def _leverages(z: Float64[Tensor, "items n terms"]) -> Float64[Tensor, "items n"]:
    """z_i^T S^+ z_i, S = sum_i z_i z_i^T."""
    found, axes = torch.linalg.eigh(z.transpose(1, 2) @ z)
    keep = found > _RANK * found.amax(1, keepdim=True).clamp_min(1e-300)
    scale = torch.where(keep, found.clamp_min(1e-300).rsqrt(), 0)
    h: Tensor = ((z @ axes) * scale[:, None]).square().sum(2)
    return h


def _check(rows: Tensor, held_out: Tensor) -> None:
    if rows.ndim != 2 or held_out.ndim != 2 or rows.shape[1] != held_out.shape[1]:
        raise InputError(
            "items are compared by as many numbers as the held-out ones",
            value=f"{tuple(rows.shape)} beside {tuple(held_out.shape)}",
        )
    if len(held_out) == 0:
        raise InputError("an item is unusual beside others only", fix="pass held-out items")
    for name, values in (("items", rows), ("held-out items", held_out)):
        if bool((~torch.isfinite(values)).any()):
            bad = int((~torch.isfinite(values)).any(1).nonzero()[0, 0])
            raise NonFiniteError(f"the {name} have scores that are no finite numbers", value=bad)
