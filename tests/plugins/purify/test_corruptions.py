"""Ordinary damage: its size is that of the table."""

from __future__ import annotations

import pytest
import torch

from unnoise.errors import InputError
from unnoise_purify.corruptions import SEVERITIES, corrupted

GREY = torch.full((4, 1, 64, 64), 0.5)


def damaged(kind, severity, x=GREY, **told):
    return corrupted(x, kind, severity, numbers=range(len(x)), **told)


@pytest.mark.parametrize("severity", [1, 2])
def test_noise_has_its_standard_deviation(severity):
    """16,384 entries: the share within five standard errors; few enough are cut off at 0 and 1."""
    found = damaged("gaussian", severity) - 0.5
    level = SEVERITIES["gaussian"][severity - 1]
    assert float(found.std()) == pytest.approx(level, rel=5 / 16384**0.5 + 0.02)


def test_shot_noise_is_poisson():
    photons = SEVERITIES["shot"][1]
    counts = damaged("shot", 2) * photons
    assert torch.allclose(counts, counts.round(), atol=1e-3)
    assert float(counts.mean()) == pytest.approx(0.5 * photons, rel=0.03)
    assert float(counts.var()) == pytest.approx(0.5 * photons, rel=0.06)
    assert float(damaged("shot", 5, torch.zeros_like(GREY)).abs().max()) == 0


def test_impulses_are_black_and_white():
    found = damaged("impulse", 4)
    share = SEVERITIES["impulse"][3]
    for value in (0.0, 1.0):
        assert float((found == value).float().mean()) == pytest.approx(share / 2, abs=0.012)
    assert float((found == 0.5).float().mean()) == pytest.approx(1 - share, abs=0.016)


def test_blur_keeps_the_mean_and_has_its_width():
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1
    found = damaged("blur", 4, x)[0, 0].double()
    at = torch.arange(41, dtype=torch.float64) - 20
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    width = float((found.sum(0) * at**2).sum()) ** 0.5
    assert width == pytest.approx(SEVERITIES["blur"][3], rel=0.03)
    assert torch.allclose(damaged("blur", 5), GREY, atol=1e-5)


def test_a_square_is_hidden():
    found = damaged("occlusion", 3)
    side = round(SEVERITIES["occlusion"][2] * 64)
    assert (found == 0).flatten(1).sum(1).tolist() == [side**2] * 4
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("kind", SEVERITIES)
def test_damage_belongs_to_a_picture_and_grows(kind):
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = corrupted(x, kind, 3, numbers=[5, 6, 7], seed=1)
    alone = corrupted(x[1:2], kind, 3, numbers=[6], seed=1)
    torch.testing.assert_close(alone, whole[1:2], atol=1e-6, rtol=0)  # a convolution rounds
    sizes = [float((damaged(kind, k, x) - x).norm()) for k in (1, 3, 5)]
    assert sizes == sorted(sizes)
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="gaussian"):
        damaged("gausian", 1)
    with pytest.raises(InputError, match="severity"):
        damaged("blur", 6)
