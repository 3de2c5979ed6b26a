"""Known parts and half-way starts, with every kernel and sampler."""

from __future__ import annotations

import math

import pytest
import torch

from unnoise.denoise import Denoiser
from unnoise.distributions import Categorical
from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    Matrices,
    ProductKernel,
    RandomWalk,
    Uniform,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import (
    DDIM,
    Ancestral,
    Diffusion,
    Observation,
    RePaint,
    Replacement,
    Sampler,
    Start,
    grids,
    walk,
)
from unnoise.spaces import Euclidean, Layout, Tokens, ZeroCoM
from unnoise.testing import FiniteOracle, GaussianOracle, PmfOracle, PointEstimate

F = torch.float64


def run(sampler, denoiser, layout, seed=0, steps=10, observation=None, start=None):
    noise = NoiseSource(seed, range(layout.batch))
    kernel = denoiser.kernel
    if start is None:
        x, t = kernel.prior(layout).sample(noise), 1.0
    else:
        x, t = start.state(kernel, layout, noise), start.t
    grid = grids.uniform(kernel, steps, t)
    return list(walk(sampler, Diffusion(denoiser, layout, noise), x, grid, observation))


# ---- every kernel, every sampler


def problems() -> dict[str, tuple[Denoiser, Layout, object]]:
    """A denoiser, a layout of three samples and a clean state of each kind."""
    real = GaussianKernel(Euclidean(), VPLinear())
    points = GaussianKernel(ZeroCoM(), VE(0.01, 10))
    pmf = torch.tensor([[0.4, 0.1], [0.1, 0.4]], dtype=F)
    x = torch.tensor([[1.0, -0.5], [0.2, 0.3], [2.0, 1.0]], dtype=F)
    tokens = torch.tensor([[0, 1], [1, 1], [0, 0]])
    dense, ids = Layout.dense(3, (2,), dtype=F), Layout.dense(3, (2,), dtype=torch.int64)
    ragged = Layout.ragged([2, 1, 3], (2,), dtype=F)
    centred = torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 1], [2, 0], [-2, -1]], dtype=F)
    out: dict[str, tuple[Denoiser, Layout, object]] = {
        "gaussian": (GaussianOracle(real, 0.0, 1.0), dense, x),
        "table": (
            GaussianOracle(GaussianKernel(Euclidean(), BetaTable.linear(20)), 0.0, 1.0),
            dense,
            x,
        ),
        "zero_com": (GaussianOracle(points, 0.0, 1.0), ragged, centred),
    }
    for corruption in (
        Uniform(),
        Absorbing(2),
        RandomWalk.bands(3),
        Matrices.discretised_gaussian(3, (0.3,) * 20),
    ):
        kernel = CategoricalKernel(Tokens(3), corruption)
        out[type(corruption).__name__] = (PmfOracle(kernel, pmf), ids, tokens)
    product = ProductKernel({"x": real, "k": CategoricalKernel(Tokens(3), Absorbing(2))})
    states = [{"x": row, "k": token} for row, token in zip(x, tokens, strict=True)]
    layout = Layout.product({"x": dense, "k": ids})
    out["product"] = (FiniteOracle(product, states), layout, {"x": x, "k": tokens})
    return out


PROBLEMS = problems()
SAMPLERS: list[Sampler] = [Ancestral(), DDIM(), DDIM(0.7)]
CASES = [
    pytest.param(name, sampler, method, id=f"{name}-{sampler!r}-{method!r}")
    for name, (denoiser, _, _) in PROBLEMS.items()
    for sampler in SAMPLERS
    if isinstance(denoiser.kernel, sampler.requires)
    for method in (Replacement(), RePaint(2, 2))
]


def full(state, value):
    if isinstance(state, dict):
        return {name: full(part, value) for name, part in state.items()}
    return torch.full(state.shape, value)


def equal(a, b) -> bool:
    if isinstance(a, dict):
        return all(torch.equal(a[name], b[name]) for name in a)
    return torch.equal(a, b)


def same(name, a, b) -> bool:
    """Equal; of points without a place of their own, up to rounding."""
    return torch.allclose(a, b, rtol=0, atol=1e-12) if name == "zero_com" else equal(a, b)


