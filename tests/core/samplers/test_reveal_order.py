"""Which tokens appear next: orders, counts, remasking, cuts; laws by enumeration."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_chain import ALARM, CHAIN, Counted, F, N, Table, model, p_value, run

from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import CategoricalKernel, Uniform, VPCosine
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    Confidence,
    Diffusion,
    Observation,
    Order,
    OrderAgnostic,
    RePaint,
    Reveal,
    grids,
    parallel_schedule,
)
from unnoise.spaces import Layout, Tokens

MARGIN, ENTROPY = Confidence(Order.MARGIN), Confidence(Order.ENTROPY, temperature=0.5)
LEFT, RANDOM = Confidence(Order.LEFT_TO_RIGHT), Confidence(Order.RANDOM)
SAMPLERS = [
    Confidence(),
    Confidence(temperature=1.0, remask=0.3),
    MARGIN,
    ENTROPY,
    LEFT,
    RANDOM,
    OrderAgnostic(),
]


@pytest.mark.parametrize("sampler", [LEFT, RANDOM, OrderAgnostic(), MARGIN], ids=repr)
def test_one_token_at_a_time_is_exact_in_an_order_that_tokens_do_not_decide(sampler):
    # MARGIN looks at laws, not at the tokens drawn: any order of the chain rule is exact
    oracle = Counted(model(CHAIN))
    x = run(sampler, oracle, N, 3)[-1].x
    assert oracle.samples == [N] * 3
    assert p_value(x, CHAIN) > ALARM


def test_confidence_prefers_what_is_probable():
    # two tokens, one step each: the surer draw comes first, by enumeration
    pmf = torch.tensor([[0.35, 0.25], [0.05, 0.35]], dtype=F)
    first, second = pmf.sum(1), pmf.sum(0)
    expected = torch.zeros(2, 2, dtype=F)
    for i, j in itertools.product(range(2), repeat=2):
        p = first[i] * second[j]  # both are drawn
        if first[i] >= second[j]:
            expected[i] += p * pmf[i] / pmf[i].sum()
        else:
            expected[:, j] += p * pmf[:, j] / pmf[:, j].sum()
    oracle = model(pmf)
    x = run(Confidence(), oracle, N, 2, length=2)[-1].x
    assert p_value(x, expected) > ALARM
    assert p_value(x, pmf) < ALARM  # not the law of the data


def test_temperature_one_draws_in_proportion():
    # P(the first token comes first | draws i, j) = p_i / (p_i + q_j)
    pmf = torch.tensor([[0.35, 0.25], [0.05, 0.35]], dtype=F)
    first, second = pmf.sum(1), pmf.sum(0)
    expected = torch.zeros(2, 2, dtype=F)
    for i, j in itertools.product(range(2), repeat=2):
        p, q = first[i], second[j]
        expected[i] += p * q * p / (p + q) * pmf[i] / pmf[i].sum()
        expected[:, j] += p * q * q / (p + q) * pmf[:, j] / pmf[:, j].sum()
    x = run(Confidence(temperature=1.0), model(pmf), N, 2, length=2)[-1].x
    assert p_value(x, expected) > ALARM


@pytest.mark.parametrize("by", [Order.MARGIN, Order.ENTROPY])
def test_the_surest_come_first(by):
    steps = run(Confidence(by), Table(), 2, 4, length=12)
    for i, step in enumerate(steps, 1):
        assert ((step.x != 3) == (torch.arange(12) >= 12 - 3 * i)).all()


def test_from_left_to_right():
    for i, step in enumerate(run(LEFT, Table(), 2, 6, length=12), 1):
        assert ((step.x != 3) == (torch.arange(12) < 2 * i)).all()


@pytest.mark.parametrize("sampler", SAMPLERS[:-1], ids=repr)
@pytest.mark.parametrize("steps", [1, 5, 12, 40])
@pytest.mark.parametrize("schedule", [None, VPCosine()], ids=["linear", "cosine"])
def test_counts_follow_the_schedule(sampler, steps, schedule):
    table = Counted(Table(schedule))
    alpha = table.kernel.corruption.schedule.alpha
    for step in run(sampler, table, 3, steps, length=12):
        expected = 12 * (1 - alpha(step.t)) / (1 - alpha(1.0))
        assert ((step.x == 3).sum(1) - expected).abs().max() <= 0.5 + 1e-9
    assert (step.x != 3).all()
    if sampler.remask == 0:
        assert sum(table.samples) <= 3 * min(steps, 12)


def test_given_tokens_are_counted_out():
    known = torch.full((2, 12), 1)
    where = torch.arange(12) < 8
    for sampler in SAMPLERS:
        table = Counted(Table())
        observation = Observation(known, where, Reveal())
        for step in run(sampler, table, 2, 4, length=12, observation=observation):
            assert (step.x[:, :8] == 1).all()
            assert (step.x[:, 8:] == 3).sum(1).tolist() == [round(4 * step.t)] * 2
        assert sum(table.samples) == 2 * 4


def test_remasking_hides_the_least_certain_of_its_own_tokens():
    sampler = Confidence(Order.RANDOM, remask=0.5)
    known = torch.zeros(1, 12, dtype=torch.int64)
    observation = Observation(known, torch.arange(12) < 2, Reveal())
    steps = run(sampler, Table(), 1, 5, length=12, observation=observation)
    shown = [set((step.x[0] != 3).nonzero().flatten().tolist()) for step in steps]
    assert [len(places) for places in shown] == [4, 6, 8, 10, 12]
    log_p = Table().table
    before: set[int] = set()
    values: dict[int, float] = {}
    for places, step in zip(shown, steps, strict=True):
        own = places - {0, 1}
        assert {0, 1} <= places
        hidden = before - own
        wanted = min(round(0.5 * len(before)), 12 - len(places))
        assert len(hidden) == wanted
        assert hidden == set(sorted(before, key=lambda i: values[i])[:wanted])
        values.update({i: float(log_p[i, step.x[0, i]]) for i in own - before})
        before = own
    assert not Confidence(remask=0.5).one_step
    assert Confidence().one_step


# ---- cuts


def test_cuts_are_followed():
    table = Counted(Table())
    steps = run(OrderAgnostic((0, 1, 4, 9)), table, 2, 4, length=12)
    assert [int((step.x[0] != 3).sum()) for step in steps] == [1, 4, 9, 12]
    # the network hears the time of the share that is hidden: alpha = 1 - t
    assert [round(float(t[0]) * 12) for t in table.times] == [12, 11, 8, 3]
    known = Observation(torch.zeros(2, 12, dtype=torch.int64), torch.arange(12) < 5, Reveal())
    table = Counted(Table())
    steps = run(OrderAgnostic((0, 1, 4, 9)), table, 2, 4, length=12, observation=known)
    assert [int((step.x[0] != 3).sum()) for step in steps] == [5, 5, 9, 12]
    assert table.samples == [2, 2]
    with pytest.raises(InputError, match="as many steps as cuts") as caught:
        run(OrderAgnostic((0, 1, 4)), table, 1, 4, length=12)
    assert caught.value.fix == "steps=3"


def best_by_force(losses, evaluations) -> tuple[float, list[int]]:
    d = len(losses)
    found = []
    for inner in itertools.combinations(range(1, d), evaluations - 1):
        cuts = [0, *inner]
        ends = [*inner, d]
        cost = sum((b - a) * losses[a] for a, b in zip(cuts, ends, strict=True))
        found.append((cost, cuts))
    return min(found)


@pytest.mark.parametrize("seed", range(6))
def test_parallel_schedule_is_the_best_of_all(seed):
    g = torch.Generator().manual_seed(seed)
    losses = torch.rand(9, generator=g, dtype=F)
    if seed % 2:
        losses = losses.sort(descending=True).values
    for evaluations in range(1, 10):
        cuts = parallel_schedule(losses, evaluations)
        cost, expected = best_by_force(losses.tolist(), evaluations)
        assert cuts[0] == 0
        assert len(cuts) == evaluations
        ends = [*cuts[1:], 9]
        mine = sum((b - a) * losses[a].item() for a, b in zip(cuts, ends, strict=True))
        assert mine == pytest.approx(cost, abs=1e-12)
        assert cuts == expected
        OrderAgnostic(tuple(cuts))


def test_parallel_schedule_by_hand():
    # 1/2, 1/4, 1/8: the first token tells the most
    losses = torch.tensor([8.0, 2.0, 1.0, 1.0, 1.0], dtype=F)
    assert parallel_schedule(losses, 1) == [0]
    assert parallel_schedule(losses, 2) == [0, 1]
    assert parallel_schedule(losses, 3) == [0, 1, 2]
    assert parallel_schedule(losses, 5) == [0, 1, 2, 3, 4]
    for evaluations in (0, 6):
        with pytest.raises(InputError, match="evaluations"):
            parallel_schedule(losses, evaluations)
    with pytest.raises(InputError, match="finite"):
        parallel_schedule(losses * math.nan, 2)


# ---- promises


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_samples_do_not_depend_on_the_batch(sampler):
    together = [step.x for step in run(sampler, Table(), 4, 5, length=12)]
    for i in range(4):
        alone = [step.x for step in run(sampler, Table(), 1, 5, length=12, ids=[i])]
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_ragged_and_padded_samples_equal_dense_ones(sampler):
    class Logits(Denoiser):
        def __init__(self):
            super().__init__()
            self.kernel = Table().kernel

        def forward(self, x_t, t, layout, condition=None):
            logits = torch.arange(4.0, dtype=F) * (x_t[..., None] + 1)
            return Categorical.from_logits(logits.masked_fill(logits == logits[..., 3:], -math.inf))

    denoiser, sizes = Logits(), [3, 1, 4]
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
def test_interleaved_runs_equal_serial_ones(sampler):
    table, layout = Table(), Layout.dense(3, (12,), dtype=torch.int64)

    def begin(seed):
        noise = NoiseSource(seed, range(3))
        x = table.kernel.prior(layout).sample(noise)
        return sampler(Diffusion(table, layout, noise), x, grids.uniform(table.kernel, 4))

    serial = [[step.x for step in begin(seed)] for seed in (0, 1)]
    runs = [begin(seed) for seed in (0, 1)]
    mixed: list[list] = [[], []]
    for turn in (0, 1, 1, 0, 0, 0, 1, 1):
        mixed[turn].append(next(runs[turn]).x)
    for one, other in zip(serial, mixed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_sent_states_count(sampler):
    table, layout = Table(), Layout.dense(2, (12,), dtype=torch.int64)
    noise = NoiseSource(0, range(2))
    x = table.kernel.prior(layout).sample(noise)
    walked = sampler(Diffusion(table, layout, noise), x, grids.uniform(table.kernel, 4))
    sent = next(walked).x.clone()
    sent[:, :5] = 2
    step = walked.send(sent)
    assert (step.x[:, :5] == 2).all()
    step = walked.send(torch.full((2, 12), 3))  # all hidden again
    assert (step.x == 3).any()
    assert (step.x != 3).any()
    step = next(walked)
    assert step.t == 0
    assert (step.x != 3).all()


def test_jumps():
    known = torch.zeros(2, 12, dtype=torch.int64)
    again = Observation(known, torch.arange(12) < 3, RePaint(2, 2))
    last = run(Confidence(), Table(), 2, 6, length=12, observation=again)[-1]
    assert (last.x[:, :3] == 0).all()
    assert (last.x != 3).all()
    for sampler in (Confidence(remask=0.1), OrderAgnostic()):
        with pytest.raises(IncompatibleSampler, match="jump"):
            run(sampler, Table(), 2, 6, length=12, observation=again)


def test_settings_out_of_range():
    for make, message in (
        (lambda: Confidence(temperature=-1.0), "temperature"),
        (lambda: Confidence(temperature=math.nan), "temperature"),
        (lambda: Confidence(Order.RANDOM, temperature=1.0), "law"),
        (lambda: Confidence(Order.LEFT_TO_RIGHT, temperature=1.0), "law"),
        (lambda: Confidence(remask=1.0), "remask"),
        (lambda: Confidence(remask=-0.1), "remask"),
        (lambda: OrderAgnostic((1, 2)), "cuts"),
        (lambda: OrderAgnostic((0, 2, 2)), "cuts"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()
    for sampler in SAMPLERS:
        with pytest.raises(IncompatibleSampler, match="with Absorbing"):
            sampler.check(CategoricalKernel(Tokens(3), Uniform()))
