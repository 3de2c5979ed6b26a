"""The command line: flags from pydantic models, exit codes, one line for each error.

The domain of these tests is a plugin of its own, installed for them: points on a circle.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unnoise
from unnoise.cli import COMMANDS, main
from unnoise.discovery import registry

PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("circle", "points on a circle", "unnoise_circle.domain:Circle")]
"""

DOMAIN = """
import json
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.domain import Batch, Domain, Task
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.spaces import Euclidean, Layout

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    label: int | list[int] | None = Field(None, description="which kind of point")
    radius: float = Field(1.0, gt=0, le=5, description="of the circle")
    colour: Colour = Field(Colour.RED, description="for Enum")
    shade: Literal["light", "dark"] = Field("light", description="for Literal")
    centred: bool = Field(True, description="for a flag that is on")
    filled: bool = Field(False, description="for a flag that is off")
    source: str | Path | np.ndarray[Any, Any] | None = Field(None, description="no words for it")
    limit: float | None = Field(3.0, description="for none")
    notes: dict[str, str] = Field(default_factory=dict, description="for names with values")
    num_samples: int = 1

class Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = Field(8, ge=1, description="of the network")
    scale: tuple[float, float] = Field((1.0, 1.0), description="of the two axes")

class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, label, layout, condition):
        return self.layers(torch.cat([x, label[:, None]], 1))

class Circle(Domain):
    name = "circle"
    Request = Request
    Configuration = Configuration

    def defaults(self, configuration):
        return {"steps": 3, "sampler": "ddim"}

    def build(self, configuration):
        kernel = GaussianKernel(Euclidean(), VPCosine())
        return NetworkDenoiser(Network(configuration.width), kernel, Clean())

    def dataset(self, source, configuration, part):
        angles = torch.linspace(0, 6, int(Path(source).read_text()))
        points = torch.stack([angles.cos(), angles.sin()], 1)
        return points[:-8] if part == "train" else points[-8:]

    def collate(self, items):
        return Batch(torch.stack(list(items)), Layout.dense(len(items), (2,)))

    def inputs(self, request):
        return len(request.label) if isinstance(request.label, list) else 1

    def plan(self, request, model, ids):
        states = yield Task(Layout.dense(len(ids), (2,)))
        asked = request.model_dump(mode="json")
        return [{"point": [round(v, 4) for v in x.tolist()], "asked": asked} for x in states]

    def write(self, sample, folder, stem):
        path = folder / f"{stem}.json"
        path.write_text(json.dumps(sample))
        return path

    def preview(self, samples):
        return ""
"""

TOGETHER = """
    def gather(self, groups, folder):
        found = []
        for number, paths in enumerate(groups):
            found.append(folder / f"group-{number}.txt")
            found[-1].write_text(" ".join(path.name for path in paths))
            for path in paths:
                path.unlink()
        return found
"""

METRICS = """
from unnoise.model import Metric

class Roundness(Metric):
    power: float = Field(2.0, gt=0, description="of the norm")
    num_samples: int = Field(4, ge=1)
    steps: int | None = None

    def measure(self, model, source, report):
        report("measuring", 0.5)
        made = model.generate(num_samples=self.num_samples, steps=self.steps).samples
        data = int(Path(source).read_text())
        return {"data": data, "samples": len(made), "power": self.power}

class Flat(Metric):
    def measure(self, model, source, report):
        return {"flat": 1}

Circle.metrics = {"roundness": Roundness, "flat": Flat}
"""

TRAIN = ("train", "circle", "--data", "data.txt", "--device", "cpu", "--seed", "3")
SHORT = ("--steps", "6", "--batch-size", "4", "--checkpoint-every", "2", "--width", "4")


@pytest.fixture
def circle(install, here, tmp_path) -> Path:
    """The plugin is installed, there are data, and this is the folder to work in."""
    install("circle", PLUGIN, domain=DOMAIN)
    here.chdir(tmp_path)
    (tmp_path / "data.txt").write_text("40")
    return tmp_path


@pytest.fixture
def model(circle) -> Path:
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    return circle / "run"


def asked(folder: Path, name: str = "00000") -> dict:
    return json.loads((folder / f"{name}.json").read_text())["asked"]


def failed(capsys, *words: str, code: int = 2) -> str:
    """The one line on stderr of a command that fails."""
    capsys.readouterr()
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unnoise: ")
    return err


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


def test_resume_ends_where_one_run_ends(model, circle, capsys):
    first = [*TRAIN, *SHORT, "--out", "again"]
    assert main([*first, "--max-minutes", "1e-9"]) == 0
    assert main([*first, "--resume"]) == 0
    weights = [(circle / run / "model.safetensors").read_bytes() for run in ("run", "again")]
    assert weights[0] == weights[1]
    assert "already contains a run" in failed(capsys, *first)


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
        "notes": {},
        "num_samples": 1,
    }
    words += ["--label", "3", "--radius", "0.5", "--colour", "blue", "--shade=dark", "--no-centred"]
    words += ["--filled", "--source", "some/file.png", "--limit", "none"]
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
        "notes": {"who": "me", "why": "to see"},
        "num_samples": 1,
    }


@pytest.mark.parametrize("words", [("--label", "3", "4"), ("--label", "3", "--label", "4")])
def test_several_inputs(words, model, circle):
    common = ["generate", "circle", "--model", "run", "--out", "x", "--num-samples", "2"]
    assert main([*common, *words]) == 0
    assert len(list((circle / "x").glob("0*.json"))) == 4
    assert asked(circle / "x", "00003")["label"] == [3, 4]


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


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--radius", "9"], ["radius", "9"]),
        (["--steps", "0"], ["steps", "0"]),
        (["--num-samples", "0"], ["num_samples", "0"]),
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


def test_debug_shows_the_traceback(circle):
    with pytest.raises(registry.PluginError):
        main(["generate", "nothing", "--out", "x", "--debug"])


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


def test_interrupt_keeps_a_checkpoint_and_exits_130(install, environment, tmp_path):
    install("circle", PLUGIN, domain=DOMAIN)
    (tmp_path / "data.txt").write_text("40")
    words = [*TRAIN, "--out", "run", "--steps", "1000000", "--log-every", "1"]
    script = f"import sys; from unnoise.cli import main; sys.exit(main({words}))"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log = tmp_path / "run" / "log.jsonl"
        until = time.monotonic() + 120
        while not (log.is_file() and log.stat().st_size) and time.monotonic() < until:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("unnoise: ")
    assert (tmp_path / "run" / "checkpoints").is_dir()


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
