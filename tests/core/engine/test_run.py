"""The engine with a toy domain: the noise contract, cuts into batches, refusals, models on disk."""

from __future__ import annotations

import gc
import inspect
import json
import math
import sys
import weakref
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import engine_toy
from engine_toy import Configuration, Toy

import unnoise
from unnoise import api
from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.domain import Task
from unnoise.engine.options import OPTIONS
from unnoise.engine.run import generate_iter
from unnoise.errors import (
    BundleError,
    Cancelled,
    ConfigError,
    IncompatibleSampler,
    InputError,
    LimitExceeded,
    NonFiniteError,
    PluginError,
    UnnoiseError,
)
from unnoise.model import Model
from unnoise.samplers import DDIM, Ancestral, Observation, RePaint, Start
from unnoise.spaces import Layout

CLOSE = {"rtol": 0, "atol": 1e-4}


def model(kind: str = "points", **configuration) -> Model:
    settings = Configuration(kind=kind, **configuration)
    torch.manual_seed(0)
    return Model(Toy(), Toy().build(settings), settings, defaults={"steps": 6}, hash="toy")


POINTS, TOKENS, RAGGED = model(), model("tokens"), model("ragged")
MODELS = {"points": POINTS, "tokens": TOKENS, "ragged": RAGGED}
CASES = [
    ("points", DDIM()),
    ("points", DDIM(0.5)),
    ("points", Ancestral()),
    ("tokens", Ancestral()),
    ("ragged", DDIM()),
    ("ragged", Ancestral()),
]


def close(a, b) -> None:
    torch.testing.assert_close(torch.tensor(a).double(), torch.tensor(b).double(), **CLOSE)


# ---- the noise contract


@pytest.mark.parametrize(("kind", "sampler"), CASES, ids=str)
def test_a_sample_does_not_depend_on_its_batch(kind, sampler):
    m, asked = MODELS[kind], {"num_samples": 8, "seed": 5, "sampler": sampler, "passes": 2}
    together = m.generate(**asked)
    assert len(together.samples) == 8
    assert len({json.dumps(sample) for sample in together.samples}) == 8
    for other in (
        m.generate(**asked, batch_size=1),
        m.generate(**asked, batch_size=3),
        m.generate(**asked, ids=[3]),
        m.generate(**asked, ids=[7, 0, 3, 1]),
        m.generate(**asked, ids=[3, 1], batch_size=1),
        m.generate(**{**asked, "num_samples": 100}, ids=range(2, 5)),
    ):
        for i, sample in zip(other.provenance["ids"], other.samples, strict=True):
            close(sample, together.samples[i])
    again = m.generate(**asked)
    assert again.samples == together.samples  # the same batch: the same bits
    assert m.generate(**{**asked, "seed": 6}).samples != together.samples


@pytest.fixture
def installed(install, here, site):
    """The toy domain as an installed plugin that ships a bundle; returns the shipped model."""
    hook = (
        "from unnoise.specs import DomainSpec, hookimpl\n\n@hookimpl\ndef unnoise_domains():\n"
        "    return [DomainSpec('toy', target='unnoise_toy.domain:Toy')]\n"
    )
    install("toy", hook, domain=inspect.getsource(engine_toy))
    shipped = model()
    shipped.save(site / "unnoise_toy" / "bundle")
    api._cached_at.cache_clear()
    yield shipped
    api._cached_at.cache_clear()


