"""The matrices of corruptions, entry by entry, and what they refuse."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

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
from unnoise.spaces import Layout, Tokens

sys.path.insert(0, str(Path(__file__).parent))
from category_kernels import (
    BETAS,
    CORRUPTIONS,
    POINTS,
    D,
    K,
    T,
    close,
    kernel,
    line,
    matrix,
    stochastic,
)


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
