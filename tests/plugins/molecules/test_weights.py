"""Boltzmann weights against integrals, in closed form or by quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ive
from scipy.stats import norm, vonmises

from unnoise.errors import InputError, NonFiniteError
from unnoise_molecules.weights import GAS, boltzmann, effective, free_energy, reweighted

DRAWS = 200_000
LIMIT = 5.0
"""Standard errors: false alarms of 6e-7 for each number."""


def agrees(weights: np.ndarray, values: np.ndarray, exact: float) -> bool:
    """Whether a weighted mean is `exact` within LIMIT standard errors (delta method)."""
    mean = float(weights @ values)
    error = float(np.sqrt(weights**2 @ (values - mean) ** 2))
    return abs(mean - exact) < LIMIT * error < 0.05 * max(1.0, abs(exact))


def test_two_minima_have_the_weights_of_their_difference():
    for temperature in (200.0, 298.15, 500.0):
        low, high = boltzmann([-100.0, -99.2], temperature)
        assert low / high == pytest.approx(np.exp(0.8 / (GAS * temperature)))
        assert low + high == pytest.approx(1)
    assert boltzmann([0.0, 1.0], 298.15)[0] == pytest.approx(0.8439, abs=2e-4)  # RT = .5925
    assert boltzmann([-1e6, -1e6 + 3e5]).tolist() == [1.0, 0.0]  # no overflow


@pytest.mark.parametrize(("barrier", "tilt", "temperature"), [(2.0, 0.5, 298.15), (4.0, -1.0, 400)])
def test_a_double_well_is_reweighted_exactly(barrier: float, tilt: float, temperature: float):
    """E(x) = b (x^2 - 1)^2 + c x, from draws of another law: one broad Gaussian."""

    def energy(x):
        return barrier * (x**2 - 1) ** 2 + tilt * x

    def integral(of) -> float:
        inner = lambda x: of(x) * np.exp(-energy(x) / (GAS * temperature))  # noqa: E731
        return quad(inner, -4, 0)[0] + quad(inner, 0, 4)[0]

    x = np.random.default_rng(1).normal(0.3, 1.2, DRAWS)
    weights = reweighted(energy(x), norm.logpdf(x, 0.3, 1.2), temperature)
    z = integral(lambda x: 1.0)
    assert agrees(weights, x, integral(lambda x: x) / z)
    assert agrees(weights, x**2, integral(lambda x: x * x) / z)
    left = integral(lambda x: float(x < 0)) / z
    assert agrees(weights, (x < 0).astype(float), left)
    exact = -GAS * temperature * np.log(left / (1 - left))
    assert free_energy(weights, x < 0, temperature) == pytest.approx(exact, abs=0.03)
    plain = np.full(DRAWS, 1 / DRAWS)  # the test is able to fail
    assert not agrees(plain, x**2, integral(lambda x: x * x) / z)


@pytest.mark.parametrize("temperature", [250.0, 298.15, 600.0])
def test_a_torsion_is_reweighted_exactly(temperature: float):
    """V = -A cos phi: <cos phi> = I_1(A/kT) / I_0(A/kT), from draws of von Mises laws."""
    height, seed = 1.7, np.random.default_rng(2)
    kappa = height / (GAS * temperature)
    for narrow in (0.0001, 1.0):
        phi = vonmises.rvs(narrow, size=DRAWS, random_state=seed)
        weights = reweighted(-height * np.cos(phi), vonmises.logpdf(phi, narrow), temperature)
        assert agrees(weights, np.cos(phi), ive(1, kappa) / ive(0, kappa))
        share = DRAWS * float(ive(0, kappa) ** 2 / ive(0, 2 * kappa))
        if narrow < 0.01:  # n_eff / n is (E w)^2 / E w^2 = I_0(k)^2 / I_0(2 k)
            assert effective(weights) == pytest.approx(share, rel=0.02)


def test_trans_and_gauche_of_a_torsion_potential():
    """Three cosines, as of butane in OPLS, kcal/mol: populations by quadrature."""

    def energy(phi):
        one, two, three = np.cos(phi), np.cos(2 * phi), np.cos(3 * phi)
        return (1.3 * (1 + one) - 0.05 * (1 - two) + 0.2 * (1 + three)) / 2

    phi = np.random.default_rng(3).uniform(0, 2 * np.pi, DRAWS)
    weights = reweighted(energy(phi), np.zeros(DRAWS))
    boundary = 2 * np.pi / 3
    trans = (phi > boundary) & (phi < 2 * boundary)
    density = lambda p: np.exp(-energy(p) / (GAS * 298.15))  # noqa: E731
    exact = quad(density, boundary, 2 * boundary)[0] / quad(density, 0, 2 * np.pi)[0]
    assert 0.3 < exact < 0.9
    assert agrees(weights, trans.astype(float), exact)


def test_the_effective_size_is_between_one_and_all():
    assert effective(np.full(7, 1 / 7)) == pytest.approx(7)
    assert effective([0, 0, 3.0]) == 1
    assert effective([1, 1, 0, 0]) == pytest.approx(2)


def test_what_has_no_weights():
    with pytest.raises(InputError, match="kelvin"):
        boltzmann([0.0], 0.0)
    with pytest.raises(InputError, match="one energy or more"):
        boltzmann([])
    with pytest.raises(InputError, match="one energy or more"):
        reweighted([0.0, 1.0], [0.0])
    with pytest.raises(NonFiniteError):
        boltzmann([0.0, np.nan])
    with pytest.raises(InputError, match="not negative"):
        effective([0.0, 0.0])
    with pytest.raises(InputError, match="one side"):
        free_energy([0.5, 0.5], [True, True])
