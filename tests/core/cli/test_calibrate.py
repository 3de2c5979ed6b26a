"""`unnoise calibrate`: held-out items among a model's own draws of them."""

from __future__ import annotations

import json
from pathlib import Path

from circle import DOMAIN, PLUGIN, SHORT, TRAIN, failed

from unnoise.cli import main

TOLD = """
def collate(self, items):
    x0 = torch.stack(list(items))
    return Batch(x0, Layout.dense(len(items), (2,)), {"side": x0[:, 0].sign()})

Circle.collate = collate
"""
WORDS = ["--draws", "10", "--steps", "2", "--trials", "4"]


def test_a_model_that_was_hardly_trained(install, here, tmp_path, capsys):
    install("circle", PLUGIN, domain=DOMAIN + TOLD)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    words = ["calibrate", "circle", "--data", "data.txt", "--model", "run", *WORDS]
    assert main([*words, "--plot", "plot.svg"]) == 0
    shown = capsys.readouterr().out
    assert "distance from the mean" in shown
    assert "8 items, 8 ranked draws each" in shown
    assert "power of this test, by planted error: variance x 0.8 0." in shown
    assert Path("plot.svg").read_text().count("<polyline") == 4
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] == (found["p_value"] > 0.05)
    assert set(found["by_name"]) == set(found["coverage"])
    assert set(found["power"]) == {"variance x 0.8", "shift of 0.3", "a lost mode"}
    for wrong in (["--draws", "3"], ["--level", "0"], ["--num-samples", "1"]):
        assert wrong[0].strip("-") in failed(capsys, *words[:6], *wrong)


def test_a_model_that_is_told_nothing(circle, model, capsys):
    words = ["calibrate", "circle", "--data", "data.txt", "--model", str(model)]
    assert "given nothing of an item" in failed(capsys, *words)
