"""What a domain does with requests of several inputs, with parts of samples and with known data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.domain import Domain, Partial, Task
from unnoise.engine.output import Output, collect
from unnoise.engine.run import generate_iter
from unnoise.spaces import State
from unnoise.testing.domain_case import STEPS, DomainCase
from unnoise.testing.natives import difference, leaves
from unnoise.testing.report import Skip, require

_SAME = 1e-3


def inputs_stay_apart(case: DomainCase) -> str:
    """Each sample of a request with several inputs is made of its own input, `Draw.input`: those of
    the first are what a request for it alone gives, those of the second follow it."""
    said = []
    for request in case.examples:
        prepared = _inputs(case, request)
        if len(prepared) < 2:
            continue
        whole = _run(case, case.domain, request, 2, (0, 1, 2, 3))
        require(
            list(whole.inputs) == [0, 0, 1, 1], f"samples 0 to 3 belong to inputs {whole.inputs}"
        )
        first = _run(case, _only(case.domain, slice(0, 1)), request, 4, (0, 1, 2, 3))
        second = _run(case, _only(case.domain, slice(1, 2)), request, 4, (0, 1, 2, 3))
        worst = max(_apart(case, whole, own, k) for own, k in ((first, 0), (first, 1), (second, 2)))
        require(
            worst <= _SAME,
            "samples of one input are others beside a second input: relative difference "
            f"{worst:.3g}",
        )
        require(
            _apart(case, first, second, 2) > 0,
            "both inputs of an example give the same sample: its inputs must differ, and be used",
        )
        said.append(len(prepared))
    if not said:
        raise Skip("no example of a request with several inputs; give the spec an `example`")
    return f"requests with {', '.join(map(str, said))} inputs"


def _apart(case: DomainCase, a: Output, b: Output, k: int) -> float:
    return difference(case.domain, a.samples[k], b.samples[k], rounding=True)


def _inputs(case: DomainCase, request: Mapping[str, Any]) -> list[Any]:
    seen: list[Any] = []

    def keep(found: list[Any]) -> list[Any]:
        seen.extend(found)
        return found

    _run(case, _bent(case.domain, keep), request, 1, (0,))
    return seen


def _only(domain: Domain, which: slice) -> Domain:
    return _bent(domain, lambda found: found[which])


def _bent(domain: Domain, change: Callable[[list[Any]], list[Any]]) -> Domain:
    """The domain with its prepared inputs changed."""
    bent = copy.copy(domain)
    object.__setattr__(bent, "prepare", lambda *told: change(list(domain.prepare(*told))))
    return bent


def _run(
    case: DomainCase, domain: Domain, request: Mapping[str, Any], each: int, ids: tuple[int, ...]
) -> Output:
    own = {n: v for n, v in request.items() if n not in ("num_samples", "batch_size", "steps")}
    told = {**own, "num_samples": each, "ids": ids, "steps": STEPS, "device": "cpu"}
    return collect(generate_iter(domain, case.model, **told))


def examples_hold(case: DomainCase) -> str:
    """What `holds(request, input, sample)` of an Example says of each sample of its requests: that
    a prompt begins a text, that known pixels are in the picture."""
    if case.holds is None:
        raise Skip("no Example says what holds of its samples")
    count = 0
    for request in case.examples:
        inputs = len(_inputs(case, request))
        out = _run(case, case.domain, request, 2, tuple(range(2 * inputs)))
        for number, (i, sample) in enumerate(zip(out.inputs, out.samples, strict=True)):
            good = case.holds(request, i, sample)
            require(bool(good), f"sample {number} of {dict(request)} is not as it was asked for")
            count += 1
    return f"{count} samples"


def known_parts_come_back(case: DomainCase) -> str:
    """Where a task has an observation, what is known is in the final state; and samples of the
    examples follow the known part of the final state that the plan is sent."""
    found, follows = 0, []
    for number, request in enumerate((case.request, *case.examples)):
        seen: list[tuple[Task, State]] = []
        plain = _run(case, _tapped(case.domain, seen, move=False), request, 1, (0,))
        known = [(task, x) for task, x in seen if task.observation is not None]
        for task, x in known:
            assert task.observation is not None
            _agrees(task.observation.value, task.observation.mask, x)
        if known and number:  # a demo may know what is on no page, an end
            moved = _run(case, _tapped(case.domain, [], move=True), request, 1, (0,))
            follows.append(difference(case.domain, plain.samples[0], moved.samples[0]) > 0)
        found += len(known)
    if not found:
        raise Skip("no task of the requests has an observation")
    require(any(follows) or not follows, "what is known does not come back in the samples")
    return f"{found} tasks"


def _agrees(value: State, mask: State, x: State) -> None:
    if isinstance(x, Mapping):
        for name in x:
            _agrees(value[name], mask[name], x[name])  # type: ignore[index]
        return
    assert isinstance(value, Tensor)
    assert isinstance(mask, Tensor)
    mask = mask.expand(x.shape)
    require(bool(mask.any()), "an observation of nothing")
    gap = float((value.expand(x.shape).double() - x.double()).abs()[mask].max())
    require(gap <= 1e-6, f"the known part of a final state is off by {gap:.3g}")


def _tapped(domain: Domain, seen: list[tuple[Task, State]], *, move: bool) -> Domain:
    """The domain, whose tasks and final states are kept; with `move` the plan is told another known
    part than the one that came."""
    bent = copy.copy(domain)

    def plan(inputs: Any, model: Any, draws: Any) -> Iterator[Any]:
        inner = domain.plan(inputs, model, draws)
        sent: Any = None
        while True:
            try:
                item = inner.send(sent)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            sent = yield item
            if isinstance(item, Task):
                seen.append((item, sent))
                if move and item.observation is not None:
                    sent = _other(sent, item.observation.mask)

    object.__setattr__(bent, "plan", plan)
    return bent


def _other(x: State, mask: State) -> State:
    if isinstance(x, dict):
        return {name: _other(value, mask[name]) for name, value in x.items()}  # type: ignore[misc,index]
    assert isinstance(mask, Tensor)
    mask = mask.expand(x.shape)
    if x.dtype.is_floating_point:
        return torch.where(mask, x + 0.5, x)
    known = x[mask]
    return x.masked_scatter(
        mask, known.roll(1) if len(set(known.tolist())) > 1 else (known == 0).long()
    )


def parts_join_to_the_whole(case: DomainCase) -> str:
    """A sample that is handed out in parts is their concatenation: nothing is lost, doubled or in
    another order, and joining in two goes is joining in one."""
    kept: dict[int, list[Any]] = {}
    domain = copy.copy(case.domain)

    def plan(inputs: Any, model: Any, draws: Any) -> Iterator[Any]:
        inner = case.domain.plan(inputs, model, draws)
        sent: Any = None
        while True:
            try:
                item: Any = inner.send(sent)
            except StopIteration as stop:
                for draw, sample in zip(draws, stop.value or (), strict=False):
                    if sample is not None and draw.number in kept:
                        kept[draw.number].append(sample)
                return stop.value  # type: ignore[no-any-return]
            if isinstance(item, Partial):
                rows = range(len(draws)) if item.rows is None else item.rows
                for place, sample in zip(rows, item.samples, strict=False):
                    kept.setdefault(draws[place].number, []).append(sample)
            sent = yield item

    object.__setattr__(domain, "plan", plan)
    for request in (case.request, *case.examples):
        kept.clear()
        out = _run(case, domain, request, 1, (0,))
        parts = kept.get(0, [])
        if len(parts) < 2:
            continue
        join = case.domain.join
        whole = out.samples[0]
        _concatenated(case.domain, parts, whole)
        again = join([join(parts[:-1]) if len(parts) > 2 else parts[0], parts[-1]])
        gap = difference(case.domain, whole, again)
        require(gap == 0, "joining parts in two goes gives another sample")
        return f"{len(parts)} parts"
    raise Skip("no sample is handed out in parts")


def _concatenated(domain: Domain, parts: list[Any], whole: Any) -> None:
    if isinstance(whole, (str, list, tuple, bytes)):
        together = parts[0]
        for part in parts[1:]:
            together = together + part
        require(together == whole, "the joined sample is not its parts, one after the other")
        return
    rows = [leaves(domain, part) for part in parts]
    for k, (place, value) in enumerate(leaves(domain, whole)):
        if not isinstance(value, np.ndarray) or value.ndim == 0 or any(k >= len(r) for r in rows):
            continue
        pieces = [row[k][1] for row in rows]
        if not all(isinstance(p, np.ndarray) and p.ndim == value.ndim for p in pieces):
            continue
        fits = [
            axis
            for axis in range(value.ndim)
            if sum(p.shape[axis] for p in pieces) == value.shape[axis]
        ]
        same = any(np.array_equal(np.concatenate(pieces, axis), value) for axis in fits)
        alike = all(np.array_equal(p, value) for p in pieces)
        require(same or alike, f"the joined sample is not its parts, one after the other{place}")
