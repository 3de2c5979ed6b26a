"""Nothing of an attack stays behind on the processor, and the numbers are the same."""

from __future__ import annotations

import pytest
import torch
from other_device import DEVICE, OtherDevice, There, moved

from unnoise_purify.attacks import PGD, Adaptive, Linf, Square
from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.digits import digits
from unnoise_purify.gradients import Adjoint, Full, Identity, Surrogate, Unclamped
from unnoise_purify.purifier import Purifier

GRADIENTS = [Full(), Unclamped(), Surrogate(1), Identity(), Adjoint()]
ATTACKS = [
    *(PGD(Linf(), 0.2, gradient, 1, 2, at_once=2) for gradient in GRADIENTS),
    Adaptive(Linf(), 0.2, Full(), 1, 1, targets=1, judges=2, at_once=2),
    Square(0.2, 2),
]


def defence(model):
    return PurifiedClassifier(Purifier(model, 0.4, steps=2), digits())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attacks_run_where_the_pictures_are(digits_model, pictures, attack):
    x, y = pictures[0][:2], pictures[1][:2]
    here = attack.run(defence(digits_model), x, y, range(2), 0).pictures
    there = moved(defence(digits_model))
    with OtherDevice():
        found = attack.run(there, x.to(DEVICE), y.to(DEVICE), range(2), 0).pictures
        assert found.device == DEVICE
        assert isinstance(found, There)
    assert torch.equal(found.value, here)


def test_a_mixture_of_devices_is_found(digits_model, pictures):
    there = moved(defence(digits_model))
    with OtherDevice() as device, pytest.raises(RuntimeError, match="another device"):
        there(pictures[0])
    assert device.waits > 0
