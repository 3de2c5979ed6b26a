"""Frames know what belongs to a sample."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "engine"))
from engine_models import POINTS, RAGGED, TOKENS

from unnoise.errors import (
    InputError,
)


def test_predictions_of_tokens_are_tokens():
    out = TOKENS.generate(num_samples=3, steps=4, return_trajectory=True)
    for frame in out.trajectory:
        assert frame.x.dtype == frame.x0.dtype == torch.int64
        assert frame.x0.shape == (3, 7)


def test_a_frame_knows_what_belongs_to_a_sample():
    out = RAGGED.generate(num_samples=7, batch_size=2, steps=4, return_trajectory=True)
    for k in range(7):
        alone = RAGGED.generate(num_samples=7, ids=[k], steps=4, return_trajectory=True)
        for frame, own in zip(out.trajectory, alone.trajectory, strict=True):
            assert frame.sample(k).shape == (2 + k % 3, 2)
            torch.testing.assert_close(frame.sample(k), own.sample(0))
            torch.testing.assert_close(frame.prediction(k), own.prediction(0))
            assert frame.told(k)["centre"].shape == (1,)
    dense = POINTS.generate(num_samples=3, batch_size=2, steps=2, return_trajectory=True)
    torch.testing.assert_close(dense.trajectory[-1].sample(2), dense.states[2])
    several = POINTS.generate(
        centre=[1.0, 2.0], num_samples=2, batch_size=3, steps=1, return_trajectory=True
    )
    told = [several.trajectory[0].told(k)["centre"].item() for k in range(4)]
    assert told == [1, 1, 2, 2]
    for wrong in (-1, 7):
        with pytest.raises(InputError, match=r"no such sample.*0 to 6"):
            out.trajectory[0].sample(wrong)
