"""What every sampler promises: runs never mix, sent states count, misfits are named; grids."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import (
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    ProductKernel,
    Uniform,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    Ancestral,
    Diffusion,
    Heun,
    Sampler,
    Start,
    grids,
    intervals,
    walk,
)
from unnoise.spaces import Euclidean, Layout, Tokens
from unnoise.testing import FiniteOracle, GaussianOracle, PmfOracle

F = torch.float64
REAL = GaussianOracle(GaussianKernel(Euclidean(), VPLinear()), 0.5, 0.3)
TOKENS = PmfOracle(
    CategoricalKernel(Tokens(3), Absorbing(2)), torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=F)
)
CASES = [(Ancestral(), REAL), (DDIM(), REAL), (DDIM(1.0), REAL), (Ancestral(), TOKENS)]


def layout_of(denoiser, batch=3) -> Layout:
    return Layout.dense(batch, (2,), dtype=F if denoiser is REAL else torch.int64)


def begin(sampler, denoiser, seed, steps=6):
    layout = layout_of(denoiser)
    noise = NoiseSource(seed, range(3))
    x = denoiser.kernel.prior(layout).sample(noise)
    return sampler(Diffusion(denoiser, layout, noise), x, grids.uniform(denoiser.kernel, steps))


@pytest.mark.parametrize(("sampler", "denoiser"), CASES, ids=repr)
def test_interleaved_runs_equal_serial_ones(sampler, denoiser):
    serial = [[step.x for step in begin(sampler, denoiser, seed)] for seed in (0, 1)]
    runs = [begin(sampler, denoiser, seed) for seed in (0, 1)]
    mixed: list[list] = [[], []]
    for order in (0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1):
        mixed[order].append(next(runs[order]).x)
    for run in runs:
        with pytest.raises(StopIteration):
            next(run)
    for a, b in zip(serial, mixed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(serial[0][-1], serial[1][-1])


@pytest.mark.parametrize(("sampler", "denoiser"), CASES, ids=repr)
def test_steps_carry_their_times_and_predictions(sampler, denoiser):
    steps = list(begin(sampler, denoiser, 0))
    assert [step.t for step in steps] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])
    layout = layout_of(denoiser)
    for i, step in enumerate(steps):
        denoiser.kernel.space.validate(step.x, layout)
        if i:
            exact = denoiser(steps[i - 1].x, steps[i - 1].t, layout)
            torch.testing.assert_close(step.x0.mean, exact.mean)


@pytest.mark.parametrize(("sampler", "denoiser"), CASES, ids=repr)
def test_a_sent_state_replaces_the_yielded_one(sampler, denoiser):
    run = begin(sampler, denoiser, 0)
    first = next(run)
    other = 1 - first.x if denoiser is REAL else torch.zeros_like(first.x)
    second = run.send(other)
    exact = denoiser(other, first.t, layout_of(denoiser))
    torch.testing.assert_close(second.x0.mean, exact.mean)
    # and sending what was yielded changes nothing
    plain, echo = begin(sampler, denoiser, 0), begin(sampler, denoiser, 0)
    step = next(echo)
    for expected in plain:
        assert torch.equal(step.x, expected.x)
        if step.t > 0:
            step = echo.send(step.x)


def test_a_misfit_names_the_kernel_and_what_fits():
    product = ProductKernel({"x": REAL.kernel, "k": TOKENS.kernel})
    state = {"x": torch.zeros(2, dtype=F), "k": torch.zeros(2, dtype=torch.int64)}
    joint = FiniteOracle(product, [state])
    grid = torch.tensor([1.0, 0.0], dtype=F)
    layout, noise = Layout.dense(1, (2,)), NoiseSource(0, [0])
    for denoiser, kernel in ((TOKENS, "CategoricalKernel"), (joint, "ProductKernel")):
        for call in (
            lambda d=denoiser: Heun().check(d.kernel),
            lambda d=denoiser: next(Heun()(Diffusion(d, layout, noise), state, grid)),
            lambda d=denoiser: next(walk(Heun(), Diffusion(d, layout, noise), state, grid)),
        ):
            with pytest.raises(IncompatibleSampler) as caught:
                call()
            message = str(caught.value)
            assert "Heun needs a GaussianKernel" in message
            assert kernel in message
            assert "Ancestral" in caught.value.fix
            assert "Heun" not in caught.value.fix
    for sampler in (Ancestral(), Heun()):
        sampler.check(REAL.kernel)


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM()], ids=repr)
def test_samplers_are_frozen(sampler):
    assert isinstance(sampler, Sampler)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampler.eta = 1.0


def test_uniform_grids():
    assert grids.uniform(REAL.kernel, 4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert grids.uniform(REAL.kernel, 2, 0.5).tolist() == [0.5, 0.25, 0]
    table = GaussianKernel(Euclidean(), BetaTable.linear(10))
    assert grids.uniform(table, 10).tolist() == [i / 10 for i in range(10, -1, -1)]
    for n in range(
        1, 11
    ):  # any number of steps has n distinct ones, the first at T and the last to 0
        grid = grids.uniform(table, n)
        steps = (grid * 10).round()
        torch.testing.assert_close(steps / 10, grid, rtol=0, atol=0)
        assert len(set(steps.tolist())) == n + 1
        assert (steps[0], steps[-1]) == (10, 0)
    half = grids.uniform(table, 5, start=0.5)
    assert half.tolist() == [0.5, 0.4, 0.3, 0.2, 0.1, 0]
    assert list(intervals(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))) == [
        (1.0, 0.5),
        (0.5, 0.0),
    ]


@pytest.mark.parametrize(
    ("kernel", "steps", "start", "message"),
    [
        (REAL.kernel, 0, 1.0, "out of range"),
        (REAL.kernel, -3, 1.0, "out of range"),
        (REAL.kernel, 10**9, 1.0, "100000"),
        (REAL.kernel, 5, 0.0, "starts at"),
        (REAL.kernel, 5, 1.5, "starts at"),
        (REAL.kernel, 5, math.nan, "starts at"),
        (GaussianKernel(Euclidean(), BetaTable.linear(10)), 11, 1.0, "10 steps"),
        (GaussianKernel(Euclidean(), BetaTable.linear(10)), 6, 0.5, "5 steps"),
        (GaussianKernel(Euclidean(), BetaTable.linear(10)), 1, 0.55, "steps"),
    ],
)
def test_uniform_grid_errors(kernel, steps, start, message):
    with pytest.raises(InputError, match=message):
        grids.uniform(kernel, steps, start)


@pytest.mark.parametrize(
    "times",
    [[1.0], [], [0.5, 0.5], [0.1, 0.9], [1.5, 0.0], [1.0, -0.1], [1.0, math.nan, 0.0]],
)
def test_custom_grid_errors(times):
    with pytest.raises(InputError):
        grids.custom(times)


def test_custom_grid():
    grid = grids.custom([1.0, 0.3, 0.0])
    assert grid.dtype == F
    assert grid.tolist() == [1.0, 0.3, 0.0]
    assert grids.custom(torch.tensor([1.0, 0.5])).dtype == F


def test_a_start_inside_a_discrete_kernel_is_one_of_its_steps():
    kernel = CategoricalKernel(Tokens(3), Uniform(BetaTable.linear(10)))
    layout = Layout.dense(1, (2,), dtype=torch.int64)
    Start(torch.zeros(1, 2, dtype=torch.int64), 0.5).state(kernel, layout, NoiseSource(0, [0]))