@pytest.mark.parametrize(("name", "sampler", "method"), CASES)
def test_all_known_is_the_input(name, sampler, method):
    denoiser, layout, x0 = PROBLEMS[name]
    known = Observation(x0, full(x0, True), method)
    assert same(name, run(sampler, denoiser, layout, observation=known)[-1].x, x0)


@pytest.mark.parametrize(("name", "sampler", "method"), CASES)
def test_none_known_is_the_unconditional_run_bit_for_bit(name, sampler, method):
    denoiser, layout, x0 = PROBLEMS[name]
    unknown = Observation(x0, full(x0, False), method)
    free = run(sampler, denoiser, layout, seed=5)
    if isinstance(method, Replacement):
        steps = run(sampler, denoiser, layout, seed=5, observation=unknown)
        assert all(equal(a.x, b.x) for a, b in zip(steps, free, strict=True))
    else:  # jumps draw noise of their own; before the first one nothing differs
        steps = run(sampler, denoiser, layout, seed=5, observation=unknown)
        first = method.path(10).index(max(method.path(10)[:1])) + 1
        assert equal(steps[first].x, free[first].x)
        assert len(steps) > len(free)


@pytest.mark.parametrize(("name", "sampler", "method"), CASES)
def test_half_known_keeps_it_and_stays_in_the_space(name, sampler, method):
    denoiser, layout, x0 = PROBLEMS[name]

    def half(x):
        mask = torch.zeros(x.shape, dtype=torch.bool)
        mask[..., 0] = True
        return mask

    mask = {n: half(x) for n, x in x0.items()} if isinstance(x0, dict) else half(x0)
    steps = run(sampler, denoiser, layout, observation=Observation(x0, mask, method))
    space = denoiser.kernel.space
    for step in steps:
        space.validate(step.x, layout)
    x, m = (x0, mask) if isinstance(x0, dict) else ({"": x0}, {"": mask})
    last = steps[-1].x if isinstance(x0, dict) else {"": steps[-1].x}
    if name == "zero_com":  # one axis is known of all points, so its mean is
        torch.testing.assert_close(last[""][m[""]], x[""][m[""]], rtol=0, atol=1e-12)
    else:
        assert all(torch.equal(last[n][m[n]], x[n][m[n]]) for n in x)
    free = run(sampler, denoiser, layout, observation=Observation(x0, mask, method, paste=False))
    assert not equal(free[-1].x, steps[-1].x) or isinstance(denoiser, PmfOracle | FiniteOracle)


def test_the_known_part_steers_the_unknown():
    # two tokens that are always equal, the first one known; 40 steps of the absorbing kernel.
    # The unknown one is shown in step i of 40 with equal probability, and sees the known one, drawn
    # afresh at t = i / 40, with probability 1 - t; else it is wrong half the time:
    # P(wrong) = mean(t) / 2 = 41 / 160. 4,000 pairs, 5 standard errors: false alarm 6e-7.
    pmf = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=F)
    model = PmfOracle(CategoricalKernel(Tokens(3), Absorbing(2)), pmf)
    layout = Layout.dense(4, (1000, 2), dtype=torch.int64)
    tokens = torch.arange(4000).remainder(2).view(4, 1000, 1).repeat(1, 1, 2)
    tokens[..., 1] = -7  # not a token: never looked at
    wrong = {}
    for method in (Replacement(), RePaint(5, 3)):
        observation = Observation(tokens, torch.tensor([True, False]), method)
        x = run(Ancestral(), Pairs(model), layout, steps=40, observation=observation)[-1].x
        assert torch.equal(x[..., 0], tokens[..., 0])
        wrong[method] = (x[..., 1] != x[..., 0]).double().mean().item()
    p = 41 / 160
    assert abs(wrong[Replacement()] - p) < 5 * math.sqrt(p * (1 - p) / 4000)
    assert wrong[RePaint(5, 3)] < p - 0.05  # time to agree


