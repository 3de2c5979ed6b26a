"""Rows that an automaton accepts, against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from unnoise.conditioning import SMC, Bootstrap, Language
from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical
from unnoise.errors import InputError, NonFiniteError
from unnoise.kernels import Absorbing, CategoricalKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, Sampler
from unnoise.samplers.grids import Uniform
from unnoise.spaces import Layout, Tokens, tensor

D = torch.float64
K, LENGTH, STEPS = 3, 4, 6
WORDS = torch.tensor(list(itertools.product(range(K), repeat=LENGTH)))
STATES = torch.tensor(list(itertools.product(range(K + 1), repeat=LENGTH)))
PLACE = torch.tensor([K ** (LENGTH - 1 - i) for i in range(LENGTH)])
PMF = (1.5 * torch.randn(len(WORDS), generator=torch.Generator().manual_seed(0), dtype=D)).softmax(
    0
)


def rows(batch: int, length: int = LENGTH) -> Layout:
    return Layout.dense(batch, (length,), dtype=torch.int64)


class Enumerated(Denoiser):
    """p(x_0^i | visible tokens) of rows with the law PMF."""

    kernel = CategoricalKernel(Tokens(K + 1), Absorbing(K))

    def forward(self, x_t, t, layout, condition=None):
        fits = ((x_t[:, None] == WORDS) | (x_t[:, None] == K)).all(-1)
        weight = torch.where(fits, PMF, 0.0)
        one = torch.nn.functional.one_hot(WORDS, K + 1).double()
        return Categorical.from_logits(torch.einsum("bw,wik->bik", weight, one).log(), layout)


def walked() -> Tensor:
    """(words,) the law of the end of a walk of STEPS steps, by all its states: some tokens appear
    at once, so that it is not PMF."""
    denoiser, grid = Enumerated(), Uniform().times(Enumerated.kernel, STEPS).tolist()
    layout = rows(len(STATES))
    law = torch.zeros(len(STATES), dtype=D)
    law[-1] = 1
    for t, s in itertools.pairwise(grid):
        step = denoiser.kernel.reverse(STATES, denoiser(STATES, t, layout), t, s, layout)
        table = step.log_probs.exp().nan_to_num(0)
        moves = torch.ones(len(STATES), len(STATES), dtype=D)
        for i in range(LENGTH):
            moves = moves * table[:, i][:, STATES[:, i]]
        law = law @ moves
    index = {tuple(state): k for k, state in enumerate(STATES.tolist())}
    return law[[index[tuple(word)] for word in WORDS.tolist()]]


def random_language(seed: int) -> Language:
    """Four states, edges with probability .7."""
    g = torch.Generator().manual_seed(seed)
    edges = [
        (s, v, int(torch.randint(4, (1,), generator=g)))
        for s in range(4)
        for v in range(K)
        if torch.rand(1, generator=g) < 0.7
    ]
    return Language.from_edges(edges, [1, 2], K + 1, hidden=K)


def accepted(edges: list[tuple[int, int, int]], final: set[int], word: list[int]) -> bool:
    table, at = {(a, v): b for a, v, b in edges}, 0
    for v in word:
        if (at, v) not in table:
            return False
        at = table[at, v]
    return at in final


def run(sampler: Sampler, count: int, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    denoiser, layout = Enumerated(), rows(count)
    of = Diffusion(denoiser, layout, NoiseSource(seed, range(count)))
    x = denoiser.kernel.prior(layout).sample(of.noise)
    *_, last = sampler(of, x, Uniform().times(of.kernel, STEPS))
    return tensor(last.x), dict(last.notes)


def agrees(counts: Tensor, law: Tensor) -> bool:
    """Pearson's statistic of the likely cells, within five standard deviations."""
    n = float(counts.sum())
    likely = n * law > 5
    terms = (counts[likely] - n * law[likely]).square() / (n * law[likely])
    cells = int(likely.sum())
    return float(terms.sum()) < cells + 5 * math.sqrt(2 * cells)


def masked(language: Language, count: int) -> Tensor:
    """From left to right, what cannot be accepted any more ruled out at each place, no weights."""
    noise, x = NoiseSource(4, range(count)), torch.full((count, LENGTH), K)
    for i in range(LENGTH):
        law = Enumerated()(x, 0.5, rows(count))
        table = law.log_probs[:, i].clone()
        for v in range(K + 1):
            shown = torch.cat([x[:, :i], torch.full((count, 1), v)], 1)
            even = torch.full((count, LENGTH, K + 1), -math.inf, dtype=D)
            even[..., :K] = -math.log(K)
            even[:, : i + 1] = -math.inf
            even[:, : i + 1].scatter_(-1, shown[..., None], 0.0)
            possible = language.expected(Categorical(even, rows(count)), rows(count))
            table[:, v] = torch.where(torch.isfinite(possible), table[:, v], -math.inf)
        x = x.clone()
        x[:, i] = tensor(Categorical(table.log_softmax(-1)).sample(noise))
    return x


