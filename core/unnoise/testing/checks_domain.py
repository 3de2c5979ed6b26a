"""What a `Domain` is checked for: its requests, what its models generate, and what is written.

The requests are `Domain.demo` with few samples and steps; the model is that which ships with the
domain, or the one that is passed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from unnoise.api import load
from unnoise.engine.options import OPTIONS
from unnoise.engine.output import Output, collect
from unnoise.engine.run import generate_iter
from unnoise.errors import Cancelled, InputError, UnnoiseError
from unnoise.samplers import Observation
from unnoise.spaces import State
from unnoise.testing.checks_display import preview_is_self_contained, words_are_escaped
from unnoise.testing.checks_inputs import (
    examples_hold,
    inputs_stay_apart,
    known_parts_come_back,
    parts_join_to_the_whole,
)
from unnoise.testing.checks_training import (
    collate_keeps_the_order,
    data_can_be_trained_on,
    items_repeat,
    losses_follow_the_data,
    parts_are_apart,
    trial_shows_a_fresh_model,
)
from unnoise.testing.domain_case import IDS, STEPS, DomainCase
from unnoise.testing.json_schema import schema_problems
from unnoise.testing.law_case import seeded, untouched
from unnoise.testing.natives import difference
from unnoise.testing.report import CheckFailed, Skip, require, within

_STEADY: Final = (".json", ".csv", ".txt", ".npy", ".sdf", ".xyz", ".md")
"""Kinds of files that hold no time of day."""
_SAME: Final = 1e-3
"""Relative difference of real states that the batch size may make: the order of float32 sums."""


def request_is_a_schema(case: DomainCase) -> str:
    """The JSON schema of Request is valid, closed, and says what each field is."""
    schema = case.domain.Request.model_json_schema()
    problems = list(schema_problems(schema, schema, "Request"))
    require(not problems, "; ".join(problems[:3]))
    require(schema.get("additionalProperties") is False, "Request takes unknown fields")
    fields = schema.get("properties", {})
    shadowed = sorted(set(fields) & set(OPTIONS))
    require(not shadowed, f"fields have names of arguments that all domains share: {shadowed}")
    silent = sorted(n for n, f in fields.items() if not f.get("description"))
    require(not silent, f"fields without a description, which is their help: {silent}")
    return f"{len(fields)} fields"


def demo_is_a_request(case: DomainCase) -> str:
    """`Domain.demo` generates samples on the CPU, one native object for each."""
    out = case.output
    require(len(out.samples) == len(IDS), f"{len(out.samples)} samples, not {len(IDS)}")
    require(out.provenance["device"] == "cpu", f"device {out.provenance['device']}")
    return f"{len(out.samples)} samples of type {type(out.samples[0]).__name__}"


def same_seed_same_result(case: DomainCase) -> str | None:
    """A request repeated gives the same states and samples to the bit, whatever global random
    numbers say, and leaves those alone; another seed gives something else."""
    case.output  # noqa: B018 libraries that are imported late may draw
    with seeded(1), untouched("a request"):
        first = case.run()
    with seeded(2):
        second = case.run()
    error = _difference(first.states, second.states)
    require(error == 0, f"two runs with one seed differ by {error:.3g}")
    for k, (a, b) in enumerate(zip(first.samples, second.samples, strict=True)):
        gap = difference(case.domain, a, b)
        require(gap == 0, f"sample {k} differs by {gap:.3g} in two runs with one seed")
    other = case.run(seed=case.request.get("seed", 0) + 1)
    require(_difference(first.states, other.states) != 0, "another seed gives the same")
    return None


def samples_differ(case: DomainCase) -> str | None:
    """Two samples of one input are not the same: noise is not shared across the batch."""
    out = case.output
    if out.inputs[:2] != (out.inputs[0],) * 2:
        raise Skip("the demo has one sample for each input")
    rows = _sample_states(out, 2)
    require(_difference(rows[0], rows[1]) != 0, "two samples of one input are the same")
    return None


def batch_of_n_is_n_singles(case: DomainCase) -> str:
    """batch_size=1 gives what one batch gives."""
    return _same(case.output, case.run(batch_size=1), "one by one")


def order_and_shards(case: DomainCase) -> str:
    """A sample is the same in another order, and when only some are asked for."""
    whole = case.output
    _same(case.run(ids=tuple(reversed(IDS))), whole, "in reverse order", reverse=True)
    one = case.run(ids=IDS[1:2])
    worst = _difference(_sample_states(whole, 3)[1], _sample_states(one, 1)[0])
    gap = difference(case.domain, whole.samples[1], one.samples[0], rounding=True)
    within(gap, _SAME, "native sample 1 alone: relative difference")
    return within(worst, _SAME, "sample 1 alone: relative difference")


def save_and_load(case: DomainCase) -> str | None:
    """A saved and loaded model generates the same, to the bit."""
    case.installed()
    with tempfile.TemporaryDirectory() as folder:
        again = load(case.model.save(Path(folder) / "model"))
        asked = {"ids": IDS, "steps": STEPS, "device": "cpu", **case.request}
        out = collect(generate_iter(case.domain, again, **asked))
    error = _difference(case.output.states, out.states)
    require(error == 0, f"the loaded model's states differ by {error:.3g}")
    for p, q in zip(case.output.samples, out.samples, strict=True):
        gap = difference(case.domain, p, q)
        require(gap == 0, f"the loaded model's samples differ by {gap:.3g}")
    require(again.configuration == case.model.configuration, "the configuration has changed")
    return None


def deadline_and_cancel(case: DomainCase) -> str | None:
    """A deadline and a callback's Cancelled end a run, and the next one is as if neither was."""
    before = case.output.states
    _ends_with(Cancelled, lambda: case.run(deadline=1e-9), "a deadline of 1 ns")

    def stop(progress: object) -> None:
        raise Cancelled("stopped by the check")

    _ends_with(Cancelled, lambda: case.run(callback=stop), "a callback that raises Cancelled")
    require(_difference(before, case.run().states) == 0, "a run after a cancelled one differs")
    return None