def test_a_second_process_makes_the_same_sample(installed, python):
    code = (
        "import unnoise, json\n"
        "out = unnoise.generate('toy', num_samples=8, seed=5, sampler='ancestral', ids=[6, 3])\n"
        "print(json.dumps(out.samples))"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    here = unnoise.generate("toy", num_samples=8, seed=5, sampler="ancestral")
    close(json.loads(done.stdout), [here.samples[6], here.samples[3]])
    close(here.samples, installed.generate(num_samples=8, seed=5, sampler="ancestral").samples)


# ---- inputs, batches, plans


def test_several_inputs_come_in_groups():
    out = POINTS.generate(centre=[0.0, 1.0, -2.0], num_samples=4, seed=1, batch_size=5)
    groups = out.groups()
    assert [len(group) for group in groups] == [4, 4, 4]
    assert [sample for group in groups for sample in group] == out.samples
    assert out.provenance["ids"] == list(range(12))
    # ids pick from all of them, and groups hold what was picked
    some = POINTS.generate(centre=[0.0, 1.0, -2.0], num_samples=4, seed=1, ids=[11, 4, 5])
    assert [len(group) for group in some.groups()] == [2, 1]
    close(some.groups()[0], out.samples[4:6])
    close(some.groups()[1], out.samples[11:])
    assert POINTS.generate(num_samples=2).groups() == [POINTS.generate(num_samples=2).samples]


def test_batches_come_as_they_are_finished_and_are_not_kept():
    seen = []
    run = generate_iter(
        POINTS.domain,
        POINTS,
        num_samples=1_000_000,
        batch_size=3,
        callback=lambda p: seen.append(p.batch),
    )
    first = next(run)
    assert set(seen) == {0}  # the second batch is not begun
    assert (len(first.samples), first.provenance["ids"]) == (3, [0, 1, 2])
    gone = weakref.ref(first.states)
    del first
    second = next(run)
    gc.collect()
    assert gone() is None
    assert second.provenance["ids"] == [3, 4, 5]
    run.close()


def test_a_plan_with_several_tasks():
    out = POINTS.generate(num_samples=3, passes=3, steps=4, return_trajectory=True)
    # the first from 1, the others from 1/2
    times = [frame.t for frame in out.trajectory]
    assert times == pytest.approx([1, 0.75, 0.5, 0.25, 0, *[0.5, 0.375, 0.25, 0.125, 0] * 2])
    assert out.provenance["evaluations"] == 12
    # by hand: the state of the first, corrupted by the next numbers of the same streams
    once = POINTS.generate(num_samples=3, passes=1, steps=4)
    torch.testing.assert_close(out.trajectory[4].x, once.states)
    assert not torch.equal(out.states, once.states)


def test_a_plan_without_tasks_and_a_plan_that_forgets():
    out = POINTS.generate(num_samples=3, passes=0)
    assert out.samples == [[], [], []]
    assert out.provenance["evaluations"] == 0
    with pytest.raises(ConfigError, match="another number of samples"):
        POINTS.generate(num_samples=3, lose=1)

    class Wrong(Toy):
        def plan(self, inputs, model, draws):
            more = len(draws) + 1
            state = yield Task(Layout.dense(more, (2,)), {"centre": torch.zeros(more)})
            return state.tolist()

    with pytest.raises(ConfigError, match="one state per sample"):
        Model(Wrong(), POINTS.denoiser, POINTS.configuration).generate(num_samples=2)


def test_guidance_is_counted_and_scale_zero_is_the_centre_zero():
    one = POINTS.generate(num_samples=2, steps=5)
    guided = POINTS.generate(num_samples=2, steps=5, centre=3.0, guidance_scale=2.0)
    none = POINTS.generate(num_samples=2, steps=5, centre=3.0, guidance_scale=0.0)
    assert one.provenance["evaluations"] == 5
    assert guided.provenance["evaluations"] == 10
    close(none.samples, one.samples)


# ---- callbacks, trajectories, deadlines


def test_callback_and_trajectory():
    seen = []
    out = POINTS.generate(
        num_samples=5, batch_size=2, steps=4, callback=seen.append, return_trajectory=True
    )
    assert [(p.batch, p.batches, p.step, p.steps) for p in seen] == [
        (b, 3, i, 4) for b in range(3) for i in range(1, 5)
    ]
    assert [p.t for p in seen[:4]] == [0.75, 0.5, 0.25, 0.0]
    frames = out.trajectory
    assert [frame.t for frame in frames] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert all(frame.x.shape == frame.x0.shape == (5, 2) for frame in frames)
    torch.testing.assert_close(frames[-1].x, out.states)
    torch.testing.assert_close(frames[-1].x, frames[-1].x0)  # DDIM ends on its prediction
    assert POINTS.generate(num_samples=2).trajectory == []


def test_predictions_of_tokens_are_tokens():
    out = TOKENS.generate(num_samples=3, steps=4, return_trajectory=True)
    for frame in out.trajectory:
        assert frame.x.dtype == frame.x0.dtype == torch.int64
        assert frame.x0.shape == (3, 7)


def test_batches_of_other_shapes_are_concatenated_by_rows():
    out = RAGGED.generate(num_samples=7, batch_size=2, return_trajectory=True)
    rows = sum(2 + i % 3 for i in range(7))
    assert out.states.shape == (rows, 2)
    assert all(frame.x.shape == (rows, 2) for frame in out.trajectory)
    assert [len(sample) for sample in out.samples] == [2 + i % 3 for i in range(7)]


def test_a_frame_knows_what_belongs_to_a_sample():
    out = RAGGED.generate(num_samples=7, batch_size=2, steps=4, return_trajectory=True)
    for k in range(7):
        alone = RAGGED.generate(num_samples=7, ids=[k], steps=4, return_trajectory=True)
        for frame, own in zip(out.trajectory, alone.trajectory, strict=True):
            assert frame.sample(k).shape == (2 + k % 3, 2)
            torch.testing.assert_close(frame.sample(k), own.sample(0))
            torch.testing.assert_close(frame.prediction(k), own.prediction(0))
    dense = POINTS.generate(num_samples=3, batch_size=2, steps=2, return_trajectory=True)
    torch.testing.assert_close(dense.trajectory[-1].sample(2), dense.states[2])
    for wrong in (-1, 7):
        with pytest.raises(InputError, match=r"no such sample.*0 to 6"):
            out.trajectory[0].sample(wrong)


def test_what_a_callback_raises_ends_the_run_and_leaves_nothing_behind():
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        POINTS.generate(num_samples=2, callback=stop)
    assert not POINTS.denoiser._forward_pre_hooks
    assert POINTS.generate(num_samples=2, steps=3).provenance["evaluations"] == 3


def test_a_deadline_that_passes():
    with pytest.raises(Cancelled, match="deadline") as caught:
        POINTS.generate(num_samples=2, deadline=1e-9)
    assert "generate_iter" in caught.value.fix
    assert not POINTS.denoiser._forward_pre_hooks
    POINTS.generate(num_samples=2, deadline=3600)
    run = generate_iter(POINTS.domain, POINTS, num_samples=4, batch_size=2, deadline=3600)
    assert len(next(run).samples) == 2
    run.close()


# ---- starts and observations of the user


def test_a_start_for_all_and_one_for_each():
    x = torch.tensor([[1.0, -1.0]])
    shared = POINTS.generate(num_samples=3, start=Start(x, 0.5, corrupt=False), steps=2)
    assert len({tuple(sample) for sample in shared.samples}) == 1  # DDIM from one state
    rows = torch.arange(6.0).view(3, 2)
    each = POINTS.generate(
        num_samples=3, start=Start(rows, 0.5, corrupt=False), return_trajectory=True
    )
    assert torch.equal(each.trajectory[0].x, rows)
    assert each.trajectory[0].t == 0.5
    # rows belong to the ids in the order in which these are given
    some = POINTS.generate(
        num_samples=9,
        ids=[7, 2, 5],
        start=Start(rows, 0.5, corrupt=False),
        batch_size=2,
        return_trajectory=True,
    )
    assert torch.equal(some.trajectory[0].x, rows)
    with pytest.raises(InputError, match="one row per sample"):
        POINTS.generate(num_samples=4, start=Start(rows))
    with pytest.raises(InputError, match="shape"):
        POINTS.generate(num_samples=3, start=Start(torch.zeros(3, 5)))
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        POINTS.generate(num_samples=3, start=Start(rows, 0.0))
    with pytest.raises(InputError, match="already fixes"):
        POINTS.generate(num_samples=3, passes=2, start=Start(rows))


@pytest.mark.parametrize("method", [None, RePaint(2, 2)])
def test_an_observation_for_all_and_one_for_each(method):
    known = {"method": method} if method else {}
    value, mask = torch.tensor([[0.25, 0.0]]), torch.tensor([[True, False]])
    out = POINTS.generate(num_samples=3, observation=Observation(value, mask, **known))
    assert (out.states[:, 0] == 0.25).all()
    rows = torch.arange(6.0).view(3, 2)
    each = Observation(rows, mask.expand(3, 2), **known)
    some = POINTS.generate(num_samples=9, ids=[7, 2, 5], observation=each, batch_size=2)
    assert torch.equal(some.states[:, 0], rows[:, 0])
    # as does the noise of the known part, an observed sample keeps to itself
    alone = POINTS.generate(
        num_samples=9, ids=[2], observation=Observation(rows[1:2], mask, **known)
    )
    close(alone.samples[0], some.samples[1])
    nothing = Observation(rows, torch.zeros(3, 2).bool())
    assert torch.equal(
        POINTS.generate(num_samples=3, observation=nothing).states,
        POINTS.generate(num_samples=3).states,
    )
    with pytest.raises(InputError, match="one row per sample"):
        POINTS.generate(num_samples=4, observation=each)
    with pytest.raises(InputError, match="shape"):
        POINTS.generate(
            num_samples=3, observation=Observation(torch.zeros(3, 5), torch.ones(3, 5).bool())
        )


# ---- refusals


BAD = [
    ({"steps": 0}, InputError, ">= 1"),
    ({"steps": -5}, InputError, ">= 1"),
    ({"steps": 10**9}, InputError, "<= 100000"),
    ({"steps": 2.5}, InputError, "steps"),
    ({"steps": "many"}, InputError, "steps"),
    ({"steps": [1.0, 0.5, 0.7, 0.0]}, InputError, "decreasing"),
    ({"steps": [0.5, 0.0]}, InputError, "begin where"),
    ({"steps": [1.0, "half"]}, InputError, "steps"),
    ({"num_samples": 0}, InputError, ">= 1"),
    ({"num_samples": -3}, InputError, ">= 1"),
    ({"num_samples": 10**9}, LimitExceeded, "1000000"),
    ({"num_samples": "three"}, InputError, "num_samples"),
    ({"num_samples": 1.5}, InputError, "num_samples"),
    ({"num_samples": 400_000, "centre": [0.0, 1.0, 2.0]}, LimitExceeded, "1000000"),
    ({"ids": [8], "num_samples": 8}, InputError, "0 to 7"),
    ({"ids": [-1], "num_samples": 8}, InputError, "-1"),
    ({"ids": [], "num_samples": 8}, InputError, "at least one"),
    ({"ids": [1, 1], "num_samples": 8}, InputError, "distinct"),
    ({"ids": ["a"], "num_samples": 8}, InputError, "ids"),
    ({"ids": 3, "num_samples": 8}, InputError, "ids"),
    ({"batch_size": 0}, InputError, ">= 1"),
    ({"batch_size": "big"}, InputError, "batch_size"),
    ({"seed": -1}, InputError, "seed"),
    ({"seed": 2**64}, InputError, "seed"),
    ({"seed": 1.5}, InputError, "seed"),
    ({"deadline": 0}, InputError, "deadline"),
    ({"deadline": -1.0}, InputError, "deadline"),
    ({"deadline": "soon"}, InputError, "deadline"),
    ({"device": "abacus"}, InputError, "device"),
    ({"device": "cuda:99"}, InputError, "device"),
    ({"sampler": "ddmi"}, PluginError, "ddim"),
    ({"centr": 1.0}, InputError, "'centre'"),
    ({"num_sample": 1}, InputError, "'num_samples'"),
    ({"centre": "left"}, InputError, "centre"),
    ({"passes": -1}, InputError, "passes"),
    ({"centre": []}, InputError, "at least one input"),
    ({"observation": 3}, InputError, "observation"),
    ({"start": torch.zeros(1, 2)}, InputError, "start"),
    ({"sampler": 3}, InputError, "sampler"),
]


@pytest.mark.parametrize(("request_", "error", "message"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_request_is_refused_before_any_work(request_, error, message):
    calls = []
    handle = POINTS.denoiser.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        with pytest.raises(UnnoiseError) as caught:
            POINTS.generate(**request_)
    finally:
        handle.remove()
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert calls == []


def test_the_largest_requests_are_allowed():
    for asked in ({"num_samples": 10**9, "ids": [10**9 - 1]}, {"num_samples": 1_000_000}):
        assert next(generate_iter(POINTS.domain, POINTS, batch_size=1, steps=1, **asked)).samples


def test_a_sampler_that_does_not_fit():
    with pytest.raises(IncompatibleSampler, match="DDIM needs a GaussianKernel"):
        TOKENS.generate(sampler="ddim")
    assert len(TOKENS.generate().samples) == 1  # Ancestral by default
    assert "DDIM" in POINTS.generate().provenance["sampler"]


def test_discrete_steps_are_a_limit():
    m = model(table=10)
    assert len(m.generate(steps=10).samples) == 1
    with pytest.raises(InputError, match="10 steps"):
        m.generate(steps=11)
    with pytest.raises(InputError, match="steps"):
        m.generate(steps=1, start=Start(torch.zeros(1, 2), 0.55))


@pytest.mark.parametrize("steps", [3, 11, 25, [1.0, 0.7, 0.3]])
def test_numbers_that_are_not_finite(steps):
    broken = model()
    with torch.no_grad():
        broken.denoiser.network.net[2].bias.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        broken.generate(num_samples=2, steps=steps)


def test_logits_that_are_not_finite():
    broken = model("tokens")
    with torch.no_grad():
        broken.denoiser.network.net[2].bias.fill_(math.nan)
    with pytest.raises(NonFiniteError):
        broken.generate(num_samples=2)


def test_one_bad_sample_is_named():
    class Poisoned(torch.nn.Module):
        def forward(self, x, label, layout, condition):
            out = x.clone()
            out[1] = math.inf
            return out

    denoiser = NetworkDenoiser(Poisoned(), POINTS.denoiser.kernel, Clean())
    with pytest.raises(NonFiniteError, match=r"samples \[1\]"):
        Model(Toy(), denoiser, POINTS.configuration).generate(num_samples=3)


@pytest.mark.parametrize("function", [unnoise.generate, unnoise.generate_iter])
def test_every_option_is_in_the_signature_and_the_help(function):
    known = inspect.signature(function).parameters
    assert list(known) == ["domain", "model", *OPTIONS, "request"]
    assert known["num_samples"].default == 1
    assert known["steps"].default is None
    assert all(f"    {name} : " in unnoise.generate.__doc__ for name in OPTIONS)


def test_generating_needs_no_gradient_and_leaves_the_mode():
    m = model()
    m.denoiser.train()
    out = m.generate(num_samples=2)
    assert not out.states.requires_grad
    assert torch.is_grad_enabled()


# ---- files


def test_save_writes_one_file_per_sample(tmp_path):
    out = POINTS.generate(num_samples=5, ids=[4, 1], seed=9, centre=0.5)
    paths = out.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["00004.json", "00001.json"]
    assert [json.loads(path.read_text()) for path in paths] == out.samples
    told = json.loads((tmp_path / "new" / "folder" / "provenance.json").read_text())
    assert told == json.loads(json.dumps(out.provenance))
    for name, value in {
        "domain": "toy",
        "model": "toy",
        "seed": 9,
        "ids": [4, 1],
        "steps": 6,
        "evaluations": 6,
        "sampler": "DDIM(eta=0.0)",
    }.items():
        assert told[name] == value
    assert told["request"]["centre"] == 0.5
    assert set(told["versions"]) == {"python", "torch", "unnoise"}
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="writ"):
        out.save(file)


def test_a_model_in_half_precision(tmp_path, installed):
    installed.save(tmp_path / "half", precision="float16")
    loaded = unnoise.load(tmp_path / "half").denoiser.state_dict()
    whole = installed.denoiser.state_dict()
    assert whole
    for name, value in whole.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value.half().to(value.dtype))
    assert any(not torch.equal(loaded[name], value) for name, value in whole.items())


def test_a_model_survives_the_disk(tmp_path, installed):
    folder = installed.save(tmp_path / "bundle")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    asked = {"num_samples": 3, "seed": 2, "centre": 0.3}
    expected = installed.generate(**asked)
    loaded = unnoise.load(folder)
    assert loaded.configuration == type(loaded.configuration)(
        **installed.configuration.model_dump()
    )
    assert loaded.defaults == {"steps": 6}
    assert len(loaded.hash) == 64
    assert loaded.generate(**asked).samples == expected.samples
    assert loaded.generate(**asked).provenance["model"] == loaded.hash
    # by folder, by name, by object, by string
    for source in (folder, str(folder), None, loaded):
        out = unnoise.generate("toy", model=source, **asked)
        assert out.samples == expected.samples
    assert unnoise.load("toy").generate(**asked).samples == expected.samples
    # another bundle in the same folder is read again
    other = model(width=8)
    other.save(folder)
    assert unnoise.generate("toy", model=folder, **asked).samples == other.generate(**asked).samples


def test_models_that_are_not_there(tmp_path, installed, monkeypatch):
    with pytest.raises(BundleError, match="there is no model here"):
        unnoise.load(str(tmp_path / "nowhere"))
    with pytest.raises(BundleError, match="not a bundle"):
        unnoise.load(tmp_path)
    with pytest.raises(PluginError, match="toy"):
        unnoise.generate("tyo")
    monkeypatch.setattr(type(api.domain_named("toy")), "bundle", None)
    with pytest.raises(BundleError, match="ships no model"):
        unnoise.generate("toy")

    class Other(Toy):
        name = "other"

    stranger = Model(Other(), POINTS.denoiser, POINTS.configuration)
    with pytest.raises(BundleError, match="'other'"):
        unnoise.generate("toy", model=stranger)


def test_a_hub_id_is_fetched(tmp_path, installed, monkeypatch):
    import huggingface_hub

    folder, asked = installed.save(tmp_path / "snapshot"), []

    def fetch(name, **options):
        asked.append((name, options["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    out = unnoise.generate("toy", model="someone/toy", num_samples=2)
    assert out.samples == installed.generate(num_samples=2).samples
    assert asked[0][0] == "someone/toy"
    assert not any(pattern in ("*", "*.bin", "*.py") for pattern in asked[0][1])


def test_a_hub_id_without_a_connection(installed, python):
    code = (
        "import unnoise\n"
        "try:\n"
        "    unnoise.load('someone/toy')\n"
        "except unnoise.errors.BundleError as error:\n"
        "    print(error)"
    )
    done = python("-c", code, env={"HF_HUB_OFFLINE": "1", "HF_HOME": "hub"})
    assert done.returncode == 0, done.stderr
    assert "hub" in done.stdout
    assert "someone/toy" in done.stdout


# ---- bounds


def test_bound_of_data_items():
    items = [([0.1, 0.2], 0.0), ([1.0, -1.0], 0.5)]
    found = POINTS.bound(items, steps=20, evaluations=None)
    assert found.total.shape == (2,)
    alone = POINTS.bound(items[:1], steps=20, evaluations=None)
    torch.testing.assert_close(alone.total, found.total[:1], **CLOSE)
    with pytest.raises(InputError, match="at least one"):
        POINTS.bound([])
    with pytest.raises(NonFiniteError):
        POINTS.bound([([math.nan, 0.0], 0.0)])
