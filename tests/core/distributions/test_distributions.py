"""Distributions: densities against scipy and closed forms, divergences against quadrature.

Statistical tests are seeded; their thresholds have a false-alarm rate below 1e-6 each.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from unnoise.distributions import Categorical, Dirac, Gaussian, Product, distributions, one_hot_log
from unnoise.errors import ConfigError, InputError, NonFiniteError
from unnoise.noise import NoiseSource
from unnoise.spaces import Euclidean, Layout, ZeroCoM

D = torch.float64
COUNTS = (3, 1, 2)
MASK = torch.arange(4)[None] < torch.tensor(COUNTS)[:, None]
INF = math.inf


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def layouts(event=(2,)) -> dict[str, Layout]:
    return {
        "dense": Layout.dense(3, (4, *event), dtype=D),
        "padded": Layout.dense(3, (4, *event), mask=MASK, dtype=D),
        "ragged": Layout.ragged(COUNTS, event, dtype=D),
    }


def samples(x: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    """The entries of each sample, flat."""
    if layout.index is not None:
        return [x[layout.index == i].flatten() for i in range(layout.batch)]
    if layout.mask is not None:
        return [row[mask].flatten() for row, mask in zip(x, layout.mask, strict=True)]
    return [row.flatten() for row in x]


def stds(kind: str, layout: Layout):
    """The standard deviation in one of its forms, and broadcast over every entry."""
    if kind == "shared":
        return 0.7, torch.full(layout.shape, 0.7, dtype=D)
    if kind == "per sample":
        v = torch.tensor([0.3, 1.1, 2.5], dtype=D)
        return v, layout.expand(v, torch.empty(layout.shape, dtype=D)).expand(layout.shape)
    v = randn(*layout.shape, seed=9).exp()
    return v, v


STDS = ("shared", "per sample", "elementwise")


# --- Gaussian


@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("kind", STDS)
def test_gaussian_density_is_scipys(name, kind):
    layout = layouts()[name]
    mean, x = randn(*layout.shape), randn(*layout.shape, seed=1)
    std, full = stds(kind, layout)
    expected = [
        stats.norm.logpdf(a.numpy(), b.numpy(), c.numpy()).sum()
        for a, b, c in zip(*(samples(v, layout) for v in (x, mean, full)), strict=True)
    ]
    close(Gaussian(mean, std, layout=layout).log_prob(x), torch.tensor(expected, dtype=D))


@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
@pytest.mark.parametrize("first", STDS)
@pytest.mark.parametrize("second", STDS)
def test_gaussian_divergence(name, first, second):
    layout = layouts()[name]
    a, b = randn(*layout.shape), randn(*layout.shape, seed=1)
    (s, s_full), (r, r_full) = stds(first, layout), stds(second, layout)
    r, r_full = 1.5 * r, 1.5 * r_full
    terms = (s_full / r_full) ** 2 / 2 + ((a - b) / r_full) ** 2 / 2 - 0.5 + (r_full / s_full).log()
    expected = torch.stack([v.sum() for v in samples(terms, layout)])
    p, q = Gaussian(a, s, layout=layout), Gaussian(b, r, layout=layout)
    close(p.kl(q), expected)
    assert (p.kl(q) > 0).all()
    close(p.kl(p), torch.zeros(3, dtype=D), 1e-13)


def test_gaussian_in_one_dimension_by_quadrature():
    x = torch.linspace(-30, 30, 60_001, dtype=D)
    dx = 1e-3
    layout = Layout.dense(len(x), dtype=D)
    p, q = (Gaussian(torch.full_like(x, m), s, layout=layout) for m, s in ((0.4, 0.6), (-1.0, 1.7)))
    density, log_p, log_q = p.log_prob(x).exp(), p.log_prob(x), q.log_prob(x)
    assert density.sum().item() * dx == pytest.approx(1, abs=1e-12)
    assert (density * x).sum().item() * dx == pytest.approx(0.4, abs=1e-12)
    assert (density * (x - 0.4) ** 2).sum().item() * dx == pytest.approx(0.36, abs=1e-12)
    divergence = (density * (log_p - log_q)).sum().item() * dx
    assert p.kl(q)[0].item() == pytest.approx(divergence, abs=1e-10)


def basis(n: int, d: int) -> torch.Tensor:
    """(n d, d (n - 1)) orthonormal columns that span the sets of points with zero mean."""
    q = torch.linalg.qr(torch.cat([torch.ones(n, 1, dtype=D), randn(n, n - 1)], 1)).Q
    return torch.from_numpy(np.kron(q[:, 1:].numpy(), np.eye(d)))


@pytest.mark.parametrize("kind", ["shared", "per sample"])
@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
def test_the_density_without_centre_is_that_of_coordinates_in_the_subspace(name, kind):
    layout = layouts((3,))[name]
    space = ZeroCoM()
    mean, x = (space.project(randn(*layout.shape, seed=s), layout) for s in (0, 1))
    std, full = stds(kind, layout)
    law = Gaussian(mean, std, space, layout)
    other = Gaussian(x, 2.0, space, layout)
    for i, (a, m, s) in enumerate(zip(*(samples(v, layout) for v in (x, mean, full)), strict=True)):
        n = len(a) // 3
        u = basis(n, 3)
        assert int(space.dim(layout)[i]) == u.shape[1] == 3 * (n - 1)
        a, m, s = (u.mT @ a).numpy(), (u.mT @ m).numpy(), s[0].item()
        log_p = stats.norm.logpdf(a, m, s).sum()
        assert law.log_prob(x)[i].item() == pytest.approx(log_p, rel=1e-10, abs=1e-10)
        kl = (s**2 / 8 + (a - m) ** 2 / 8 - 0.5 + math.log(2 / s)).sum()
        assert law.kl(other)[i].item() == pytest.approx(kl, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("space", [Euclidean(), ZeroCoM()])
@pytest.mark.parametrize("kind", STDS)
@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
def test_gaussian_samples_are_reparametrised(space, kind, name):
    layout = layouts((3,))[name]
    mean = space.project(randn(*layout.shape), layout).requires_grad_()
    std, full = stds(kind, layout)
    x = Gaussian(mean, std, space, layout).sample(NoiseSource(0, range(3)))
    z = space.project(NoiseSource(0, range(3)).normal(layout), layout)
    close(x, mean + full * z)
    (gradient,) = torch.autograd.grad(x.sum(), mean)
    assert gradient.eq(1).all()
    if kind != "elementwise":
        close(space.project(x, layout), x, 1e-14)


def test_gaussian_samples_without_centre_have_the_covariance_of_the_projection():
    n, batch, d = 3, 400, 100
    total = batch * d  # the coordinates are independent
    layout = Layout.ragged([n] * batch, (d,), dtype=D)
    law = Gaussian(torch.zeros(layout.shape, dtype=D), 2.0, ZeroCoM(), layout)
    x = law.sample(NoiseSource(0, range(batch))).view(batch, n, d).mT.reshape(total, n)
    expected = 4 * (torch.eye(n, dtype=D) - 1 / n)
    # an entry of the covariance has a standard error of at most sqrt(2) 8/3 / sqrt(N): 6 of them
    assert (x.mT @ x / total - expected).abs().max() < 6 * 2**0.5 * 8 / 3 / total**0.5


def test_a_gaussian_of_width_zero_is_its_mean_and_has_no_density():
    mean = randn(2, 3)
    layout = Layout.dense(2, (3,), dtype=D)
    source = NoiseSource(0, [0, 1])
    assert Gaussian(mean, 0.0).sample(source).equal(mean)
    assert Gaussian(mean, torch.zeros(2, dtype=D)).sample(source).equal(mean)
    for std in (0.0, torch.tensor([0.0, 1.0], dtype=D), torch.zeros(2, 3, dtype=D)):
        with pytest.raises(InputError, match=r"density.*> 0.*time above 0"):
            Gaussian(mean, std).log_prob(mean)
    with pytest.raises(InputError, match="density"):
        Gaussian(mean, 1.0).kl(Gaussian(mean, 0.0, layout=layout))
    # zeros in the padding are never read
    padded = Layout.dense(2, (3,), mask=torch.tensor([[True, True, False]] * 2), dtype=D)
    std = torch.tensor([1.0, 1.0, 0.0], dtype=D).expand(2, 3)
    assert torch.isfinite(Gaussian(mean, std, layout=padded).log_prob(mean)).all()


def test_gaussian_errors():
    layout = Layout.ragged([2, 3], (3,), dtype=D)
    mean = torch.zeros(5, 3, dtype=D)
    law = Gaussian(mean, torch.ones(5, 3, dtype=D), ZeroCoM(), layout)
    with pytest.raises(ConfigError, match=r"elementwise.*ZeroCoM.*one std per sample"):
        law.log_prob(mean)
    with pytest.raises(InputError, match="one tensor"):
        Gaussian(mean).log_prob({"x": mean})
    assert Gaussian(mean).mode.equal(mean)
    assert Gaussian(mean, 1.0, layout=layout).kl(Dirac(mean)).tolist() == [INF, INF]


def test_the_gradient_of_a_density_in_float32():
    mean = torch.zeros(2, 3, requires_grad=True)
    law = Gaussian(mean, torch.tensor([1.0, 2.0], dtype=D))
    (gradient,) = torch.autograd.grad(law.log_prob(torch.ones(2, 3)).sum(), mean)
    close(gradient, torch.tensor([[1.0] * 3, [0.25] * 3]), 1e-6)


# --- Dirac


def test_dirac():
    value = torch.tensor([[1, 2, 0], [3, 1, 0]])
    padded = Layout.dense(2, (3,), mask=torch.tensor([[1, 1, 0], [1, 1, 1]]).bool())
    law = Dirac(value, padded)
    assert law.mean is law.mode is law.sample(NoiseSource(0, [0, 1])) is value
    other = torch.tensor([[1, 2, 5], [3, 1, 5]])  # differs in the padding of the first sample only
    assert law.log_prob(other).tolist() == [0, -INF]
    assert law.kl(Dirac(other)).tolist() == [INF, INF]
    assert law.kl(Dirac(other, padded)).tolist() == [0, INF]
    table = randn(2, 3, 6).log_softmax(-1)
    close(law.kl(Categorical(table, padded)), -Categorical(table, padded).log_prob(value))
    real = Dirac(randn(2, 3))
    assert real.kl(Gaussian(real.value, 1.0)).tolist() == [INF, INF]
    with pytest.raises(InputError, match="one tensor"):
        Dirac({"x": value}).log_prob({"x": value})


# --- Categorical


class Crafted(NoiseSource):
    """A source with the uniform numbers of the test."""

    def __init__(self, u: torch.Tensor) -> None:
        super().__init__(0, [0])
        self.u = u

    def uniform(self, layout: Layout) -> torch.Tensor:
        return self.u.view(layout.shape)


def drawn(p: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """What is drawn from probabilities `p` (K,) at uniform numbers `u` (N,)."""
    layout = Layout.dense(1, u.shape, dtype=torch.int64)
    law = Categorical(p.log().expand(1, len(u), -1), layout)
    return law.sample(Crafted(u))[0]


@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
def test_categorical_log_prob(name):
    layout = layouts(())[name]
    table = randn(*layout.shape, 5).log_softmax(-1)
    x = torch.randint(5, layout.shape, generator=torch.Generator().manual_seed(0))
    picked = torch.tensor([t[i] for t, i in zip(table.view(-1, 5), x.flatten(), strict=True)])
    expected = [v.sum() for v in samples(picked.view(layout.shape), layout)]
    close(Categorical(table, layout).log_prob(x), torch.stack(expected))
    close(Categorical(table, layout).mean.sum(-1), torch.ones(layout.shape, dtype=D))
    mode = Categorical(table, layout).mode
    assert [v.tolist() for v in samples(mode, layout)] == [
        v.tolist() for v in samples(table.argmax(-1), layout)
    ]


@pytest.mark.parametrize("name", ["dense", "padded", "ragged"])
def test_categorical_divergence_is_scipys(name, monkeypatch):
    layout = layouts(())[name]
    p, q = (randn(*layout.shape, 5, seed=s).log_softmax(-1) for s in (0, 1))
    p[..., 2] = -INF
    p = p.log_softmax(-1)
    entries = stats.entropy(p.exp().numpy(), q.exp().numpy(), axis=-1)
    expected = torch.stack([v.sum() for v in samples(torch.as_tensor(entries), layout)])
    first, second = Categorical(p, layout), Categorical(q, layout)
    close(first.kl(second), expected)
    assert first.kl(first).abs().max() < 1e-14
    assert second.kl(first).tolist() == [INF] * 3
    x = torch.randint(5, layout.shape, generator=torch.Generator().manual_seed(0))
    assert second.kl(Dirac(x, layout)).tolist() == [INF] * 3
    close(Categorical(one_hot_log(x, q), layout).kl(Dirac(x, layout)), torch.zeros(3, dtype=D))
    monkeypatch.setattr(distributions, "_CHUNK", 8)  # one row of the table at a time
    close(first.kl(second), expected)


def test_categorical_samples_invert_the_distribution_function():
    p = torch.tensor([0.0, 0.5, 0.0, 0.125, 0.375, 0.0], dtype=D)
    u = (torch.arange(8000, dtype=D) + 0.5) / 8000
    assert torch.bincount(drawn(p, u), minlength=6).tolist() == [0, 4000, 0, 1000, 3000, 0]
    # on the edges of the interval: what cannot happen is not drawn
    edges = torch.tensor([0.0, 2.0**-53, 0.5, 0.625, 1 - 2.0**-53], dtype=D)
    assert drawn(p, edges).tolist() == [1, 1, 3, 4, 4]
    # unnormalised by rounding: still no category of probability 0
    assert drawn(p.float() * (1 - 1e-6), edges).tolist()[-1] == 4
    assert drawn(p * (1 + 1e-9), edges).tolist() == [1, 1, 3, 4, 4]


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_the_tail_is_reached(dtype):
    # a probability of 1e-9 between two large ones: float32 numbers could not hit it at its rate
    p = torch.tensor([0.75, 1e-9, 0.25 - 1e-9], dtype=D).to(dtype)
    held = p.log().double().exp()  # logarithms in float32 round otherwise on each kind of processor
    at = held[0] / held.sum()
    u = at + torch.linspace(-2e-9, 3e-9, 5001, dtype=D)
    hits = (drawn(p, u) == 1).sum().item()
    assert hits == pytest.approx(1000, abs=2)
    grid = torch.linspace(0, 1 - 2.0**-53, 10_001, dtype=D)
    assert (drawn(p, grid) == 1).sum() == 0


def test_categorical_samples_have_their_probabilities(monkeypatch):
    p = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0], dtype=D)
    law = Categorical(p.log().expand(4, 25_000, 5))
    x = law.sample(NoiseSource(0, range(4)))
    counts = torch.bincount(x.flatten(), minlength=5)
    assert counts[4] == 0
    assert stats.chisquare(counts[:4].numpy(), 1e5 * p[:4].numpy()).pvalue > 1e-7
    monkeypatch.setattr(distributions, "_CHUNK", 5000)
    assert law.sample(NoiseSource(0, range(4))).equal(x)


def test_padded_and_ragged_tokens_are_those_of_the_sample_alone():
    table = randn(3, 4, 5).log_softmax(-1)
    ragged = Categorical(table[MASK], Layout.ragged(COUNTS, dtype=torch.int64))
    padded = Categorical(
        torch.where(MASK[..., None], table, math.nan),  # nobody looks at the padding
        Layout.dense(3, (4,), mask=MASK, dtype=torch.int64),
    )
    r, p = (law.sample(NoiseSource(2, [7, 8, 9])) for law in (ragged, padded))
    assert p[~MASK].eq(0).all()
    assert p[MASK].equal(r)
    for i, n in enumerate(COUNTS):
        alone = Categorical(table[i : i + 1, :n]).sample(NoiseSource(2, [7 + i]))
        assert r.split(COUNTS)[i].equal(alone[0])


def test_from_logits():
    logits = randn(2, 3, 5)
    law = Categorical.from_logits(logits)
    close(law.mean.sum(-1), torch.ones(2, 3, dtype=D))
    close(law.log_probs - logits, (law.log_probs - logits)[..., :1].expand(2, 3, 5))


@pytest.mark.parametrize("value", [math.nan, -INF])
def test_broken_probabilities_are_not_drawn_from(value):
    table = randn(2, 3, 5).log_softmax(-1)
    table[1, 2] = value
    with pytest.raises(NonFiniteError, match=r"NaN or all zero.*got 1"):
        Categorical(table).sample(NoiseSource(0, [0, 1]))


def test_categorical_errors():
    law = Categorical(randn(2, 3, 5).log_softmax(-1))
    with pytest.raises(InputError, match=r"no divergence.*Gaussian"):
        law.kl(Gaussian(randn(2, 3)))
    with pytest.raises(InputError, match="one tensor"):
        law.log_prob({"x": torch.zeros(2, 3).long()})


# --- Product


def test_product():
    layout = layouts((3,))["ragged"]
    tokens = layouts(())["ragged"]
    x, h = (
        Gaussian(randn(6, 3), 0.5, layout=layout),
        Categorical(randn(6, 4).log_softmax(-1), tokens),
    )
    other = Product(
        {
            "h": Categorical(randn(6, 4, seed=1).log_softmax(-1), tokens),
            "x": Gaussian(randn(6, 3, seed=1), 0.7, layout=layout),
        }
    )
    law = Product({"x": x, "h": h})
    state = law.sample(NoiseSource(0, range(3)))
    assert state["x"].equal(x.sample(NoiseSource(0, range(3))))
    close(law.log_prob(state), x.log_prob(state["x"]) + h.log_prob(state["h"]))
    close(law.kl(other), x.kl(other.parts["x"]) + h.kl(other.parts["h"]))
    assert law.mean["h"].equal(h.mean)
    assert law.mode["h"].equal(h.mode)
    with pytest.raises(InputError, match=r"one tensor per part.*\['h', 'x'\]"):
        law.log_prob({"x": state["x"]})
    with pytest.raises(InputError, match="other parts"):
        law.kl(x)


def test_one_hot_log():
    table = one_hot_log(torch.tensor([2, 0]), torch.empty(2, 3, dtype=D))
    assert np.array_equal(table.exp().numpy(), [[0, 0, 1], [1, 0, 0]])


def test_a_single_category_is_drawn():
    law = Categorical(torch.zeros(2, 3, 1))
    assert torch.equal(law.sample(NoiseSource(0, range(2))), torch.zeros(2, 3).long())
