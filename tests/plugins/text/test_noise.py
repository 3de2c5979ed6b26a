"""The processes that configurations name, and the oracles of D3PM and ARDM through them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unnoise.errors import ConfigError, InputError
from unnoise.kernels import CosineSurvival, SurvivalTable, mutual_information
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch
from unnoise.spaces import Layout
from unnoise.testing import PmfOracle, exact_bound
from unnoise_text.characters import Characters
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.data import configure
from unnoise_text.domain import objective_of
from unnoise_text.noise import kernel_of

F = torch.float64
FLIP = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=F)
CHAINS = {2: FLIP / 2, 3: FLIP[:, :, None] * FLIP / 2}
P0 = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=F)


def letters(size: int, **options: object) -> Configuration:
    """A completed configuration of `size` letters."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"[:size]
    extra = int(options.get("kernel", "absorbing") == "absorbing")
    learned = Learned(
        alphabet=alphabet,
        hash=Characters(alphabet).hash,
        vocab=size + extra,
        **{k: options.pop(k) for k in ("adjacency", "survival") if k in options},
    )
    given = {k: options.pop(k) for k in ("matrices",) if k in options}
    if given:
        learned = learned.model_copy(update={"transitions": given["matrices"]})
        options["transitions"] = "given"
    return Configuration(learned=learned, **options)


def entropy(p: torch.Tensor) -> float:
    return float(-torch.xlogy(p, p).sum())


# ---- absorbing chains: H + I / T exactly, for every way to say the linear schedule


@pytest.mark.parametrize(
    ("length", "steps", "value"),
    [
        (2, 1, 1.3862944),
        (2, 2, 1.2022623),
        (2, 5, 1.0918430),
        (2, 10, 1.0550366),
        (2, 100, 1.0219108),
        (3, 2, 1.6836581),
        (3, 10, 1.4069471),
        (3, 100, 1.3495767),
    ],
)
@pytest.mark.parametrize("schedule", ["linear", "information"])
def test_chains_of_two_and_three_tokens(length, steps, value, schedule):
    table = tuple(1 - i / steps for i in range(steps + 1))
    own = {"survival": table} if schedule == "information" else {}
    kernel = kernel_of(letters(2, chain=steps, schedule=schedule, **own))
    assert kernel.steps == steps
    pmf = CHAINS[length]
    assert exact_bound(PmfOracle(kernel, pmf), pmf, steps).total.item() == pytest.approx(
        value, abs=6e-8
    )


def draws(pmf: torch.Tensor, n: int) -> torch.Tensor:
    flat = torch.multinomial(
        pmf.flatten(), n, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    return torch.stack([torch.as_tensor(i) for i in np.unravel_index(flat.numpy(), pmf.shape)], 1)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"goal": "bound", "chain": 10}, 1.0550366),
        ({"goal": "masked", "chain": 10}, 1.0550366),
        ({"goal": "masked"}, 1.0182302),  # T -> infinity: the entropy itself
        ({"goal": "order_agnostic"}, 1.0182302),
        ({"goal": "score_entropy"}, 1.0182302),
    ],
)
def test_objectives_of_the_two_token_chain(options, value):
    # through the plugin's own objective; within 5 standard errors of 20,000 independent pairs
    configuration = letters(2, **options)
    pmf, n = CHAINS[2], 20_000
    x0 = draws(pmf, n)
    batch = Batch(x0, Layout.dense(n, (2,), dtype=torch.int64))
    oracle = PmfOracle(kernel_of(configuration), pmf)
    loss = objective_of(configuration)(oracle, batch, NoiseSource(1, range(n))) * 2
    error = loss.std().item() / math.sqrt(n)
    assert error < 0.03
    assert abs(loss.mean().item() - value) < 5 * error


# ---- one token: H + KL(q_T | prior) for the mixture, more for the joint

TO = {"joint": {4: 1.517642, 20: 1.694248, 100: 1.739125}}


@pytest.mark.parametrize("steps", [4, 20, 100])
def test_two_posteriors_of_a_single_token(steps):
    table = tuple(1 - 0.999 * i / steps for i in range(steps + 1))
    options = {"kernel": "uniform", "chain": steps, "survival": table}
    mixture = kernel_of(letters(4, **options))
    assert mixture.posterior == "mixture"  # the default
    found = exact_bound(PmfOracle(mixture, P0), P0, steps).total.item()
    assert found == pytest.approx(1.142120273, abs=1e-8)
    layout = Layout.dense(4, (1,), dtype=torch.int64)
    marginal = mixture.marginal(torch.arange(4)[:, None], 1.0, layout).log_probs[:, 0].exp()
    last = P0 @ marginal
    assert entropy(P0) + float((last * (last * 4).log()).sum()) <= found + 1e-9
    joint = kernel_of(letters(4, **options, posterior="joint"))
    assert exact_bound(PmfOracle(joint, P0), P0, steps).total.item() > found + 0.05


@pytest.mark.parametrize("kernel", ["uniform", "nearest", "matrix"])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_single_token_costs_its_entropy_and_what_the_last_state_knows(kernel, steps):
    options: dict[str, object] = {"kernel": kernel, "chain": steps}
    if kernel == "nearest":
        options["adjacency"] = tuple(
            tuple(float(abs(i - j) == 1) for j in range(4)) for i in range(4)
        )
    if kernel == "matrix":
        q = 0.6 * torch.eye(4, dtype=F) + 0.1
        options["matrices"] = (tuple(tuple(row) for row in q.tolist()),)
    process = kernel_of(letters(4, **options))
    layout = Layout.dense(4, (1,), dtype=torch.int64)
    marginal = process.marginal(torch.arange(4)[:, None], 1.0, layout).log_probs[:, 0].exp()
    prior = process.prior(Layout.dense(1, (1,), dtype=torch.int64)).log_probs[0, 0].exp()
    # E KL(q(x_1 | x_0) | prior) less what the first reverse step takes back: the information
    spread = sum(
        float(P0[i]) * float(torch.xlogy(marginal[i], marginal[i] / prior).sum()) for i in range(4)
    )
    information = mutual_information(process.corruption, P0, 1.0)
    expected = entropy(P0) + spread - information
    found = exact_bound(PmfOracle(process, P0), P0, steps).total.item()
    assert found == pytest.approx(expected, abs=1e-8)


