"""A base that is told the rest of a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.errors import ConfigError
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Objective
from unnoise.spaces import Layout
from unnoise_text2image.painting import KEPT, Painted, kept_part, known_parts

TINY = {
    "widths": (8, 16),
    "blocks": (1, 1),
    "text_width": 16,
    "text_layers": 1,
    "text_heads": 2,
    "length": 8,
    "vocabulary": 96,
    "bound_samples": 0,
    "device": "cpu",
    "batch_size": 4,
}


class Seen(Objective):
    def __call__(self, denoiser, batch, noise):
        self.batch = batch
        return torch.zeros(batch.layout.batch)


def test_what_is_hidden_in_training():
    n, size = 4000, 6
    u = torch.rand(n, 5, generator=torch.Generator().manual_seed(0))
    known = known_parts(size, size, u)
    assert known.shape == (n, 1, size, size)
    flat = known.flatten(1)
    # all is hidden a quarter of the time, and where all but an empty rectangle is: one of the
    # sides has two equal ends with probability 1 - (6 / 7)^2
    wanted = 0.25 + 0.25 * (1 - (6 / 7) ** 2)
    found = float((~flat).all(1).double().mean())
    assert abs(found - wanted) < 5 * (wanted * (1 - wanted) / n) ** 0.5
    for one in known[(flat.any(1) & ~flat.all(1))][:200, 0]:
        for part in (one, ~one):
            rows, columns = part.any(1).nonzero(), part.any(0).nonzero()
            box = part[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            if box.all():
                break
        else:
            raise AssertionError("neither the known part nor the rest is a rectangle")


def test_the_objective_tells_the_known_part():
    objective = Painted(seen := Seen())
    x0 = torch.randn(50, 3, 4, 4)
    batch = Batch(x0, Layout.dense(50, (3, 4, 4)), {"ids": torch.zeros(50, 2)})
    objective(None, batch, NoiseSource(0, range(50)))
    kept = seen.batch.condition[KEPT]
    where = kept[:, 3:]
    assert set(where.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(kept[:, :3], x0 * where)
    assert torch.equal(seen.batch.condition["ids"], batch.condition["ids"])
    assert KEPT not in batch.condition


def test_it_begins_as_the_model_of_words(folder, tmp_path):
    """What it knows of a picture changes nothing at first, and something after a step."""
    base = unnoise.train("text2image", folder, tmp_path / "base", stage="base", steps=2, **TINY)
    same = {"prompt": "red apple", "num_samples": 2, "steps": 3, "seed": 1}
    weights = dict(base.denoiser.state_dict())
    told = base.configuration.model_copy(update={"painter": True})
    fresh = base.domain.build(told)
    own = {f"denoiser.{name}": value for name, value in weights.items()}
    begun = base.domain.inherited(told, base, own)
    fresh.load_state_dict({name.removeprefix("denoiser."): v for name, v in begun.items()})
    x = torch.randn(2, 3, 8, 8)
    kept = kept_part(torch.randn(2, 3, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool))
    condition = {"ids": torch.ones(2, 8, dtype=torch.int64), "mask": torch.ones(2, 8).bool()}
    layout = Layout.dense(2, (3, 8, 8))
    plain = base.denoiser.eval()(x, 0.5, layout, condition).mean
    for more in ({}, {KEPT: kept}):
        found = fresh.eval()(x, 0.5, layout, condition | more).mean
        torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    painter = unnoise.train(
        "text2image", folder, tmp_path / "painter", initial=base, painter=True, steps=2,
        learning_rate=1e-2, **{k: TINY[k] for k in ("bound_samples", "device", "batch_size")},
    )  # fmt: skip
    network = painter.denoiser.network
    assert float(network.stem.weight[:, 3:].abs().max()) > 0
    assert base.generate(**same).states.shape == painter.generate(**same).states.shape


def test_painting_by_a_saved_cascade(make_model, tmp_path):
    """The whole way: words, a picture and a mask; what is kept stays to the value."""
    model = unnoise.load(make_model(painter=True).save(tmp_path / "bundle"))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    asked = {"prompt": "red apple", "mask": Image.fromarray(mask), "steps": 3, "seed": 2}
    asked["upsampler_steps"] = 3
    painted = [
        np.asarray(model.generate(image=Image.fromarray(p), **asked).samples[0])
        for p in (pixels, 255 - pixels)
    ]
    np.testing.assert_array_equal(painted[0][mask == 0], pixels[mask == 0])
    assert (painted[0][mask > 0] != painted[1][mask > 0]).any()  # it sees what is around


def test_painting_is_not_unlearned(make_model, folder, tmp_path):
    painter = make_model(painter=True, stage="base")
    with pytest.raises(ConfigError, match="goes on painting"):
        unnoise.train(
            "text2image", folder, tmp_path / "run", initial=painter, painter=False, steps=1,
            **{k: TINY[k] for k in ("bound_samples", "device", "batch_size")},
        )  # fmt: skip


@pytest.mark.slow
def test_it_learns_to_go_on_with_what_is_around(tmp_path):
    """Pictures of one colour each: the hidden part has the colour of the rest."""
    root = tmp_path / "plain"
    root.mkdir()
    draw = np.random.default_rng(0)
    for k in range(64):
        colour = tuple(int(v) for v in draw.integers(40, 216, 3))
        Image.new("RGB", (8, 8), colour).save(root / f"{k:02}.png")
        (root / f"{k:02}.txt").write_text("plain")
    tiny = {**TINY, "batch_size": 16, "base_side": 8, "side": 8, "goal": "simple"}
    model = unnoise.train(
        "text2image", root, tmp_path / "run", stage="base", painter=True, steps=400,
        learning_rate=3e-3, warmup=20, ema=0.95, **tiny,
    )  # fmt: skip
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    gaps = []
    for colour in ((60, 200, 90), (200, 70, 60)):
        image = Image.new("RGB", (8, 8), colour)
        out = model.generate(prompt="plain", image=image, mask=Image.fromarray(mask), steps=10)
        gaps.append(np.abs(np.asarray(out.samples[0], float)[:, 4:] - colour).mean())
    assert max(gaps) < 40  # of 60 to 70 for the mean colour
