"""What the laws are checked for that a kernel returns, whatever their class.

Draws and density belong to one law p if, for any other law g,

    E_g[p / (p + g)] = E_p[g / (p + g)]

(both are the integral of p g / (p + g)). With g a normal law about where the draws are, whose own
draws and density are right, both sides are near 1/2 and the comparison is sharp: a scale, a shift
or a constant that is wrong in one of the two shows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from unnoise.distributions import Dirac, Distribution
from unnoise.errors import UnnoiseError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Tokens, tensor
from unnoise.testing.examples import copies
from unnoise.testing.kernel_case import KernelCase, distance, distinct, row
from unnoise.testing.law_case import (
    Line,
    density,
    described,
    linear,
    lines,
    reference,
    same_state,
    seeded,
    untouched,
)
from unnoise.testing.report import Skip, require, within
from unnoise.testing.statistics import DRAWS, agree, hoeffding

_FEW: Final = 16


def samples_match_log_prob(case: KernelCase) -> str:
    """The draws of marginal, transition, reverse and prior follow the law's own log_prob: against
    a reference, against a law of the same family, and for tokens state by state."""
    said, noise = "", case.noise(11, DRAWS)  # one source, drawn on: new ones take time
    for line in lines(case):
        x = line.law.sample(noise)
        own = density(line.law, x)
        if own is None:
            continue
        require(not bool(own.isnan().any()), f"{line.name}: log_prob of a draw is NaN")
        if isinstance(line.space, Tokens) and line.space.vocab ** line.layout.shape[1] <= DRAWS:
            said = _every_state(line, tensor(x))
        if linear(line.space, line.layout):
            said = _both_ways(noise, line, reference(line, tensor(x)), "a normal law")
        said = _both_ways(noise, line, line.other, "a law of the same family") or said
    if not said:
        raise Skip("no law of this kernel has a density")
    return said


def _both_ways(noise: NoiseSource, line: Line, g: Distribution, what: str) -> str:
    p, x_g, x_p = line.law, g.sample(noise), line.law.sample(noise)
    densities = [density(law, x) for x in (x_g, x_p) for law in (p, g)]
    if any(d is None for d in densities):
        return ""
    p_g, g_g, p_p, g_p = (d for d in densities if d is not None)
    under_g, under_p = torch.sigmoid(p_g - g_g), torch.sigmoid(g_p - p_p)
    return agree(under_g, under_p, f"{line.name}, draws and log_prob against {what}")


def _every_state(line: Line, x: Tensor) -> str:
    """Probabilities of all states sum to 1 and are those of the draws."""
    k, length = _tokens(line)
    states = torch.cartesian_prod(*[torch.arange(k)] * length).view(-1, length)
    filled = states.repeat(math.ceil(DRAWS / len(states)), 1)[:DRAWS]
    p = line.law.log_prob(filled)[: len(states)].double().exp()
    require(
        abs(float(p.sum()) - 1) <= 1e-5, f"{line.name}: probabilities sum to {float(p.sum()):.6g}"
    )
    place = (x * k ** torch.arange(length - 1, -1, -1)).sum(1)
    counts = torch.bincount(place, minlength=len(states)).double() / DRAWS
    worst = float((counts - p).abs().max())
    return within(worst, hoeffding(DRAWS, len(states)), f"{line.name}: frequencies of the states")


def _tokens(line: Line) -> tuple[int, int]:
    assert isinstance(line.space, Tokens)
    return line.space.vocab, line.layout.shape[1]


def laws_describe_their_draws(case: KernelCase) -> str:
    """mean is the mean of the draws, mode the most probable state, entropy -E log p."""
    said, noise = [], case.noise(21, DRAWS)
    for line in lines(case):
        x = line.law.sample(noise)
        own = density(line.law, x)
        if linear(line.space, line.layout):
            said += _mean(line, tensor(x))
        if own is None:
            continue
        said += _mode(line, x, own)
        said += _entropy(line, own)
    if not said:
        raise Skip("no law of this kernel has a mean or a density")
    return said[-1]


def _mean(line: Line, x: Tensor) -> list[str]:
    try:
        mean = tensor(line.law.mean)
    except UnnoiseError:
        return []
    described(mean, line.layout, f"{line.name}: the mean")
    off = (x.double() - mean.double()).flatten(1)
    off = torch.cat([off, off.sum(1, keepdim=True)], 1)  # each entry, and all that move together
    worst = float((off.mean(0).abs() / (8 * off.std(0) / math.sqrt(len(x)) + 1e-6)).max())
    return [within(8 * worst, 8.0, f"{line.name}: the mean of the draws, in standard errors")]


def _mode(line: Line, x: State, own: Tensor) -> list[str]:
    try:
        mode = line.law.mode
    except UnnoiseError:
        return []
    top = density(line.law, mode)
    if top is None:
        return []
    described(mode, line.layout, f"{line.name}: the mode")
    above = float((own > top + 1e-4 * (1 + top.abs())).double().mean())
    require(above <= 0.01, f"{line.name}: {above:.0%} of the draws are more probable than the mode")
    if linear(line.space, line.layout):
        nearer = density(line.law, tensor(mode) + 0.1 * (tensor(x) - tensor(mode)))
        assert nearer is not None
        gain = float((nearer - top).max())
        require(
            gain <= 1e-4 * (1 + float(top.abs().max())),
            f"{line.name}: the density rises by {gain:.3g} nats near the mode",
        )
    return [f"{line.name}: mode"]


def _entropy(line: Line, own: Tensor) -> list[str]:
    try:
        found = line.law.entropy().double()
    except UnnoiseError:
        return []
    require(found.shape == own.shape, f"{line.name}: entropy has shape {tuple(found.shape)}")
    error = abs(float((found + own).mean()))
    limit = 8 * float(own.std()) / math.sqrt(len(own)) + 1e-5 * (1 + float(found.abs().max()))
    return [within(error, limit, f"{line.name}: entropy and -E log p differ, in nats; that")]


def divergence(case: KernelCase) -> str:
    """kl is >= 0, 0 on itself, and the mean of log p - log q under p (10 standard errors)."""
    said, noise = "", case.noise(3, DRAWS)
    few = {line.name: line for line in lines(case, 3)}  # all alike: it may be a long quadrature
    for line in lines(case):
        one = few[line.name]
        try:
            itself, exact = one.law.kl(one.law), one.law.kl(one.other)
        except UnnoiseError:
            continue
        require(itself.shape == (3,), f"{line.name}: kl has shape {tuple(itself.shape)}, not (B,)")
        worst = float(itself.abs().max())
        require(worst <= 1e-6, f"{line.name}: kl of a law to itself is {worst:.3g}")
        require(
            bool((exact >= -1e-6).all()), f"{line.name}: a divergence is {float(exact.min()):.3g}"
        )
        x = line.law.sample(noise)
        p, q = density(line.law, x), density(line.other, x)
        if p is None or q is None or not bool(torch.isfinite(exact).all()):
            continue
        terms = p - q
        error = float(terms.std()) / math.sqrt(DRAWS)
        difference = abs(float(terms.mean() - exact.mean()))
        limit = 10 * error + 1e-6 * (1 + float(exact.mean()))
        said = within(difference, limit, f"{line.name}: kl against its definition")
    if not said:
        raise Skip("no law of this kernel has a divergence")
    return said


def noise_source_is_used(case: KernelCase) -> str:
    """A law draws from the noise source that it is given and from nothing else: two sources of a
    seed give the same, another seed something else, and global random states count nothing."""
    count = 0
    for line in lines(case, _FEW):
        line.law.sample(case.noise(31, _FEW))  # libraries that are imported late may draw
        with seeded(1), untouched(f"{line.name}: sample"):
            first = line.law.sample(case.noise(31, _FEW))
        with seeded(2):
            again = line.law.sample(case.noise(31, _FEW))
        require(same_state(first, again), f"{line.name}: draws do not repeat with the same noise")
        other = line.law.sample(NoiseSource(case.seed + 1, range(_FEW), 31))
        if same_state(first, other):
            require(_certain(line, first), f"{line.name}: another seed gives the same draws")
        count += 1
    return f"{count} laws"


def _certain(line: Line, x: State) -> bool:
    """Whether a law has this one state."""
    own = density(line.law, x)
    if isinstance(line.space, Tokens):
        return own is not None and float(own.min()) > -1e-3
    return own is None or bool(torch.isinf(own).all()) or isinstance(line.law, Dirac)


def noise_belongs_to_the_sample(case: KernelCase) -> str | None:
    """Equal data get different noise in each place of a batch, and the noise of a sample number
    does not depend on the others."""
    alone = {line.name: line.law.sample(_source(case, [5])) for line in lines(case, 1)}
    for line in lines(case, 8):
        whole = line.law.sample(_source(case, range(8)))
        if line.name.startswith(("marginal", "prior")) and not _certain(line, whole):
            require(distinct(whole) > 1, f"{line.name}: all samples of a batch have the same noise")
        apart = distance(row(whole, 5), row(alone[line.name], 0))
        require(apart < 1e-9, f"{line.name}: a sample's noise depends on others")
    return None


def _source(case: KernelCase, samples: range | list[int]) -> NoiseSource:
    return NoiseSource(case.seed, samples, 41)


def states_keep_their_type(case: KernelCase) -> str:
    """Draws and modes have the shape, type and device of the layout, in float32 and in float64;
    log_prob is one number per sample."""
    kinds = [torch.float64, torch.float32]
    for dtype in kinds:
        typed = replace(case, given=_of_type(case.layout, dtype))
        n = typed.layout.batch
        for line in lines(typed, n):
            what = f"{line.name} in {str(dtype).removeprefix('torch.')}"
            x = line.law.sample(case.noise(51, n))
            described(x, line.layout, f"{what}: a draw")
            try:
                described(line.law.mode, line.layout, f"{what}: the mode")
            except UnnoiseError:
                continue
            own = density(line.law, x)
            if own is not None:
                require(own.shape == (n,), f"{what}: log_prob has shape {tuple(own.shape)}")
    return "float32 and float64"


def _of_type(layout: Layout, dtype: torch.dtype) -> Layout:
    if layout.fields:
        fields = {name: _of_type(part, dtype) for name, part in layout.fields.items()}
        return replace(layout, fields=fields)
    return replace(layout, dtype=dtype) if layout.dtype.is_floating_point else layout


def arguments_are_left_alone(case: KernelCase) -> str | None:
    """No line, and no draw, writes into the states that it is given."""
    kernel, layout = case.kernel, case.layout
    s, t = case.pairs[0]
    n = layout.batch
    x0 = copies(case.x0, layout, n)[0]
    held = _copied(x0)
    marginal = kernel.marginal(x0, t, layout)
    x_t = marginal.sample(case.noise(1))
    x_s = kernel.marginal(x0, s, layout).sample(case.noise(2))
    require(same_state(x0, held), "marginal changes x_0")
    for name, law, given in (
        ("marginal", marginal, x0),
        ("transition", kernel.transition(x_s, s, t, layout), x_s),
        ("reverse", kernel.reverse(x_t, Dirac(x0, layout), t, s, layout), x_t),
    ):
        before = _copied(given)
        law.sample(case.noise(3))
        density(law, given)
        require(same_state(given, before), f"a draw from {name} changes its argument")
    require(same_state(x0, held), "a line changes x_0")
    return None


def _copied(x: State) -> State:
    return {n: v.clone() for n, v in x.items()} if isinstance(x, dict) else x.clone()
