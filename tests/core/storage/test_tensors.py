"""Tensors in files, and what tells data apart."""

from __future__ import annotations

import numpy as np
import torch

from unnoise.storage.tensors import digest

ONE = torch.arange(6.0)


def test_equal_data_have_equal_digests() -> None:
    assert digest(ONE, "a", {"x": ONE, "y": None}) == digest(
        ONE.clone(), "a", {"y": None, "x": ONE}
    )
    assert digest(ONE.numpy()) == digest(np.arange(6, dtype=np.float32))
    assert digest(ONE.view(2, 3).T) == digest(ONE.view(2, 3).T.contiguous())


def test_other_data_have_other_digests() -> None:
    values = [
        (ONE,),
        (ONE.double(),),
        (ONE.view(2, 3),),
        (ONE.view(3, 2),),
        (ONE, ONE),
        ([ONE, ONE],),
        (ONE.flip(0),),
        ({"x": ONE},),
        ({"y": ONE},),
        ("a", "b"),
        ("ab",),
        (1,),
        (1.0,),
        (None,),
        ([],),
        ([[], []],),
        (ONE.numpy(),),
        (torch.empty(0, 2),),
        (torch.empty(2, 0),),
    ]
    assert len({digest(*one) for one in values}) == len(values)
