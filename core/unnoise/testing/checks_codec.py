"""What a `Codec` is checked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from unnoise.distributions import Gaussian
from unnoise.errors import ConfigError, UnnoiseError
from unnoise.spaces import Layout, tensor
from unnoise.testing.codec_case import (
    CodecCase,
    alike,
    basis_of,
    clean,
    distance,
    layouts_of,
    named_states,
    owners,
    tensors,
    tolerance,
)
from unnoise.testing.law_case import seeded
from unnoise.testing.report import CheckFailed, Skip, require, within

_EXACT = 1e-9  # of float64 arithmetic on numbers of order 1
_DRAWS = 4000  # of a code, to compare its density with
_SIGMAS = 8.0
_LARGE = 16  # entries of a code up to which its density is integrated


def encodes(case: CodecCase) -> str | None:
    """State, layout and (B,) float64 `log_density` describe each other; layouts go both ways."""
    found, data = case.encoded(), case.layout
    density = found.log_density
    require(
        density.shape == (data.batch,) and density.dtype == torch.float64,
        f"log_density is {density.dtype} of shape {tuple(density.shape)}, not float64 of (B,)",
    )
    require(not bool(density.isnan().any()), "log_density is NaN")
    said = case.codec.state_layout(data)
    for name, z, layout, own in named_states(found.state, found.layout, said):
        require(tuple(z.shape) == layout.shape, f"the state{name} has shape {tuple(z.shape)}")
        require(z.dtype == layout.dtype, f"the state{name} is {z.dtype}, layout {layout.dtype}")
        require(layout.batch == data.batch, f"{layout.batch} samples of {data.batch}")
        require(alike(layout, own), f"state_layout says {own.shape}, not {layout.shape}")
        finite = torch.isfinite(layout.zero_padding(z))
        require(bool(finite.all()), f"the state{name} is not finite")
    back = case.codec.data_layout(said)
    pairs = zip(layouts_of(back), layouts_of(data), strict=True)
    require(all(alike(a, b) for a, b in pairs), "data_layout does not undo state_layout")
    return None


def embed_agrees(case: CodecCase) -> str:
    """`embed` returns state and layout of `encode`, from as much noise."""
    whole = case.encoded()
    with torch.no_grad():
        z, layout = case.codec.embed(case.x, case.layout, case.condition, case.noise())
    for _, _, a, b in named_states(whole.state, whole.layout, layout):
        require(alike(a, b), f"a layout of {b.shape}, not {a.shape}")
    return within(distance(whole.state, z), _EXACT, "difference of embed and encode")


def round_trip(case: CodecCase) -> str:
    """An invertible codec gives the data back, as a point; another a law of the data's layout."""
    found = case.encoded()
    with torch.no_grad():
        law = case.codec.decode(found.state, found.layout, case.condition)
        drawn = law.sample(case.noise(1))
    for name, x, layout, _ in named_states(drawn, case.layout, case.layout):
        require(tuple(x.shape) == layout.shape, f"decoded data{name} have shape {tuple(x.shape)}")
        require(x.dtype == layout.dtype, f"decoded data{name} are {x.dtype}, not {layout.dtype}")
    if not case.codec.invertible:
        return "a law of the data's layout"
    scale = 1 + max(float(x.abs().max()) for x in tensors(case.x))
    error = distance(clean(case.x, case.layout), drawn) / scale
    return within(error, tolerance(found.state), "relative error of decode(encode(x))")


def log_density_is_the_jacobian(case: CodecCase) -> str:
    """Of an invertible codec: log |det dz / dx|, sample by sample, by automatic differentiation."""
    if not case.codec.invertible:
        raise Skip("the codec is not invertible")
    x, layout = case.x, case.layout
    if isinstance(x, dict) or not x.dtype.is_floating_point:
        raise Skip("for data that are one real tensor")
    own = case.encoded().log_density
    owner = owners(layout)

    def flat(v: Tensor) -> Tensor:
        z, _ = case.codec.embed(v.view(layout.shape), layout, case.condition)
        return tensor(z).flatten()

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten().double())  # type: ignore[no-untyped-call]
    basis = basis_of(case.space, layout)
    worst = 0.0
    for k in range(layout.batch):
        rows = owner == k
        inside = basis[:, (basis[rows] != 0).any(0)][rows]
        block = inside.mT @ jacobian[rows][:, rows].double() @ inside
        expected = float(torch.linalg.slogdet(block).logabsdet)
        worst = max(worst, abs(expected - float(own[k])) / (1 + abs(expected)))
    return within(worst, 1e-5, "relative error of log_density")


