"""Layouts: per-sample sums, means and broadcasts agree with those of each sample alone."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.errors import InputError
from unnoise.spaces import Layout, parts, tensor

COUNTS = (3, 1, 4, 2)
D = torch.float64


def padded(counts=COUNTS, width=5) -> torch.Tensor:
    return torch.arange(width)[None] < torch.tensor(counts)[:, None]


def samples(seed=0, event=(2,)) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *event, generator=g, dtype=D) for n in COUNTS]


def batch(kind: str, event=(2,)) -> tuple[Layout, torch.Tensor, list[torch.Tensor]]:
    """A layout, a state of it, and its samples one by one."""
    alone = samples(event=event)
    if kind == "ragged":
        return Layout.ragged(COUNTS, event, dtype=D), torch.cat(alone), alone
    if kind == "padded":
        x = torch.full((len(COUNTS), 5, *event), math.nan, dtype=D)
        for row, sample in zip(x, alone, strict=True):
            row[: len(sample)] = sample
        return Layout.dense(len(COUNTS), (5, *event), mask=padded(), dtype=D), x, alone
    x = torch.randn(4, 3, *event, generator=torch.Generator().manual_seed(1), dtype=D)
    return Layout.dense(4, (3, *event), dtype=D), x, list(x)


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("event", [(2,), (2, 3)])
def test_every_reduction_is_that_of_the_sample_alone(kind, event):
    layout, x, alone = batch(kind, event)
    assert x.shape == layout.shape
    torch.testing.assert_close(layout.sum(x), torch.stack([v.sum() for v in alone]))
    assert layout.points.tolist() == [len(v) for v in alone]
    assert layout.sizes.tolist() == [v.numel() for v in alone]
    mean = torch.broadcast_to(layout.mean_point(x), x.shape)
    for i, v in enumerate(alone):
        rows = mean[layout.index == i] if kind == "ragged" else mean[i, : len(v)]
        torch.testing.assert_close(rows, v.mean(0, keepdim=True).expand(v.shape))


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
def test_expand_gives_each_sample_its_own_value(kind):
    layout, x, alone = batch(kind)
    v = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=D)
    scaled = layout.expand(v, x) * layout.zero_padding(x)
    torch.testing.assert_close(layout.sum(scaled), v * torch.stack([a.sum() for a in alone]))
    assert layout.expand(0.25, x) == 0.25
    assert layout.expand(torch.tensor(0.25, dtype=D), x).shape == ()


def test_expand_casts_last():
    layout = Layout.dense(2, (3,))
    v = torch.tensor([1 / 3, 2 / 3], dtype=D)
    assert layout.expand(v, torch.zeros(2, 3)).dtype == torch.float32
    torch.testing.assert_close(layout.expand(v, torch.zeros(2, 3))[:, 0], v.float(), rtol=0, atol=0)


def test_padding_is_zeroed_whatever_it_holds():
    layout, x, _ = batch("padded")
    assert layout.zero_padding(x)[~padded()].eq(0).all()
    dense, y, _ = batch("dense")
    assert dense.zero_padding(y) is y


def test_a_scalar_per_sample():
    layout = Layout.dense(3)
    assert layout.shape == (3,)
    assert layout.sum(torch.ones(3)).tolist() == [1, 1, 1]
    assert layout.points.tolist() == layout.sizes.tolist() == [1, 1, 1]


def test_product_and_device():
    a, b = Layout.dense(2, (3,)), Layout.ragged([1, 2], (3,))
    layout = Layout.product({"a": a, "b": b})
    assert layout.batch == 2
    assert layout["b"] is b
    moved = layout.to("meta")
    assert moved.device.type == moved["a"].device.type == "meta"
    assert moved["b"].index.device.type == "meta"
    assert Layout.dense(1, (2,), mask=torch.ones(1, 2, dtype=bool)).to("meta").mask.is_meta
    with pytest.raises(InputError, match=r"no such part.*'c'.*a.*b"):
        layout["c"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Layout.ragged([2, 0]), "at least one row.*0"),
        (lambda: Layout.product({}), "same samples"),
        (lambda: Layout.product({"a": Layout.dense(2), "b": Layout.dense(3)}), "same samples.*3"),
        (lambda: Layout.dense(2, (3,), mask=torch.ones(2, 3)), "mask is boolean.*float32"),
        (
            lambda: Layout.dense(2, (3,), mask=torch.ones(2, 4, dtype=bool)),
            r"leading axes.*\(2, 4\)",
        ),
        (lambda: Layout.dense(2, mask=torch.tensor(True)), "leading axes"),
        (lambda: Layout.dense(2, (2,), mask=torch.eye(2).bool().tril(-1)), "not padding"),
    ],
)
def test_bad_layouts(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_states():
    x = torch.zeros(2)
    assert tensor(x) is x
    assert parts({"a": x}, ["a"])["a"] is x
    assert parts({"a": x})["a"] is x
    with pytest.raises(InputError, match=r"one tensor.*dict"):
        tensor({"a": x})
    with pytest.raises(InputError, match=r"one tensor per part.*Tensor"):
        parts(x, ["a"])
    with pytest.raises(InputError, match=r"\['a'\].*\['a', 'b'\]"):
        parts({"a": x}, ["b", "a"])


# ---- places within a sample, and some samples of a batch


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("event", [(), (2,)])
def test_ranks_are_those_of_each_sample_alone(kind, event):
    layout, x, alone = batch(kind, event)
    found = layout.ranks(x)
    pieces = found.split(COUNTS) if kind == "ragged" else found
    for row, own in zip(pieces, alone, strict=True):
        place = row[: len(own)].flatten()
        assert place.tolist() == own.flatten().argsort().argsort().tolist()
    ties = layout.ranks(torch.zeros_like(x))
    first = ties[: COUNTS[0]] if kind == "ragged" else ties[0]
    assert first.flatten().tolist() == list(range(first.numel()))


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("chosen", [[0], [1, 3], [0, 1, 2, 3]])
def test_some_samples_are_a_batch_of_their_own(kind, chosen):
    layout, x, alone = batch(kind)
    some, rows = layout.take(torch.tensor(chosen, dtype=torch.int64))
    assert some.batch == len(chosen)
    assert x[rows].shape == some.shape
    torch.testing.assert_close(some.sum(x[rows]), layout.sum(x)[chosen])
    if kind == "ragged":
        assert some.points.tolist() == [len(alone[i]) for i in chosen]
    product = Layout.product({"x": layout})
    with pytest.raises(InputError, match="each part"):
        product.take(torch.tensor([0]))


@pytest.mark.parametrize("kind", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("event", [(), (2,)])
def test_one_sample_without_its_padding(kind, event):
    layout, x, alone = batch(kind, event)
    for k, own in enumerate(alone):
        torch.testing.assert_close(layout.sample(x, k), own)
        both = Layout.product({"x": layout, "y": Layout.dense(4)})
        found = both.sample({"x": x, "y": torch.arange(4)}, k)
        torch.testing.assert_close(found["x"], own)
        assert found["y"] == k
    with pytest.raises(InputError, match="no such sample"):
        layout.sample(x, 4)


def test_a_sample_that_is_padded_along_two_axes():
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[0, :2, :3], mask[1] = True, True
    x = torch.arange(24.0).view(2, 3, 4)
    layout = Layout.dense(2, (3, 4), mask=mask)
    assert torch.equal(layout.sample(x, 0), x[0, :2, :3])
    assert torch.equal(layout.sample(x, 1), x[1])
