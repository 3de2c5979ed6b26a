"""The picture of coverage."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from unnoise.calibration import coverage, ranked
from unnoise.calibration.plot import svg


def test_a_panel_for_each_number_red_outside_its_band():
    generator = np.random.default_rng(0)
    found = ranked(
        {"good": generator.random(300), "distance <bad>": 0.5 * generator.random(300)},
        {"good": generator.random((300, 19)), "distance <bad>": generator.random((300, 19))},
    )
    covered = {name: coverage(found, name) for name in found.names}
    root = ElementTree.fromstring(svg(covered))
    lines = root.findall("{*}polyline")
    assert [line.get("stroke") for line in lines] == ["#2563eb", "#dc2626"]
    assert [len(line.get("points").split()) for line in lines] == [9, 19]
    assert any(text.text == "distance <bad>" for text in root.findall("{*}text"))
    x, y = map(float, lines[0].get("points").split()[0].split(","))
    one = covered["good"]
    assert abs(x - (36 + 220 * one.nominal[0])) < 0.1
    assert abs(y - (36 + 220 * (1 - one.found[0]))) < 0.1