def push_keeps_probability(case: CodecCase) -> str:
    """`push`: the density of the data is that of the state times |det dz / dx|."""
    if not case.codec.invertible or isinstance(case.x, dict):
        raise Skip("for invertible codecs of one tensor")
    found = case.encoded()
    layout = found.layout
    # the laws of states are kept in float64: rounding of the codec is no matter here
    z = tensor(found.state).double()
    layout = replace(layout, dtype=torch.float64)
    law = Gaussian(z + 0.3 * z.cos(), 0.7, case.space, layout)
    law = replace(law, mean=tensor(case.space.project(law.mean, layout)))
    try:
        pushed = case.codec.push(law, layout, case.condition)
    except ConfigError as error:
        raise Skip(f"no law in closed form: {error.message}") from error
    left = pushed.log_prob(tensor(case.x))
    right = law.log_prob(z) + found.log_density
    scale = 1 + float(right.abs().max())
    limit = max(1e-7, 10 * tolerance(found.state))
    return within(float((left - right).abs().max()) / scale, limit, "relative error of the density")


def log_density_follows_the_draws(case: CodecCase) -> str:
    """Of a stochastic codec: log p(x | z) - log q(z | x) with the q that z is drawn from.

    E_q g(z) / q(z | x) = 1 for any density g, here a normal one where the draws are.
    """
    if case.codec.invertible:
        raise Skip("the codec is invertible")
    x, layout = case.x, case.layout
    if isinstance(x, dict) or layout.index is not None or layout.mask is not None:
        raise Skip("for dense data of one tensor")
    many = replace(layout, batch=_DRAWS, shape=(_DRAWS, *layout.shape[1:]))
    copies = x[:1].expand(many.shape)
    told = case.condition and {
        name: v[:1].expand(_DRAWS, *v.shape[1:]) for name, v in case.condition.items()
    }
    with torch.no_grad():
        noise = case.noise(2, range(_DRAWS))
        found = case.codec.encode(copies, many, told, noise)
        gain = case.codec.decode(found.state, found.layout, told).log_prob(copies).double()
    z = tensor(found.state).double().flatten(1)
    if z.shape[1] > _LARGE or not bool(torch.isfinite(gain).all()):
        raise Skip(f"for codes of at most {_LARGE} numbers and data that have a density")
    mean, std = z.mean(0), z.std(0)
    require(bool((std > 0).all()), "codes do not vary, but the codec is not invertible")
    if found.log_posterior is not None:
        off = found.log_density + found.log_posterior - gain
        scale = 1 + float(gain.abs().max())
        within(float(off.abs().max()) / scale, 1e-4, "|log_density + log_posterior - log p(x | z)|")
    g = torch.distributions.Normal(mean, 0.8 * std)
    logs = g.log_prob(z).sum(1) + found.log_density - gain  # type: ignore[no-untyped-call]
    ratio = logs.exp()
    error = float(ratio.std()) / math.sqrt(_DRAWS)
    return within(abs(float(ratio.mean()) - 1), _SIGMAS * error + 1e-6, "|E g / q - 1|")


def noise_source_is_used(case: CodecCase) -> str | None:
    """Codes repeat with the same source, differ with another, and draw from nothing else; an
    invertible codec draws nothing."""
    with seeded(case.seed + 98):
        first = case.encoded()
    with seeded(case.seed + 99):
        again = case.encoded()
    require(distance(first.state, again.state) == 0, "codes do not repeat with the same noise")
    require(
        bool(torch.equal(first.log_density, again.log_density)),
        "log_density does not repeat with the same noise",
    )
    other = case.encoded(seed=7)
    moved = distance(first.state, other.state)
    if case.codec.invertible:
        require(moved == 0, "an invertible codec depends on noise")
    else:
        require(moved > 0, "another noise source gives the same codes")
    return None


def samples_stand_alone(case: CodecCase) -> str:
    """A sample is encoded as it is alone, with its row of the condition and its own noise."""
    x, layout = case.x, case.layout
    if isinstance(x, dict) or layout.index is not None:
        raise Skip("samples are taken from dense batches of one tensor")
    whole, worst = case.encoded(), 0.0
    for k in range(layout.batch):
        part, rows = layout.take(torch.tensor([k]))
        told = case.condition and {name: v[k : k + 1] for name, v in case.condition.items()}
        with torch.no_grad():
            one = case.codec.encode(x[rows], part, told, case.noise(0, range(k, k + 1)))
        worst = max(worst, float((one.log_density - whole.log_density[k]).abs()))
        worst = max(worst, distance(tensor(whole.state)[k : k + 1], one.state))
    limit = max(1e-6, tolerance(whole.state))
    return within(worst, limit, "difference of a sample in the batch and alone")


def condition_matters(case: CodecCase) -> str:
    """A codec that is told a condition follows it."""
    if not case.condition:
        raise Skip("no condition was given")
    before = case.encoded()
    worst = 0.0
    for name, value in case.condition.items():
        if not value.dtype.is_floating_point:
            continue
        changed = replace(case, condition={**case.condition, name: 1.25 * value + 0.1})
        worst = max(worst, distance(before.state, changed.encoded().state))
    require(worst > 0, "no real entry of the condition changes a state")
    return f"states move by {worst:.2g}"


