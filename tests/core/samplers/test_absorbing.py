"""Samplers of the absorbing kernel: exact laws by enumeration, evaluations, promises."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_chain import ALARM, CHAIN, Counted, F, N, model, p_value, run

from unnoise.denoise import Denoiser
from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    ProductKernel,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    Ancestral,
    Cached,
    Diffusion,
    FirstHitting,
    Observation,
    Reveal,
    grids,
    walk,
)
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import FiniteOracle, PmfOracle


def ancestral_pmf(pmf: torch.Tensor, steps: int) -> torch.Tensor:
    """What ancestral sampling gives in equal steps with the exact law: tokens of a step are drawn
    independently, given those of earlier steps. By enumeration of the steps of the tokens."""
    length, total = pmf.ndim, torch.zeros_like(pmf)
    for when in itertools.product(range(steps), repeat=length):
        joint = torch.ones_like(pmf)
        for step in sorted(set(when)):
            before = [i for i in range(length) if when[i] < step]
            for i in [i for i in range(length) if when[i] == step]:
                rest = [j for j in range(length) if j not in before and j != i]
                both = pmf.sum(rest, keepdim=True) if rest else pmf
                joint = joint * both / both.sum(i, keepdim=True)
        total += joint / steps**length
    return total


@pytest.mark.parametrize("sampler", [Ancestral(), Cached()], ids=repr)
@pytest.mark.parametrize("schedule", [None, VPCosine()], ids=["linear", "cosine"])
def test_cached_has_the_law_of_ancestral(sampler, schedule):
    oracle = Counted(model(CHAIN, schedule))
    if schedule is None:
        x = run(sampler, oracle, N, 2)[-1].x
        expected = ancestral_pmf(CHAIN, 2)
        assert expected.sum() == pytest.approx(1)
        assert p_value(x, expected) > ALARM
        assert p_value(x, CHAIN) < ALARM  # two steps are not enough, and the test can tell
    else:
        oracle.samples.clear()
        fine = run(sampler, oracle, 1000, 60, seed=1)[-1].x
        assert p_value(fine, CHAIN) > ALARM
        assert sum(oracle.samples) <= (3 if isinstance(sampler, Cached) else 60) * 1000


@pytest.mark.parametrize("schedule", [None, VPLinear()], ids=["linear", "another"])
@pytest.mark.parametrize("steps", [3, 7])
def test_first_hitting_is_exact_with_a_step_per_token(steps, schedule):
    oracle = Counted(model(CHAIN, schedule))
    x = run(FirstHitting(), oracle, N, steps)[-1].x
    assert oracle.samples == [N] * 3
    assert p_value(x, CHAIN) > ALARM


def test_first_hitting_in_groups():
    # 3 tokens in 2 steps: two at once, chosen at random, then the last
    oracle = Counted(model(CHAIN))
    x = run(FirstHitting(), oracle, N, 2)[-1].x
    assert oracle.samples == [N] * 2
    expected = torch.zeros_like(CHAIN)
    for i in range(3):
        a, b = (j for j in range(3) if j != i)
        pair = CHAIN.sum(i, keepdim=True)
        apart = pair.sum(a, keepdim=True) * pair.sum(b, keepdim=True)
        expected += apart * CHAIN / pair / 3
    assert p_value(x, expected) > ALARM
    assert p_value(x, CHAIN) < ALARM


def test_first_hitting_asks_at_the_times_of_the_process():
    # the latest of n uniform numbers has the law u^(1/n); Kolmogorov, false alarm 1e-7 each
    for schedule in (None, VPCosine()):
        oracle = Counted(model(CHAIN, schedule))
        run(FirstHitting(), oracle, 5000, 3)
        m = [1 - torch.as_tensor(oracle.kernel.corruption.schedule.alpha(t)) for t in oracle.times]
        top = 1 - float(oracle.kernel.corruption.schedule.alpha(1.0))
        ratios = [m[0] / top, m[1] / m[0], m[2] / m[1]]
        for n, ratio in zip((3, 2, 1), ratios, strict=True):
            assert stats.kstest((ratio**n).numpy(), "uniform").pvalue > ALARM


def test_evaluations_do_not_exceed_tokens():
    for sampler in (Cached(), FirstHitting()):
        for batch in (1, 5):
            oracle = Counted(model(CHAIN))
            run(sampler, oracle, batch, 100)
            assert sum(oracle.samples) <= 3 * batch
    oracle = Counted(model(CHAIN))
    run(Ancestral(), oracle, 1, 100)
    assert sum(oracle.samples) == 100


SAMPLERS = [Cached(), FirstHitting()]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("steps", [2, 6])
def test_samples_do_not_depend_on_the_batch(sampler, steps):
    oracle = model(CHAIN)
    together = [step.x for step in run(sampler, oracle, 6, steps)]
    for i in range(6):
        alone = [step.x for step in run(sampler, oracle, 1, steps, ids=[i])]
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))
    backwards = run(sampler, oracle, 6, steps, ids=range(5, -1, -1))[-1].x
    assert torch.equal(backwards.flip(0), together[-1])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_interleaved_runs_equal_serial_ones(sampler):
    oracle = model(CHAIN)
    layout = Layout.dense(3, (3,), dtype=torch.int64)

    def begin(seed):
        noise = NoiseSource(seed, range(3))
        x = oracle.kernel.prior(layout).sample(noise)
        return sampler(Diffusion(oracle, layout, noise), x, grids.uniform(oracle.kernel, 4))

    serial = [[step.x for step in begin(seed)] for seed in (0, 1)]
    runs = [begin(seed) for seed in (0, 1)]
    mixed: list[list] = [[], []]
    for turn in (0, 1, 1, 0, 0, 0, 1, 1):
        mixed[turn].append(next(runs[turn]).x)
    assert all(
        torch.equal(a, b)
        for one, other in zip(serial, mixed, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_sent_states_count(sampler):
    # what is put in stays, and what is hidden again comes back
    pair = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=F)
    oracle = model(pair)
    layout, noise = Layout.dense(50, (2,), dtype=torch.int64), NoiseSource(0, range(50))
    x = torch.full((50, 2), 2)
    walked = sampler(Diffusion(oracle, layout, noise), x, grids.uniform(oracle.kernel, 8))
    step = next(walked)
    for i in range(6):
        sent = step.x.clone()
        sent[:, 0] = 2 if i == 3 else 1
        sent[:, 1] = torch.where(sent[:, 1] == 0, 2, sent[:, 1])
        step = walked.send(sent)
        if i != 3:
            assert (step.x[:, 0] == 1).all()
            assert (step.x[:, 1] != 0).all()  # the law given the token that was put in
    step = walked.send(torch.full((50, 2), 2))
    assert step.t == 0
    assert step.x.max() < 2


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_ragged_and_padded_samples_equal_dense_ones(sampler):
    class Positions(Denoiser):
        """Each token is one of four, with probabilities of its own place and left neighbour."""

        def __init__(self):
            super().__init__()
            self.kernel = CategoricalKernel(Tokens(5), Absorbing(4))

        def forward(self, x_t, t, layout, condition=None):
            from unnoise.distributions import Categorical

            logits = torch.arange(5.0, dtype=F) * (x_t[..., None] + 1)
            logits[..., 4] = -math.inf
            return Categorical.from_logits(logits, layout)

    denoiser, sizes = Positions(), [3, 1, 4]
    grid = grids.uniform(denoiser.kernel, 3)

    def final(layout, ids):
        noise = NoiseSource(0, ids)
        x = denoiser.kernel.prior(layout).sample(noise)
        *_, last = sampler(Diffusion(denoiser, layout, noise), x, grid)
        return last.x

    ragged = final(Layout.ragged(sizes, dtype=torch.int64), range(3)).split(sizes)
    mask = torch.arange(4) < torch.tensor(sizes)[:, None]
    padded = final(Layout.dense(3, (4,), mask=mask, dtype=torch.int64), range(3))
    for i, n in enumerate(sizes):
        alone = final(Layout.dense(1, (n,), dtype=torch.int64), [i])[0]
        assert torch.equal(ragged[i], alone)
        assert torch.equal(padded[i, :n], alone)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_other_kernels_are_refused(sampler):
    for kernel, named in (
        (CategoricalKernel(Tokens(3), Uniform()), "with Uniform"),
        (GaussianKernel(Euclidean(), VPLinear()), "GaussianKernel"),
    ):
        with pytest.raises(IncompatibleSampler, match="CategoricalKernel with Absorbing") as caught:
            sampler.check(kernel)
        assert named in str(caught.value)
        assert "Ancestral" in caught.value.fix
        assert "Cached" not in caught.value.fix
    sampler.check(model(CHAIN).kernel)


def test_nothing_hidden_costs_nothing():
    oracle = Counted(model(CHAIN))
    layout, noise = Layout.dense(2, (3,), dtype=torch.int64), NoiseSource(0, range(2))
    x = torch.tensor([[0, 1, 0], [1, 1, 1]])
    for sampler in SAMPLERS:
        steps = list(sampler(Diffusion(oracle, layout, noise), x, grids.uniform(oracle.kernel, 4)))
        assert len(steps) == 4
        assert all(torch.equal(step.x, x) for step in steps)
    assert oracle.samples == []


# ---- known tokens


def test_reveal_is_the_exact_conditional():
    # p(x_2, x_3 | x_1 = 1) and p(x_1, x_3 | x_2 = 0) of any joint pmf, by enumeration
    g = torch.Generator().manual_seed(4)
    pmf = torch.rand(3, 3, 3, generator=g, dtype=F) ** 3
    pmf = pmf / pmf.sum()
    oracle = Counted(model(pmf))
    for place, value in ((0, 1), (1, 0)):
        oracle.samples.clear()
        known = torch.full((N, 3), -5)  # ignored where unknown
        known[:, place] = value
        where = torch.arange(3) == place
        x = run(FirstHitting(), oracle, N, 3, observation=Observation(known, where, Reveal()))[-1].x
        assert (x[:, place] == value).all()
        assert sum(oracle.samples) == 2 * N
        rest = pmf.select(place, value)
        others = [i for i in range(3) if i != place]
        assert p_value(x[:, others], rest / rest.sum()) > ALARM
        assert p_value(x[:, others], pmf.sum(place)) < ALARM  # the test can tell


def test_reveal_never_hides_what_is_known():
    oracle = model(CHAIN)
    known = torch.tensor([[0, 1, 0], [1, 1, 1]])
    where = torch.tensor([[True, False, True], [True, True, True]])
    for sampler in (Ancestral(), *SAMPLERS):
        for paste in (True, False):
            observation = Observation(known, where, Reveal(), paste)
            for step in run(sampler, oracle, 2, 5, observation=observation):
                assert torch.equal(step.x[where], known[where])


def test_reveal_in_a_product():
    real = GaussianKernel(Euclidean(), VPLinear())
    kernel = ProductKernel({"x": real, "k": model(CHAIN).kernel})
    states = [{"x": torch.zeros(2, dtype=F), "k": torch.tensor([0, 1])}]
    states += [{"x": torch.ones(2, dtype=F), "k": torch.tensor([1, 1])}]
    layout = Layout.product(
        {"x": Layout.dense(1, (2,), dtype=F), "k": Layout.dense(1, (2,), dtype=torch.int64)}
    )
    noise = NoiseSource(0, [0])
    x = kernel.prior(layout).sample(noise)
    known = {"k": torch.tensor([[1, 1]])}
    where = {"k": torch.tensor([[True, False]])}
    grid = grids.uniform(kernel, 4)
    observation = Observation(known, where, Reveal())
    denoiser = FiniteOracle(kernel, states)
    *_, last = walk(Ancestral(), Diffusion(denoiser, layout, noise), x, grid, observation)
    assert torch.equal(last.x["k"], known["k"])
    torch.testing.assert_close(last.x["x"], torch.ones(1, 2, dtype=F), atol=0.2, rtol=0)
    where = {"x": where["k"], "k": where["k"]}  # the other part is replaced
    known["x"] = torch.ones(1, 2, dtype=F)
    observation = Observation(known, where, Reveal(), paste=False)
    x = kernel.prior(layout).sample(noise)
    first = next(walk(Ancestral(), Diffusion(denoiser, layout, noise), x, grid, observation)).x
    assert first["k"][0, 0] == 1
    assert first["x"][0, 0] != 1


def test_reveal_needs_an_absorbing_kernel():
    oracle = PmfOracle(CategoricalKernel(Tokens(2), Uniform()), CHAIN)
    known = torch.zeros(1, 3, dtype=torch.int64)
    observation = Observation(known, torch.ones(1, 3, dtype=torch.bool), Reveal())
    with pytest.raises(InputError, match="Absorbing") as caught:
        run(Ancestral(), oracle, 1, 3, observation=observation)
    assert caught.value.value == "Uniform"
