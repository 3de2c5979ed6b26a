"""`unnoise evaluate`: likelihoods, and a domain's own metrics."""

from __future__ import annotations

import json
from pathlib import Path

from circle import DOMAIN, METRICS, PLUGIN, SHORT, TRAIN, failed

from unnoise.cli import main


def test_a_domain_measures_what_it_wants(install, here, tmp_path, capsys):
    install("circle", PLUGIN, domain=DOMAIN + METRICS)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    words = ["evaluate", "circle", "--data", "data.txt", "--model", "run"]
    assert main([*words, "--metric", "roundness"]) == 0
    assert capsys.readouterr().out == "data: 40\nsamples: 4\npower: 2.0\n"
    assert (
        main([*words, "--metric", "roundness", "--num-samples", "2", "--power", "3", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    expected = {"domain": "circle", "metric": "roundness", "data": 40, "samples": 2, "power": 3.0}
    assert found == expected
    assert main(["evaluate", "circle", "--help"]) == 0
    assert "--metric roundness" in capsys.readouterr().out
    said = failed(capsys, *words, "--metric", "roundnes")
    assert "did you mean 'roundness'" in said
    assert "bound, limit, likelihood, roundness, flat" in said
    assert "--power does not belong" in failed(capsys, *words, "--metric", "bound", "--power", "3")
    assert "--steps does not belong" in failed(capsys, *words, "--metric", "flat", "--steps", "3")
    assert "power" in failed(capsys, *words, "--metric", "roundness", "--power", "0")
    assert main([*words, "--metric", "bound", "--steps", "5"]) == 0