def padding_is_ignored(case: CodecCase) -> str:
    """Padding of a state is zero where that of the data is, and changes nothing."""
    counts = [2, 4, 3]
    x, layout = _points(case)
    mask = torch.arange(4) < torch.tensor(counts)[:, None]
    padded = replace(layout, mask=mask)
    spoiled = x + (x - padded.zero_padding(x)) * 1e3
    x = tensor(case.space.project(x, padded))
    spoiled = torch.where(padded.zero_padding(torch.ones_like(x)) > 0, x, spoiled)
    try:
        with torch.no_grad():
            one = case.codec.encode(x, padded, case.condition, case.noise())
            other = case.codec.encode(spoiled, padded, case.condition, case.noise())
            law = case.codec.decode(one.state, one.layout, case.condition)
    except UnnoiseError as error:
        raise Skip(f"padded batches are refused: {error.message}") from error
    require(one.layout.mask is not None, "the state's layout has no padding")
    for what, value, own in (("state", one.state, one.layout), ("data", law.mode, padded)):
        rest = tensor(value) - own.zero_padding(tensor(value))
        require(not bool(rest.any()), f"padding of the {what} is not zero")
    worst = max(
        distance(one.state, clean(other.state, other.layout)),
        float((one.log_density - other.log_density).abs().max()),
    )
    if case.condition is None:
        for k, n in enumerate(counts):
            alone = Layout.dense(1, (n, *x.shape[2:]), dtype=layout.dtype)
            with torch.no_grad():
                single = case.codec.encode(
                    x[k : k + 1, :n], alone, None, case.noise(0, range(k, k + 1))
                )
            worst = max(worst, distance(tensor(one.state)[k : k + 1, :n], single.state))
            worst = max(worst, float((single.log_density - one.log_density[k]).abs()))
    return within(worst, 1e-6, "difference by padding")


def ragged_batches(case: CodecCase) -> str:
    """Samples of several sizes, rows one after the other, are encoded as each alone."""
    if case.condition is not None:
        raise Skip("rows of a condition are not cut here")
    x, layout = _points(case)
    counts = [2, 4, 3]
    rows = torch.cat([x[k, :n] for k, n in enumerate(counts)])
    ragged = Layout.ragged(counts, x.shape[2:], dtype=layout.dtype)
    rows = tensor(case.space.project(rows, ragged))
    try:
        with torch.no_grad():
            together = case.codec.encode(rows, ragged, None, case.noise())
    except UnnoiseError as error:
        raise Skip(f"ragged batches are refused: {error.message}") from error
    require(together.layout.index is not None, "the state's layout is not ragged")
    worst = 0.0
    for k, n in enumerate(counts):
        alone = Layout.ragged([n], x.shape[2:], dtype=layout.dtype)
        with torch.no_grad():
            part = ragged.sample(rows, k)
            single = case.codec.encode(part, alone, None, case.noise(0, range(k, k + 1)))
        own = together.layout.sample(together.state, k)
        worst = max(worst, distance(own, single.state))
        worst = max(worst, float((single.log_density - together.log_density[k]).abs()))
    return within(worst, 1e-6, "difference to single samples")


def wrong_data_are_refused(case: CodecCase) -> str | None:
    """Another shape and NaN are errors of ours; what is given is left alone."""
    x, layout = case.x, case.layout
    if isinstance(x, dict):
        raise Skip("for data of one tensor")
    before, told = x.clone(), {n: v.clone() for n, v in (case.condition or {}).items()}
    case.encoded(x)
    require(bool(torch.equal(before, x)), "encode changed its data")
    kept = all(torch.equal(told[n], v) for n, v in (case.condition or {}).items())
    require(kept, "encode changed its condition")
    wrong = {"data with a row less": x[:-1]}
    if x.dtype.is_floating_point:
        spoiled = x.clone()
        at = int(layout.zero_padding(torch.ones_like(x)).flatten().argmax())
        spoiled.view(-1)[at] = torch.nan
        wrong["data with NaN"] = spoiled
    for what, value in wrong.items():
        try:
            case.encoded(value)
        except UnnoiseError:
            continue
        raise CheckFailed(f"{what} are encoded")
    return None


def weights_round_trip(case: CodecCase) -> str:
    """`state_dict` holds all that is learned: what is spoiled and loaded gives the same codes."""
    weights = {name: value.clone() for name, value in case.codec.state_dict().items()}
    before = case.encoded()
    with torch.no_grad():
        for parameter in case.codec.parameters():
            parameter.add_(0.5)
    case.codec.load_state_dict(weights)
    after = case.encoded()
    return within(distance(before.state, after.state), 0.0, "difference after loading")


CHECKS: Final[tuple[Callable[[CodecCase], str | None], ...]] = (
    encodes,
    embed_agrees,
    round_trip,
    log_density_is_the_jacobian,
    push_keeps_probability,
    log_density_follows_the_draws,
    noise_source_is_used,
    samples_stand_alone,
    condition_matters,
    padding_is_ignored,
    ragged_batches,
    wrong_data_are_refused,
    weights_round_trip,
)


def _points(case: CodecCase) -> tuple[Tensor, Layout]:
    """Data (3, 4, ..) without padding."""
    x, layout = case.x, case.layout
    if isinstance(x, dict) or layout.shape[:2] != (3, 4) or layout.index is not None:
        raise Skip("for data of shape (3, 4, ..)")
    return x, replace(layout, mask=None)
