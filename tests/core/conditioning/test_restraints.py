"""Distances, ranges and torsions against quadrature and other software."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate

from unnoise.conditioning import Restraint, Torsion
from unnoise.distributions import Gaussian
from unnoise.errors import InputError
from unnoise.spaces import Euclidean, Layout, ZeroCoM

D = torch.float64


def by_quadrature(m: float, v: float, g) -> float:
    """E g(|r|), r ~ N((m, 0, 0), v I), by the density of the distance."""

    def density(rho: float) -> float:
        if m < 1e-6:
            return 4 * math.pi * rho**2 * math.exp(-(rho**2) / 2 / v) / (2 * math.pi * v) ** 1.5
        near, far = (math.exp(-((rho - s * m) ** 2) / 2 / v) for s in (1, -1))
        return rho / m * (near - far) / math.sqrt(2 * math.pi * v)

    end = m + 12 * math.sqrt(v) + 4
    pieces = [k * end / 40 for k in range(41)]
    return sum(
        integrate.quad(lambda r: density(r) * g(r), a, b, epsabs=1e-13)[0]
        for a, b in itertools.pairwise(pieces)
    )


@pytest.mark.parametrize("m", [0.0, 0.3, 2.0, 5.0])
@pytest.mark.parametrize("std", [0.05, 0.4, 1.5])
def test_what_a_distance_is_expected_to_be(m, std):
    x = torch.tensor([[[m, 0.0, 0.0], [0.0, 0.0, 0.0]]], dtype=D)
    layout = Layout.dense(1, (2, 3), dtype=D)
    law = Gaussian(x, std, Euclidean(), layout)
    one, noe = Restraint((0, 1), 2.0, 0.3), Restraint((1, 0), (1.5, 2.5), 0.3)
    excess = lambda r: max(1.5 - r, 0.0, r - 2.5) / 0.3  # noqa: E731
    for restraint, g in (
        (one, lambda r: math.exp(-(((r - 2.0) / 0.3) ** 2) / 2) / (0.3 * math.sqrt(2 * math.pi))),
        (noe, lambda r: math.exp(-(excess(r) ** 2) / 2)),
    ):
        expected = by_quadrature(m, 2 * std**2, g)
        found = float(restraint.expected(law, layout).exp())
        assert found == pytest.approx(expected, rel=2e-3, abs=1e-9)


def test_ragged_positions_without_a_centre_agree():
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    layout = Layout.ragged([2, 3], (3,), dtype=D)
    law = Gaussian(rows, torch.tensor([0.3, 0.5], dtype=D), ZeroCoM(), layout)
    restraint = Restraint((0, 1), 1.0, 0.2)
    found = restraint.expected(law, layout)
    for k, at in enumerate((slice(0, 2), slice(2, 5))):
        alone = Layout.dense(1, (len(rows[at]), 3), dtype=D)
        own = Gaussian(rows[at][None], (0.3, 0.5)[k], Euclidean(), alone)
        torch.testing.assert_close(found[k : k + 1], restraint.expected(own, alone))
    assert restraint.expected(Gaussian(rows[:, :2], 0.3), Layout.dense(5, (2,), dtype=D)) is None


def test_a_torsion_is_that_of_rdkit():
    Chem = pytest.importorskip("rdkit.Chem")
    from rdkit.Chem import rdMolTransforms
    from rdkit.Geometry import Point3D

    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        x = torch.randn(1, 4, 3, generator=generator, dtype=D)
        mol = Chem.MolFromSmiles("CCCC")
        conformer = Chem.Conformer(4)
        for k, row in enumerate(x[0].tolist()):
            conformer.SetAtomPosition(k, Point3D(*row))
        mol.AddConformer(conformer)
        angle = rdMolTransforms.GetDihedralRad(mol.GetConformer(), 0, 1, 2, 3)
        layout = Layout.dense(1, (4, 3), dtype=D)
        assert float(Torsion((0, 1, 2, 3), angle, 0.2).log(x, layout)) == pytest.approx(0, abs=1e-9)
        off = Torsion((0, 1, 2, 3), angle + 0.1, 0.2).log(x, layout)
        assert float(off) == pytest.approx((math.cos(0.1) - 1) / 0.04)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Restraint((0, 1), 1.0, 0.0), "positive"),
        (lambda: Restraint((0, 1), -1.0, 1.0), "one distance, or a range"),
        (lambda: Restraint((0, 1), (2.0, 1.0), 1.0), "one distance, or a range"),
        (lambda: Restraint((0, 1), (1.0, 1.0), 1.0), "one distance, or a range"),
        (lambda: Restraint((0, 1), math.inf, 1.0), "one distance, or a range"),
        (lambda: Restraint((1, 1), 1.0, 1.0), "two points"),
        (lambda: Torsion((0, 1, 2, 2), 1.0, 1.0), "four points"),
        (lambda: Torsion((0, 1, 2, 3), math.nan, 1.0), "four points"),
        (lambda: Torsion((0, 1, 2, 3), 1.0, -1.0), "positive"),
    ],
)
def test_restraints_that_are_none(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_points_that_are_not_there():
    layout = Layout.dense(1, (3, 3), dtype=D)
    for points in ((0, 3), (0, -1)):
        with pytest.raises(InputError, match="no such point"):
            Restraint(points, 1.0, 1.0).log(torch.zeros(1, 3, 3, dtype=D), layout)
