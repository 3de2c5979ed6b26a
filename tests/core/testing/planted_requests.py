"""A domain with several inputs, known values, words and parts, and others with one mistake."""

from __future__ import annotations

import html
import itertools
import json
import random
from dataclasses import dataclass

import numpy as np
import torch
from planted_domains import ROWS, Points, Script, shifted
from pydantic import BaseModel, ConfigDict, Field

from unnoise.display import Display
from unnoise.domain import Batch, Partial, Task
from unnoise.noise import NoiseSource
from unnoise.objectives import Objective, Simple
from unnoise.samplers import Observation
from unnoise.spaces import Euclidean, Layout
from unnoise.testing import Example


@dataclass(frozen=True)
class Note:
    title: str
    numbers: tuple[float, ...]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    titles: list[str] = Field(["one"], description="a note for each")
    known: float | None = Field(None, description="the first number of each note")
    parts: bool = Field(False, description="hand out half by half")


class Listed(Display):
    def preview(self, samples):
        rows = (f"<li>{html.escape(s.title)}: {s.numbers}</li>" for s in samples)
        return f"<ul>{''.join(rows)}</ul>"

    def moments(self, frames, rows, model):
        return [[f"<p>{frame.t:.2f}</p>" for frame in frames] for _ in rows]


class Notes(Points):
    """Titles, each with two numbers about the length of the title."""

    Request = Asked
    display = Listed()

    def prepare(self, request, model, options):
        return [(title, request.known, request.parts) for title in request.titles]

    def plan(self, inputs, model, draws):
        layout = Layout.dense(len(draws), (2,))
        own = [inputs[draw.input] for draw in draws]
        state = yield Task(layout, observation=self.observation(own, layout))
        notes = [self.note(title, row) for (title, *_), row in zip(own, state, strict=True)]
        if not own[0][2]:
            return notes
        yield Partial([Note(n.title, n.numbers[:1]) for n in notes])
        return [Note(n.title, n.numbers[1:]) for n in notes]

    def observation(self, own, layout):
        if own[0][1] is None:
            return None
        value = torch.tensor([[known, 0.0] for _, known, _ in own])
        return Observation(value, torch.tensor([True, False]).expand(layout.shape))

    def note(self, title, row):
        return Note(title, (float(row[0]), float(row[1]) + len(title)))

    def join(self, parts):
        return Note(parts[0].title, tuple(itertools.chain(*(p.numbers for p in parts))))

    def write(self, sample, folder, stem):
        path = folder / f"{stem}.json"
        path.write_text(json.dumps([sample.title, *sample.numbers]))
        return path


class FirstInput(Notes):
    def plan(self, inputs, model, draws):
        return (yield from super().plan([inputs[0]] * len(inputs), model, draws))


class InTurn(Notes):
    """Inputs by the sample's place."""

    def plan(self, inputs, model, draws):
        state = yield Task(Layout.dense(len(draws), (2,)))
        return [self.note(inputs[k % len(inputs)][0], row) for k, row in enumerate(state)]


class AllInputs(Notes):
    """What is asked of one shows in all."""

    def plan(self, inputs, model, draws):
        by = float(len({title for title, *_ in inputs}))
        state = yield Task(Layout.dense(len(draws), (2,)), denoiser=shifted(self, by))
        return [self.note(inputs[d.input][0], r) for d, r in zip(draws, state, strict=True)]


class Jitter(Notes):
    def note(self, title, row):
        return super().note(title, row + 0.01 * torch.as_tensor(np.random.default_rng().random()))


class NumpySeed(Notes):
    def plan(self, inputs, model, draws):
        np.random.seed(0)
        return (yield from super().plan(inputs, model, draws))


class RandomInputs(Notes):
    def prepare(self, request, model, options):
        more = random.random()
        return [
            (f"{title}{more:.3f}", *rest)
            for title, *rest in super().prepare(request, model, options)
        ]


class OfTheBatch(Notes):
    """Numbers about the mean of the batch."""

    def plan(self, inputs, model, draws):
        notes = yield from super().plan(inputs, model, draws)
        mean = sum(n.numbers[0] for n in notes) / len(notes)
        return [Note(n.title, (n.numbers[0] - mean, n.numbers[1])) for n in notes]


