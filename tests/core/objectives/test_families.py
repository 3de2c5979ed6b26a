"""Where diffusion is one of the older families: a hierarchical autoencoder, and an autoregressive
model of any order. Term by term, with networks that were never trained."""

from __future__ import annotations

import math
from itertools import pairwise, permutations, product

import pytest
import torch
from torch import nn

from unnoise.denoise import Clean, Masked, NetworkDenoiser
from unnoise.distributions import Dirac
from unnoise.kernels import Absorbing, BetaTable, CategoricalKernel, GaussianKernel, Linear
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, OrderAgnosticLoss, bound, continuous_bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import PmfOracle

D = torch.float64

# --- the variational autoencoder

BETAS = (0.1, 0.3, 0.6, 0.9)
T = len(BETAS)
KERNEL = GaussianKernel(Euclidean(), BetaTable(BETAS))
X = 0.8


class Gain(nn.Module):
    """E[x_0 | x_t] = g_t x_t, g_t = .9 - .15 t: a decoder that is wrong."""

    def forward(self, x, label, layout, condition):
        return layout.expand(gain(T * label.double()), x) * x


def gain(t):
    return 0.9 - 0.15 * t


DENOISER = NetworkDenoiser(Gain(), KERNEL, Clean())


def closed_form():
    """The terms of the ELBO of z_T -> ... -> z_1 -> x, from the betas alone (Ho 2020, eqs. 5, 7):
    KL(q(z_T | x) || N(0, 1 - abar_T)), the sum of E KL(q(z_t-1 | z_t, x) || p(z_t-1 | z_t)), and
    E -log p(x | z_1), p(x | z_1) of the variance (1 - abar_1) / abar_1."""
    kept = [1.0]
    for beta in BETAS:
        kept.append(kept[-1] * (1 - beta))
    last = kept[T]
    prior = 0.5 * last * X**2 / (1 - last)
    miss = lambda t: (1 - gain(t) * kept[t] ** 0.5) ** 2 * X**2 + gain(t) ** 2 * (1 - kept[t])  # noqa: E731
    steps = 0.0
    for t in range(2, T + 1):
        beta = BETAS[t - 1]
        weight = kept[t - 1] ** 0.5 * beta / (1 - kept[t])
        variance = (1 - kept[t - 1]) / (1 - kept[t]) * beta
        steps += weight**2 * miss(t) / (2 * variance)
    noise = (1 - kept[1]) / kept[1]
    return prior, steps, 0.5 * math.log(2 * math.pi * noise) + miss(1) / (2 * noise)


def test_the_bound_is_the_elbo_of_a_hierarchical_autoencoder():
    n = 3000
    layout = Layout.dense(n, (1,), dtype=D)
    run = Diffusion(DENOISER, layout, NoiseSource(0, range(n)))
    found = bound(run, torch.full((n, 1), X, dtype=D), steps=T)
    prior, steps, reconstruction = closed_form()
    torch.testing.assert_close(found.prior, torch.full((n,), prior, dtype=D))
    for term, exact in ((found.steps, steps), (found.reconstruction, reconstruction)):
        error = term.std().item() / n**0.5
        assert term.mean().item() == pytest.approx(exact, abs=5 * error)
        assert error < 0.06 * abs(exact)


def test_the_encoder_reads_the_same_upwards_and_downwards():
    """prod q(z_t | z_t-1) = q(z_T | x) prod q(z_t-1 | z_t, x) on every path: what makes the sum of
    log p(x, z) - log q(z | x) the bound's three terms. Their mean is its total."""
    n = 3000
    layout, noise = Layout.dense(n, (1,), dtype=D), NoiseSource(1, range(n))
    x = torch.full((n, 1), X, dtype=D)
    times = [i / T for i in range(T + 1)]
    z = [x, *KERNEL.simulate(x, times, layout, noise)]
    up = sum(
        KERNEL.transition(z[i], times[i], times[i + 1], layout).log_prob(z[i + 1]) for i in range(T)
    )
    down = KERNEL.marginal(x, 1.0, layout).log_prob(z[T])
    decoder = KERNEL.prior(layout).log_prob(z[T])
    for i in range(1, T):
        s, t = times[i], times[i + 1]
        down = down + KERNEL.reverse(z[i + 1], Dirac(x, layout), t, s, layout).log_prob(z[i])
        law = KERNEL.reverse(z[i + 1], DENOISER(z[i + 1], t, layout), t, s, layout)
        decoder = decoder + law.log_prob(z[i])
    torch.testing.assert_close(up, down, rtol=1e-9, atol=1e-9)
    law = DENOISER(z[1], times[1], layout)
    decoder = decoder + KERNEL.reconstruction(z[1], law, times[1], layout).log_prob(x)
    elbo = decoder - up
    error = elbo.std().item() / n**0.5
    assert -elbo.mean().item() == pytest.approx(sum(closed_form()), abs=5 * error)


# --- autoregressive models

LENGTH, VOCAB, MASK = 3, 2, 2
TOKENS = CategoricalKernel(Tokens(VOCAB + 1), Absorbing(MASK, Linear()))


