"""Noise: the numbers of a sample are its own, and they are good numbers.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-6 each, counted over
the choice of the seed.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from scipy import stats

from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout

D = torch.float64
IDS = [4, 0, 7, 2**40, 2**64 - 2]
P = 1e-7  # smallest p-value that is accepted


def draws(source: NoiseSource, layout: Layout) -> list[torch.Tensor]:
    """Several kinds of draws one after the other, so that the streams must advance alike."""
    return [source.normal(layout), source.uniform(layout), source.normal(layout)]


@pytest.mark.parametrize("event", [(), (3,), (3, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_sample_has_its_own_numbers_in_every_batch(event, dtype):
    layout = Layout.dense(len(IDS), event, dtype=dtype)
    together = draws(NoiseSource(5, IDS), layout)
    backwards = draws(NoiseSource(5, IDS[::-1]), layout)
    one = Layout.dense(1, event, dtype=dtype)
    for i, number in enumerate(IDS):
        alone = draws(NoiseSource(5, [number]), one)
        for x, y, z in zip(together, backwards, alone, strict=True):
            assert x[i].equal(z[0])
            assert y[len(IDS) - 1 - i].equal(z[0])


@pytest.mark.parametrize("event", [(), (3,)])
def test_ragged_and_padded_samples_have_the_numbers_of_the_sample_alone(event):
    counts = [2, 17, 1, 5, 30]
    ragged = Layout.ragged(counts, event, dtype=D)
    mask = torch.arange(40)[None] < torch.tensor(counts)[:, None]
    padded = Layout.dense(5, (40, *event), mask=mask, dtype=D)
    several = zip(
        draws(NoiseSource(1, IDS), ragged), draws(NoiseSource(1, IDS), padded), strict=True
    )
    alone = [
        draws(NoiseSource(1, [i]), Layout.dense(1, (n, *event), dtype=D))
        for i, n in zip(IDS, counts, strict=True)
    ]
    for k, (r, p) in enumerate(several):
        assert p[~mask].eq(0).all()
        for i, part in enumerate(r.split(counts)):
            assert part.equal(alone[i][k][0])
            assert p[i, : counts[i]].equal(alone[i][k][0])


def test_a_second_process_draws_the_same():
    code = (
        "import torch; from unnoise.noise import NoiseSource; from unnoise.spaces import Layout\n"
        "n = NoiseSource(11, [3, 8]); x = n.normal(Layout.dense(2, (5, 7))).flatten()\n"
        "print(*[v.hex() for v in x.tolist() + n.uniform(Layout.dense(2)).tolist()])\n"
        "print(*[v.hex() for v in n.times().tolist()])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    source = NoiseSource(11, [8, 3])
    x = source.normal(Layout.dense(2, (5, 7))).flip(0).flatten()
    numbers = [*x.tolist(), *source.uniform(Layout.dense(2)).flip(0).tolist()]
    first, second = run.stdout.splitlines()
    assert first.split() == [v.hex() for v in numbers]
    assert second.split() == [v.hex() for v in source.times().flip(0).tolist()]


def test_streams_of_other_seeds_and_samples_are_others():
    one = Layout.dense(1, (4,), dtype=D)
    # 2**32 apart: a generator that keeps 32 bits of its seed could not tell them apart
    keys = [(0, 0), (2**32, 0), (0, 2**32), (1, 0), (0, 1), (2**63, 0), (0, 2**63), (2**64 - 1, 5)]
    found = {tuple(NoiseSource(s, [i]).normal(one)[0].tolist()) for s, i in keys}
    assert len(found) == len(keys)


def test_fork_is_independent_and_disturbs_nothing():
    layout = Layout.dense(2, (50_000,), dtype=D)
    source, copy = NoiseSource(0, [0, 1]), NoiseSource(0, [0, 1])
    fork = source.fork()
    extra = fork.normal(layout)
    x = source.normal(layout)
    assert x.equal(copy.normal(layout))
    again = copy.fork()
    assert again.normal(layout).equal(extra)
    assert not again.fork().normal(layout).equal(extra)
    assert not source.times().equal(fork.times())
    # correlation of N independent pairs: sqrt(N) r is N(0, 1)
    for a, b in ((x[0], extra[0]), (x[0], x[1]), (x[0], source.normal(layout)[0])):
        r = float(torch.corrcoef(torch.stack([a, b]))[0, 1]) * 50_000**0.5
        assert 2 * stats.norm.sf(abs(r)) > P


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_normal_numbers_are_normal(dtype):
    layout = Layout.dense(100, (2_000,), dtype=dtype)
    x = NoiseSource(0, range(100)).normal(layout)
    assert x.dtype == dtype
    assert stats.kstest(x.flatten().numpy(), "norm").pvalue > P
    first = NoiseSource(1, range(5_000)).normal(Layout.dense(5_000, dtype=dtype))
    assert stats.kstest(first.numpy(), "norm").pvalue > P


def test_uniform_numbers_are_uniform_and_reach_the_tail():
    x = NoiseSource(0, range(100)).uniform(Layout.dense(100, (2_000,)))
    assert x.dtype == D
    assert (x >= 0).all()
    assert (x < 1).all()
    assert stats.kstest(x.flatten().numpy(), "uniform").pvalue > P
    # 53 random bits: the last 20 are uniform too (a float32 in [0, 1) has 24)
    low = (x.flatten() * 2**53).long() % 2**20
    assert stats.kstest(low.numpy() / 2**20, "uniform").pvalue > P
    first = NoiseSource(2, range(5_000)).uniform(Layout.dense(5_000))
    assert stats.kstest(first.numpy(), "uniform").pvalue > P


def test_tokens_get_real_noise():
    tokens = Layout.dense(2, (3,), dtype=torch.int64)
    assert NoiseSource(0, [0, 1]).normal(tokens).dtype == torch.float32
    assert NoiseSource(0, [0, 1]).uniform(tokens).dtype == D


def test_times_belong_to_samples_and_fill_the_interval():
    ids = torch.randperm(64, generator=torch.Generator().manual_seed(0)) + 2**50
    u = NoiseSource(3, ids.tolist()).times()
    assert u.dtype == D
    assert u[5].item() == NoiseSource(3, [int(ids[5])]).times().item()
    # multiples of the golden ratio: no gap is wider than 2.7 / n (three-distance theorem)
    gaps = torch.cat([u.sort().values.diff(), (1 - u.max() + u.min())[None]])
    assert gaps.max() < 2.7 / 64
    assert gaps.min() > 0.38 / 64
    far = NoiseSource(3, [2**64 - 2]).times()
    assert 0 <= far.item() < 1
    starts = torch.cat([NoiseSource(seed, [0]).times() for seed in range(1_000)])
    assert stats.kstest(starts.numpy(), "uniform").pvalue > P


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NoiseSource(-1, [0]), r"seed.*-1.*2\*\*64 - 1"),
        (lambda: NoiseSource(2**64, [0]), "seed.*18446744073709551616"),
        (lambda: NoiseSource(0, [0, -3]), "sample number.*-3"),
        (lambda: NoiseSource(0, [2**64 - 1]), "sample number"),
        (lambda: NoiseSource(0, [0]).normal(Layout.dense(2)), "other samples.*got 1.*2"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words):
        make()
