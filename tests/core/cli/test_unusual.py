"""`unnoise unusual`: things beside held-out data, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from circle import DOMAIN, PLUGIN, SHORT, TRAIN, failed

from unnoise.cli import main

LINE = """
def dataset(self, source, configuration, part):
    kind, count = Path(source).read_text().split()
    angles = torch.linspace(0, 6, int(count) + 1)[:-1]
    points = torch.stack([angles.cos(), angles.sin()], 1) * (1 if kind == "on" else 9)
    return points[:-40] if part == "train" else points[-40:]

Circle.dataset = dataset
"""
WORDS = ["--steps", "50", "--evaluations", "4"]


def test_things_beside_held_out_data(install, here, tmp_path, capsys):
    install("circle", PLUGIN, domain=DOMAIN + LINE)
    here.chdir(tmp_path)
    Path("data.txt").write_text("on 80")
    Path("far.txt").write_text("off 3")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    words = ["unusual", "circle", "--data", "data.txt", "--model", "run", *WORDS]
    assert main([*words, "--input", "far.txt", "--kept", "kept.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "3 of 3 are unusual at level 0.05" in shown
    assert "40 held-out items" in shown
    assert "validation 2" in shown
    rows = Path("kept.jsonl").read_bytes()
    assert rows.count(b"\n") == 41
    assert main([*words, "--input", "far.txt", "--kept", "kept.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path("kept.jsonl").read_bytes() == rows
    assert found["held_out"] == 40
    assert [thing["unusual"] for thing in found["things"]] == [True] * 3
    first = found["things"][0]
    total = sum(value for name, value in first["terms"].items() if name != "nats")
    assert abs(total - first["terms"]["nats"]) < 1e-6 * abs(total)
    assert set(first["p_by_term"]) == {*first["terms"]} - {"nats"}
    few = failed(capsys, *words, "--input", "far.txt", "--level", "0.001")
    assert "too few held-out items for this level" in few
    assert ">= 999 items" in few
    Path("none.txt").write_text("on 0")
    assert "no things" in failed(capsys, *words, "--input", "none.txt")
    assert "--input" in failed(capsys, *words)
    other = failed(capsys, *words, "--input", "far.txt", "--kept", "kept.jsonl", "--seed", "1")
    assert "seed was 0 and is 1" in other
