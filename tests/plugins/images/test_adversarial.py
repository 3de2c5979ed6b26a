"""A denoising diffusion GAN of pictures: trained, killed and resumed, drawn from in few steps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unnoise
from unnoise.cli import main
from unnoise.denoise import Generator
from unnoise.errors import InputError
from unnoise.kernels import coarse
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise.training.record import rows
from unnoise_images.adversarial import JUDGE, Discriminator, discriminator
from unnoise_images.configuration import Configuration

SMALL = """--goal adversarial --schedule linear --widths 8 8 --blocks 1 1 --held-out 4
--batch-size 4 --device cpu --validation-batches 1 --bound-samples 2 --steps 24 --checkpoint-every 3
--log-every 4 --validate-every 8 --samples-every 0"""


def words(folder: Path, out: Path) -> list[str]:
    return ["train", "images", "--data", str(folder), "--out", str(out), *SMALL.split()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    model = unnoise.load(out)
    return {**model.denoiser.state_dict(), **model.others}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")
def test_both_networks_are_trained_and_resumed_after_a_kill(folder: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(words(folder, whole)) == 0
    command = [sys.executable, "-m", "unnoise", *words(folder, killed)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
        while not list(killed.glob("checkpoints/step-*")) and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL  # in the middle of the run
    assert main([*words(folder, killed), "--resume"]) == 0
    one, two = weights(whole), weights(killed)
    assert one.keys() == two.keys()
    assert any(name.startswith("discriminator.") for name in one)
    assert all(torch.equal(one[name], two[name]) for name in one)
    log = rows(killed)
    assert [row["step"] for row in log] == [4, 8, 12, 16, 20, 24]
    for row in log:
        assert {"loss", "loss/discriminator", "gradient_norm", "gradient_norm/discriminator"} < {
            *row
        }
    assert {"validation_loss", "validation_loss/discriminator"} < {*log[-1]}
    assert log[-1]["bound"] is None  # an implicit law has none


@pytest.mark.parametrize("chain", [2, 4])
def test_pictures_take_the_steps_of_the_chain(chain: int, make_model: Callable[..., Model]) -> None:
    model = make_model(goal="adversarial", chain=chain, schedule="linear")
    assert isinstance(model.denoiser, Generator)
    assert model.denoiser.kernel.schedule == coarse(chain)
    out = model.generate(num_samples=3, label="dog", seed=1)
    assert out.provenance["evaluations"] == chain
    pixels = [picture.tobytes() for picture in out.samples]
    again = model.generate(num_samples=3, label="dog", seed=1, ids=[2])
    assert list(again.samples[0].tobytes()) == pytest.approx(list(pixels[2]), abs=1)
    assert pixels[0] != pixels[1]
    assert len(model.generate(num_samples=2, steps=1).samples) == 2  # without a label


def test_what_draws_is_not_guided(make_model: Callable[..., Model]) -> None:
    with pytest.raises(InputError, match="cannot be guided"):
        make_model(goal="adversarial").generate(label="dog", guidance_scale=2.0)
    with pytest.raises(ValueError, match="cannot be guided"):
        Configuration(goal="adversarial", guidance_scale=2.0)
    model = make_model(goal="adversarial")
    with pytest.raises(InputError, match=r"Implicit"):
        model.bound([(torch.zeros(1, 10, 12), 0)])


def test_a_discriminator_sees_both_states_the_time_and_the_class() -> None:
    torch.manual_seed(0)
    judge = Discriminator(1, 3, (8, 8), (1, 1))
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    x, t = torch.randn(2, 4, 1, 9, 7), torch.full((4,), 0.5)
    label = {"label": torch.tensor([0, 1, 2, 3])}
    found = judge(x[0], x[1], t, None, label)
    assert found.shape == (4,)
    for other in (
        judge(x[0] + 1, x[1], t, None, label),
        judge(x[0], x[1] + 1, t, None, label),
        judge(x[0], x[1], t / 2, None, label),
    ):
        assert bool((found - other).abs().min() > 0)
    unlabelled = judge(x[0], x[1], t)
    assert torch.equal(unlabelled[3], found[3]) or torch.allclose(unlabelled[3], found[3])
    assert not torch.allclose(unlabelled[:3], found[:3])
    assert torch.allclose(
        judge(x[0][:1], x[1][:1], t[:1], None, {"label": label["label"][:1]}), found[:1], atol=1e-5
    )


def test_both_networks_learn_other_classes_from_what_they_know(
    folder: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["2" if w == "24" else w for w in words(folder, first)]) == 0
    other = tmp_path / "other"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    shutil.copytree(folder / names[0], other / "new")
    shutil.copytree(folder / names[1], other / names[1])
    start = ["--initial", str(first), "--learning-rate", "1e-30", "--ema", "0"]
    assert main([*("2" if w == "24" else w for w in words(other, second)), *start]) == 0
    before, after = weights(first), weights(second)
    tables = [name for name in after if name.endswith("label.weight")]
    assert len(tables) == 2
    rows_of = {"new": len(names), names[1]: 1}
    now = unnoise.load(second).configuration.classes
    for name in tables:
        for k, row in enumerate([*(rows_of[one] for one in now), len(names)]):
            assert torch.allclose(after[name][k], before[name][row], atol=1e-4)


def test_a_generator_begins_as_the_network_of_another_goal(
    make_model: Callable[..., Model],
) -> None:
    """The weights of the network are kept where both have them, a discriminator's are its way
    down, and the run starts where that network's means are drawn."""
    plain = make_model()
    configuration = plain.configuration.model_copy(update={"goal": "adversarial"})
    with torch.no_grad():
        for parameter in plain.denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    before = {f"denoiser.{name}": v for name, v in plain.denoiser.state_dict().items()}
    start = dict(plain.domain.inherited(configuration, plain, before))
    denoiser, judge = plain.domain.build(configuration), discriminator(configuration)
    own = {k.removeprefix(JUDGE): v for k, v in start.items() if k.startswith(JUDGE)}
    judge.load_state_dict(own)
    for name in ("denoiser.network.noise.2.weight", "denoiser.network.noise.2.bias"):
        start[name].zero_()
    denoiser.load_state_dict(
        {k.removeprefix("denoiser."): v for k, v in start.items() if k.startswith("denoiser.")}
    )
    x, layout = torch.randn(2, *configuration.size), Layout.dense(2, configuration.size)
    label = {"label": torch.tensor([0, 1])}
    drawn = denoiser.draw(x, 0.5, layout, NoiseSource(0, range(2)), label)
    t = torch.full((2,), 0.5)
    output = plain.denoiser.network(x, t, layout, label)
    schedule = denoiser.kernel.schedule
    torch.testing.assert_close(
        drawn, schedule.alpha(0.5) * x - schedule.sigma(0.5) * output, rtol=1e-4, atol=1e-5
    )
    # the discriminator is shown a difference, and what comes of it is the network's own
    with torch.no_grad():
        same = judge.stem(torch.cat([x, 0 * x], 1)) - plain.denoiser.network.stem(x)
        assert float(same.abs().max()) < 1e-5
        theirs = plain.denoiser.network.told(t, label)
        torch.testing.assert_close(judge.told(t, label), theirs)
    # of the modulations, those of the lowest resolution come last on the way down
    count = 2 * configuration.widths[-1] * configuration.blocks[-1]
    down = 2 * sum(w * n for w, n in zip(configuration.widths, configuration.blocks, strict=True))
    network = before["denoiser.network.modulate.weight"][down - count : down]
    torch.testing.assert_close(own["modulate.weight"][-count:], network)
