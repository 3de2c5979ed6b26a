"""Molecules of many kinds come out right, or are refused for a true reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from panel import judged, justified, nci, panel

import unnoise
from unnoise.model import Model


def test_a_part_of_the_panel_is_right(model: Model):
    """Of a model that returns embeddings: stereochemistry and refusals are not the network's."""
    smiles = [s for s in panel() if len(s) < 36][::3]
    found = judged(model, smiles, begin_level=0.021, rounds=1)
    assert sum(map(len, found.values())) == len(smiles) > 15
    assert not found["refused wrongly"]
    assert not found["wrong stereo"]
    assert found["refused"]  # elements that nothing was trained on


def test_a_reason_is_true_or_not():
    assert justified("C[Si](C)(C)C", "elements that the model was not trained on")
    assert not justified("CCO", "elements that the model was not trained on")
    assert justified("C.C", "the SMILES has several fragments")
    assert not justified("CCO", "no conformer of this molecule is possible")
    assert not justified("CCO", "something else")


@pytest.mark.slow
@pytest.mark.parametrize("which", [panel, nci])
def test_all_are_right_or_refused_for_a_true_reason(which):
    smiles = which() or pytest.skip("this RDKit carries no NCI molecules")
    found = judged(unnoise.load("molecules"), smiles, rounds=1)
    assert not found["refused wrongly"]
    assert not found["wrong stereo"]
    assert len(found["right"]) > 0.75 * len(smiles)
