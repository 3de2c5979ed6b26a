"""The examples run as their first lines say, and the kernel of one's own keeps every law."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from PIL import Image

from unnoise.distributions import Dirac, Gaussian
from unnoise.noise import NoiseSource
from unnoise.objectives import bound
from unnoise.samplers import Diffusion
from unnoise.spaces import Layout

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_is_tested():
    found = {path.name for path in EXAMPLES.glob("*.py")}
    others = {"conformers.py", "generate.py", "latent_windows.py", "timeseries.py"}
    others |= {"series_anomaly.py", "speech_noise.py", "families.py", "families_digits.py"}
    assert found == {*others, "train_own_folder.py", "own_kernel.py"}


def test_families(tmp_path):
    said = run("families.py", "--seconds", "0.05", "--samples", "100", "--out", str(tmp_path))
    table = [line.split("|")[1:-1] for line in said.splitlines() if line.startswith("| ")]
    assert len(table) == 2 * (1 + 6)
    assert len({row[0] for row in table}) == 7
    for row in (row for row in table if row[0].strip() != "family"):
        assert 18_000 < int(row[1].replace(",", "")) < 24_000  # about the same
        assert int(row[6]) >= 1
        assert math.isfinite(float(row[3]))
        assert float(row[7]) >= 0
    assert Image.open(tmp_path / "families.png").size == (7 * 164, 2 * 164)


def test_families_digits(tmp_path):
    words = ["--seconds", "0.05", "--samples", "100", "--classifier-steps", "150"]
    said = run("families_digits.py", *words, "--out", str(tmp_path))
    table = [line.split("|")[1:-1] for line in said.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + 1 + 6
    real, families = table[1], table[2:]
    assert float(real[0].split(",")[1].split("%")[0]) > 90  # the classifier is one
    assert int(real[4]) == 10
    floor = float(real[3])
    bits = {row[0].strip(): float(row[2]) for row in families if row[2].strip()}
    assert len(bits) == 4
    assert all(0 < value < 10 for value in bits.values())
    for row in families:
        assert 90_000 < int(row[1].replace(",", "")) < 110_000  # about the same
        assert floor < float(row[3]) < math.inf  # a few steps teach no digits
        assert 0.1 <= float(row[5]) <= 1
        assert int(row[6]) >= 1
        assert float(row[7]) >= 0
    side = 2 * 10 * (8 + 2) + 2 * 4
    with Image.open(tmp_path / "families_digits.png") as picture:
        assert picture.size == (7 * side, side)
        assert len(picture.crop((0, 0, side, side)).getcolors()) == 17 + 1  # levels, and the frame


def test_conformers(tmp_path):
    smiles = ["--smiles", "C[C@H](N)C(=O)O", "CC(F)C=C"]
    said = run(
        "conformers.py", "--out", str(tmp_path), "--num-samples", "4", "--steps", "5", *smiles
    )
    assert "C[C@H](N)C(=O)O: 4 conformers" in said
    assert "C=C[C@@H](C)F: 2 conformers" in said
    names = {path.name for path in tmp_path.iterdir()}
    assert {"conformers-0.sdf", "conformers-0.png", "conformers-1.sdf", "conformers.html"} <= names
    assert {"conformers-0-0.xyz", "conformers-1-0.xyz", "conformers-1-1.xyz"} <= names
    assert (tmp_path / "conformers-0.sdf").read_text().count("$$$$") == 4


def test_generate(tmp_path):
    run("generate.py", "--out", str(tmp_path), "--steps", "2")
    with Image.open(tmp_path / "numbers.png") as picture:
        assert picture.size == (3 * (10 * 30 - 2), 3 * (3 * 30 - 2))
    with Image.open(tmp_path / "painting.png") as picture:
        cells = [picture.crop((90 * k, 0, 90 * k + 84, 84)) for k in range(8)]
    upper = [cell.crop((0, 0, 84, 42)).tobytes() for cell in cells]
    assert len(set(upper)) == 1  # what was known is kept
    assert len({cell.tobytes() for cell in cells}) == 8
    assert len(list((tmp_path / "sevens").glob("*.png"))) == 8
    assert (tmp_path / "sevens" / "provenance.json").exists()
    with Image.open(tmp_path / "guidance.png") as picture:
        rows = [picture.crop((0, 90 * k, picture.width, 90 * k + 84)) for k in range(3)]
    assert len({row.tobytes() for row in rows}) == 3


def test_timeseries(tmp_path):
    said = run("timeseries.py", "--out", str(tmp_path), "--steps", "2", "--num-samples", "4")
    assert "279 hidden cells" in said
    assert "linear interpolation 0." in said
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert filled.shape == (432, 8)
    assert filled.notna().all(axis=None)
    with Image.open(tmp_path / "filled.png") as picture:
        assert picture.width > 900


def test_series_anomaly(tmp_path):
    """Fewer draws and steps than by default find the six hours and put them right."""
    said = run("series_anomaly.py", "--out", str(tmp_path), "--steps", "2", "--draws", "4")
    assert "TEMP moves farthest at 2010-09-18 18:00:00" in said
    errors = {
        line.split(":")[0]: float(line.split()[-2]) for line in said.splitlines() if "six" in line
    }
    assert errors["broken"] == 15
    assert errors["mended"] < 4
    assert pd.read_csv(tmp_path / "mended.csv").shape == (96, 8)


def test_speech_noise(tmp_path):
    said = run("speech_noise.py", "--out", str(tmp_path), "--steps", "2").splitlines()
    rows = {line[:20].strip(): [float(x) for x in line[20:].split()] for line in said[1:6]}
    assert rows["noisy"][0] == pytest.approx(5, abs=0.1)
    assert len(list(tmp_path.glob("*.wav"))) == 5
    for name in ("subtracted", "projected", "purified, projected"):
        assert rows[name][0] > 5 + 1
        assert rows[name][1] < 0.7 * rows["noisy"][1]
    # what the example says of purification alone: a nearer spectrum, phases lost
    assert rows["purified"][1] < rows["noisy"][1]
    assert rows["purified"][0] < rows["noisy"][0]


@pytest.mark.slow
def test_latent_windows(tmp_path):
    assert len((EXAMPLES / "latent_windows.py").read_text().splitlines()) < 150
    said = run("latent_windows.py", "--out", str(tmp_path), "--steps", "30").splitlines()
    assert said[0] == "bits per value of 100 held-out windows of (24, 2):"
    ours, linear = (float(line.split()[-1]) for line in said[1:3])
    assert 1.5 < linear < 3.5  # the kicks and the rounding alone leave more than a bit
    assert linear < ours < 10  # 30 steps teach little
    drawn = pd.read_csv(tmp_path / "samples.csv")
    assert drawn.shape == (8 * 24, 2 + 2)
    assert drawn["sample"].nunique() == 8


def test_train_own_folder(tmp_path):
    own = tmp_path / "own"
    for number in range(12):
        folder = own / ("dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 9, 90)).save(folder / f"{number}.png")
    told = run("train_own_folder.py", str(own), "--out", str(tmp_path), "--steps", "2")
    assert told.splitlines()[-1].endswith("dark, light")
    with Image.open(tmp_path / "samples.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (8 * 10 - 2, 2 * 10 - 2))


def test_train_on_drawn_pictures(tmp_path):
    told = run("train_own_folder.py", "--out", str(tmp_path), "--steps", "1")
    assert told.splitlines()[-1].endswith("disc, square")
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 200


def test_own_kernel_samples_the_exact_law():
    assert "standard errors" in run("own_kernel.py")  # and exit code 0: all within 4 of them


@pytest.fixture(scope="module")
def blurring() -> ModuleType:
    place = importlib.util.spec_from_file_location("own_kernel", EXAMPLES / "own_kernel.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_own_kernel_is_short(blurring):
    lines = (EXAMPLES / "own_kernel.py").read_text().splitlines()
    begin = lines.index("class Blurring(TransitionKernel):")
    end = next(i for i, line in enumerate(lines) if line.startswith("class Exact"))
    assert end - begin < 60


B, N = 5, 6
LAYOUT = Layout.dense(B, (N,), dtype=torch.float64)
TIMES = torch.linspace(0.3, 1.0, B, dtype=torch.float64)


def noise(seed: int) -> NoiseSource:
    return NoiseSource(seed, range(B))


def close(a: object, b: object) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, check_dtype=False)


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.4), (0.2, 0.7), (0.6, 1.0), (TIMES / 2, TIMES)])
def test_chapman_kolmogorov_and_bayes(s, t, blurring):
    kernel = blurring.Blurring()
    x0 = noise(0).normal(LAYOUT)
    first, whole = kernel.marginal(x0, s, LAYOUT), kernel.marginal(x0, t, LAYOUT)
    step = kernel.transition(first.mean, s, t, LAYOUT)
    # the transition is linear: slope from two points, then moments compose exactly
    ones = torch.ones_like(x0)
    slope = kernel.transition(first.mean + ones, s, t, LAYOUT).mean - step.mean
    close(step.mean, whole.mean)
    close((slope * first.std) ** 2 + step.std**2, whole.std**2)

    if isinstance(s, float) and s == 0:
        return  # densities at time 0 are points
    x_s, x_t = first.sample(noise(1)), whole.sample(noise(2))
    posterior = kernel.reverse(x_t, Dirac(x0, LAYOUT), t, s, LAYOUT)
    joint = first.log_prob(x_s) + kernel.transition(x_s, s, t, LAYOUT).log_prob(x_t)
    close(posterior.log_prob(x_s), joint - whole.log_prob(x_t))


def test_ends(blurring):
    kernel = blurring.Blurring()
    x0 = noise(0).normal(LAYOUT)
    close(kernel.marginal(x0, 0.0, LAYOUT).sample(noise(1)), x0)
    last, prior = kernel.marginal(x0, 1.0, LAYOUT), kernel.prior(LAYOUT)
    close(last.kl(prior), torch.zeros(B))
    # fine detail goes first
    alpha, _ = kernel.scales(0.5, x0, LAYOUT)
    assert (alpha[0].diff() < 0).all()


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.4), (0.2, 0.7), (0.6, 1.0), (TIMES / 2, TIMES)])
def test_a_gaussian_law_is_integrated_exactly(s, t, blurring):
    """With x_0 ~ N(m, d^2), (x_s, x_t) is jointly Gaussian: its conditional is the answer."""
    kernel = blurring.Blurring()
    mean, std = torch.linspace(-1, 1, N).double(), torch.linspace(0.5, 2, N).double()
    x_t = noise(3).normal(LAYOUT)
    (a_s, o_s), (a_t, o_t) = (kernel.scales(u, x_t, LAYOUT) for u in (s, t))
    covariance = a_s * a_t * std**2 + a_t / a_s * o_s**2
    var_s, var_t = (a_s * std) ** 2 + o_s**2, (a_t * std) ** 2 + o_t**2
    found = kernel.reverse(x_t, blurring.Exact(kernel, mean, std)(x_t, t, LAYOUT), t, s, LAYOUT)
    assert isinstance(found, Gaussian)
    close(found.mean, a_s * mean + covariance / var_t * (x_t - a_t * mean))
    close(found.std**2, var_s - covariance**2 / var_t)


def test_the_bound_of_the_exact_denoiser_is_the_likelihood(blurring):
    """When every reverse step is exact, the bound is -log p(x_0), whatever the number of steps.

    4 standard errors: false alarm in 1 of 16,000 seeds.
    """
    samples, n = 4000, 4
    kernel = blurring.Blurring()
    mean, std = torch.linspace(-1, 1, n).double(), torch.linspace(0.5, 2, n).double()
    layout = Layout.dense(samples, (n,), dtype=torch.float64)
    x0 = torch.tensor([0.3, -1.0, 0.5, 2.0], dtype=torch.float64).expand(samples, n)
    denoiser = blurring.Exact(kernel, mean, std)
    found = bound(Diffusion(denoiser, layout, NoiseSource(5, range(samples))), x0, steps=4).total
    exact = 0.5 * ((x0[0] - mean) / std).square().sum() + std.log().sum()
    exact += 0.5 * n * math.log(2 * math.pi)
    error = found.std() / samples**0.5
    assert error < 0.02
    assert abs(found.mean() - exact) < 4 * error