class AnyOrder(nn.Module):
    """A network of the visible tokens, which does not look at the time."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(LENGTH * 3, 16), nn.Tanh(), nn.Linear(16, LENGTH * (VOCAB + 1))
        ).double()

    def forward(self, x, label, layout, condition):
        seen = nn.functional.one_hot(x, VOCAB + 1).double().flatten(1)
        return self.net(3 * seen).view(-1, LENGTH, VOCAB + 1)


@pytest.fixture(scope="module")
def any_order():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NetworkDenoiser(AnyOrder(), TOKENS, Masked(MASK)).eval()


def cost(denoiser, x, visible, asked):
    """-log p of the tokens `asked` of x, given those that are `visible`."""
    state = torch.full((1, LENGTH), MASK)
    for i in visible:
        state[0, i] = x[i]
    layout = Layout.dense(1, (LENGTH,), dtype=torch.int64)
    with torch.no_grad():
        logs = denoiser(state, 0.5, layout).log_probs[0]
    return -sum(logs[i, x[i]].item() for i in asked)


def orders(denoiser, x):
    """The mean over all orders of -log p(x) one token after the other: ARDM's bound."""
    found = [
        sum(cost(denoiser, x, order[:i], [order[i]]) for i in range(LENGTH))
        for order in permutations(range(LENGTH))
    ]
    return sum(found) / len(found)


def absorbing(denoiser, x):
    """The bound of infinitely many steps of the absorbing process, integral dt / t of E -log p of
    the masked tokens; of a set of m masks the integral is B(m, D - m + 1)."""
    total = 0.0
    for masked in product([False, True], repeat=LENGTH):
        hidden = [i for i in range(LENGTH) if masked[i]]
        if m := len(hidden):
            weight = math.factorial(m - 1) * math.factorial(LENGTH - m) / math.factorial(LENGTH)
            shown = [i for i in range(LENGTH) if not masked[i]]
            total += weight * cost(denoiser, x, shown, hidden)
    return total


SEQUENCES = list(product(range(VOCAB), repeat=LENGTH))


def test_absorbing_diffusion_is_autoregression_in_any_order(any_order):
    """On one network, for every sequence; and no bound exceeds the probability there is."""
    ours = [orders(any_order, x) for x in SEQUENCES]
    assert ours == pytest.approx([absorbing(any_order, x) for x in SEQUENCES], abs=1e-10)
    assert sum(math.exp(-v) for v in ours) < 1
    assert max(ours) - min(ours) > 0.1


def test_the_objectives_estimate_it(any_order):
    n, x = 4000, SEQUENCES[5]
    layout, noise = Layout.dense(n, (LENGTH,), dtype=torch.int64), NoiseSource(0, range(n))
    data = torch.tensor(x).expand(n, LENGTH)
    exact = orders(any_order, x)
    with torch.no_grad():
        loss = LENGTH * OrderAgnosticLoss()(any_order, Batch(data, layout), noise)
        run = Diffusion(any_order, layout, NoiseSource(1, range(n)))
        limit = continuous_bound(run, data, evaluations=8)
    for found in (loss, limit.total):
        assert found.mean().item() == pytest.approx(exact, abs=5 * found.std().item() / n**0.5)


def test_finite_steps_cost_more_by_order_1(any_order):
    """By enumeration: T steps reveal several tokens at once, independently."""
    x = SEQUENCES[5]
    exact, gaps = orders(any_order, x), []
    for steps in (8, 16, 32, 64):
        total = 0.0
        for i in range(1, steps + 1):
            t, s = i / steps, (i - 1) / steps
            for masked in product([False, True], repeat=LENGTH):
                hidden = [k for k in range(LENGTH) if masked[k]]
                shown = [k for k in range(LENGTH) if not masked[k]]
                p = t ** len(hidden) * (1 - t) ** len(shown)
                if hidden and p:
                    total += p * (t - s) / t * cost(any_order, x, shown, hidden)
        gaps.append(total - exact)
    slopes = [math.log2(a / b) for a, b in pairwise([abs(g) for g in gaps])]
    assert slopes == pytest.approx([1.0] * 3, abs=0.1)


class Causal(nn.Module):
    """A transformer that sees what is to the left."""

    def __init__(self, width=8):
        super().__init__()
        self.token, self.place = nn.Embedding(VOCAB + 1, width), nn.Embedding(LENGTH, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 16, 0.0, batch_first=True)
        self.out = nn.Linear(width, VOCAB)

    def forward(self, x):
        """x (B, L) -> log p(x), (B,)."""
        before = torch.cat([torch.full((len(x), 1), MASK), x[:, :-1]], 1)
        h = self.token(before) + self.place(torch.arange(LENGTH))
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=h.dtype)
        logs = 3 * self.out(self.layer(h, src_mask=mask, is_causal=True))
        return logs.log_softmax(-1).gather(-1, x[..., None])[..., 0].sum(1)


def test_a_causal_transformer_is_the_limit():
    """Whatever joint law a causal transformer has, the denoiser with its conditionals has it in
    every order: for each sequence the bound of absorbing diffusion is -log p of the transformer."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Causal().double().eval()
    with torch.no_grad():
        logs = network(torch.tensor(SEQUENCES))
    assert logs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert logs.max() - logs.min() > 0.3
    oracle = PmfOracle(TOKENS, logs.exp().view(VOCAB, VOCAB, VOCAB))
    for x, log_p in zip(SEQUENCES, logs.tolist(), strict=True):
        assert orders(oracle, x) == pytest.approx(-log_p, abs=1e-9)
        assert absorbing(oracle, x) == pytest.approx(-log_p, abs=1e-9)
        left_to_right = sum(cost(oracle, x, range(i), [i]) for i in range(LENGTH))
        assert left_to_right == pytest.approx(-log_p, abs=1e-9)
