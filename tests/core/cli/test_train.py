"""`unnoise train`: resumed and interrupted runs, and what is no flag."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from circle import DOMAIN, PLUGIN, SHORT, TRAIN, failed

from unnoise.cli import main
from unnoise.cli.parser import flags
from unnoise.cli.train import heard
from unnoise.discovery import registry
from unnoise.discovery.domains import domain_named


def test_resume_ends_where_one_run_ends(model, circle, capsys):
    first = [*TRAIN, *SHORT, "--out", "again"]
    assert main([*first, "--max-minutes", "1e-9"]) == 0
    assert main([*first, "--resume"]) == 0
    weights = [(circle / run / "model.safetensors").read_bytes() for run in ("run", "again")]
    assert weights[0] == weights[1]
    assert "already contains a run" in failed(capsys, *first)


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


FROM_DATA = """
from typing import Annotated
from unnoise.specs import FromData

class Configuration(Configuration):
    points: Annotated[int, FromData()] = Field(0, description="how many the data have")

class Circle(Circle):
    Configuration = Configuration

    def configure(self, source, options):
        return Configuration(**{**options, "points": int(Path(source).read_text())})
"""


def test_what_the_data_decide_is_no_flag(install, here, tmp_path, capsys):
    install("circle", PLUGIN, domain=DOMAIN + FROM_DATA)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main(["train", "circle", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--width" in shown
    assert "--points" not in shown
    assert "--points" in failed(capsys, *TRAIN, *SHORT, "--out", "run", "--points", "3")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    assert json.loads(Path("run/config.json").read_text())["configuration"]["points"] == 40


@pytest.mark.parametrize(
    ("domain", "fields"),
    [
        ("text", {"learned"}),
        ("timeseries", {"learned"}),
        ("audio", {"learned"}),
        ("angles", {"angles", "labels"}),
    ],
)
def test_fields_of_the_plugins_that_the_data_decide(domain, fields):
    if domain not in registry.domains():
        pytest.skip(f"needs the plugin of {domain}")
    model = domain_named(domain).Configuration
    assert fields <= set(model.model_fields)
    assert fields.isdisjoint(parameter.name for parameter in flags(model, domain))


def test_a_plugin_is_heard_while_it_trains(capsys):
    logger = logging.getLogger("some_plugin.data")
    logger.info("before")
    with heard("some_plugin"):
        logger.info("12 rows")
        logger.debug("details")
        logging.getLogger("another_plugin").info("of no concern")
    logger.info("after")
    assert capsys.readouterr() == ("", "12 rows\n")


def test_other_processes_of_a_training_repeat_nothing(capsys):
    with heard("some_plugin", first=False):
        logging.getLogger("some_plugin").info("12 rows")
    assert capsys.readouterr() == ("", "")
