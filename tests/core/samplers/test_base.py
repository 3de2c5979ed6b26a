"""What every sampler of Gaussian kernels promises beside its order."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    Corruption,
    GaussianKernel,
    Geometric,
    LearnedSchedule,
    Linear,
    MonotoneInterior,
    SubVP,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DEIS,
    EDM,
    PNDM,
    AdaptiveODE,
    Diffusion,
    DPMSolverPP,
    Euler,
    Heun,
    Observation,
    PredictorCorrector,
    Pseudo,
    Restart,
    ReverseDiffusion,
    Sampler,
    SASolver,
    Solver,
    UniPC,
    Warmup,
    grids,
    walk,
)
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import GaussianOracle, MixtureOracle, PmfOracle, PointEstimate

F = torch.float64
ODE = [
    Euler(),
    Heun(),
    EDM(),
    DPMSolverPP(Solver.M2),
    DPMSolverPP(Solver.S2),
    DPMSolverPP(Solver.M3),
    DPMSolverPP(Solver.M3, Warmup.FULL),
    UniPC(2),
    UniPC(3, "bh1"),
    UniPC(3, warmup=Warmup.FULL),
    DEIS(3),
    DEIS(4, "rho", Warmup.FULL),
    PNDM(Pseudo.F),
    PNDM(Pseudo.S),
    SASolver(tau=0.0),
    AdaptiveODE(1e-3, 1e-3),
]
SDE = [EDM(churn=5.0), ReverseDiffusion(), PredictorCorrector(), SASolver(), SASolver(0.5, 2, 1)]
SCHEDULES = [
    VPLinear(),
    SubVP(),
    VPCosine(),
    VE(),
    Linear(),
    Geometric(),
    BetaTable.linear(1000),
]


class Counted(Denoiser):
    """A denoiser that notes the times at which it is called."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.kernel, self.times = inner, inner.kernel, []

    def forward(self, x_t, t, layout, condition=None):
        self.times.append(t)
        return self.inner(x_t, t, layout, condition)


def gaussian(schedule, variance=0.25, mean=0.3):
    kernel = GaussianKernel(Euclidean(), schedule)
    return PointEstimate(GaussianOracle(kernel, mean, variance))


def mixture(schedule=None):
    kernel = GaussianKernel(Euclidean(), schedule or VPLinear())
    parts = ([0.4, 0.6], [-1.0, 1.0], [0.3, 0.3])
    return PointEstimate(MixtureOracle(kernel, *(torch.tensor(v, dtype=F) for v in parts)))


def run(sampler, model, grid, ids=range(4), shape=(2,)):
    layout, noise = Layout.dense(len(ids), shape, dtype=F), NoiseSource(3, ids)
    x = model.kernel.prior(layout).sample(noise)
    return list(sampler(Diffusion(model, layout, noise), x, grid))


# Methods with fixed coefficients in t need schedules that are smooth in t, at 60 steps.
STEEP = {Euler: (VE, Geometric), Heun: (Geometric,), PNDM: (VE, Geometric, VPCosine)}


@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [(m, s) for m in ODE for s in SCHEDULES if not isinstance(s, STEEP.get(type(m), ()))],
    ids=repr,
)
def test_a_gaussian_keeps_its_place_in_the_distribution(sampler, schedule):
    # exact: x_0 = mean + std (x_1 - alpha_1 mean) / sqrt(alpha_1^2 std^2 + sigma_1^2)
    model = gaussian(schedule)
    layout, noise = Layout.dense(5, (), dtype=F), NoiseSource(0, range(5))
    a, s = schedule.alpha(1.0), schedule.sigma(1.0)
    z = torch.linspace(-2, 2, 5, dtype=F)
    x = a * 0.3 + z * math.sqrt(0.25 * a**2 + s**2)
    plain = isinstance(sampler, Euler | Heun | PNDM)
    steps = 4 if isinstance(sampler, AdaptiveODE) else 60
    grid = (grids.uniform if plain else grids.karras)(model.kernel, steps)
    *_, last = sampler(Diffusion(model, layout, noise), x, grid)
    assert last.t == 0
    torch.testing.assert_close(last.x, 0.3 + 0.5 * z, rtol=0, atol=0.15 if plain else 0.03)


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_every_number_of_steps_works(sampler):
    for schedule in (VPLinear(), Linear()):
        model = mixture(schedule)
        steps = range(1, 31) if isinstance(sampler, PNDM) else (1, 2, 3, 5)
        for n in steps:
            path = run(sampler, model, grids.uniform(model.kernel, n))
            assert len(path) == n
            assert path[-1].t == 0
            assert torch.isfinite(path[-1].x).all()
            assert path[-1].x.abs().max() < 20


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_one_step_from_pure_noise_is_the_prediction(sampler):
    if isinstance(sampler, ReverseDiffusion | PredictorCorrector | AdaptiveODE):
        pytest.skip("not a step along a prediction")
    model = mixture(Linear())
    path = run(sampler, model, grids.custom([1.0, 0.0]))
    torch.testing.assert_close(path[0].x, torch.full((4, 2), 0.2, dtype=F))


