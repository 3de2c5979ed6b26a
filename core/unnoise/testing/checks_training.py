"""What a domain's training data and losses are checked for, on fresh networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from unnoise.discovery.domains import defaults_of, trial_of
from unnoise.domain import Batch, Trainable
from unnoise.errors import UnnoiseError
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Elapsed, Networks, Objective
from unnoise.spaces import State, tensor
from unnoise.testing.domain_case import STEPS, DomainCase
from unnoise.testing.law_case import seeded, untouched
from unnoise.testing.natives import difference, leaves
from unnoise.testing.report import CheckFailed, Skip, require, within
from unnoise.training.data import read
from unnoise.training.validate import SEED

_ITEMS: Final = 400
"""Items of each part that are compared."""
_SAME: Final = 1e-3


def training(case: DomainCase) -> tuple[Trainable, Any, Any]:
    """The domain, a configuration and the training part of the data."""
    if case.data is None:
        raise Skip("no data given; pass data=, or --data on the command line")
    domain = case.domain
    if not isinstance(domain, Trainable):
        raise Skip("the domain has no models of its own")
    configuration = domain.configure(case.data, {})
    items: Any = domain.dataset(case.data, configuration, "train")
    require(len(items) > 0, "the training part is empty")
    return domain, configuration, items


def _read(items: Any, rows: Iterable[int], seed: int = 0, others: int = 0) -> list[Any]:
    """Items as the trainer reads them: torch's generator is seeded for each from its place. The
    others are seeded with `others`; afterwards all are as they were."""
    with seeded(others):
        return [read(items, k % len(items), seed, k) for k in rows]


def _networks(domain: Trainable, configuration: Any, objective: Objective) -> Networks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = domain.build(configuration)
        return Networks(denoiser, domain.codec(configuration), objective.others())


def data_can_be_trained_on(case: DomainCase) -> str:
    """dataset, collate and objective: valid clean states, a finite loss for each item, and finite
    gradients."""
    domain, configuration, items = training(case)
    chosen = _read(items, range(4))
    batch = domain.collate(chosen)
    objective = domain.objective(configuration)
    networks = _networks(domain, configuration, objective)
    states = batch.encoded(networks.codec, NoiseSource(0, range(4)))
    networks.denoiser.kernel.space.validate(states.x0, states.layout)
    means = []
    for turn in objective.turns(networks):
        networks.zero_grad()
        loss = turn.loss(networks, batch, NoiseSource(0, range(4)), Elapsed(0, 1))
        require(loss.shape == (4,), f"the loss has shape {tuple(loss.shape)}, not (B,)")
        require(bool(torch.isfinite(loss).all()), f"the loss is {loss.tolist()}")
        loss.mean().backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in turn.parameters(networks).values() if p.grad is not None]
        require(bool(grads), "the loss has no gradient")
        require(all(bool(torch.isfinite(g).all()) for g in grads), "a gradient is not finite")
        means.append(f"{float(loss.mean().detach()):.3g}")
    return f"{len(items)} items, loss {', '.join(means)}"


def items_repeat(case: DomainCase) -> str:
    """An item read twice, and of a data set made twice, is the same: but for torch's default
    generator, which the trainer seeds for each item, random numbers have no say. Each part has as
    many items as it says."""
    domain, configuration, items = training(case)
    many = min(len(items), 16)
    first, second = (_read(items, range(many), others=k) for k in (1, 2))
    with seeded(2):
        fresh: Any = domain.dataset(case.data, configuration, "train")
    third = _read(fresh, range(many), others=2)
    require(len(fresh) == len(items), f"{len(items)} items, then {len(fresh)} of the same data")
    for k, (a, b, c) in enumerate(zip(first, second, third, strict=True)):
        require(difference(domain, a, b) == 0, f"item {k} is another when it is read again")
        require(difference(domain, a, c) == 0, f"item {k} is another in a data set made again")
    with seeded(1):
        one = domain.collate(first)
    with seeded(2):
        two = domain.collate(first)
    require(_apart(one.x0, two.x0) == 0, "collate gives another batch of the same items")
    return f"{len(items)} items"


def parts_are_apart(case: DomainCase) -> str:
    """No row of the validation part is trained on."""
    domain, configuration, items = training(case)
    held: Any = domain.dataset(case.data, configuration, "validation")
    if len(held) == 0:
        raise Skip("the validation part of these data is empty")
    own = _prints(domain, held, range(min(len(held), _ITEMS)), SEED)
    sample = _prints(domain, items, _spread(len(items)))
    known = set(sample)
    if len(items) > _ITEMS:  # all of them, where only some were looked at
        known.update(_prints(domain, items, range(min(len(items), 10 * _ITEMS))))
    both = sum(item in known for item in own) / len(own)
    twice = 1 - len(set(sample)) / len(sample)
    if twice > 0.5:
        raise Skip("the data repeat themselves")
    allowed = 3 * twice
    return within(both, allowed, "part of the validation rows that are training rows")


def _spread(n: int) -> list[int]:
    return sorted({int(k) for k in np.linspace(0, n - 1, min(n, _ITEMS))})


def _prints(domain: Trainable, items: Any, rows: Iterable[int], seed: int = 0) -> list[str]:
    with seeded(0):
        return [_print(domain, read(items, k, seed, k)) for k in rows]


def _print(domain: Trainable, item: Any) -> str:
    words = hashlib.sha256()
    for place, value in leaves(domain, item):
        content = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
        words.update(place.encode() + content)
    return words.hexdigest()


def collate_keeps_the_order(case: DomainCase) -> str:
    """Row k of a batch is item k: as in a batch of its own, condition and all."""
    domain, _, items = training(case)
    chosen = _read(items, range(4))
    batch = domain.collate(chosen)
    require(isinstance(batch, Batch), f"collate returns a {type(batch).__name__}, not a Batch")
    require(batch.layout.batch == 4, f"a batch of 4 items has {batch.layout.batch} samples")
    worst = 0.0
    for k, item in enumerate(chosen):
        alone = domain.collate([item])
        own, single = batch.layout.sample(batch.x0, k), alone.layout.sample(alone.x0, 0)
        worst = max(worst, _apart(own, single))
        for name, value in (batch.condition or {}).items():
            told = (alone.condition or {}).get(name)
            require(told is not None, f"the condition {name!r} is there for some items alone")
            if told is not None and value.shape[:1] == (4,) and told.shape[1:] == value.shape[1:]:
                worst = max(worst, _apart(value[k : k + 1], told))
    return within(worst, 1e-6, "difference of an item in a batch and alone")


def losses_follow_the_data(case: DomainCase) -> str:
    """In evaluation a loss repeats with the same noise, changes with other noise and with other
    data, draws no global numbers, and that of a sample does not depend on the others."""
    domain, configuration, items = training(case)
    objective = domain.objective(configuration)
    networks = _networks(domain, configuration, objective).eval()
    chosen = _read(items, range(4))
    batch = domain.collate(chosen)
    progress = Elapsed(0, 1)
    for turn in objective.turns(networks):

        def loss(of: Batch, seed: int = 0, turn: Any = turn) -> Tensor:
            source = NoiseSource(seed, range(of.layout.batch))
            return turn.loss(networks, of, source, progress).detach().double()  # type: ignore[no-any-return]

        first = loss(batch)
        with seeded(1), untouched("the loss"):
            again = loss(batch)
        require(bool(torch.equal(first, again)), "the loss does not repeat with the same noise")
        require(not torch.equal(first, loss(batch, 1)), "the loss does not depend on the noise")
        moved = replace(batch, x0=_moved(batch.x0))
        require(not torch.allclose(first, loss(moved)), "the loss does not depend on the data")
        one = domain.collate(chosen[:1])
        gap = float((loss(one)[0] - first[0]).abs() / (1 + first[0].abs()))
        within(gap, _SAME, "loss of a sample alone and in a batch: relative difference")
    return f"{len(objective.turns(networks))} turns"


def trial_shows_a_fresh_model(case: DomainCase) -> str:
    """What is drawn while a model is trained can be drawn from the first step on: `trial` is a
    request that fresh weights of this configuration serve."""
    domain, configuration, _ = training(case)
    held = domain.dataset(case.data, configuration, "validation")
    try:
        request = trial_of(domain, configuration, held)
    except Exception as error:
        raise CheckFailed(f"trial raises {type(error).__name__}: {error}") from error
    if request is None:
        return "nothing is shown"
    networks = _networks(domain, configuration, domain.objective(configuration)).eval()
    model = Model(
        domain,
        networks.denoiser,
        configuration,
        defaults_of(domain, configuration),
        codec=networks.codec,
    )
    short = {"device": "cpu", **request, "steps": STEPS, "ids": [0]}
    try:
        out = model.generate(**short)
    except UnnoiseError as error:
        raise CheckFailed(f"trial cannot be served: {error}") from error
    return f"a sample of type {type(out.samples[0]).__name__}"


def _moved(x0: State) -> State:
    """Other clean data: numbers nearer to 0, tokens in another order."""
    if isinstance(x0, dict):
        return {name: tensor(_moved(value)) for name, value in x0.items()}
    if x0.dtype.is_floating_point:
        return 0.7 * x0
    return x0.roll(1, 0) if torch.equal(x0, x0.flip(-1)) else x0.flip(-1)


def _apart(a: State, b: State) -> float:
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return max(_apart(a[name], b[name]) for name in a)
    assert isinstance(b, Tensor)
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    return float(((a.double() - b.double()).abs() / (1 + a.double().abs())).max())
