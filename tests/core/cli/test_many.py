"""`unnoise generate DOMAIN --input TABLE`: rows are requests, whoever makes them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from circle import failed

import unnoise
from unnoise.bulk import Processes
from unnoise.bulk.job import Shard
from unnoise.cli import main

WORDS = ["generate", "circle", "--model", "run", "--input"]


def table(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return path.name


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    """The samples of a run, and its table."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("0*.json")}
    return {**found, "table": (folder / "results.csv").read_bytes()}


def test_a_row_is_a_request(model, circle, capsys):
    """The sample of a row is that of the request alone, with its seed; flags are for rows that do
    not say; a wrong row is told and loses no other."""
    name = table(
        circle / "r.csv",
        "id,label,radius,steps,num_samples,seed",
        "a,3,2.5,4,2,7",
        "b,,,,,",
        "c,1,99,,,",
        "d,many,,,,",
        "e,,,0,,",
    )
    words = [*WORDS, name, "--out", "x", "--carry", "id", "--radius", "0.5", "--seed", "100"]
    assert main([*words, "--shard", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("3 samples of 5 rows")
    assert "left out: 3 rows; the first: row 2" in said.err
    found = rows(circle / "x")
    assert [row["id"] for row in found] == ["a", "a", "b", "c", "d", "e"]
    assert [row["sample"] for row in found] == ["0", "1", "0", "", "", ""]
    assert "radius" in found[3]["error"]
    assert "<= 5" in found[3]["error"]
    assert "label" in found[4]["error"]
    assert "steps" in found[5]["error"]
    alone = unnoise.generate(
        "circle", model="run", label=3, radius=2.5, steps=4, num_samples=2, seed=7, threads=1
    )
    files = [circle / "x" / row["file"] for row in found[:3]]
    assert [json.loads(path.read_text()) for path in files[:2]] == alone.samples
    other = unnoise.generate("circle", model="run", radius=0.5, seed=101, threads=1)
    assert json.loads(files[2].read_text()) == other.samples[0]
    record = json.loads((files[2].parent / "provenance.json").read_text())
    assert record["seed"] == 101
    assert record["files"] == [files[2].name]


def test_a_run_goes_on_and_its_folder_keeps_it(model, circle, capsys):
    name = table(circle / "r.csv", "label", *map(str, range(6)))
    words = [*WORDS, name, "--out", "x", "--shard", "2"]
    assert main(words) == 0
    whole = contents(circle / "x")
    kept = circle / "x" / "samples" / "000000" / "0000000" / "00000.json"
    before = kept.stat().st_mtime_ns
    for path in sorted((circle / "x" / "samples" / "000001").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (circle / "x" / "samples" / "000001").rmdir()
    (circle / "x" / "samples" / ".tmp-000002-dead").mkdir()
    assert main(words) == 0
    assert contents(circle / "x") == whole
    assert kept.stat().st_mtime_ns == before
    assert not list((circle / "x" / "samples").glob(".tmp*"))
    capsys.readouterr()
    assert "something else: another given" in failed(capsys, *[*words, "--steps", "5"])
    table(circle / "r.csv", "label", *map(str, range(7)))
    assert "something else: another table" in failed(capsys, *words)
    (circle / "x" / "manifest.json").write_text("{")
    assert "manifest" in failed(capsys, *words)


@pytest.mark.parametrize(
    ("lines", "more", "complaint"),
    [
        (["lable", "3"], [], "did you mean 'label'?"),
        (["label,device", "3,cpu"], [], "no field of 'circle'; got 'device'"),
        (["label"], [], "no rows"),
        (["label", "x", "y"], [], "none of 2 rows has samples"),
        (["label", "3"], ["--carry", "id"], "no such column; got 'id'"),
        (["label", "3"], ["--workers", "0"], "at least 1"),
        (["label", "3"], ["--watch"], "watch"),
    ],
)
def test_tables_that_cannot_be_used(model, circle, capsys, lines, more, complaint):
    name = table(circle / "r.csv", *lines)
    assert complaint in failed(capsys, *[*WORDS, name, "--out", "x", *more])


def test_flags_of_tables_need_one(model, circle, capsys):
    words = ["generate", "circle", "--model", "run", "--workers", "2"]
    assert "tables of requests" in failed(capsys, *words)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(environment, circle) -> Start:
    def begin(*words: str) -> subprocess.Popen[str]:
        call = "import sys, unnoise.cli as c\nif __name__ == '__main__': sys.exit(c.main())"
        (circle / "begin.py").write_text(call)
        return subprocess.Popen(
            [sys.executable, "begin.py", *words], env=environment, cwd=circle, text=True
        )

    return begin


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, "it ended before"
        time.sleep(0.02)


def killed_and_resumed(start: Start, circle: Path, *words: str) -> None:
    """Workers die, then the process that leads them, whose workers die with it; the results are
    those of one process that nothing happened to."""
    name = table(circle / "r.csv", "label,steps", *(f"{k % 10},60" for k in range(24)))
    asked = [*WORDS, name, "--shard", "1"]
    assert main([*asked, "--out", "whole"]) == 0
    process = start(*asked, "--out", "x", *words)
    samples = circle / "x" / "samples"
    wait_for(samples / "000003", process)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if works(p)]
    workers[0].kill()
    time.sleep(0.5)
    wait_for(samples / "000012", process)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if works(p)]
    process.kill()
    process.wait()
    assert not (circle / "x" / "results.csv").exists()
    psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in workers if worker.is_running()]
    process = start(*asked, "--out", "x", *words)
    assert process.wait() == 0
    assert contents(circle / "x") == contents(circle / "whole")


