"""The gallery: every script of `examples/`, run as its first lines say, and what it made.

`run` takes minutes and writes `docs/gallery/NAME`: the pictures, sounds, molecules and tables, and
`run.json` with the command, what it printed, the seconds, and the hash of the script. A page shows
these; one whose script has changed since says so.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "gallery"
LIMIT = 120.0
"""Seconds of two cores that a script is to take at most with the arguments below."""


@dataclass(frozen=True)
class Example:
    """A script of the gallery: its arguments besides --out, and the files that its page shows."""

    words: tuple[str, ...]
    files: tuple[str, ...]
    out: bool = True


EXAMPLES = {
    "generate": Example(("--steps", "25"), ("numbers.png", "guidance.png", "painting.png")),
    "own_kernel": Example((), (), out=False),
    "conformers": Example(("--num-samples", "6", "--steps", "20"), ("conformers.html",)),
    "timeseries": Example(("--steps", "30", "--num-samples", "8"), ("filled.png",)),
    "series_anomaly": Example(("--draws", "4"), ("mended.csv",)),
    "speech_noise": Example((), ("*.wav",)),
    "latent_windows": Example(("--steps", "400"), ("samples.csv",)),
    "families": Example(("--seconds", "5", "--samples", "1000"), ("families.png",)),
    "families_digits": Example(("--seconds", "15"), ("families_digits.png",)),
    "train_own_folder": Example(("--steps", "100"), ("samples.png",)),
}


def stale() -> list[str]:
    """The scripts that have changed since they last ran here, or never did."""
    found = []
    for name in EXAMPLES:
        record = KEPT / name / "run.json"
        kept = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if kept.get("script") != digest(ROOT / "examples" / f"{name}.py"):
            found.append(name)
    return found


def run(names: list[str] | None = None) -> None:
    """Run scripts, by default all, one after the other and keep what they make.

    Raises
    ------
    RuntimeError : a script failed, or made nothing to show.
    """
    for name in EXAMPLES if names is None else names:
        print(f"gallery: {name}", flush=True)
        one(name)


def one(name: str) -> None:
    """Run one script; see `run`."""
    example, script = EXAMPLES[name], ROOT / "examples" / f"{name}.py"
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        words = [*example.words, *(["--out", str(out)] if example.out else [])]
        begun, before = time.perf_counter(), os.times()
        done = subprocess.run(
            [sys.executable, str(script), *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        now = os.times()
        used = now.children_user + now.children_system
        used -= before.children_user + before.children_system
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
        if used > 2 * LIMIT:
            print(f"gallery: {name} took {used:.0f} s of processors, wanted: {2 * LIMIT:.0f}")
        folder = KEPT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for pattern in example.files:
            found = sorted(out.glob(pattern))
            if not found:
                raise RuntimeError(f"{name} made no {pattern}")
            for file in found:
                shutil.copyfile(file, folder / file.name)
    record = {
        "command": " ".join(["python", f"examples/{name}.py", *example.words]),
        "printed": done.stdout.replace(place, ""),
        "seconds": round(time.perf_counter() - begun),
        "processor_seconds": round(used),
        "script": digest(script),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / "run.json").write_text(text + "\n", encoding="utf-8")


def digest(script: Path) -> str:
    """Of what the script says."""
    return hashlib.sha256(script.read_bytes()).hexdigest()[:16]


def shown(name: str, pictures: Path) -> str:
    """The Markdown of what a script printed and made; its files are copied to `pictures`."""
    folder, script = KEPT / name, ROOT / "examples" / f"{name}.py"
    if not folder.is_dir():
        return f"`examples/{name}.py` was not run yet: `python docs/build.py --gallery`."
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    parts = [f"```sh\n{record['command']}\n```"]
    if record["printed"].strip():
        parts.append(f"```text\n{record['printed'].strip()}\n```")
    for file in sorted(folder.iterdir()):
        if file.name != "run.json":
            copy = pictures / f"{name}-{file.name}"
            shutil.copyfile(file, copy)
            parts.append(_file(copy, file.name))
    said = f"{record['seconds']} s on two cores, {record['processor_seconds']} s of processors"
    if record["script"] != digest(script):
        said += "; the script has changed since"
    parts += [f"*{said}.*", f"```python\n{script.read_text(encoding='utf-8').strip()}\n```"]
    return "\n\n".join(parts)


def _file(path: Path, words: str) -> str:
    link = f"/_pictures/{path.name}"
    if path.suffix in (".png", ".svg", ".jpg"):
        return f"![{words}]({link})"
    if path.suffix == ".html":
        frame = f'<iframe src="../_pictures/{html.escape(path.name)}" title="{words}"></iframe>'
        return f"{frame}\n\n[{words}]({link})"
    if path.suffix in (".wav", ".flac", ".mp3"):
        return f'{words}\n\n<audio controls src="../_pictures/{html.escape(path.name)}"></audio>'
    lines = path.read_text(encoding="utf-8").splitlines()
    rest = f"\n... {len(lines) - 12} lines more" if len(lines) > 12 else ""
    return f"`{words}`\n\n```text\n" + "\n".join(lines[:12]) + f"{rest}\n```"
