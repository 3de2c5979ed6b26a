"""Requests to pictures: labels, guidance, painting, and everything that is refused."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.denoise import ClassifierFree
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import VPLinear
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, ConditionDropout, Networks, Simple
from unnoise.spaces import Layout
from unnoise.training.train import train
from unnoise_images.configuration import Configuration
from unnoise_images.domain import Images
from unnoise_images.pictures import enlarged, grid, strip, to_images

KEPT = 200  # the value of the picture that is painted into


@pytest.fixture
def image() -> Image.Image:
    return Image.new("L", (12, 10), KEPT)


@pytest.fixture
def mask() -> Image.Image:
    """White, to be painted, in the left half."""
    picture = Image.new("L", (12, 10), 0)
    picture.paste(255, (0, 0, 6, 10))
    return picture


def pixels(sample: Image.Image) -> np.ndarray:
    return np.asarray(sample)


def test_the_plugin_module_is_light() -> None:
    code = (
        "import sys, unnoise_images.plugin as p; s, = p.unnoise_domains()"
        "; assert s.name == 'images'"
        "; print([m for m in ('torch', 'PIL', 'numpy', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_label_makes_pictures_of_the_right_size(model: Model) -> None:
    out = model.generate(num_samples=3, label=1, steps=3)
    assert [sample.size for sample in out.samples] == [(12, 10)] * 3
    assert {sample.mode for sample in out.samples} == {"L"}
    assert len(out.groups()) == 1


def test_a_list_of_labels_makes_num_samples_for_each_in_order(model: Model) -> None:
    out = model.generate(num_samples=2, label=[1, 0], steps=3)
    assert [len(group) for group in out.groups()] == [2, 2]
    one = model.generate(num_samples=4, label=1, steps=3).states
    zero = model.generate(num_samples=4, label=0, steps=3).states
    torch.testing.assert_close(out.states, torch.cat([one[:2], zero[2:]]), atol=1e-4, rtol=0)
    assert (one - zero).abs().max() > 1e-3


def test_a_sample_does_not_depend_on_its_batch(model: Model) -> None:
    together = model.generate(num_samples=8, label=[0, 1], steps=3, guidance_scale=2.0).states
    alone = model.generate(
        num_samples=8, label=[0, 1], steps=3, guidance_scale=2.0, ids=[11], batch_size=1
    ).states
    torch.testing.assert_close(together[11:12], alone, atol=1e-4, rtol=0)


def test_guidance_extrapolates_from_no_label_and_is_clamped(model: Model) -> None:
    layout = Layout.dense(2, (1, 10, 12))
    x = NoiseSource(0, [0, 1]).normal(layout)
    label = {"label": torch.tensor([0, 1])}
    none = {"label": torch.tensor([2, 2])}
    c = model.denoiser(x, 0.5, layout, label).mean
    u = model.denoiser(x, 0.5, layout, none).mean
    assert isinstance(c, torch.Tensor)
    assert isinstance(u, torch.Tensor)
    torch.testing.assert_close(u, model.denoiser(x, 0.5, layout).mean)
    no_label = {"label": torch.tensor([2])}
    guided = ClassifierFree(model.denoiser, 30.0, no_label, clip=(-1.0, 1.0))
    found = guided(x, 0.5, layout, label).mean
    torch.testing.assert_close(found, (u + 30 * (c - u)).clamp(-1, 1))
    assert (u + 30 * (c - u)).abs().max() > 1


def test_guidance_one_is_no_guidance_and_zero_is_no_label(model: Model) -> None:
    plain = model.generate(num_samples=2, label=0, steps=3)
    one = model.generate(num_samples=2, label=0, steps=3, guidance_scale=1)
    assert torch.equal(plain.states, one.states)
    free = model.generate(num_samples=2, steps=3)
    zero = model.generate(num_samples=2, label=0, steps=3, guidance_scale=0)
    torch.testing.assert_close(free.states, zero.states, atol=1e-4, rtol=0)


def test_the_models_own_guidance_is_the_default(make_model: Callable[..., Model]) -> None:
    guided = make_model(guidance_scale=3.0)
    default = guided.generate(num_samples=1, label=0, steps=3)
    said = guided.generate(num_samples=1, label=0, steps=3, guidance_scale=3.0)
    assert torch.equal(default.states, said.states)


def test_painting_keeps_what_the_mask_keeps(
    model: Model, image: Image.Image, mask: Image.Image, tmp_path: Path
) -> None:
    out = model.generate(num_samples=2, label=1, image=image, mask=mask, steps=4)
    for sample in out.samples:
        assert (pixels(sample)[:, 6:] == KEPT).all()
        assert (pixels(sample)[:, :6] != KEPT).any()
    image.save(tmp_path / "image.png")
    mask.save(tmp_path / "mask.png")
    files = model.generate(
        num_samples=2,
        label=1,
        image=str(tmp_path / "image.png"),
        mask=tmp_path / "mask.png",
        steps=4,
    )
    arrays = model.generate(
        num_samples=2, label=1, image=pixels(image) / 255, mask=pixels(mask) > 0, steps=4
    )
    assert torch.equal(out.states, files.states)
    torch.testing.assert_close(out.states, arrays.states)


def test_a_colour_model_paints_all_channels(
    make_model: Callable[..., Model], mask: Image.Image
) -> None:
    red = Image.new("RGB", (12, 10), (255, 0, 7))
    out = make_model(channels=3).generate(image=red, mask=mask, steps=3)
    assert out.samples[0].mode == "RGB"
    assert (pixels(out.samples[0])[:, 6:] == [255, 0, 7]).all()


def test_labels_are_names_of_classes(make_model: Callable[..., Model], model: Model) -> None:
    by_number = model.generate(label=[0, 1], steps=2).states
    assert torch.equal(model.generate(label=["cat", "dog"], steps=2).states, by_number)
    assert torch.equal(model.generate(label=["cat", "1"], steps=2).states, by_number)
    numbers = make_model(classes=("1", "2", "10"))
    one = numbers.generate(label="1", steps=2).states
    assert torch.equal(numbers.generate(label=1, steps=2).states, one)
    ten = numbers.generate(label=10, steps=2).states
    assert torch.equal(numbers.generate(label="10", steps=2).states, ten)
    assert not torch.equal(one, ten)
    for wrong in (0, "0", 3):  # no class is called so, though there are three
        with pytest.raises(InputError, match=r"out of range.*1, 2, 10"):
            numbers.generate(label=wrong)
    with pytest.raises(InputError, match=r"no such class.*did you mean 'cat'"):
        model.generate(label="cta")


def test_guidance_needs_a_label(model: Model) -> None:
    with pytest.raises(InputError, match="there is none"):
        model.generate(guidance_scale=3.0)


@pytest.mark.parametrize("label", [2, -1, [0, 2]])
def test_a_label_out_of_range_names_the_classes(model: Model, label: object) -> None:
    with pytest.raises(InputError, match=r"label is out of range.*0 \(cat\), 1 \(dog\)"):
        model.generate(label=label)


def test_other_bad_requests(model: Model, image: Image.Image, mask: Image.Image) -> None:
    def refused(message: str, **request: object) -> None:
        with pytest.raises(InputError, match=message):
            model.generate(steps=2, **request)

    refused("without mask", image=image)
    refused("without image", mask=mask)
    refused("different sizes", image=image, mask=mask.resize((6, 5)))
    refused("another size", image=image.resize((6, 5)), mask=mask.resize((6, 5)))
    refused("alpha", image=image.convert("RGBA"), mask=mask)
    refused("8-bit", image=Image.new("I;16", (12, 10)), mask=mask)
    refused("no file", image="nowhere.png", mask=mask)
    refused("shape of a picture", image=np.zeros(5), mask=mask)
    refused("unusable type", image=np.zeros((10, 12), dtype=np.int64), mask=mask)
    refused("out of range", image=np.full((10, 12), 7.0), mask=mask)
    refused("out of range", image=np.full((10, 12), np.nan), mask=mask)
    refused("guidance_scale", label=1, guidance_scale=-1)
    refused("guidance_scale", label=1, guidance_scale=float("nan"))
    refused("unknown request field 'lable'.*did you mean 'label'", lable=1)
    refused("lists of a request have one length", label=[])


def test_a_model_without_classes(make_model: Callable[..., Model]) -> None:
    plain = make_model(classes=())
    assert plain.generate(steps=2).samples[0].size == (12, 10)
    with pytest.raises(InputError, match="no classes"):
        plain.generate(steps=2, label=0)
    with pytest.raises(InputError, match="needs a model with classes"):
        plain.generate(steps=2, guidance_scale=2)


def test_configure_reports_options_by_name(folder: Path) -> None:
    domain = Images()
    with pytest.raises(ConfigError, match=r"unknown option 'widht'.*'widths?'"):
        domain.configure(folder, {"widht": 8})
    with pytest.raises(ConfigError, match="'height'"):
        domain.configure(folder, {"height": 1000})
    with pytest.raises(ConfigError, match="same resolutions"):
        domain.configure(folder, {"widths": (8, 8), "blocks": (1,)})
    assert domain.configure(folder, {"height": 10}).width == 12


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (28, 28), (31, 17)])
def test_the_network_takes_any_size(channels: int, size: tuple[int, int]) -> None:
    configuration = Configuration(height=size[0], width=size[1], channels=channels, classes=("a",))
    denoiser = Images().build(configuration)
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    out = denoiser.network(x, torch.tensor([0.1, 0.9]), None, {"label": torch.tensor([0, 1])})
    assert out.shape == x.shape


def test_the_schedule_and_parametrization_are_chosen_by_name() -> None:
    options = {"height": 8, "width": 8, "channels": 1, "classes": ()}
    denoiser = Images().build(Configuration(**options, schedule="linear", parametrization="noise"))
    assert denoiser.kernel.schedule == VPLinear()  # type: ignore[attr-defined]
    assert type(denoiser.parametrization).__name__ == "Noise"


def test_labels_are_hidden_only_when_there_are_labels(model: Model) -> None:
    domain = model.domain
    objective = domain.objective(model.configuration)
    assert isinstance(objective, ConditionDropout)
    assert objective.unconditional["label"].tolist() == [2]
    bare = model.configuration.model_copy(update={"classes": ()})
    assert isinstance(domain.objective(bare), Simple)


def test_training_lowers_the_loss(folder: Path) -> None:
    domain = Images()
    configuration = domain.configure(folder, {"widths": (8, 16), "blocks": (1, 1)})
    torch.manual_seed(0)
    denoiser = domain.build(configuration)
    pictures = domain.dataset(folder, configuration, "train")
    batch = domain.collate([pictures[k] for k in range(len(pictures))])
    assert isinstance(batch, Batch)
    batch = batch.encoded(domain.codec(configuration))
    objective = domain.objective(configuration)
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    losses = []
    for step in range(60):
        noise = NoiseSource(0, range(18 * step, 18 * step + 18))
        loss = objective(denoiser, batch, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_a_saved_model_makes_the_same_pictures(model: Model, tmp_path: Path) -> None:
    from unnoise.storage.bundle import read_bundle
    from unnoise.storage.tensors import fit_weights

    model.save(tmp_path / "saved")
    bundle = read_bundle(tmp_path / "saved")
    configuration = Configuration(**bundle.configuration)
    assert configuration == model.configuration
    networks = Networks(Images().build(configuration))
    fit_weights(networks, bundle.state_dict, "test")
    again = Model(Images(), networks.eval().denoiser, configuration, bundle.defaults)
    assert torch.equal(
        model.generate(label=0, steps=2).states, again.generate(label=0, steps=2).states
    )


def test_pictures_survive_writing(model: Model, tmp_path: Path) -> None:
    out = model.generate(num_samples=2, steps=2)
    paths = out.save(tmp_path / "out")
    assert [path.name for path in paths] == ["00000.png", "00001.png"]
    for path, sample in zip(paths, out.samples, strict=True):
        with Image.open(path) as read:
            assert (pixels(read) == pixels(sample)).all()


def test_states_become_eight_bits_by_rounding() -> None:
    states = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5]).view(1, 1, 1, 5)
    assert pixels(to_images(states)[0]).tolist() == [[0, 0, 128, 255, 255]]
    with pytest.raises(InputError, match="B, 1 or 3"):
        to_images(torch.zeros(2, 2, 4, 4))


def test_the_preview_is_self_contained(model: Model) -> None:
    samples = model.generate(num_samples=3, steps=2).samples
    html = model.domain.display.preview(samples)
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(found) == 3
    assert (pixels(Image.open(io.BytesIO(b64decode(found[1])))) == pixels(samples[1])).all()
    assert "http" not in html
    assert "<script" not in html
    assert "pixelated" in html


def test_a_trajectory_has_a_cell_for_each_moment_of_each_sample(model: Model) -> None:
    out = model.generate(num_samples=3, steps=4, return_trajectory=True)
    rows = model.domain.display.moments(out.trajectory, [0, 2], model)
    assert [len(row) for row in rows] == [5, 5]
    (coded,) = re.findall(r'base64,([^"]+)"', rows[1][-1])
    assert (pixels(Image.open(io.BytesIO(b64decode(coded)))) == pixels(out.samples[2])).all()


def test_grid_and_strip(model: Model) -> None:
    out = model.generate(num_samples=5, steps=6, return_trajectory=True)
    sheet = grid(out.samples, columns=3, gap=1)
    assert sheet.size == (3 * 13 - 1, 2 * 11 - 1)
    assert (pixels(sheet)[11:, 13:25] == pixels(out.samples[4])).all()
    frames = [frame.x for frame in out.trajectory]
    row = strip(frames, frames=4, sample=2, gap=0)
    assert row.size == (4 * 12, 10)
    assert (pixels(row)[:, 36:] == pixels(out.samples[2])).all()
    assert enlarged(row, 30).size == (144, 30)
    with pytest.raises(InputError, match="at least one"):
        grid([])
    with pytest.raises(InputError, match="one size"):
        grid([row, sheet])


def test_the_bound_of_pictures_is_finite(model: Model, folder: Path) -> None:
    pictures = model.domain.dataset(folder, model.configuration, "train")
    found = model.bound([pictures[0], pictures[15]], steps=10)
    assert torch.isfinite(found.total).all()
    assert (found.total > 0).all()  # minus the log of a probability: the pixels are 8-bit values


def test_a_model_in_training_draws_of_its_own_classes(folder: Path, tmp_path: Path) -> None:
    own = {"widths": (8, 8), "blocks": (1, 1), "held_out": 2, "device": "cpu"}
    quick = {"steps": 2, "batch_size": 4, "bound_samples": 0, "samples_every": 2}
    train(Images(), folder, tmp_path / "run", **own, **quick)
    drawn = sorted((tmp_path / "run" / "samples" / "step-00000002").glob("*.png"))
    assert len(drawn) == 2 * 4  # cats and dogs
    with Image.open(drawn[0]) as picture:
        assert picture.size == (12, 10)
    plain = Images().trial(Configuration(height=10, width=12, channels=1), None)
    assert plain == {"num_samples": 16}