def works(process: psutil.Process) -> bool:
    words = " ".join(process.cmdline())
    return "spawn_main" in words or "ray::MapWorker" in words


def test_a_process_that_is_killed(model, start, circle, site, monkeypatch):
    """In its place another one makes what is left."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    name = table(circle / "r.csv", "label", *map(str, range(8)))
    assert main([*WORDS, name, "--out", "whole", "--shard", "1"]) == 0
    known = {child.pid for child in psutil.Process().children()}
    run = Processes.run
    dead = []

    def killing(self: Processes, *job: Any) -> Iterator[Shard]:
        for shard in run(self, *job):
            children = [c for c in psutil.Process().children() if c.pid not in known and works(c)]
            if not dead:
                dead.append(children[0])
                dead[0].kill()
            yield shard

    monkeypatch.setattr(Processes, "run", killing)
    monkeypatch.setattr("unnoise.cli.many._engine", lambda name, workers: Processes(workers))
    assert main([*WORDS, name, "--out", "x", "--shard", "1"]) == 0
    assert dead
    assert contents(circle / "x") == contents(circle / "whole")


@pytest.mark.slow
def test_processes_that_are_killed(model, start, circle):
    killed_and_resumed(start, circle, "--workers", "2")


@pytest.mark.slow
def test_workers_of_ray_that_are_killed(model, start, circle):
    pytest.importorskip("ray", reason="pip install 'unnoise[ray]'")
    killed_and_resumed(start, circle, "--workers", "2", "--engine", "ray")


def test_of_a_wrong_table_nothing_is_left(model, circle, capsys):
    for lines in (["label,radius", "1,2", "1,2,3"], ["label"]):
        words = [*WORDS, table(circle / "r.csv", *lines), "--out", "x/y"]
        assert main(words) == 2
        assert not (circle / "x").exists()
    assert main([*WORDS, table(circle / "r.csv", "num_sample", "1"), "--out", "x"]) == 2
    assert "'num_samples'" in capsys.readouterr().err  # a column is not called as a flag is
    (circle / "x").mkdir()
    (circle / "x" / "mine").write_text("")
    assert main([*WORDS, table(circle / "r.csv", "label"), "--out", "x"]) == 2
    assert [path.name for path in (circle / "x").iterdir()] == ["mine"]


def test_half_a_character_is_the_error_of_its_row(model, circle, capsys):
    name = table(circle / "r.jsonl", '{"sampler": "\\ud83d"}', '{"label": 1, "steps": 2}')
    assert main([*WORDS, name, "--out", "x"]) == 0
    assert "sampler holds half of a character" in capsys.readouterr().err
    found = [json.loads(line) for line in (circle / "x" / "results.jsonl").read_text().splitlines()]
    assert [one.get("sample") for one in found] == [None, 0]
