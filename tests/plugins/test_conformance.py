"""The plugins of this repository pass the conformance kit, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

EXPECTED = {"molecules": {"recovers_the_data"}}


@pytest.mark.parametrize(
    "name",
    ["audio", "images", "latent", "molecules", "purify", "text", "text2image", "timeseries"],
)
def test_plugin(name):
    pytest.importorskip(f"unnoise_{name}")
    words = [sys.executable, "-m", "unnoise", "plugins", "check", name, "--json"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    results = json.loads(run.stdout)
    assert sum(result["status"] == "passed" for result in results) >= 6
    declared = {result["check"] for result in results if result["status"] == "expected"}
    assert declared == EXPECTED.get(name, set())