def observations_stay(case: DomainCase) -> str:
    """The known part of the states is in the result to the bit, and the caller's tensors stay."""
    states = case.output.states
    if not isinstance(states, (Tensor, dict)):
        raise Skip("the states of the batches have different shapes")
    mask = _map(_half, states)
    value = _map(torch.clone, states)
    observation = Observation(value, mask)
    try:
        out = case.run(observation=observation, seed=9)
    except InputError as error:
        raise Skip(f"observations are refused: {error.message}") from error
    require(_difference(value, states) == 0, "the observation's tensors are overwritten")
    pairs = zip(_tensors(states), _tensors(out.states), _tensors(mask), strict=True)
    worst = max(float((a - b).abs()[m].double().max()) for a, b, m in pairs if bool(m.any()))
    require(worst == 0, f"the known part differs by {worst:.3g}")
    return "half of the entries known"


def unknown_fields_are_refused(case: DomainCase) -> str | None:
    """A field that does not exist is an InputError that suggests the nearest name."""
    _ends_with(InputError, lambda: case.run(no_such_field_at_all=1), "an unknown field")
    name = next(iter(case.domain.Request.model_fields), None)
    if name is None:
        return None
    try:
        case.run(**{f"{name}x": 1})
    except InputError as error:
        require(name in str(error), f"{name + 'x'!r} does not suggest {name!r}: {error}")
        return None
    raise CheckFailed(f"the unknown field {name + 'x'!r} is taken")


def bad_values_are_refused(case: DomainCase) -> str:
    """Values of another type, NaN and numbers out of range are errors of ours, not of a library."""
    wrong: list[tuple[str, Any]] = [
        ("num_samples", 0),
        ("num_samples", -1),
        ("steps", 0),
        ("seed", -1),
        ("batch_size", 0),
        ("sampler", "no-such-sampler"),
        ("deadline", -1.0),
        ("ids", [-1]),
        ("device", "no-such-device"),
    ]
    for name in case.domain.Request.model_fields:
        if name not in ("num_samples", "seed"):
            wrong += [(name, object()), (name, float("nan"))]
    for name, value in wrong:
        what = f"{name}={value!r}" if type(value) is not object else f"{name}=object()"
        _ends_with(UnnoiseError, lambda n=name, v=value: case.run(**{n: v}), what)  # type: ignore[misc]
    return f"{len(wrong)} bad values"


