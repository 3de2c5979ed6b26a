"""Noise: the numbers of a sample are its own, and they are good numbers.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-6 each, counted over
the choice of the seed.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

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


@pytest.mark.parametrize("event", [(), (5,), (3, 4)])
@pytest.mark.parametrize("windowed", [False, True])
def test_a_copy_draws_what_the_source_would_have_drawn(event, windowed):
    layout = Layout.dense(len(IDS), event)
    source = NoiseSource(3, IDS)
    source = source.window() if windowed else source
    source.normal(layout)  # an odd number leaves half a pair in the generator
    twin = source.copy()
    replayed = draws(twin, layout)
    assert all(a.equal(b) for a, b in zip(replayed, draws(source, layout), strict=True))
    assert all(a.equal(b) for a, b in zip(draws(twin, layout), draws(source, layout), strict=True))
    part = source.copy().of([2, 0])
    for a, b in zip(draws(part, Layout.dense(2, event)), draws(source, layout), strict=True):
        assert a.equal(b[[2, 0]])


CHUNKS = [[0, 30_000], [0, 1, 2, 16_383, 16_384, 16_385, 30_000], [0, 10_000, 20_000, 30_000]]


@pytest.mark.parametrize("event", [(30_000,), (2, 30_000), (3, 5, 30_000)])
@pytest.mark.parametrize("edges", CHUNKS, ids=len)
@pytest.mark.parametrize("axis", [-1, 0])
def test_chunks_have_the_noise_of_the_whole(event, edges, axis):
    event = event if axis == -1 else event[::-1]
    place = len(event) - 1 if axis == -1 else 0
    ids = IDS[:2]
    whole = draws(NoiseSource(5, ids).window(axis=axis), Layout.dense(2, event))
    for start, stop in [(25_001, 29_000), *pairwise(edges), (700, 22_345)]:
        shape = list(event)
        shape[place] = stop - start
        piece = NoiseSource(5, ids).window(start, stop, axis)
        for part, all_ in zip(draws(piece, Layout.dense(2, tuple(shape))), whole, strict=True):
            assert part.equal(all_.narrow(1 + place, start, stop - start))


def test_the_noise_of_a_window_is_good_noise():
    # three draws of 400,000 numbers over 25 blocks: normal, and independent of each other, of their
    # neighbours and of the samples' ordinary streams
    layout = Layout.dense(2, (400_000,), dtype=D)
    source = NoiseSource(9, [0, 1])
    window = source.window()
    made = [window.normal(layout), window.normal(layout), window.fork().normal(layout)]
    rows = torch.cat([*made, source.normal(layout)])
    for row in rows:
        assert stats.kstest(row.numpy(), "norm").pvalue > P
        assert abs(row[:-1] @ row[1:]) / 400_000 < 5.5 / 400_000**0.5
        assert abs(row[:-16_384] @ row[16_384:]) / 400_000 < 5.5 / 400_000**0.5
    correlations = (rows @ rows.T / 400_000 - torch.diag((rows**2).mean(1))).abs()
    assert correlations.max() < 5.5 / 400_000**0.5
    u = window.uniform(layout)
    assert stats.kstest(u[0].numpy(), "uniform").pvalue > P


def test_padding_and_numbers_of_a_whole_sample_in_a_window():
    event = (50, 2)
    mask = torch.arange(50)[None] < torch.tensor([[50], [20]])
    full = NoiseSource(1, [0, 1]).window(axis=0).normal(Layout.dense(2, event))
    some = NoiseSource(1, [0, 1]).window(axis=0).normal(Layout.dense(2, event, mask=mask))
    assert some[~mask].eq(0).all()
    assert some[mask].equal(full[mask])
    one = Layout.dense(2)
    a, b = (NoiseSource(1, [0, 1]).window(k, k + 5).uniform(one) for k in (0, 7))
    assert a.equal(b)
    assert a[0] != a[1]


def test_windows_that_do_not_fit():
    noise = NoiseSource(0, [0])
    for start, stop in ((-1, 5), (5, 5), (7, 2)):
        with pytest.raises(InputError, match="window"):
            noise.window(start, stop)
    with pytest.raises(InputError, match="another length"):
        noise.window(0, 4).normal(Layout.dense(1, (5,)))
    with pytest.raises(InputError, match="no such axis"):
        noise.window(0, 5, axis=1).normal(Layout.dense(1, (5,)))
    with pytest.raises(InputError, match="dense"):
        noise.window(0, 5).normal(Layout.ragged([5]))


def test_an_hour_of_sound_in_bounded_memory():
    """Ten seconds of it, drawn an hour into the signal, need the memory of ten seconds."""
    code = """
import resource
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
rate = 44_100
layout = Layout.dense(1, (2, 10 * rate))
noise = NoiseSource(0, [0]).window(3600 * rate, 3610 * rate)
noise.normal(layout)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    noise.normal(layout)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # KiB: an hour of two channels is 1.2 million
