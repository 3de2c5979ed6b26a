"""`unnoise generate`: flags from the request, files, and one line for each wrong request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from circle import DOMAIN, PLUGIN, SHORT, TOGETHER, TRAIN, asked, failed

import unnoise
from unnoise.cli import main


def test_what_belongs_together_is_gathered_once(install, here, tmp_path):
    install("circle", PLUGIN, domain=DOMAIN + TOGETHER)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    words = ["generate", "circle", "--model", "run", "--label", "1", "2", "--num-samples", "3"]
    for folder, size in (("a", "2"), ("b", "64")):  # batches do not end where inputs do
        assert main([*words, "--out", folder, "--batch-size", size]) == 0
        assert Path(folder, "group-0.txt").read_text() == "00000.json 00001.json 00002.json"
        assert Path(folder, "group-1.txt").read_text() == "00003.json 00004.json 00005.json"
        names = ["group-0.txt", "group-1.txt", "provenance.json"]
        assert sorted(path.name for path in Path(folder).iterdir()) == names
    out = unnoise.generate("circle", model="run", label=[1, 2], num_samples=2)
    assert [path.name for path in out.save("c")] == names[:2]


def test_without_out_each_run_gets_a_new_folder(model, circle, capsys):
    for name in ("circle-samples", "circle-samples-2"):
        capsys.readouterr()
        assert main(["generate", "circle", "--model", "run", "--steps", "2"]) == 0
        assert f"1 samples in {name}," in capsys.readouterr().out
        assert (circle / name / "provenance.json").is_file()


def test_flags_of_every_kind(model, circle):
    words = ["generate", "circle", "--model", "run", "--out", "x"]
    assert main(words) == 0
    assert asked(circle / "x") == {
        "label": None,
        "radius": 1.0,
        "colour": "red",
        "shade": "light",
        "centred": True,
        "filled": False,
        "source": None,
        "limit": 3.0,
        "words": "",
        "notes": {},
    }
    words += ["--label", "3", "--radius", "0.5", "--colour", "blue", "--shade=dark", "--no-centred"]
    words += ["--filled", "--source", "some/file.png", "--limit", "none"]
    words += ["--words", "one or two"]
    assert main([*words, "--notes.who", "me", "--notes.why", "to see"]) == 0
    assert asked(circle / "x") == {
        "label": 3,
        "radius": 0.5,
        "colour": "blue",
        "shade": "dark",
        "centred": False,
        "filled": True,
        "source": "some/file.png",
        "limit": None,
        "words": "one or two",
        "notes": {"who": "me", "why": "to see"},
    }


@pytest.mark.parametrize("words", [("--label", "3", "4"), ("--label", "3", "--label", "4")])
def test_several_inputs(words, model, circle):
    common = ["generate", "circle", "--model", "run", "--out", "x", "--num-samples", "2"]
    assert main([*common, *words]) == 0
    assert len(list((circle / "x").glob("0*.json"))) == 4
    assert asked(circle / "x", "00003")["label"] == [3, 4]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--radius", "9"], ["radius", "9"]),
        (["--steps", "0"], ["steps", "0"]),
        (["--num-samples", "0"], ["--num-samples", "0"]),
        (["--num-samples", "2000000"], ["2000000", "1000000"]),
        (["--sampler", "ddmi"], ["did you mean 'ddim'?"]),
        (["--device", "toaster"], ["toaster"]),
        (["--deadline", "1e-9"], ["deadline"]),
    ],
    ids=" ".join,
)
def test_a_wrong_request_is_one_line_and_exit_code_2(words, parts, model, capsys):
    line = failed(capsys, "generate", "circle", "--model", "run", "--out", "x", *words)
    for part in parts:
        assert part in line


def test_an_interrupted_generate_records_what_it_saved(model, circle, here, capsys):
    from unnoise.engine.output import Output

    write, calls = Output.write, []

    def stop_at_the_third(self: Output, folder: Path) -> list[Path]:
        calls.append(folder)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(self, folder)

    here.setattr(Output, "write", stop_at_the_third)
    words = ["generate", "circle", "--model", "run", "--out", "x", "--num-samples", "8"]
    assert main([*words, "--batch-size", "2"]) == 130
    assert json.loads((circle / "x" / "provenance.json").read_text())["ids"] == [0, 1, 2, 3]
    assert len(list((circle / "x").glob("0*.json"))) == 4


def _killed(monkeypatch, when):
    """The run is killed, as by the operating system, when its `when`-th batch is to be written."""
    from unnoise.engine.output import Output

    write, calls = Output.write, []

    def killed(self: Output, folder: Path) -> list[Path]:
        calls.append(folder)
        if len(calls) == when:
            raise SystemExit(137)
        return write(self, folder)

    monkeypatch.setattr(Output, "write", killed)
    return write


def test_a_run_that_was_killed_goes_on(install, here, tmp_path, capsys):
    from unnoise.engine.output import Output

    install("circle", PLUGIN, domain=DOMAIN + TOGETHER)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    words = ["generate", "circle", "--model", "run", "--label", "1", "2", "--num-samples", "3"]
    words += ["--out", "x", "--batch-size", "2"]
    write = _killed(here, 2)
    with pytest.raises(SystemExit):
        main(words)
    assert {path.name for path in Path("x").glob("0*.json")} == {"00000.json", "00001.json"}
    here.setattr(Output, "write", write)
    assert "seed was None and is 4" in failed(capsys, *words, "--seed", "4", "--resume")
    assert main([*words, "--resume"]) == 0
    assert json.loads(Path("x", "provenance.json").read_text())["ids"] == list(range(6))
    names = ["group-0.txt", "group-1.txt", "provenance.json"]
    assert sorted(path.name for path in Path("x").iterdir()) == names
    assert Path("x", "group-1.txt").read_text() == "00003.json 00004.json 00005.json"


def test_a_finished_run_is_not_resumed(model, circle, capsys):
    words = ["generate", "circle", "--model", "run", "--out", "x", "--num-samples", "2"]
    assert main(words) == 0
    before = sorted((circle / "x").iterdir())
    assert main([*words, "--resume"]) == 0  # nothing was left unfinished: it is made anew
    assert sorted((circle / "x").iterdir()) == before
