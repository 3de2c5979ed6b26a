"""`unnoise plugins doctor`."""

from __future__ import annotations

from circle import PLUGIN, failed

from unnoise.cli import main
from unnoise.discovery import registry


def test_a_domain_whose_library_is_missing(install, here, capsys):
    install("broken", PLUGIN.replace("circle", "broken"), domain="import not_to_be_had")
    line = failed(capsys, "generate", "broken", "--out", "x")
    assert "needs the library 'not_to_be_had'" in line
    assert main(["plugins", "doctor"]) == 1
    out = capsys.readouterr().out
    assert "needs the library 'not_to_be_had'" in out
    assert "mend:  `pip check` lists what is missing" in out


def test_doctor_is_content_with_a_healthy_plugin(circle, here, capsys):
    here.setenv("UNNOISE_PLUGINS", "circle")
    registry.reload()
    assert main(["plugins", "doctor"]) == 0
    assert "all well" in capsys.readouterr().out
