"""Samplers whose evaluations adapt, and those that take tokens back: laws by enumeration."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_chain import ALARM, CHAIN, Counted, F, N, Table, model, p_value, run

from unnoise.errors import ConfigError, IncompatibleSampler
from unnoise.kernels import Absorbing, CategoricalKernel, Uniform, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    Diffusion,
    EntropyBound,
    Observation,
    ReMDM,
    Reveal,
    Threshold,
    grids,
)
from unnoise.spaces import Layout, Tokens

SAMPLERS = [EntropyBound(), EntropyBound(0.0), Threshold(0.7), ReMDM(0.3), ReMDM(1.0, "rescale")]
generator = torch.Generator().manual_seed(3)
PMF = torch.rand(3, 3, 3, generator=generator, dtype=F) ** 4
PMF = PMF / PMF.sum()


def marginals(pmf, visible):
    """p(x_i | visible) of every hidden place i, by enumeration."""
    index = tuple(visible.get(i, slice(None)) for i in range(pmf.ndim))
    rest = pmf[index]
    places = [i for i in range(pmf.ndim) if i not in visible]
    whole = rest / rest.sum()
    return {
        place: whole.sum([j for j in range(whole.ndim) if j != k]) if whole.ndim > 1 else whole
        for k, place in enumerate(places)
    }


def enumerated(pmf, choose, steps):
    """The law that a sampler gives which shows the places `choose(marginals)` at once, and all of
    them in its last step; and the number of evaluations on average."""
    law, calls = torch.zeros_like(pmf), 0.0
    todo = [({}, 1.0, steps)]
    while todo:
        visible, p, left = todo.pop()
        if len(visible) == pmf.ndim:
            law[tuple(visible[i] for i in range(pmf.ndim))] += p
            continue
        laws = marginals(pmf, visible)
        places = sorted(laws) if left == 1 else choose(laws)
        calls += p
        for values in itertools.product(range(pmf.shape[0]), repeat=len(places)):
            q = p * math.prod(laws[i][v].item() for i, v in zip(places, values, strict=True))
            if q > 0:
                todo.append(({**visible, **dict(zip(places, values, strict=True))}, q, left - 1))
    return law, calls


def by_entropy(bound):
    def choose(laws):
        h = {i: torch.special.entr(p).sum().item() for i, p in laws.items()}
        order = sorted(h, key=lambda i: h[i])
        sums = [sum(h[j] for j in order[:k]) for k in range(len(order))]  # less the largest
        return [i for k, i in enumerate(order) if k == 0 or sums[k] <= bound]

    return choose


def by_probability(threshold):
    def choose(laws):
        top = {i: p.max().item() for i, p in laws.items()}
        order = sorted(top, key=lambda i: -top[i])
        return [i for k, i in enumerate(order) if k == 0 or top[i] >= threshold]

    return choose


@pytest.mark.parametrize("pmf", [CHAIN, PMF], ids=["chain", "any"])
@pytest.mark.parametrize("bound", [0.0, 0.4, 0.9, 1.5])
@pytest.mark.parametrize("steps", [2, 3])
def test_entropy_bound_has_the_law_of_its_rule(pmf, bound, steps):
    expected, calls = enumerated(pmf, by_entropy(bound), steps)
    assert expected.sum() == pytest.approx(1)
    counted = Counted(model(pmf))
    x = run(EntropyBound(bound), counted, N, steps)[-1].x
    assert p_value(x, expected) > ALARM
    assert sum(counted.samples) / N == pytest.approx(calls, abs=0.05)


@pytest.mark.parametrize("pmf", [CHAIN, PMF], ids=["chain", "any"])
@pytest.mark.parametrize("threshold", [1.0, 0.8, 0.4])
def test_threshold_has_the_law_of_its_rule(pmf, threshold):
    expected, calls = enumerated(pmf, by_probability(threshold), 3)
    counted = Counted(model(pmf))
    x = run(Threshold(threshold), counted, N, 3)[-1].x
    assert p_value(x, expected) > ALARM
    assert sum(counted.samples) / N == pytest.approx(calls, abs=0.05)


@pytest.mark.parametrize("pmf", [CHAIN, PMF], ids=["chain", "any"])
def test_a_token_at_a_time_is_exact(pmf):
    for sampler in (EntropyBound(0.0), Threshold(1.0)):
        assert p_value(run(sampler, model(pmf), N, 3)[-1].x, pmf) > ALARM


@pytest.mark.parametrize("pmf", [CHAIN, PMF], ids=["chain", "any"])
def test_what_an_evaluation_may_be_wrong_by(pmf):
    # KL(data || samples) <= bound for each evaluation, by the chain rule
    for bound in (0.05, 0.2, 0.5, 0.8, 1.2):
        law, _ = enumerated(pmf, by_entropy(bound), 99)
        kl = torch.where(pmf > 0, pmf * (pmf / law).log(), 0.0).sum().item()
        steps = pmf.ndim
        assert kl <= bound * steps + 1e-12
    # TV <= the sum of what is left beside the most probable values, for each evaluation
    for threshold in (0.95, 0.8, 0.6):
        law, _ = enumerated(pmf, by_probability(threshold), 99)
        tv = (pmf - law).abs().sum().item() / 2
        assert tv <= (1 - threshold) * pmf.ndim + 1e-12


# ---- remasking


def remdm_law(pmf, sampler, steps, early=None):
    """The law of ReMDM by enumeration of its states; k is the mask. The denoiser is exact; that of
    `early` before half of the time has passed, if it is given."""
    k, n = pmf.shape[0], pmf.ndim
    states = {(k,) * n: 1.0}
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        alpha_t, alpha_s = 1 - t, 1 - s
        most = min(1.0, (1 - alpha_s) / max(alpha_t, 1e-300))
        r = min(sampler.eta, most) if sampler.rule == "cap" else sampler.eta * most
        stay = (1 - alpha_s - r * alpha_t) / (1 - alpha_t)
        after: dict = {}
        for state, p in states.items():
            of = pmf if early is None or t <= 0.5 else early
            laws = marginals(of, {j: v for j, v in enumerate(state) if v < k})
            rows = []
            for j, v in enumerate(state):
                if v < k:
                    rows.append([(v, 1 - r), (k, r)])
                else:
                    rows.append([(w, (1 - stay) * q.item()) for w, q in enumerate(laws[j])])
                    rows[-1].append((k, stay))
            for choice in itertools.product(*rows):
                q = p * math.prod(c[1] for c in choice)
                if q > 0:
                    key = tuple(c[0] for c in choice)
                    after[key] = after.get(key, 0.0) + q
        states = after
    law = torch.zeros_like(pmf)
    for state, p in states.items():
        law[state] += p
    return law


@pytest.mark.parametrize("sampler", [ReMDM(0.0), ReMDM(0.3), ReMDM(1.0, "rescale")], ids=repr)
@pytest.mark.parametrize("steps", [2, 4])
def test_remasking_has_the_law_of_its_rule(sampler, steps):
    expected = remdm_law(CHAIN, sampler, steps)
    assert expected.sum() == pytest.approx(1)
    assert p_value(run(sampler, model(CHAIN), N, steps)[-1].x, expected) > ALARM


def test_remasking_keeps_the_share_of_hidden_tokens():
    # Normal approximation of 3 N independent tokens, five standard errors
    for sampler in (ReMDM(0.3), ReMDM(1.0, "rescale")):
        for step in run(sampler, model(CHAIN), N, 6):
            hidden = (step.x == 2).double().mean().item()
            assert hidden == pytest.approx(step.t, abs=5 * (step.t * (1 - step.t) / 3 / N) ** 0.5)


def test_remasking_mends_what_was_wrong_before():
    # a denoiser that knows nothing until half of the time has passed
    blind = torch.full_like(CHAIN, 1 / 8)

    def far(sampler, early=blind):
        return (remdm_law(CHAIN, sampler, 10, early) - CHAIN).abs().sum().item() / 2

    assert far(ReMDM(1.0, "rescale")) < far(ReMDM(0.5, "rescale")) < far(ReMDM(0.0))
    assert far(ReMDM(1.0, "rescale")) < 0.5 * far(ReMDM(0.0))
    # of one that is exact it is no better: more tokens are drawn at once
    assert far(ReMDM(1.0, "rescale"), None) > far(ReMDM(0.0), None)


def test_remasking_at_times_only():
    plain = run(ReMDM(0.0), model(CHAIN), 50, 8)
    late = run(ReMDM(0.9, on=(0.0, 0.5)), model(CHAIN), 50, 8)
    for a, b in zip(plain[:4], late[:4], strict=True):
        assert torch.equal(a.x, b.x)
    assert any(not torch.equal(a.x, b.x) for a, b in zip(plain[4:], late[4:], strict=True))


# ---- promises


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("schedule", [None, VPCosine()], ids=["linear", "cosine"])
def test_samples_do_not_depend_on_the_batch(sampler, schedule):
    oracle = model(PMF, schedule)
    together = [step.x for step in run(sampler, oracle, 5, 4)]
    for i in range(5):
        alone = [step.x for step in run(sampler, oracle, 1, 4, ids=[i])]
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))
    assert (together[-1] < 3).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_ragged_and_padded_samples_equal_dense_ones(sampler):
    table, sizes = Table(length=4), [3, 1, 4]
    table.table = table.table[-1:]

    def final(layout, ids):
        noise = NoiseSource(0, ids)
        x = table.kernel.prior(layout).sample(noise)
        grid = grids.uniform(table.kernel, 3)
        *_, last = sampler(Diffusion(table, layout, noise), x, grid)
        return last.x

    ragged = final(Layout.ragged(sizes, dtype=torch.int64), range(3)).split(sizes)
    mask = torch.arange(4) < torch.tensor(sizes)[:, None]
    padded = final(Layout.dense(3, (4,), mask=mask, dtype=torch.int64), range(3))
    for i, n in enumerate(sizes):
        alone = final(Layout.dense(1, (n,), dtype=torch.int64), [i])[0]
        assert torch.equal(ragged[i], alone)
        assert torch.equal(padded[i, :n], alone)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_what_is_known_stays_and_what_is_known_to_be_hidden_is_held(sampler):
    known = torch.tensor([[1, 3, 0]]).expand(40, 3)  # 3 is the mask
    where = torch.tensor([[True, True, False]]).expand(40, 3)
    counted = Counted(model(PMF))
    steps = run(sampler, counted, 40, 5, observation=Observation(known, where, Reveal()))
    for step in steps:
        assert (step.x[:, 0] == 1).all()
        assert (step.x[:, 1] == 3).all()
    assert (steps[-1].x[:, 2] < 3).all()
    if not isinstance(sampler, ReMDM):
        assert counted.samples == [40]


def test_settings_out_of_range(unchecked):
    for make, message in (
        (lambda: EntropyBound(-1.0), "bound"),
        (lambda: EntropyBound(math.nan), "bound"),
        (lambda: Threshold(0.0), "probability"),
        (lambda: Threshold(1.1), "probability"),
        (lambda: ReMDM(1.5), "eta"),
        (lambda: ReMDM(0.5, "loop"), "rule"),
        (lambda: ReMDM(0.5, on=(0.5, 0.5)), "times"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()
    for sampler in SAMPLERS:
        sampler.check(CategoricalKernel(Tokens(4), Absorbing(3)))
        with pytest.raises(IncompatibleSampler, match="with Absorbing"):
            sampler.check(CategoricalKernel(Tokens(3), Uniform()))