def test_what_is_accepted():
    edges, final = [(0, 0, 5), (5, 1, 0), (5, 2, 7), (7, 2, 7)], {0, 7}
    language = Language.from_edges(edges, final, K + 1)
    found = language.log(WORDS, rows(len(WORDS))) == 0
    assert found.tolist() == [accepted(edges, final, word) for word in WORDS.tolist()]
    assert 0 < int(found.sum()) < len(WORDS)
    assert language.lengths(4).tolist() == [True, False, True, True, True]
    assert language.kind.unique().numel() == 4


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_expectation_and_proposal_by_enumeration(seed: int):
    """Over a product law; and of a step that shows some tokens and hides others."""
    language, denoiser = random_language(seed), Enumerated()
    good = language.log(WORDS, rows(len(WORDS))) == 0
    x_t = torch.tensor([[K, K, K, K], [K, 1, K, K]])
    layout = rows(2)
    law = denoiser(x_t, 0.9, layout)
    p = law.log_probs.exp()
    each = torch.stack([p[:, i][:, WORDS[:, i]] for i in range(LENGTH)], -1).prod(-1)  # (2, words)
    expected = (each * good).sum(1)
    torch.testing.assert_close(language.expected(law, layout), expected.log())

    step = denoiser.kernel.reverse(x_t, law, 0.9, 0.4, layout)
    table = step.log_probs.exp()
    chance = torch.stack([table[:, i][:, STATES[:, i]] for i in range(LENGTH)], -1).prod(-1)
    of_state = torch.zeros(2, len(STATES), dtype=D)  # E[g | x_s] by the old law
    for k, state in enumerate(STATES):
        known = state != K
        fits = (WORDS[:, known] == state[known]).all(1) & good
        rest = torch.ones(2, len(WORDS), dtype=D)
        for i in torch.nonzero(~known).flatten().tolist():
            rest = rest * p[:, i][:, WORDS[:, i]]
        of_state[:, k] = (rest * fits).sum(1)
    target = chance * of_state
    target = target / target.sum(1, keepdim=True)
    proposal = language.proposal(step, law, layout)
    for b in range(2):
        some = torch.nonzero(target[b] > 0).flatten()
        wide = rows(len(some))
        own = Categorical(step.log_probs[[b] * len(some)], wide)
        same = Categorical(law.log_probs[[b] * len(some)], wide)
        found = language.proposal(own, same, wide).log_prob(STATES[some])
        torch.testing.assert_close(found, target[b, some].log(), atol=1e-9, rtol=1e-9)
    many = 4_000
    wide = rows(many)
    own, same = (Categorical(c.log_probs[[0] * many], wide) for c in (step, law))
    x = tensor(language.proposal(own, same, wide).sample(NoiseSource(seed, range(many))))
    index = (x * torch.tensor([(K + 1) ** (LENGTH - 1 - i) for i in range(LENGTH)])).sum(1)
    counts = torch.bincount(index, minlength=len(STATES)).double()
    assert not bool(counts[target[0] == 0].any())
    assert agrees(counts, target[0])
    assert torch.isfinite(proposal.log_prob(proposal.sample(NoiseSource(9, [0, 1])))).all()


def test_law_and_evidence_of_the_walk():
    """Exact for the walk itself; masking what is forbidden place by place, without weights, is
    another law."""
    language, walk = random_language(2), walked()
    good = language.log(WORDS, rows(len(WORDS))) == 0
    target = torch.where(good, walk, 0.0)
    evidence = float(target.sum())
    n = 1_500
    x, notes = run(SMC(language, 12), n)
    assert bool((language.log(x, rows(n)) == 0).all())
    counts = torch.bincount((x * PLACE).sum(1), minlength=len(WORDS)).double()
    assert agrees(counts, target / evidence)
    z = notes["log_evidence"].exp()
    error = float(z.std()) / math.sqrt(n)
    assert abs(float(z.mean()) - evidence) < 4 * error < 0.1 * evidence
    with pytest.raises(NonFiniteError, match="no particle"):
        run(SMC(language, 12, Bootstrap()), 100)
    assert not agrees(
        torch.bincount((masked(language, n) * PLACE).sum(1), minlength=len(WORDS)),
        target / evidence,
    )


def test_places_that_are_not_read_and_padding():
    """Of three tokens the first is given; the second row has two tokens."""
    language = Language.from_edges([(0, 0, 1), (1, 1, 0)], [0], K + 1, hidden=K)
    where = torch.tensor([[False, True, True], [False, True, True]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    layout = Layout.dense(2, (3,), mask=mask, dtype=torch.int64)
    own = Language(language.moves, language.kind, language.final, language.start, K, where)
    x = torch.tensor([[2, 0, 1], [2, 0, 0]])
    assert own.log(x, layout).tolist() == [0.0, -math.inf]
    assert own.of(torch.tensor([1])).where.shape == (1, 3)


def test_what_is_wrong_is_said():
    with pytest.raises(InputError, match="two edges"):
        Language.from_edges([(0, 1, 1), (0, 1, 2)], [2], K + 1)
    with pytest.raises(InputError, match="out of range"):
        Language.from_edges([(0, 9, 1)], [1], K + 1)
    with pytest.raises(InputError, match="accepts nothing"):
        Language(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(4), torch.tensor([False]))
    only = Language.from_edges([(0, 0, 1), (1, 0, 2)], [2], K + 1, hidden=K)  # of two tokens
    with pytest.raises(NonFiniteError, match="no particle"):
        run(SMC(only, 2), 1)
