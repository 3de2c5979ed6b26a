"""The command line: commands, help, exit codes, one line for each error."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from circle import PLUGIN, failed

import unnoise
from unnoise.cli import COMMANDS, main
from unnoise.discovery import registry


def test_train_generate_evaluate(model, circle, capsys):
    assert {"config.json", "model.safetensors"} <= {path.name for path in model.iterdir()}

    words = ["generate", "circle", "--model", "run", "--num-samples", "5", "--seed", "7"]
    assert main([*words, "--out", "a"]) == 0
    assert main([*words, "--out", "b", "--batch-size", "2", "--sampler", "ddim"]) == 0

    assert capsys.readouterr().out.splitlines()[-2].startswith("5 samples in a, ")
    names = [f"{i:05d}.json" for i in range(5)]
    for folder in (circle / "a", circle / "b"):
        assert sorted(path.name for path in folder.iterdir()) == [*names, "provenance.json"]
        record = json.loads((folder / "provenance.json").read_text())
        assert (record["seed"], record["ids"], record["steps"]) == (7, [0, 1, 2, 3, 4], 3)
    for name in names:
        a, b = (json.loads((circle / folder / name).read_text()) for folder in "ab")
        assert a["point"] == pytest.approx(b["point"], abs=1e-3)

    capsys.readouterr()
    words = ["evaluate", "circle", "--metric", "bound", "--data", "data.txt", "--model", "run"]
    assert main([*words, "--steps", "5", "--batch-size", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["items"] == 8
    parts = result["prior"] + result["steps"] + result["reconstruction"]
    assert result["nats"] == pytest.approx(parts)
    assert result["bits_per_dimension"] == pytest.approx(result["nats"] / 2 / 0.6931471805599453)


def test_help_shows_the_flags_of_the_domain(circle, capsys):
    assert main(["generate", "circle", "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("--out", "--label", "which kind of point", "> 0, <= 5", "dark", "--no-centred"):
        assert part in text
    assert text.count("--num-samples") == 1
    assert main(["train", "circle", "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("--data", "--learning-rate", "--resume", "--width", "of the two axes"):
        assert part in text
    assert main(["generate", "--help"]) == 0
    assert "circle" in capsys.readouterr().out


def test_every_command_is_in_the_help(capsys):
    assert main([]) == 0
    short = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == short
    for name, about in COMMANDS.items():
        assert f"  {name} " in short
        assert about.summary in short


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["generat"], ["no such command", "did you mean 'generate'?"]),
        (["generate", "circel", "--out", "x"], ["did you mean 'circle'?"]),
        (["generate", "--out", "x"], ["the domain comes first"]),
        (["generate", "circle"], ["ships no model"]),
        (["generate", "circle", "--out", "x", "--lable", "3"], ["--lable", "--label"]),
        (["generate", "circle", "--out", "x", "--label", "three"], ["--label", "three"]),
        (["generate", "circle", "--out", "x", "--shade", "black"], ["--shade", "black"]),
        (["generate", "circle", "--out", "x", "extra"], ["extra"]),
        (["generate", "circle", "--out", "x"], ["ships no model"]),
        (["generate", "circle", "--out", "x", "--model", "nowhere"], ["nowhere"]),
        (["generate", "circle", "--out", "data.txt/x"], ["data.txt"]),
        (["train", "circle", "--data", "data.txt"], ["--out"]),
        (["train", "circle", "--data", "data.txt", "--out", "r", "--steps", "0"], ["steps", "0"]),
        (["train", "circle", "--data", "data.txt", "--out", "r", "--width", "0"], ["width", "0"]),
        (["evaluate", "circle", "--data", "data.txt", "--metric", "beauty"], ["beauty"]),
        (["plugins", "show", "circel"], ["did you mean 'circle'?"]),
        (["plugins", "remove", "circle"], ["remove"]),
        (["domains", "--yaml"], ["--yaml", "unnoise domains --help"]),
    ],
    ids=lambda value: " ".join(value)[-40:],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, parts, circle, capsys):
    line = failed(capsys, *words)
    for part in parts:
        assert part in line
    assert list(circle.glob("r/*")) == []


def test_debug_shows_the_traceback(circle):
    with pytest.raises(registry.PluginError):
        main(["generate", "nothing", "--out", "x", "--debug"])


def test_the_package_runs_as_a_module(python):
    done = python("-m", "unnoise", "--version")
    assert (done.returncode, done.stdout) == (0, f"{unnoise.__version__}\n")
    assert python("-m", "unnoise", "nonsense").returncode == 2


def test_a_reader_that_stops_early_is_no_error(install, environment, tmp_path):
    install("circle", PLUGIN)
    script = "import sys; from unnoise.cli import main; sys.exit(main(['plugins', 'list']))"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