class ByPlace(Notes):
    def plan(self, inputs, model, draws):
        notes = yield from super().plan(inputs, model, draws)
        return [Note(f"{n.title} {k}", n.numbers) for k, n in enumerate(notes)]


class Unknown(Notes):
    """Known numbers are left out of the sample."""

    def note(self, title, row):
        return Note(title, (0.0, float(row[1]) + len(title)))


class NothingKnown(Notes):
    def observation(self, own, layout):
        found = super().observation(own, layout)
        return found and Observation(found.value, torch.zeros(layout.shape, dtype=torch.bool))


class OtherKnown(Notes):
    """The wrong half is kept."""

    def observation(self, own, layout):
        found = super().observation(own, layout)
        return found and Observation(found.value.flip(1), found.mask.flip(1))


class Backwards(Notes):
    def join(self, parts):
        return super().join(parts[::-1])


class Shortened(Notes):
    def join(self, parts):
        return parts[-1]


class Raw(Listed):
    def preview(self, samples):
        return f"<ul>{''.join(f'<li>{s.title}</li>' for s in samples)}</ul>"


class Quoted(Listed):
    """Escaped, but not in an attribute."""

    def preview(self, samples):
        rows = (f'<li title="{html.escape(s.title, quote=False)}">x</li>' for s in samples)
        return f"<ul>{''.join(rows)}</ul>"


class Unclosed(Listed):
    def preview(self, samples):
        return f"<ul>{''.join(f'<li>{html.escape(s.title)}' for s in samples)}</ul>"


class Crossed(Listed):
    def preview(self, samples):
        return "<div><b>two</div></b>"


class Handler(Listed):
    def preview(self, samples):
        return "<b onmouseover='alert(1)'>notes</b>"


class Styled(Listed):
    def preview(self, samples):
        return "<p style=\"background: url('https://example.org/x.png')\">notes</p>"


class OpenMoments(Listed):
    def moments(self, frames, rows, model):
        return [[f"<p>{frame.t:.2f}" for frame in frames] for _ in rows]


def shown(display):
    return type(display.__name__, (Notes,), {"display": display()})()


class SameParts(Points):
    def dataset(self, source, configuration, part):
        return [torch.tensor(row) for row in source]


class LeakyParts(Points):
    """The last row of the training part is validated on."""

    def dataset(self, source, configuration, part):
        cut = 8 if part == "validation" else 9
        return [torch.tensor(r) for r in (source[cut:] if part == "validation" else source[:cut])]


class Augmented(Points):
    """Noise in each item, of torch's default generator, which is right, or of another."""

    def __init__(self, draw=lambda: torch.randn(2)):
        self.draw = draw

    def dataset(self, source, configuration, part):
        clean, draw = super().dataset(source, configuration, part), self.draw

        class Rows(torch.utils.data.Dataset):
            def __len__(self):
                return len(clean)

            def __getitem__(self, k):
                return clean[k] + 0.1 * draw()

        return Rows()


OWN = torch.Generator()
NUMPYS = np.random.default_rng()


class Shuffled(Points):
    def dataset(self, source, configuration, part):
        rows = super().dataset(source, configuration, part)
        return [rows[k] for k in torch.randperm(len(rows))]


class Sorted(Points):
    def collate(self, items):
        return super().collate(sorted(items, key=lambda x: float(x[0]), reverse=True))


class Centred(Points):
    """Less the mean of the batch."""

    def collate(self, items):
        x0 = torch.stack(list(items))
        return Batch(x0 - x0.mean(0), Euclidean().layout(x0))


class Blind(Objective):
    """The data are not looked at."""

    def __call__(self, denoiser, batch, noise):
        z = noise.normal(batch.layout)
        return Simple()(denoiser, Batch(z, batch.layout), noise)


class OwnNoise(Objective):
    def __call__(self, denoiser, batch, noise):
        return Simple()(denoiser, batch, NoiseSource(0, noise.ids))


class GlobalNoise(Objective):
    def __call__(self, denoiser, batch, noise):
        return Simple()(denoiser, batch, noise) + torch.rand(batch.layout.batch)


class Contrastive(Objective):
    def __call__(self, denoiser, batch, noise):
        loss = Simple()(denoiser, batch, noise)
        return loss + (batch.x0 - batch.x0.mean(0)).square().sum(1)


