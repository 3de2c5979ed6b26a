"""`unnoise domains`, `samplers`, `plugins list`: complete, as JSON, and quick."""

from __future__ import annotations

import json

import pytest
from circle import DOMAIN, PLUGIN

from unnoise.cli import main


@pytest.mark.parametrize("words", [["domains"], ["samplers"], ["plugins", "list"]], ids=" ".join)
def test_listings(words, circle, capsys, here):
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = found if isinstance(found, dict) else [info["name"] for info in found]
    assert ("ddim" if words == ["samplers"] else "circle") in names
    for name in names:
        assert name in text
    assert main([*words, "--help"]) == 0


def test_quick_commands_import_neither_torch_nor_a_parser(install, python):
    install("circle", PLUGIN, domain=DOMAIN)
    for words in (["--help"], ["domains"], ["samplers", "--json"], ["plugins", "list"]):
        script = f"import sys; from unnoise.cli import main; main({words}); print(*sys.modules)"
        imported = set(python("-c", script).stdout.splitlines()[-1].split())
        assert "unnoise.cli" in imported
        assert not imported & {"torch", "numpy", "pydantic", "rich", "cyclopts", "attrs"}