# ---- matrices and schedules


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "absorbing"},
        {"kernel": "absorbing", "schedule": "cosine"},
        {"kernel": "absorbing", "chain": 8, "schedule": "cosine"},
        {"kernel": "uniform"},
        {"kernel": "uniform", "chain": 8},
        {"kernel": "uniform", "schedule": "cosine"},
        {"kernel": "nearest", "schedule": "cosine"},
    ],
)
def test_rows_are_probabilities_and_compose(options):
    if options["kernel"] == "nearest":
        options = {**options, "adjacency": ((0, 1, 0), (1, 0, 1), (0, 1, 0))}
    process = kernel_of(letters(3, **options))
    k = process.space.vocab
    layout = Layout.dense(k, (1,), dtype=torch.int64)
    x = torch.arange(k)[:, None]

    def q(s, t):
        law = process.marginal(x, t, layout) if s == 0 else process.transition(x, s, t, layout)
        return law.log_probs[:, 0].double().exp()

    for t in (0.25, 0.5, 1.0):
        assert torch.allclose(q(0, t).sum(-1), torch.ones(k, dtype=F), atol=1e-12)
    assert torch.allclose(q(0, 0.5) @ q(0.5, 1.0), q(0, 1.0), atol=1e-10)


def test_schedules():
    assert kernel_of(letters(3, kernel="uniform", schedule="cosine")).corruption.schedule == (
        CosineSurvival()
    )
    table = (1.0, 0.6, 0.0)
    told = {"schedule": "information", "survival": table, "kernel": "uniform"}
    free, clocked = (
        kernel_of(letters(3, **told, **o)).corruption.schedule for o in ({}, {"chain": 2})
    )
    assert (free, clocked) == (SurvivalTable(table, discrete=False), SurvivalTable(table))


@pytest.mark.parametrize("kernel", ["uniform", "nearest"])
def test_the_information_schedule_takes_as_much_at_each_step(tmp_path, kernel):
    (tmp_path / "a.txt").write_text("aab abac aabca " * 30)
    options = {"kernel": kernel, "schedule": "information", "chain": 5, "held_out": 0}
    configuration = configure(tmp_path, {**options, "neighbours": 2})
    corruption = kernel_of(configuration).corruption
    text = (tmp_path / "a.txt").read_text()
    p0 = torch.tensor([text.count(c) / len(text) for c in configuration.known.alphabet], dtype=F)
    left = [mutual_information(corruption, p0, i / 5) for i in range(6)]
    full = entropy(p0)
    assert left[:5] == pytest.approx([full * (1 - i / 5) for i in range(5)], abs=1e-5)


# ---- graphs and matrices from files and from the data


def test_graphs(tmp_path):
    (tmp_path / "a.txt").write_text("the cat and the dog and the cow " * 20)
    alphabet = configure(tmp_path, {"kernel": "nearest", "graph": "alphabet", "neighbours": 2})
    a = torch.tensor(alphabet.known.adjacency)
    assert torch.equal(a, a.T)
    i, j = a.nonzero().T
    assert (i - j).abs().max() <= 2
    contexts = torch.tensor(configure(tmp_path, {"kernel": "nearest"}).known.adjacency)
    assert not torch.equal(contexts, a)
    size = len(alphabet.known.alphabet)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "e.npy", rng.normal(size=(size, 3)))
    given = configure(tmp_path, {"kernel": "nearest", "graph": str(tmp_path / "e.npy")})
    assert len(given.known.adjacency) == size
    np.save(tmp_path / "e.npy", rng.normal(size=(size + 1, 3)))
    with pytest.raises(InputError, match="one row for each token"):
        configure(tmp_path, {"kernel": "nearest", "graph": str(tmp_path / "e.npy")})
    with pytest.raises(InputError, match="embeddings cannot be read"):
        configure(tmp_path, {"kernel": "nearest", "graph": str(tmp_path / "no.npy")})


def test_matrices_of_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("abba abab " * 20)
    q = 0.9 * np.eye(3) + 0.1 / 3
    np.save(tmp_path / "q.npy", q)
    options = {"kernel": "matrix", "transitions": str(tmp_path / "q.npy"), "chain": 7}
    process = kernel_of(configure(tmp_path, options))
    assert process.steps == 7
    found = process.corruption.matrix(0.0, 1.0).numpy()
    assert found == pytest.approx(np.linalg.matrix_power(q, 7), abs=1e-12)
    np.save(tmp_path / "q.npy", np.eye(4))
    with pytest.raises(InputError, match="for the vocabulary's K tokens"):
        configure(tmp_path, options)
    np.save(tmp_path / "q.npy", np.full((3, 3), 0.5))
    with pytest.raises(ConfigError, match="sum to one"):
        configure(tmp_path, options)


def test_a_large_vocabulary_has_no_graph(folder, monkeypatch):
    monkeypatch.setattr("unnoise_text.noise.LARGEST_GRAPH", 8)
    with pytest.raises(ConfigError, match="small vocabularies"):
        configure(folder, {"kernel": "nearest"})
