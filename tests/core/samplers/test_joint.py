"""Ragged zero-centred positions and types in one process, sampled back to a known joint law."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    ProductKernel,
    Uniform,
    VPCosine,
)
from unnoise.noise import NoiseSource
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Layout, Tokens, ZeroCoM
from unnoise.testing import FiniteOracle

F = torch.float64

# Shapes of two points (distance 1 or 2) and of three (a line, a triangle), each with all types.
SHAPES = {
    2: [torch.tensor([[0.5, 0], [-0.5, 0]]), torch.tensor([[1.0, 0], [-1.0, 0]])],
    3: [
        torch.tensor([[0.0, 1], [0, 0], [0, -1]]),
        torch.tensor([[1.0, 0], [-0.5, 0.9], [-0.5, -0.9]]),
    ],
}
TYPES = {n: list(itertools.product((0, 1), repeat=n)) for n in SHAPES}


def probability(n: int, shape: int, types: tuple[int, ...]) -> float:
    """The first shape likes type 0, the second type 1, and neighbours like to be equal."""
    agree = sum(a == b for a, b in itertools.pairwise(types))
    return 3.0**agree * 2.0 ** sum((1 if kind == shape else -1) for kind in types)


STATES, P, CELLS = [], [], []
for n, shapes in SHAPES.items():
    for cell in itertools.product(range(len(shapes)), TYPES[n]):
        STATES.append({"at": shapes[cell[0]].to(F), "type": torch.tensor(cell[1])})
        P.append(probability(n, *cell))
        CELLS.append((n, *cell))


def distances(x: torch.Tensor) -> torch.Tensor:
    """All distances between the points (..., n, 2), as a signature of the shape."""
    return (x[..., :, None, :] - x[..., None, :, :]).norm(dim=-1).flatten(-2)


def cells(x, n, rows_at, rows_type):
    """The cell of each sample with n points; -1 where its distances are no shape's."""
    at = distances(x["at"][rows_at].view(-1, n, 2))
    apart = torch.stack([(at - distances(s.to(F))).abs().amax(-1) for s in SHAPES[n]], -1)
    near, shape = apart.min(-1)
    code = (x["type"][rows_type].view(-1, n) * 2 ** torch.arange(n - 1, -1, -1)).sum(-1)
    return torch.where(near < 0.01, shape * 2**n + code, -1)


@pytest.mark.parametrize(
    "corruption", [Absorbing(2), Uniform(Linear(1e-3))], ids=["mask", "uniform"]
)
def test_ancestral_sampling_returns_the_joint_distribution(corruption):
    kernel = ProductKernel(
        {
            "at": GaussianKernel(ZeroCoM(), VPCosine(-8, 8)),
            "type": CategoricalKernel(Tokens(3), corruption),
        }
    )
    oracle = FiniteOracle(kernel, STATES, torch.tensor(P))
    counts = [2, 3] * 600
    layout = Layout.product(
        {
            "at": Layout.ragged(counts, (2,), dtype=F),
            "type": Layout.ragged(counts, dtype=torch.int64),
        }
    )
    noise = NoiseSource(0, range(len(counts)))
    x = kernel.prior(layout).sample(noise)
    for step in Ancestral()(Diffusion(oracle, layout, noise), x, grids.uniform(kernel, 120)):
        last = step.x
    kernel.space.validate(last, layout)
    rows = torch.tensor(counts)[layout["at"].index]
    for n in SHAPES:
        found = cells(last, n, rows == n, rows == n)
        assert (found >= 0).all()  # every sample ends on a shape
        p = torch.tensor([q for q, cell in zip(P, CELLS, strict=True) if cell[0] == n])
        p = p / p.sum()
        seen = torch.bincount(found, minlength=len(p)).double()
        # chi-square over shapes x types, 600 samples: false alarm 1e-7 for each of the four tests
        assert chi_square(seen, p) > 1e-7
        # the test can tell: shapes independent of types are refused
        table = p.view(2, -1)
        apart = torch.outer(table.sum(1), table.sum(0)).flatten()
        assert chi_square(seen, apart) < 1e-7


def chi_square(seen: torch.Tensor, p: torch.Tensor) -> float:
    expected = seen.sum() * p.double()
    return stats.chi2.sf(((seen - expected) ** 2 / expected).sum().item(), len(p) - 1)


def test_samples_do_not_see_each_other():
    # the sample with three points is the same alone, and beside one with two
    kernel = ProductKernel(
        {
            "at": GaussianKernel(ZeroCoM(), VPCosine(-8, 8)),
            "type": CategoricalKernel(Tokens(3), Absorbing(2)),
        }
    )
    oracle = FiniteOracle(kernel, STATES, torch.tensor(P))

    def sample(ids, counts):
        layout = Layout.product(
            {
                "at": Layout.ragged(counts, (2,), dtype=F),
                "type": Layout.ragged(counts, dtype=torch.int64),
            }
        )
        noise = NoiseSource(7, ids)
        x = kernel.prior(layout).sample(noise)
        *_, last = Ancestral()(Diffusion(oracle, layout, noise), x, grids.uniform(kernel, 20))
        return last.x

    both, alone = sample([4, 9], [2, 3]), sample([9], [3])
    torch.testing.assert_close(both["at"][2:], alone["at"], rtol=1e-12, atol=1e-12)
    assert torch.equal(both["type"][2:], alone["type"])