class Constant(Objective):
    """No gradient reaches the network."""

    def __call__(self, denoiser, batch, noise):
        with torch.no_grad():
            loss = Simple()(denoiser, batch, noise)
        return loss + 0 * sum(p.sum() for p in denoiser.parameters()).detach()


class Reduced(Objective):
    def __call__(self, denoiser, batch, noise):
        return Simple()(denoiser, batch, noise).mean()


def trained_on(objective):
    return Example(
        type(objective.__name__, (Points,), {"objective": lambda self, c: objective()})(),
        {"data": ROWS},
    )


def asked(domain, **more):
    """The domain with requests of several inputs, of known numbers and of parts."""
    requests = [
        {"titles": ["short", "a longer title"]},
        {"titles": ["a"], "known": 1.5},
        {"titles": ["a"], "parts": True},
    ]
    return Example(domain, {"requests": requests, **more})


def first_is_known(request, number, sample):
    known = request.get("known")
    return known is None or abs(sample.numbers[0] - known) < 1e-6


def rows(domain):
    return Example(domain, {"data": ROWS})


REQUESTS = [
    ("the first input for all", "inputs_stay_apart", asked(FirstInput())),
    ("inputs by the place in the batch", "inputs_stay_apart", asked(InTurn())),
    ("all inputs seen by each", "inputs_stay_apart", asked(AllInputs())),
    ("fresh random numbers in a sample", "same_seed_same_result", Jitter()),
    ("numpy seeded in plan", "same_seed_same_result", NumpySeed()),
    ("Python's random numbers in prepare", "same_seed_same_result", RandomInputs()),
    ("the mean of the batch in a sample", "batch_of_n_is_n_singles", OfTheBatch()),
    ("the place in the batch in a sample", "order_and_shards", ByPlace()),
    ("known numbers not in the sample", "known_parts_come_back", asked(Unknown())),
    ("an observation of nothing", "known_parts_come_back", asked(NothingKnown())),
    ("the wrong half known", "examples_hold", asked(OtherKnown(), holds=first_is_known)),
    ("parts joined backwards", "parts_join_to_the_whole", asked(Backwards())),
    ("parts lost", "parts_join_to_the_whole", asked(Shortened())),
    ("words not escaped", "words_are_escaped", shown(Raw)),
    ("words not escaped in an attribute", "words_are_escaped", shown(Quoted)),
    ("elements left open", "preview_is_self_contained", shown(Unclosed)),
    ("elements crossed", "preview_is_self_contained", shown(Crossed)),
    ("a script in an attribute", "preview_is_self_contained", shown(Handler)),
    ("an address in a style", "preview_is_self_contained", shown(Styled)),
    ("elements left open in moments", "preview_is_self_contained", shown(OpenMoments)),
    ("a script in the preview", "preview_is_self_contained", Script()),
    ("the same rows in both parts", "parts_are_apart", rows(SameParts())),
    ("one row in both parts", "parts_are_apart", rows(LeakyParts())),
    (
        "random rows of a generator of their own",
        "items_repeat",
        rows(Augmented(lambda: torch.randn(2, generator=OWN))),
    ),
    (
        "random rows of numpy's generators",
        "items_repeat",
        rows(Augmented(lambda: torch.from_numpy(NUMPYS.normal(size=2)).float())),
    ),
    (
        "random rows of numpy's global numbers",
        "items_repeat",
        rows(Augmented(lambda: float(np.random.randn()))),
    ),
    ("random rows of Python's", "items_repeat", rows(Augmented(random.random))),
    ("rows in a random order", "items_repeat", rows(Shuffled())),
    ("rows reordered by collate", "collate_keeps_the_order", rows(Sorted())),
    ("the mean of the batch taken off", "collate_keeps_the_order", rows(Centred())),
    ("a loss without the data", "losses_follow_the_data", trained_on(Blind)),
    ("a loss with noise of its own", "losses_follow_the_data", trained_on(OwnNoise)),
    ("a loss with global noise", "losses_follow_the_data", trained_on(GlobalNoise)),
    ("a loss that compares samples", "losses_follow_the_data", trained_on(Contrastive)),
    ("a loss without a gradient", "data_can_be_trained_on", trained_on(Constant)),
    ("one loss for the batch", "data_can_be_trained_on", trained_on(Reduced)),
]
