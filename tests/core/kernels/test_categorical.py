"""Categorical kernels obey the laws of probability: every sum is taken by enumeration."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from unnoise.distributions import Categorical, Dirac
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    Linear,
    RandomWalk,
    Uniform,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, Tokens

sys.path.insert(0, str(Path(__file__).parent))
from category_kernels import (
    CORRUPTIONS,
    FLOATS,
    TENSORS,
    D,
    K,
    T,
    close,
    corruptions,
    kernel,
    line,
    matrix,
    rules,
    stochastic,
)


@corruptions
def test_rows_are_probabilities_and_products_compose(name):
    k = kernel(name)
    grid = [i / T for i in range(T + 1)]
    whole = torch.eye(K, dtype=D)
    for i, (s, t) in enumerate(pairwise(grid)):
        q = matrix(k, s, t)
        assert (q >= 0).all()
        close(q.sum(-1), torch.ones(K, dtype=D), 1e-13)
        whole = whole @ q
        close(matrix(k, 0.0, t), whole, 1e-12)  # Qbar_t = Q_1 .. Q_t
        if i:
            close(matrix(k, grid[i - 1], s) @ q, matrix(k, grid[i - 1], t), 1e-12)


@corruptions
def test_end_points(name):
    k = kernel(name)
    x = torch.arange(K)[None]
    for zero in (0.0, torch.zeros(1, dtype=D)):
        law = k.marginal(x, zero, line(K))
        close(law.mean[0], torch.eye(K, dtype=D), 1e-14)
        assert law.sample(NoiseSource(0, [0])).equal(x)
    prior = k.prior(line(K)).mean[0]
    end = matrix(k, 0.0, 1.0)
    if name == "any matrices":
        close(prior, end.mean(0).expand(K, K))
        return
    # what is left of the data: at most alpha_1, of the slowest mode
    slow = ("uniform table", "absorbing table", "discretised Gaussian")
    left = 9e-3 if name in slow else 2e-3
    assert (end - prior).abs().max() < left
    close(prior @ matrix(k, 0.25, 0.5), prior, 1e-12)  # it stays where it is
    if name in ("uniform", "absorbing"):
        close(end, prior, 1e-15)


@corruptions
def test_bayes_by_enumeration(name):
    k = kernel(name)
    for s, t in ((0.125, 0.25), (0.25, 0.875), (0.0, 0.5), (0.875, 1.0)):
        q_s, q_st, q_t = matrix(k, 0.0, s), matrix(k, s, t), matrix(k, 0.0, t)
        x0, x_t = (v.flatten()[None] for v in torch.meshgrid(*[torch.arange(K)] * 2, indexing="ij"))
        law = k.reverse(x_t, Dirac(x0), t, s, line(K * K)).mean[0].view(K, K, K)
        joint = q_s[:, None, :] * q_st.mT[None]  # q(x_s | x_0) q(x_t | x_s): [x_0, x_t, x_s]
        possible = q_t > 0
        close(joint.sum(-1), q_t, 1e-12)
        close((law * q_t[..., None])[possible], joint[possible], 1e-12)
        close(law[possible].sum(-1), torch.ones(int(possible.sum()), dtype=D), 1e-12)


@corruptions
@rules
def test_the_rules_for_a_spread_prediction(name, rule):
    """`mixture` averages the posteriors; `joint` normalises sum_i p0_i q(x_s, x_t | i)."""
    k = kernel(name, rule)
    x_t = torch.arange(K)[None]
    for s, t in ((0.125, 0.25), (0.25, 0.875), (0.0, 0.5)):
        q_s, q_st, q_t = matrix(k, 0.0, s), matrix(k, s, t), matrix(k, 0.0, t)
        p0 = stochastic(K, K, seed=1)
        possible = (q_t > 0).mT  # a prediction must not contradict x_t: [x_t, x_0]
        p0 = torch.where(possible, p0, 0.0)
        p0 = p0 / p0.sum(-1, keepdim=True)
        weight = p0 / torch.where(possible, q_t.mT, 1.0) if rule == "mixture" else p0
        expected = (weight @ q_s) * q_st.mT
        if rule == "joint":
            expected = expected / expected.sum(-1, keepdim=True)
        law = k.reverse(x_t, Categorical(p0.log()[None]), t, s, line(K))
        close(law.mean[0], expected, 1e-12)
        rough = k.reverse(x_t, Categorical(p0.float().log()[None]), t, s, line(K))
        assert rough.log_probs.dtype == torch.float32
        close(rough.mean[0].double(), expected, 2e-5)


@corruptions
def test_the_exact_prediction_walks_back_exactly(name):
    """With p(x_0 | x_t) of the data, `mixture` gives q(x_s | x_t) of the data."""
    k, data = kernel(name), stochastic(K, seed=3)
    s, t = 0.25, 0.625
    joint = data[:, None] * matrix(k, 0.0, t)
    p0 = (joint / joint.sum(0)).mT
    law = k.reverse(torch.arange(K)[None], Categorical(p0.log()[None]), t, s, line(K)).mean[0]
    close(joint.sum(0) @ law, data @ matrix(k, 0.0, s), 1e-12)


@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n.startswith("absorbing")])
def test_both_rules_are_one_behind_a_mask(name):
    p0 = stochastic(1, K, K, seed=2)
    p0[..., CORRUPTIONS[name].mask] = 0
    p0 = p0 / p0.sum(-1, keepdim=True)
    laws = [
        kernel(name, rule).reverse(torch.arange(K)[None], Categorical(p0.log()), 0.5, 0.25, line(K))
        for rule in ("mixture", "joint")
    ]
    close(laws[0].mean, laws[1].mean, 1e-14)


@corruptions
@rules
def test_one_time_for_all_is_the_same_time_for_each(name, rule):
    k = kernel(name, rule)
    layout = Layout.dense(3, (4,), dtype=torch.int64)
    x = torch.randint(K, (3, 4), generator=torch.Generator().manual_seed(0))
    p0 = Categorical(stochastic(3, 4, K).log())
    s, t, _ = FLOATS
    each_s, each_t = (torch.full((3,), v, dtype=D) for v in (s, t))
    pairs = [
        (k.marginal(x, t, layout), k.marginal(x, each_t, layout)),
        (k.transition(x, s, t, layout), k.transition(x, each_s, each_t, layout)),
        (k.transition(x, s, t, layout), k.transition(x, s, each_t, layout)),
        (k.reverse(x, p0, t, s, layout), k.reverse(x, p0, each_t, each_s, layout)),
        (k.reverse(x, p0, t, s, layout), k.reverse(x, p0, t, each_s, layout)),
        (k.reconstruction(x, p0, t, layout), k.reconstruction(x, p0, each_t, layout)),
    ]
    for one, each in pairs:
        close(one.mean, each.mean, 1e-13)
        draws = [law.sample(NoiseSource(0, range(3))) for law in (one, each)]
        assert draws[0].equal(draws[1])


@corruptions
@rules
@pytest.mark.parametrize("clock", [FLOATS, TENSORS], ids=["one time", "a time per sample"])
@pytest.mark.parametrize("kind", ["ragged", "padded"])
def test_a_batch_is_its_samples(name, rule, clock, kind):
    k, counts = kernel(name, rule), (3, 1, 2)
    mask = torch.arange(4)[None] < torch.tensor(counts)[:, None]
    ragged = kind == "ragged"
    layout = (
        Layout.ragged(counts, dtype=torch.int64)
        if ragged
        else Layout.dense(3, (4,), mask=mask, dtype=torch.int64)
    )
    wide = torch.randint(K, (3, 4), generator=torch.Generator().manual_seed(0)) * mask
    x = wide[mask] if ragged else wide
    table = stochastic(3, 4, K).log()
    p0 = Categorical(table[mask] if ragged else table, layout)
    s, t, _ = clock
    together = [
        k.marginal(x, t, layout),
        k.transition(x, s, t, layout),
        k.reverse(x, p0, t, s, layout),
        k.reverse(x, Dirac(x, layout), t, s, layout),
    ]
    for i, n in enumerate(counts):
        one = Layout.dense(1, (n,), dtype=torch.int64)
        a, p = wide[i : i + 1, :n], Categorical(table[i : i + 1, :n])
        s_i, t_i = (float(v[i]) if isinstance(v, torch.Tensor) else v for v in (s, t))
        alone = [
            k.marginal(a, t_i, one),
            k.transition(a, s_i, t_i, one),
            k.reverse(a, p, t_i, s_i, one),
        ]
        for law, single in zip(together, alone, strict=False):
            rows = law.mean[layout.index == i] if ragged else law.mean[i, :n]
            close(rows, single.mean[0], 1e-13)


@corruptions
def test_samples_have_the_marginal(name):
    """Chi-square of 10,000 tokens; the seed is fixed, its false-alarm rate 1e-7."""
    k, n = kernel(name), 10_000
    x = torch.full((1, n), 1)
    drawn = k.marginal(x, 0.5, line(n)).sample(NoiseSource(0, [0]))
    p = matrix(k, 0.0, 0.5)[1].numpy()
    counts = np.bincount(drawn[0].numpy(), minlength=K)
    assert (counts[p == 0] == 0).all()
    assert stats.chisquare(counts[p > 0], n * p[p > 0] / p[p > 0].sum()).pvalue > 1e-7


@pytest.mark.parametrize(
    ("rule", "last", "steps", "expected"),
    [
        *(("mixture", "mixture", n, 1.142120273) for n in (4, 20, 100)),
        ("joint", "joint", 4, 1.517642),
        ("joint", "joint", 20, 1.694248),
        ("joint", "joint", 100, 1.739125),
        ("joint", "mixture", 4, 1.247071),
        ("joint", "mixture", 20, 1.570310),
        ("joint", "mixture", 100, 1.701834),
    ],
)
def test_the_bound_of_one_token(rule, last, steps, expected):
    data = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=D)
    n = len(data)
    kernels = {
        r: CategoricalKernel(Tokens(n), Uniform(Linear(0.001)), r) for r in ("mixture", "joint")
    }
    x0, x_t = (v.flatten()[None] for v in torch.meshgrid(*[torch.arange(n)] * 2, indexing="ij"))
    layout = line(n * n)

    def average(values, t):
        """E over x_0 and x_t of a value for each pair."""
        q = kernels[rule].marginal(x0, t, layout).mean[0].gather(-1, x_t[0][:, None])[:, 0]
        return (data[x0[0]] * q * values).sum().item()

    def prediction(t):
        q = kernels[rule].marginal(torch.arange(n)[None], t, line(n)).mean[0]
        joint = data[:, None] * q
        return Categorical((joint / joint.sum(0)).mT[x_t[0]].log()[None])

    def divergence(p, q):
        return (p.mean * (p.log_probs - q.log_probs)).sum(-1)[0]

    k = kernels[rule]
    prior = divergence(k.marginal(x0, 1.0, layout), k.prior(layout))
    total = average(prior, 1.0)
    for i in range(2, steps + 1):
        t, s = i / steps, (i - 1) / steps
        p = k.reverse(x_t, Dirac(x0), t, s, layout)
        total += average(divergence(p, k.reverse(x_t, prediction(t), t, s, layout)), t)
    first = 1 / steps
    law = kernels[last].reconstruction(x_t, prediction(first), first, layout)
    total += average(-law.log_probs[0].gather(-1, x0[0][:, None])[:, 0], first)
    assert total == pytest.approx(expected, abs=2e-9 if rule == "mixture" else 1e-6)


@corruptions
@rules
@pytest.mark.parametrize("s", [0.0, 0.25])
def test_gradients_are_finite_where_tokens_are_ruled_out(name, rule, s):
    k = kernel(name, rule)
    mask = getattr(k.corruption, "mask", K - 1)
    seen, hidden, other = (i for i in (0, 1, 2, 3) if i != mask) if mask < 4 else (0, 1, 3)
    x_t = torch.tensor([[mask, seen, mask]])
    x0 = torch.tensor([[hidden, seen, other]])
    for dtype in (torch.float32, D):
        logits = stochastic(1, 3, K).to(dtype).log().requires_grad_()
        law = Categorical.from_logits(logits.masked_fill(torch.arange(K) == mask, -math.inf))
        loss = (
            k.reconstruction(x_t, law, 0.5, line(3)).log_prob(x0)
            if s == 0
            else k.reverse(x_t, Dirac(x0), 0.5, s, line(3)).kl(k.reverse(x_t, law, 0.5, s, line(3)))
        )
        assert torch.isfinite(loss).all()
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("corruption", [Uniform(), Absorbing(50_256)])
def test_a_large_vocabulary_needs_no_matrix(corruption):
    k = CategoricalKernel(Tokens(50_257), corruption)
    x = torch.randint(50_256, (1, 8), generator=torch.Generator().manual_seed(0))
    x_t = k.marginal(x, 0.5, line(8)).sample(NoiseSource(0, [0]))
    p0 = Categorical.from_logits(torch.zeros(1, 8, 50_257))
    law = k.reverse(x_t, p0, 0.5, 0.25, line(8))
    close(law.mean.sum(-1), torch.ones(1, 8), 1e-4)
    assert law.sample(NoiseSource(0, [0])).max() < 50_257


@corruptions
@pytest.mark.parametrize("t", [0.125, 0.75, 1.0, FLOATS[0], TENSORS[2]])
def test_a_noisy_state_is_the_sample_of_the_marginal(name, t):
    x0 = torch.randint(K, (3, 500), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(500) < torch.tensor([[500], [400], [1]])
    layout = Layout.dense(3, (500,), mask=mask, dtype=torch.int64)
    law = kernel(name).marginal(x0, t, layout)
    expected = law.sample(NoiseSource(5, range(3)))
    assert torch.equal(kernel(name).noisy(x0, t, layout, NoiseSource(5, range(3))), expected)


@pytest.mark.parametrize("corruption", [Uniform(), Absorbing(0), Absorbing(K - 1)])
def test_no_draw_leaves_the_vocabulary(corruption):
    layout = line(K)
    u = torch.tensor([0.0, 5e-324, 0.5, 1 - 2**-53, 1 - 2**-52], dtype=D)
    for t in (0.0, 1e-300, 0.5, 1.0):
        for x in range(K):
            found = corruption.draw(torch.full((1, K), x), 0.0, t, u[None], K, layout)
            assert found.min() >= 0
            assert found.max() < K
            if t == 0.0:
                assert (found == x).all()


def test_a_walk_of_samples_with_times_of_their_own_is_that_of_each_alone():
    walk = RandomWalk.bands(6, rate=20.0)
    x = torch.randint(6, (3, 4), generator=torch.Generator().manual_seed(0))
    log_w = stochastic(3, 4, 6).log()
    s, t = (torch.tensor(v, dtype=D) for v in ([0.0, 0.2, 0.9], [0.1, 0.9, 1.0]))
    layout, one = Layout.dense(3, (4,), dtype=torch.int64), line(4)
    rows, pushed = walk.log_rows(x, s, t, 6, layout), walk.push(log_w, s, t, layout)
    column = walk.column(x, s, t, log_w, layout)
    for k in range(3):
        u, v = s[k].item(), t[k].item()
        close(rows[k], walk.log_rows(x[k : k + 1], u, v, 6, one)[0])
        close(pushed[k], walk.push(log_w[k : k + 1], u, v, one)[0])
        close(column[k], walk.column(x[k : k + 1], u, v, log_w[:1], one)[0])
