"""Categorical kernels obey the laws of probability: every sum is taken by enumeration."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from unnoise.distributions import Categorical, Dirac, Gaussian
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    Linear,
    Matrices,
    RandomWalk,
    Uniform,
    VPCosine,
)
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, Tokens

D = torch.float64
K = 5
T = 8
BETAS = (0.05, 0.1, 0.2, 0.2, 0.3, 0.5, 0.7, 0.9)
POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.1], [0.2, 1.0], [2.0, 1.5], [1.2, 2.2]])


def stochastic(*shape, seed=0) -> torch.Tensor:
    """Random rows of probabilities, float64."""
    g = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=g, dtype=D).pow(3).add(0.01).log().log_softmax(-1).exp()


CORRUPTIONS = {
    "uniform": Uniform(),
    "uniform cosine": Uniform(VPCosine()),
    "uniform table": Uniform(BetaTable.survival(BETAS)),
    "absorbing": Absorbing(K - 1),
    "absorbing first": Absorbing(0, VPCosine()),
    "absorbing table": Absorbing(2, BetaTable.survival(BETAS)),
    "bands": RandomWalk.bands(K),
    "wide bands": RandomWalk.bands(K, 2, VPCosine(), rate=2.0),
    "neighbours": RandomWalk.nearest_neighbours(POINTS, 2),
    "discretised Gaussian": Matrices.discretised_gaussian(K, (0.2, 0.5, 1, 2, 4, 8, 16, 32)),
    "any matrices": Matrices(stochastic(T, K, K)),
}
# s < t < u, on the steps of all of them
FLOATS = (0.25, 0.625, 0.75)
TENSORS = tuple(
    torch.tensor(v, dtype=D) for v in ([0.125, 0.25, 0.875], [0.25, 0.5, 1.0], [0.625, 0.75, 1.0])
)

corruptions = pytest.mark.parametrize("name", CORRUPTIONS)
rules = pytest.mark.parametrize("rule", ["mixture", "joint"])


def kernel(name: str, rule: str = "mixture") -> CategoricalKernel:
    return CategoricalKernel(Tokens(K), CORRUPTIONS[name], rule)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def line(n: int) -> Layout:
    return Layout.dense(1, (n,), dtype=torch.int64)


def matrix(k: CategoricalKernel, s: float, t: float) -> torch.Tensor:
    """Q(s, t), one row per state."""
    x = torch.arange(K)[None]
    law = k.marginal(x, t, line(K)) if s == 0 else k.transition(x, s, t, line(K))
    return law.mean[0]


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


# --- the matrices themselves


def test_uniform_steps():
    k = kernel("uniform table")
    for i, beta in enumerate(BETAS):
        expected = (1 - beta) * torch.eye(K, dtype=D) + beta / K
        close(matrix(k, i / T, (i + 1) / T), expected, 1e-13)


def test_absorbing_steps():
    """A token that is still there is masked at rate 1 / (T - i + 1) in step i."""
    k = kernel("absorbing")
    for i in range(1, T + 1):
        q = torch.eye(K, dtype=D)
        q[:-1, :-1] *= 1 - 1 / (T - i + 1)
        q[:-1, -1] = 1 / (T - i + 1)
        close(matrix(k, (i - 1) / T, i / T), q, 1e-13)


def test_a_mask_in_the_data_stays_a_mask():
    k = kernel("absorbing")
    mask = torch.tensor([[K - 1]])
    p0 = torch.zeros(1, 1, K, dtype=D)
    p0[..., 0], p0[..., K - 1] = 0.25, 0.75
    law = k.reverse(mask, Categorical(p0.log()), 0.5, 0.25, line(1)).mean[0, 0]
    # unmasked with probability (1/2 - 1/4) / (1/2), if it was a token
    close(law, torch.tensor([0.125, 0, 0, 0, 0.875], dtype=D), 1e-14)


def test_discretised_gaussian_is_as_published():
    """Austin 2021, appendix A.2.3, in loops."""
    vocab, betas = 7, (0.02, 0.3, 1.5)
    q = Matrices.discretised_gaussian(vocab, betas).one_step
    for beta, step in zip(betas, q.tolist(), strict=True):
        total = sum(
            math.exp(-4 * n**2 / ((vocab - 1) ** 2 * beta)) for n in range(-(vocab - 1), vocab)
        )
        for i in range(vocab):
            for j in range(vocab):
                if i != j:
                    expected = math.exp(-4 * abs(i - j) ** 2 / ((vocab - 1) ** 2 * beta)) / total
                    assert step[i][j] == pytest.approx(expected, rel=1e-12, abs=0)
            others = sum(step[i][j] for j in range(vocab) if j != i)
            assert step[i][i] == pytest.approx(1 - others, rel=1e-12)
    # doubly stochastic, so the uniform distribution is the prior
    close(q.sum(-2), torch.ones(3, vocab, dtype=D), 1e-12)
    close(CORRUPTIONS["discretised Gaussian"].log_prior(K), torch.full((K,), -math.log(K), dtype=D))


@pytest.mark.parametrize("name", ["bands", "wide bands", "neighbours"])
def test_a_random_walk_is_the_exponential_of_its_rates(name):
    walk = CORRUPTIONS[name]
    generator = (walk.adjacency - torch.diag(walk.adjacency.sum(-1))).numpy()
    gap = -np.linalg.eigvalsh(generator)[-2]
    for s, t in ((0.0, 0.25), (0.25, 0.5), (0.5, 1.0), (0.0, 1.0)):
        ratio = walk.schedule.alpha(s) / walk.schedule.alpha(t)
        expected = linalg.expm(walk.rate / gap * math.log(ratio) * generator)
        close(walk.matrix(s, t), torch.as_tensor(expected), 1e-12)
        # the slowest mode has decayed to alpha_t / alpha_s
        second = torch.linalg.eigvalsh(walk.matrix(s, t))[-2].item()
        assert second == pytest.approx(ratio**-walk.rate, abs=1e-12)


def test_a_long_random_walk():
    # 32 ordinal values, a thousand jumps: several digits of the number of jumps
    walk = RandomWalk.bands(32)
    generator = (walk.adjacency - torch.diag(walk.adjacency.sum(-1))).numpy()
    gap = -np.linalg.eigvalsh(generator)[-2]
    assert 1000 < 9.2 / gap < 4096
    t = torch.tensor([0.01, 0.5, 0.999, 1.0], dtype=D)
    expected = [
        linalg.expm(-math.log(walk.schedule.alpha(v)) / gap * generator) for v in t.tolist()
    ]
    close(walk.matrix(0.0, t), torch.as_tensor(np.stack(expected)), 1e-11)


def test_small_probabilities_of_a_random_walk_have_their_digits():
    """Bayes' rule divides by them: a prediction far from x_t must not be lost in rounding."""
    vocab = 12
    walk = RandomWalk.bands(vocab)
    # to the leading order the only way to get to distance d in a short time is d jumps of rate r
    t = 1e-9
    jump = walk.matrix(0.0, t)[0, 1].item()
    for d in (2, 4, 6):
        entry = walk.matrix(0.0, t)[0, d].item()
        assert entry == pytest.approx(jump**d / math.factorial(d), rel=1e-5, abs=0)
    # and then x_s has made half of them, a binomial number
    k = CategoricalKernel(Tokens(vocab), walk)
    law = k.reverse(torch.tensor([[6]]), Dirac(torch.tensor([[0]])), t, t / 2, line(1)).mean[0, 0]
    binomial = torch.tensor([math.comb(6, i) / 64 for i in range(7)], dtype=D)
    close(law[:7], binomial, 1e-5)


