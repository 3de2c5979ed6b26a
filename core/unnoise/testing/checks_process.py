"""What a kernel's other ways to the same laws are checked for: bridges, paths and short cuts."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from unnoise.distributions import Dirac, Distribution, Gaussian
from unnoise.errors import InputError
from unnoise.spaces import Layout, State
from unnoise.testing.examples import copies
from unnoise.testing.kernel_case import KernelCase, averaged_gaussian
from unnoise.testing.law_case import density, same_state
from unnoise.testing.report import CheckFailed, require, within
from unnoise.testing.statistics import DRAWS, agree, same_law

_ETAS = (0.0, 0.5, 1.0)


def bridges_keep_the_marginals(case: KernelCase) -> str:
    """x_t ~ q(x_t | x_0), then `bridge`, is q(x_s | x_0) for every eta, and at eta = 1 `bridge` is
    `reverse`. Exact for Gaussians."""
    said = ""
    kernel = case.kernel
    (s, t), (x0, layout) = case.pairs[0], case.many()
    few = Dirac(case.x0, case.layout)
    x_t = kernel.marginal(case.x0, t, case.layout).sample(case.noise(1))
    own = kernel.reverse(x_t, few, t, s, case.layout)
    one = kernel.bridge(x_t, few, t, s, case.layout, 1.0)
    x_s = own.sample(case.noise(2))
    pair = density(own, x_s), density(one, x_s)
    if pair[0] is not None and pair[1] is not None:
        worst = float((pair[0] - pair[1]).abs().max())
        said = within(worst, 1e-4, "bridge at eta = 1 and reverse, in nats")
    for eta in _ETAS:
        what = f"bridge at eta = {eta:g}"
        law = kernel.bridge(x_t, few, t, s, case.layout, eta)
        over, whole = (kernel.marginal(case.x0, at, case.layout) for at in (t, s))
        if all(isinstance(found, Gaussian) for found in (law, over, whole)):
            step = partial(_bridged, case, few, t, s, eta)
            said = averaged_gaussian(case, over, whole, step, what)  # type: ignore[arg-type]
            continue
        noise = case.noise(61, DRAWS)
        begin = kernel.marginal(x0, t, layout).sample(noise)
        end = kernel.bridge(begin, Dirac(x0, layout), t, s, layout, eta).sample(noise)
        said = follows(case, end, x0, s, layout, what)
    return said


def _bridged(
    case: KernelCase, x0: Distribution, t: float, s: float, eta: float, x: Tensor
) -> Distribution:
    return case.kernel.bridge(x, x0, t, s, case.layout, eta)


def paths_follow_the_marginals(case: KernelCase) -> str:
    """`simulate` from clean data has one state per interval, of the law `marginal` at its time, and
    refuses times that do not increase."""
    kernel, (x0, layout), said = case.kernel, case.many(), ""
    s, t = case.pairs[0]
    held = {n: v.clone() for n, v in x0.items()} if isinstance(x0, dict) else x0.clone()
    states = list(kernel.simulate(x0, [0.0, s, t], layout, case.noise(63, DRAWS)))
    require(len(states) == 2, f"a path over two intervals has {len(states)} states")
    for x, at in zip(states, (s, t), strict=True):
        said = follows(case, x, x0, at, layout, f"a path at {at:g}")
    require(same_state(x0, held), "a path changes the data")
    few, own = copies(x0, layout, 8)
    one, again, other = (
        list(kernel.simulate(few, [0.0, s, t], own, case.noise(branch, 8)))[-1]
        for branch in (63, 63, 64)
    )
    require(same_state(one, again), "a path does not repeat with the same noise")
    require(not same_state(one, other), "a path does not depend on the noise source")
    try:
        list(kernel.simulate(few, [t, s], own, case.noise(63, 8)))
    except InputError:
        return said
    raise CheckFailed("a path over falling times is no InputError")


def short_cut_is_the_marginal(case: KernelCase) -> str:
    """`noisy`, the short way to a draw of x_t, has the law and the noise of `marginal`."""
    kernel, (x0, layout), said = case.kernel, case.many(), ""
    (s, t), noise = case.pairs[0], case.noise(65, DRAWS)
    few, own = copies(x0, layout, 8)
    one, other = (kernel.noisy(few, t, own, case.noise(branch, 8)) for branch in (65, 66))
    require(not same_state(one, other), "noisy does not depend on the noise source")
    for at in (s, t):
        said = follows(case, kernel.noisy(x0, at, layout, noise), x0, at, layout, "noisy")
    return said


def follows(case: KernelCase, x: State, x0: State, t: float, layout: Layout, what: str) -> str:
    """Draws x are those of marginal(x0, t): by distribution functions, and by their
    log_prob, which sees a variance that is wrong by some percent."""
    law = case.kernel.marginal(x0, t, layout)
    own = law.sample(case.noise(67, DRAWS))
    said = same_law(x, own, what)
    pair = density(law, x), density(law, own)
    if pair[0] is None or pair[1] is None:
        return said
    require(not bool(pair[0].isnan().any()), f"{what}: log_prob under the marginal is NaN")
    centre = float(pair[1][torch.isfinite(pair[1])].median())
    width = float(pair[1][torch.isfinite(pair[1])].std()) + 1e-6
    a, b = (torch.sigmoid((found - centre) / width) for found in pair if found is not None)
    agree(a, b, f"{what}: log_prob of the draws")
    return said
