"""`unnoise new`: what it writes is built, installed, found, checked, used and trained as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unnoise.cli import main
from unnoise.errors import InputError
from unnoise.scaffold import new_plugin


def run(words: list[str], site: Path, cwd: Path) -> str:
    """The output of a Python process that sees what is installed in `site`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "UNNOISE_CONFIG_DIR": str(cwd / "settings"),
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(kind, folder: Path) -> tuple[Path, Path]:
    """A new plugin `sea-ice` of this kind, and the folder into which its wheel was installed."""
    made, site = new_plugin("Sea_Ice", kind, folder), folder / "site"
    assert made == folder / "unnoise-sea-ice"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    run([*pip, str(made)], site, folder)
    return made, site


@pytest.mark.parametrize("kind", ["kernel", "sampler"])
def test_a_new_part_passes_the_kit_and_its_own_tests(kind, tmp_path):
    made, site = installed(kind, tmp_path)
    checks = json.loads(run(["-m", "unnoise", "plugins", "check", "sea-ice", "--json"], site, made))
    assert len(checks) > 10
    assert "passed" in run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], site, made)


def test_a_new_domain_passes_the_kit_and_its_own_tests_and_generates(tmp_path):
    made, site = installed("domain", tmp_path)
    words = ["-m", "unnoise", "generate", "sea-ice", "--num-samples", "2", "--out", "out"]
    run(words, site, tmp_path)
    assert len(list((tmp_path / "out").glob("0*.json"))) == 2
    assert "passed" in run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], site, made)


def test_the_command_says_what_to_do_next(tmp_path, capsys):
    assert main(["new", "tides", "--out", str(tmp_path)]) == 0
    assert "plugins check tides" in capsys.readouterr().out
    assert (tmp_path / "unnoise-tides" / "unnoise_tides" / "bundle" / "config.json").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "9lives",
        "a b",
        "../up",
        "images",
        "-",
        "x" * 51,
        "été",
        "Transition",
        "core",
        "unnoise-x",
    ],
)
def test_unusable_and_taken_names_are_refused(name, tmp_path):
    with pytest.raises(InputError):
        new_plugin(name, "domain", tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path):
    kept = tmp_path / "unnoise-tides" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        new_plugin("tides", "domain", tmp_path)
    assert kept.read_text() == "mine"


def test_no_such_kind(tmp_path):
    with pytest.raises(InputError, match="kind"):
        new_plugin("tides", "thing", tmp_path)  # type: ignore[arg-type]