def test_nearest_neighbours():
    """The graph by hand: points on a line, each with its nearest other."""
    line_of_points = torch.tensor([[0.0], [1.0], [2.1], [3.3]])
    walk = RandomWalk.nearest_neighbours(line_of_points, 1)
    # 0 -> 1, 1 -> 0, 2 -> 1, 3 -> 2, and A = (G + G^T) / 2
    expected = torch.tensor(
        [[0, 1, 0, 0], [1, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0]], dtype=D
    )
    close(walk.adjacency, expected)
    bands = RandomWalk.bands(4, 1).adjacency
    close(
        bands,
        torch.diag(torch.full((3,), 0.5, dtype=D), 1)
        + torch.diag(torch.full((3,), 0.5, dtype=D), -1),
    )


# --- published numbers: one token, K = 4, the exact p(x_0 | x_t)


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


# --- gradients, size


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


# --- bad input

GOOD = stochastic(3, 4, 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Matrices(GOOD[0]), r"\(T, K, K\).*\(4, 4\)"),
        (lambda: Matrices(GOOD[:, :3]), r"\(T, K, K\)"),
        (lambda: Matrices(GOOD[:0]), r"\(T, K, K\)"),
        (lambda: Matrices(GOOD.mT), r"sum to one.*rows = from"),
        (lambda: Matrices(GOOD - torch.eye(4) + 0.25), r"smallest entry -"),
        (lambda: Matrices(GOOD * math.nan), "sum to one"),
        (lambda: Matrices.discretised_gaussian(1, (0.1,)), "two values or more"),
        (lambda: Matrices.discretised_gaussian(4, ()), "positive betas"),
        (lambda: Matrices.discretised_gaussian(4, (0.1, -0.1)), r"positive betas.*-0\.1"),
        (lambda: RandomWalk(torch.eye(4)[:3]), "square"),
        (lambda: RandomWalk(torch.zeros(1, 1)), "square"),
        (lambda: RandomWalk(torch.ones(4, 4).triu()), "symmetric"),
        (lambda: RandomWalk(torch.ones(4, 4) - 3 * torch.eye(4)), "non-negative.*-2"),
        (lambda: RandomWalk(torch.full((4, 4), math.nan)), "symmetric"),
        (lambda: RandomWalk(torch.full((4, 4), math.inf)), "symmetric"),
        (
            lambda: RandomWalk(torch.block_diag(torch.ones(2, 2), torch.ones(3, 3))),
            r"not connected.*2 of 5.*more neighbours",
        ),
        (lambda: RandomWalk.bands(5, 5), "width.*1 to 4"),
        (lambda: RandomWalk.nearest_neighbours(POINTS, 5), "neighbours.*got 5.*1 to 4"),
        (lambda: RandomWalk.nearest_neighbours(POINTS, 0), "neighbours.*got 0"),
        (lambda: RandomWalk.bands(5, 1, Linear()), r"alpha\(1\) = 0.*Linear\(1e-4\)"),
        (lambda: RandomWalk.bands(5, rate=-1.0), "rate = -1"),
        (lambda: CategoricalKernel(Tokens(4), Absorbing(4)), "mask.*got 4.*0 to 3"),
        (lambda: CategoricalKernel(Tokens(4), Absorbing(-1)), "mask.*-1"),
        (lambda: CategoricalKernel(Tokens(5), Matrices(GOOD)), "another size.*got 4.*5"),
        (lambda: CategoricalKernel(Tokens(4), RandomWalk.bands(5)), "another size.*got 5.*4"),
        (lambda: CategoricalKernel(Tokens(4), Uniform(), "exact"), "exact.*mixture, joint"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_parameters(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_bad_embeddings():
    with pytest.raises(NonFiniteError, match="embeddings"):
        RandomWalk.nearest_neighbours(POINTS * math.nan, 2)


def test_rows_that_were_rounded_are_normalised():
    walk = Matrices(stochastic(200, K, K).float())
    close(walk.matrix(0.0, 1.0).sum(-1), torch.ones(K, dtype=D), 1e-13)


@pytest.mark.parametrize("name", ["any matrices", "discretised Gaussian"])
def test_times_between_the_steps(name):
    k, x = kernel(name), torch.zeros(2, 1).long()
    layout = Layout.dense(2, (1,), dtype=torch.int64)
    assert k.steps == T
    for t in (0.3, torch.tensor([0.5, 0.3], dtype=D)):
        with pytest.raises(InputError, match=r"own steps.*0\.3.*i/8, i = 0\.\.8.*divides 8"):
            k.marginal(x, t, layout)
    with pytest.raises(InputError, match="own steps"):
        k.reverse(x, Dirac(x), 0.5, 0.26, layout)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda k, x, m: k.marginal(x, 1.5, m), r"outside.*1\.5"),
        (lambda k, x, m: k.transition(x, 0.5, 0.25, m), "order"),
        (lambda k, x, m: k.reverse(x, Dirac(x), 0.25, 0.5, m), "order"),
        (lambda k, x, m: k.marginal(x.float(), 0.5, m), r"int64.*float32.*x\.long\(\)"),
        (lambda k, x, m: k.marginal({"x": x}, 0.5, m), "one tensor.*dict"),
        (
            lambda k, x, m: k.reverse(x, Categorical(torch.zeros(2, 3, 4)), 0.5, 0.25, m),
            r"another shape.*\(2, 3, 4\).*\(2, 3, 5\)",
        ),
        (
            lambda k, x, m: k.reverse(x, Gaussian(torch.zeros(2, 3)), 0.5, 0.25, m),
            "Dirac or Categorical.*Gaussian",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call(
            kernel("uniform"),
            torch.zeros(2, 3).long(),
            Layout.dense(2, (3,), dtype=torch.int64),
        )


@pytest.mark.parametrize("schedule", [Linear(), Linear(0.1), VPCosine()], ids=repr)
def test_the_time_of_a_share_of_masks(schedule):
    corruption = Absorbing(2, schedule)
    end = 1 - schedule.alpha(1.0)
    for share in (1e-6, 0.2, 0.7, end):
        hidden = torch.tensor([share * end / max(end, share)], dtype=torch.float64)
        t = corruption.time_hidden(hidden)
        assert 0 < t.item() <= 1
        assert 1 - schedule.alpha(t.item()) == pytest.approx(hidden.item(), rel=1e-9)
        assert corruption.hidden(t.item()) == pytest.approx(hidden.item(), rel=1e-9)
    assert (
        corruption.time_hidden(torch.tensor([1.0], dtype=torch.float64)) == 1
    )  # never, or at the end


def test_the_time_of_a_share_on_a_table_is_one_of_its_steps():
    corruption = Absorbing(2, BetaTable.linear(10, 0.1, 0.5))
    shares = torch.linspace(0.01, 0.9, 30, dtype=torch.float64)
    t = corruption.time_hidden(shares) * 10
    torch.testing.assert_close(t, t.round())
    before, after = (1 - corruption.schedule.alpha((t - i) / 10) for i in (1, 0))
    ends = after.clamp(max=corruption.hidden(1.0))
    assert ((before < shares) & ((shares <= ends + 1e-6) | (t == 10))).all()


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
