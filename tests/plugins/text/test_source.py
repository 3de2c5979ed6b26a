"""A network trained on text of a known source reaches a bound near the source's entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise import train

LETTERS = "abcd"


class Chain:
    """A second-order chain: p(c | a, b) = table[a, b, c], drawn once from a Dirichlet law."""

    def __init__(self, size: int, concentration: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.dirichlet(np.full(size, concentration), (size, size))
        # stationary law of pairs: (a, b) -> (b, c)
        step = np.zeros((size, size, size, size))
        for a in range(size):
            for b in range(size):
                step[a, b, b] = self.table[a, b]
        step = step.reshape(size**2, size**2)
        pairs = np.full(size**2, 1 / size**2)
        for _ in range(5000):
            pairs = pairs @ step
        self.pairs = pairs.reshape(size, size)

    @property
    def entropy_rate(self) -> float:
        """Nats a letter."""
        p = self.table
        return float(-(self.pairs[..., None] * p * np.log(p)).sum())

    def entropy(self, length: int) -> float:
        """Nats of a window of `length` letters: H(pair) + (length - 2) times the rate."""
        first = float(-(self.pairs * np.log(self.pairs)).sum())
        return first + (length - 2) * self.entropy_rate

    def draw(self, length: int, seed: int) -> str:
        u = np.random.default_rng(seed).random(length)
        cdf = self.table.cumsum(-1)
        a, b, found = 0, 1, []
        for value in u.tolist():
            c = min(int(np.searchsorted(cdf[a, b], value)), cdf.shape[-1] - 1)
            found.append(c)
            a, b = b, c
        return "".join(LETTERS[c] for c in found)

    def nats(self, text: str) -> float:
        """-log p of a window, its first pair by the stationary law."""
        i = [LETTERS.index(c) for c in text]
        rest = [self.table[a, b, c] for a, b, c in zip(i, i[1:], i[2:], strict=False)]
        return float(-np.log(self.pairs[i[0], i[1]]) - np.log(rest).sum())


def test_entropy_of_the_chain():
    chain = Chain(2, 1.0, 0)
    exact = 0.0
    for number in range(2**6):
        text = "".join(LETTERS[number >> k & 1] for k in range(6))
        nats = chain.nats(text)
        exact += np.exp(-nats) * nats
    assert chain.entropy(6) == pytest.approx(exact, abs=1e-9)


def ratio(tmp_path, chain: Chain, kernel: str, steps: int, windows: int, **options) -> float:
    """The bound of held-out windows over their entropy, the noise of the windows taken out by
    their exact probabilities."""
    folder = tmp_path / "source"
    folder.mkdir()
    for k in range(10):
        (folder / f"{k}.txt").write_text(chain.draw(40_000, k))
    # no separators: windows of one document only, which the shift of training keeps to
    model = train(
        "text", folder, tmp_path / "run", kernel=kernel, steps=steps, log_every=100,
        alphabet=LETTERS[: len(chain.table)], bound_samples=0, validation_batches=0,
        checkpoint_every=10**6, **options,
    )  # fmt: skip
    held_out = model.domain.dataset(folder, model.configuration, "validation")
    items = [held_out[i * len(held_out) // windows] for i in range(windows)]
    found = model.bound(items, steps=1000, evaluations=60).total
    vocabulary = model.configuration.vocabulary
    exact = [chain.nats(vocabulary.decode(item.tolist())) for item in items]
    length = model.configuration.length
    excess = (found.double() - torch.tensor(exact)).mean().item()
    return 1 + excess / chain.entropy(length)


SMALL = {"length": 16, "width": 32, "depth": 2, "heads": 2, "batch_size": 64, "warmup": 20}
LARGE = {"length": 32, "width": 64, "depth": 2, "heads": 2, "batch_size": 64, "warmup": 50}


def test_a_short_training_comes_near_the_entropy(tmp_path):
    chain = Chain(2, 0.5, 2)
    found = ratio(tmp_path, chain, "absorbing", 250, 200, learning_rate=4e-3, ema=0.98, **SMALL)
    uniform = np.log(2) * 16 / chain.entropy(16)
    assert uniform > 1.6  # a network that had learned nothing
    print(found)
    assert 0.99 < found < 1.15


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "limit"), [("absorbing", 1.03), ("uniform", 1.06)])
def test_a_trained_network_reaches_the_entropy(tmp_path, kernel, limit):
    found = ratio(
        tmp_path, Chain(4, 1.0, 0), kernel, 2500, 400, learning_rate=2e-3, ema=0.99, **LARGE
    )
    print(kernel, found)
    assert 0.99 < found < limit
