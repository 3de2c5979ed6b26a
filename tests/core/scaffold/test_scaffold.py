"""`unnoise new`: what it writes, of every kind, is built, installed, checked, used and typed as it
is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from unnoise.cli import main
from unnoise.errors import InputError
from unnoise.scaffold import Kind, new_plugin

# one process builds the plugins for all of these tests
pytestmark = pytest.mark.xdist_group("scaffold")

KINDS = get_args(Kind)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a new plugin of each kind, and `site` with what their wheels install."""
    folder = tmp_path_factory.mktemp("made")
    for kind in KINDS:
        assert new_plugin(f"Sea_{kind}", kind, folder) == folder / f"unnoise-sea-{kind}"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    sources = [str(folder / f"unnoise-sea-{kind}") for kind in KINDS]
    words = [sys.executable, *pip, "--target", str(folder / "site"), *sources]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def run(made, tmp_path, forked):
    """run(words, cwd): the output of a Python process that sees what is installed."""
    path = os.pathsep.join(filter(None, [str(made / "site"), os.environ.get("PYTHONPATH", "")]))
    settings = {"PYTHONPATH": path, "UNNOISE_CONFIG_DIR": str(tmp_path / "settings")}

    def output(words: list[str], cwd: Path = tmp_path) -> str:
        done = forked(words, cwd, {**os.environ, **settings})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return output


def copied(made: Path, kind: str, folder: Path) -> Path:
    """The sources of one plugin, but for the package itself: that comes from its wheel."""
    shutil.copytree(made / f"unnoise-sea-{kind}", folder / "source")
    shutil.rmtree(folder / "source" / f"unnoise_sea_{kind}")
    return folder / "source"


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_in_the_wheel(kind, made):
    package = made / "site" / f"unnoise_sea_{kind}"
    assert (package / "py.typed").is_file()
    source = made / f"unnoise-sea-{kind}" / package.name
    assert sorted(p.name for p in source.iterdir()) == sorted(
        p.name for p in package.iterdir() if p.name != "__pycache__"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_the_kit(kind, run):
    checked = ["-m", "unnoise", "plugins", "check", f"sea-{kind}", "--json"]
    results = json.loads(run(checked))
    assert sum(result["status"] == "passed" for result in results) >= 10


def test_a_domain_passes_its_own_tests(made, tmp_path, run):
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not conformance"]
    assert "passed" in run(words, copied(made, "domain", tmp_path))


@pytest.mark.parametrize("kind", ["kernel", "sampler", "space", "codec", "schedule"])
def test_it_tests_its_part(kind, made, tmp_path, run):
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only"]
    shown = run(words, copied(made, kind, tmp_path))
    assert shown.count("test_conformance[") >= 7


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_readme_shows_runs(kind, made, run):
    text = (made / f"unnoise-sea-{kind}" / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if 'generate("images"' in block:
            pytest.importorskip("unnoise_images")
        run(["-c", block])
    for line in re.findall(r"^unnoise (?!plugins|new)(.*)", text, re.MULTILINE):
        words = re.sub(r"--steps \d+", "--steps 3", line).split()
        if "--data" in words and words[words.index("--data") + 1].endswith(".csv"):
            continue  # of a data set that the reader has
        run(["-m", "unnoise", *words])


def test_a_new_domain_generates_and_a_new_sampler_is_chosen_by_name(tmp_path, run):
    words = ["-m", "unnoise", "generate", "sea-domain", "--num-samples", "2", "--out", "out"]
    run([*words, "--sampler", "sea-sampler"])
    assert len(list((tmp_path / "out").glob("0*.json"))) == 2
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["sampler"] == "SeaSamplerSampler()"
    assert record["versions"]["unnoise-sea-sampler"] == "0.1.0"
    assert record["versions"]["unnoise-sea-domain"] == "0.1.0"


@pytest.mark.slow
def test_types_are_sound(made, run):
    pytest.importorskip("mypy")
    for kind in KINDS:
        source = made / f"unnoise-sea-{kind}"
        words = ["-m", "mypy", "--strict", "--cache-dir", str(made / "types")]
        assert "no issues" in run([*words, f"unnoise_sea_{kind}", "tests"], source)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="needs pyright")
@pytest.mark.parametrize("kind", KINDS)
def test_pyright_says_nothing(kind, made, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(made / f"unnoise-sea-{kind}", source)
    settings = {"extraPaths": [str(ROOT / "core"), "."], "pythonVersion": "3.10"}
    (source / "pyrightconfig.json").write_text(json.dumps(settings))
    words = ["pyright", "--pythonpath", sys.executable]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


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
        "data",
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
        new_plugin("tides", "thing", tmp_path)  # type: ignore[arg-type]  # what is refused