def files_are_written(case: DomainCase) -> str:
    """`save` writes into its folder what it returns, and `provenance.json`."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base).resolve() / "out"
        paths = case.output.save(folder)
        require(bool(paths), "save returns no path")
        for path in paths:
            require(path.exists(), f"{path.name} is returned and not there")
            require(folder in Path(path).resolve().parents, f"{path} is outside the folder")
        require((folder / "provenance.json").exists(), "there is no provenance.json")
        again = case.output.save(Path(base) / "again")
        for one, two in zip(paths, again, strict=True):
            require(one.name == two.name, f"{one.name}, and {two.name} when it is saved again")
            same = one.read_bytes() == two.read_bytes()
            require(same or one.suffix not in _STEADY, f"{one.name} is another file each time")
        return f"{len(paths)} files, {paths[0].suffix}"


def no_network(case: DomainCase) -> str | None:
    """A request of the shipped model asks for no address."""
    require(not case.facts.network, f"it asks for {case.facts.network[:2]}")
    require(not case.facts.error, f"without a network it fails: {case.facts.error}")
    return None


def nothing_outside_the_folder(case: DomainCase) -> str:
    """Files are written into the output folder alone."""
    require(not case.facts.error, case.facts.error)
    require(not case.facts.outside, f"files outside: {', '.join(case.facts.outside[:3])}")
    return f"{len(case.facts.files)} files inside"


CHECKS: Final[tuple[Callable[[DomainCase], str | None], ...]] = (
    request_is_a_schema,
    demo_is_a_request,
    same_seed_same_result,
    samples_differ,
    batch_of_n_is_n_singles,
    order_and_shards,
    save_and_load,
    deadline_and_cancel,
    observations_stay,
    unknown_fields_are_refused,
    bad_values_are_refused,
    inputs_stay_apart,
    examples_hold,
    known_parts_come_back,
    parts_join_to_the_whole,
    files_are_written,
    preview_is_self_contained,
    words_are_escaped,
    no_network,
    nothing_outside_the_folder,
    data_can_be_trained_on,
    items_repeat,
    parts_are_apart,
    collate_keeps_the_order,
    losses_follow_the_data,
    trial_shows_a_fresh_model,
)


def _ends_with(kind: type[UnnoiseError], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except kind:
        return
    except Skip:
        raise
    except Exception as error:
        raise CheckFailed(f"{what} raises {type(error).__name__}: {error}") from error
    raise CheckFailed(f"{what} is accepted")


def _same(a: Output, b: Output, what: str, *, reverse: bool = False) -> str:
    one, two = (_sample_states(out, len(IDS)) for out in (a, b))
    one = one[::-1] if reverse else one
    worst = max(_difference(p, q) for p, q in zip(one, two, strict=True))
    if not reverse and type(a.states) is type(b.states) and not isinstance(a.states, list):
        worst = max(worst, _difference(a.states, b.states))
    natives = a.samples[::-1] if reverse else a.samples
    for k, (p, q) in enumerate(zip(natives, b.samples, strict=True)):
        gap = difference(b.domain, p, q, rounding=True)
        within(gap, _SAME, f"native sample {k}, {what}: relative difference")
    return within(worst, _SAME, f"{what}: relative difference")


def _sample_states(out: Output, n: int) -> list[State]:
    """The state of each sample at the end of the first diffusion, without padding."""
    for frame in out.trajectory:
        if frame.t == 0:
            return [frame.sample(k) for k in range(n)]
    raise Skip("no diffusion ends at time 0")


def _difference(a: Any, b: Any) -> float:
    """Relative; infinite where shapes differ."""
    one, two = _tensors(a), _tensors(b)
    worst = 0.0
    for p, q in zip(one, two, strict=True):
        if p.shape != q.shape:
            return float("inf")
        if p.numel():
            error = (p.double() - q.double()).abs() / (1 + p.double().abs())
            worst = max(worst, float(error.max()))
    return worst


def _tensors(x: Any) -> list[Tensor]:
    if isinstance(x, Tensor):
        return [x]
    values = x.values() if isinstance(x, dict) else x
    return [part for value in values for part in _tensors(value)]


def _map(f: Callable[[Tensor], Tensor], x: Any) -> Any:
    return {n: f(v) for n, v in x.items()} if isinstance(x, dict) else f(x)


def _half(x: Tensor) -> Tensor:
    """True for every other entry."""
    return (torch.arange(x.numel()) % 2 == 0).view(x.shape)