@pytest.mark.parametrize("sampler", ODE, ids=repr)
def test_a_schedule_that_was_trained_since_is_not_remembered(sampler):
    torch.manual_seed(0)
    schedule = LearnedSchedule(MonotoneInterior(8), ends="fixed").requires_grad_(False)
    model = mixture(schedule)
    grid = grids.uniform(model.kernel, 6)

    def end():
        return run(sampler, model, grid)[-1].x

    before = end()
    for parameter in schedule.parameters():
        parameter.mul_(1.5)
    after = end()
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(run(sampler, model, grid.clone())[-1].x, after)


@pytest.mark.parametrize(
    ("sampler", "count"),
    [
        (Euler(), lambda n: n),
        (Heun(), lambda n: 2 * n),
        (EDM(), lambda n: 2 * n),
        (DPMSolverPP(), lambda n: n),
        (DPMSolverPP(Solver.S2), lambda n: 2 * n),
        (DPMSolverPP(Solver.M3), lambda n: n),
        (DPMSolverPP(Solver.M3, Warmup.FULL), lambda n: n + 2 * min(n, 2)),
        (UniPC(), lambda n: n),
        (UniPC(3, warmup=Warmup.FULL), lambda n: n + 2 * min(n, 2)),
        (DEIS(), lambda n: n),
        (DEIS(4, warmup=Warmup.FULL), lambda n: n + 2 * min(n, 3)),
        (PNDM(Pseudo.F), lambda n: n + 3 * min(n, 3)),
        (PNDM(Pseudo.S), lambda n: n + 1),
        (ReverseDiffusion(), lambda n: n),
        (PredictorCorrector(), lambda n: 2 * n),
        (PredictorCorrector(corrections=3), lambda n: 4 * n),
        (SASolver(), lambda n: n),
    ],
    ids=lambda value: repr(value) if isinstance(value, Sampler) else "",
)
def test_evaluations(sampler, count):
    for n in (1, 2, 3, 4, 12):
        model = Counted(mixture())
        run(sampler, model, torch.linspace(1, 0.1, n + 1, dtype=F))
        assert len(model.times) == count(n)
        assert all(0.1 <= t <= 1 for t in model.times)
        # to sigma = 0, where nothing can be predicted, no more than that
        model = Counted(mixture())
        run(sampler, model, grids.uniform(model.kernel, n))
        assert len(model.times) <= count(n)
        assert min(model.times) > 0
    assert sampler.evaluations == count(101) - count(100)


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_interleaved_runs_equal_serial_ones(sampler):
    model, layout = mixture(), Layout.dense(3, (2,), dtype=F)

    def begin(seed):
        noise = NoiseSource(seed, range(3))
        x = model.kernel.prior(layout).sample(noise)
        return sampler(Diffusion(model, layout, noise), x, grids.uniform(model.kernel, 6))

    serial = [[step.x for step in begin(seed)] for seed in (0, 1)]
    mixed = list(zip(begin(0), begin(1), strict=True))
    for k in (0, 1):
        assert all(torch.equal(a, pair[k].x) for a, pair in zip(serial[k], mixed, strict=True))


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_a_sample_does_not_depend_on_its_neighbours(sampler):
    model = mixture()
    grid = grids.uniform(model.kernel, 8)
    together = run(sampler, model, grid, ids=[0, 1, 2, 3, 4])[-1].x
    alone = torch.cat([run(sampler, model, grid, ids=[i])[-1].x for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_an_empty_observation_changes_nothing_and_a_full_one_everything(sampler):
    model, layout = mixture(), Layout.dense(3, (2,), dtype=F)
    grid, value = grids.uniform(model.kernel, 6), torch.full((3, 2), 0.5, dtype=F)

    def walked(known):
        noise = NoiseSource(0, range(3))
        x = model.kernel.prior(layout).sample(noise)
        mask = torch.full((3, 2), known)
        *_, last = walk(sampler, Diffusion(model, layout, noise), x, grid, Observation(value, mask))
        return last.x

    noise = NoiseSource(0, range(3))
    x = model.kernel.prior(layout).sample(noise)
    *_, last = sampler(Diffusion(model, layout, noise), x, grid)
    assert torch.equal(walked(False), last.x)
    assert torch.equal(walked(True), value)


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_points_stay_centred_in_ragged_batches(sampler):
    space = ZeroCoM()
    model = PointEstimate(GaussianOracle(GaussianKernel(space, VPLinear()), 0.0, 0.5))
    layout, noise = Layout.ragged([2, 5, 3], (3,), dtype=F), NoiseSource(0, range(3))
    x = model.kernel.prior(layout).sample(noise)
    *_, last = sampler(Diffusion(model, layout, noise), x, grids.uniform(model.kernel, 5))
    space.validate(last.x, layout)


@pytest.mark.parametrize("sampler", ODE, ids=repr)
def test_runs_are_differentiable(sampler):
    model, layout = mixture(), Layout.dense(2, (1,), dtype=F)
    x = torch.tensor([[0.3], [-1.2]], dtype=F, requires_grad=True)
    grid = grids.uniform(model.kernel, 5)

    def end(x):
        *_, last = sampler(Diffusion(model, layout, NoiseSource(0, range(2))), x, grid)
        return last.x

    (gradient,) = torch.autograd.grad(end(x).sum(), x)
    with torch.no_grad():
        finite = (end(x + 1e-5) - end(x - 1e-5)) / 2e-5
    rough = 0.05 if isinstance(sampler, AdaptiveODE) else 1e-5  # its steps depend on the state
    torch.testing.assert_close(gradient, finite, rtol=rough, atol=rough)


@pytest.mark.parametrize("sampler", ODE + SDE, ids=repr)
def test_misfits_and_bad_grids(sampler):
    kernel = CategoricalKernel(Tokens(3), Absorbing(2))
    tokens = PmfOracle(kernel, torch.tensor([0.4, 0.6], dtype=F))
    with pytest.raises(IncompatibleSampler, match="GaussianKernel"):
        sampler.check(kernel)
    with pytest.raises(IncompatibleSampler, match="CategoricalKernel"):
        run(sampler, tokens, torch.tensor([1.0, 0.0], dtype=F))
    for times in ([1.0], [0.0, 1.0], [1.0, 0.5, 0.5, 0.0]):
        with pytest.raises(InputError, match="decreasing"):
            run(sampler, mixture(), torch.tensor(times, dtype=F))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EDM(churn=-1.0),
        lambda: EDM(churn_min=2.0, churn_max=1.0),
        lambda: UniPC(4),
        lambda: UniPC(2, "bh3"),
        lambda: DEIS(1),
        lambda: DEIS(3, "lambda"),
        lambda: PredictorCorrector(snr=0.0),
        lambda: PredictorCorrector(corrections=-1),
        lambda: SASolver(tau=-1.0),
        lambda: SASolver(1.0, 4, 3),
        lambda: AdaptiveODE(atol=0.0),
        lambda: AdaptiveODE(end=0.0),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_out_of_range(make):
    with pytest.raises(ConfigError):
        make()


def test_the_listing_tells_the_truth():
    from unnoise.discovery.builtin import unnoise_samplers
    from unnoise.discovery.registry import resolve
    from unnoise.testing.core_examples import restart

    for spec in unnoise_samplers():
        kind = resolve(spec)
        sampler = restart()[0] if kind is Restart else kind()
        needs = [kind.requires] + [kind.corruption] * (kind.corruption is not Corruption)
        needs += [kind.denoiser] * (kind.denoiser is not Denoiser)
        told = [need.__name__ for need in needs] + ["products"] * kind.products
        assert spec.requires == ", ".join(told)
        found = (sampler.evaluations, sampler.order, sampler.stochastic)
        assert (spec.evaluations, spec.order, spec.stochastic) == found, spec.name