class Pairs(Denoiser):
    """A denoiser of pairs on states (B, n, 2): many pairs that share one stream of noise."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.kernel = denoiser, denoiser.kernel

    def forward(self, x_t, t, layout, condition=None):
        x = x_t.flatten(0, 1)
        law = self.denoiser(x, t, Layout.dense(len(x), (2,), dtype=torch.int64))
        return Categorical(law.log_probs.view(*x_t.shape, -1), layout)


def test_known_points_decide_the_rest_of_a_point_set():
    # a sample is one of two triangles; two of its points are known
    kernel = GaussianKernel(ZeroCoM(), VPLinear())
    shapes = [
        torch.tensor([[2.0, 0], [-1, 1], [-1, -1]], dtype=F),
        torch.tensor([[-2.0, 0], [1, 1], [1, -1]], dtype=F),
    ]
    layout = Layout.ragged([3, 3], (2,), dtype=F)
    value = torch.cat(shapes)
    mask = torch.tensor([True, True, False] * 2)[:, None]
    hidden = torch.where(mask, value, math.nan)
    model = FiniteOracle(kernel, shapes)
    for away in (0.0, 5.0):  # they lie to each other as they do, wherever that is
        known = Observation(hidden + away, mask)
        x = run(Ancestral(), model, layout, steps=50, observation=known)[-1].x
        torch.testing.assert_close(x, value, rtol=0, atol=1e-6)


def test_known_points_leave_the_place_of_the_rest_to_the_law():
    # Three points of a Gaussian law on the space; how two of them lie to each other is known. Given
    # that, the third one's place x_3 = -(x_1 + x_2) has variance 2/3 v: it is independent.
    kernel, v, n = GaussianKernel(ZeroCoM(), VE(0.01, 20)), 1.7, 4000
    layout = Layout.ragged([3] * n, (1,), dtype=F)
    value = torch.tensor([[10.0], [10.6], [0.0]], dtype=F).repeat(n, 1)
    known = Observation(value, torch.tensor([[True], [True], [False]]).repeat(n, 1))
    x = run(Ancestral(), GaussianOracle(kernel, 0.0, v), layout, steps=100, observation=known)[-1].x
    one, two, three = x.view(n, 3).unbind(1)
    torch.testing.assert_close(two - one, torch.full_like(one, 0.6), rtol=0, atol=1e-10)
    assert three.var().item() == pytest.approx(2 / 3 * v, rel=0.15)  # 5 errors of 2.2 %, and steps
    assert abs(three.mean().item()) < 5 * math.sqrt(2 / 3 * v / n)


def test_a_part_left_out_is_unknown():
    denoiser, layout, x0 = PROBLEMS["product"]
    mask = {"k": torch.ones(3, 2, dtype=torch.bool)}
    for value in (x0, {"k": x0["k"]}):
        last = run(Ancestral(), denoiser, layout, observation=Observation(value, mask))[-1].x
        assert torch.equal(last["k"], x0["k"])
        torch.testing.assert_close(last["x"], x0["x"], atol=0.05, rtol=0)  # the tokens tell which


def test_an_observation_does_not_depend_on_the_batch():
    denoiser, layout, x0 = PROBLEMS["gaussian"]
    mask = torch.tensor([[True, False]] * 3)
    together = run(Ancestral(), denoiser, layout, observation=Observation(x0, mask))[-1].x
    for i in range(3):
        noise = NoiseSource(0, [i])
        one = Layout.dense(1, (2,), dtype=F)
        x = denoiser.kernel.prior(one).sample(noise)
        grid = grids.uniform(denoiser.kernel, 10)
        alone = Observation(x0[i : i + 1], mask[i : i + 1])
        *_, last = walk(Ancestral(), Diffusion(denoiser, one, noise), x, grid, alone)
        torch.testing.assert_close(last.x[0], together[i], rtol=1e-12, atol=1e-12)


def test_observation_errors():
    denoiser, layout, x0 = PROBLEMS["gaussian"]
    yes = torch.ones(3, 2, dtype=torch.bool)
    bad = [
        (Observation(x0[:2], yes[:2]), "another shape"),
        (Observation(x0, yes.double()), "boolean"),
        (Observation(x0, torch.ones(3, 3, dtype=torch.bool)), "broadcast"),
        (Observation(x0, torch.ones(1, 1, 3, 2, dtype=torch.bool)), "broadcast"),
        (Observation(x0 / 0, yes), "NaN"),
        (Observation(x0.float(), yes), "dtype"),
        (Observation({"x": x0}, {"x": yes}), "other parts"),
        (Observation(x0, {"x": yes}), "both"),
    ]
    for observation, message in bad:
        with pytest.raises(InputError, match=message):
            run(Ancestral(), denoiser, layout, observation=observation)
    tokens, ids, x = PROBLEMS["Uniform"]
    for value, message in ((x + 3, "out of range"), (x.double(), "int64")):
        with pytest.raises(InputError, match=message):
            run(Ancestral(), tokens, ids, observation=Observation(value, yes))
    both, product, states = PROBLEMS["product"]
    for value, mask in (
        (states, {"typo": yes}),
        ({"x": x0}, {"k": yes}),
        (x0, yes),
    ):
        with pytest.raises(InputError, match="part"):
            run(Ancestral(), both, product, observation=Observation(value, mask))


def test_repaint_settings():
    for jump, resample in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            RePaint(jump, resample)

    class Remembering(Sampler):
        requires = GaussianKernel
        one_step = False
        stochastic = False

        def __call__(self, run, x, grid):
            yield from DDIM()(run, x, grid)

    denoiser, layout, x0 = PROBLEMS["gaussian"]
    observation = Observation(x0, full(x0, True), RePaint(2, 2))
    with pytest.raises(IncompatibleSampler, match="jump"):
        run(Remembering(), denoiser, layout, observation=observation)


# ---- Start


@pytest.mark.parametrize("name", PROBLEMS)
def test_start_corrupts_to_its_time(name):
    denoiser, layout, x0 = PROBLEMS[name]
    kernel = denoiser.kernel
    found = Start(x0, t=0.5).state(kernel, layout, NoiseSource(3, range(3)))
    expected = kernel.marginal(x0, 0.5, layout).sample(NoiseSource(3, range(3)))
    assert equal(found, expected)
    assert equal(
        Start(x0, t=0.5, corrupt=False).state(kernel, layout, NoiseSource(3, range(3))), x0
    )
    steps = run(Ancestral(), denoiser, layout, steps=5, start=Start(x0, t=0.5))
    assert [step.t for step in steps] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])


def test_a_start_near_zero_gives_the_input_back():
    # tokens: nothing has moved yet; points: sigma(t) apart
    denoiser, layout, x0 = PROBLEMS["Uniform"]
    assert torch.equal(run(Ancestral(), denoiser, layout, steps=1, start=Start(x0, 1e-9))[-1].x, x0)
    denoiser, layout, x0 = PROBLEMS["gaussian"]
    last = run(DDIM(), PointEstimate(denoiser), layout, steps=1, start=Start(x0, 1e-9))[-1].x
    torch.testing.assert_close(last, x0, atol=1e-4, rtol=0)


def test_purification_of_a_gaussian_by_hand():
    # data N(0, v): diffuse x to t and come back exactly: G x_t + N(0, v (1 - G alpha))
    kernel, t, v = GaussianKernel(Euclidean(), Linear()), 0.5, 2.0
    oracle = GaussianOracle(kernel, 0.0, v)
    layout = Layout.dense(1, (40_000,), dtype=F)
    x0 = torch.full((1, 40_000), 3.0, dtype=F)
    x = run(Ancestral(), oracle, layout, steps=3, start=Start(x0, t))[-1].x
    g = 0.5 * v / (0.25 * v + 0.25)
    mean, variance = g * 0.5 * 3, g**2 * 0.25 + v * (1 - g * 0.5)
    assert abs(x.mean().item() - mean) < 5 * math.sqrt(variance / 40_000)  # false alarm 6e-7
    assert abs(x.var().item() / variance - 1) < 5 * math.sqrt(2 / 40_000)


def test_start_errors():
    denoiser, layout, x0 = PROBLEMS["gaussian"]
    noise = NoiseSource(0, range(3))
    bad = [
        (Start(x0[:2], 0.5), "shape"),
        (Start(x0.long(), 0.5), "floating"),
        (Start(x0 / 0, 0.5), "NaN|finite"),
        (Start(x0.float(), 0.5), "dtype"),
        (Start({"x": x0}, 0.5), "tensor"),
        (Start(x0, 0.0), r"\(0, 1\]"),
        (Start(x0, 1.5), r"\(0, 1\]"),
        (Start(x0, math.nan), r"\(0, 1\]"),
    ]
    for start, message in bad:
        with pytest.raises((InputError, Exception), match=message) as caught:
            start.state(denoiser.kernel, layout, noise)
        assert type(caught.value).__module__ == "unnoise.errors"
    tokens, ids, x = PROBLEMS["Uniform"]
    with pytest.raises(InputError, match="out of range"):
        Start(x + 3, 0.5).state(tokens.kernel, ids, noise)
