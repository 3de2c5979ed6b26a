"""Code in a model's folder is not run, and nobody is asked whether it should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")

LOADERS = {
    "tokenizer": "from unnoise_text.vocabulary import read_tokenizer; read_tokenizer(F, 'error')",
    "masked_lm": "from unnoise_text.masked_lm import load_masked_lm; load_masked_lm(F)",
    "model": "import unnoise; unnoise.load(F)",
    "command line": "import unnoise; unnoise.generate('text', model=F)",
    "training": "import unnoise; unnoise.train('text', data=T, out=O, tokenizer=F, steps=1)",
    "hub kernel": "from unnoise_text.network import build; "
    "build('bert', {}, {'attn_implementation': 'owner/kernel'})",
}
UNKNOWN = {
    "config.json": {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForMaskedLM": "own.OwnModel"},
    },
    "tokenizer_config.json": {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]},
    },
}
OF_THE_LIBRARY = "from transformers import AutoConfig; AutoConfig.from_pretrained(F)"
PROGRAM = """
import json, sys
from unnoise.errors import UnnoiseError
F, T, O = {paths!r}
said = {{}}
for name, line in {loaders!r}.items():
    try:
        exec(line)
        said[name] = "loaded"
    except UnnoiseError as error:
        said[name] = f"{{type(error).__name__}}: {{error}}"
    except Exception as error:
        said[name] = f"not ours: {{error!r}}"
print("RESULT" + json.dumps(said))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that transformers does not know, whose code writes the file `ran` beside it."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    for name, content in UNKNOWN.items():
        (made / name).write_text(json.dumps(content))
    return made


def run(folder: Path, loaders: dict[str, str]) -> tuple[dict[str, str], str]:
    """What each of these lines came to in a process whose user answers yes to everything."""
    text = folder.parent / "text.txt"
    text.write_text("we the people of the united states " * 200)
    paths = (str(folder), str(text), str(folder.parent / "out"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(paths=paths, loaders=loaders)],
        input="y\n" * 50,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HOME": str(folder.parent / "home"), "HF_HUB_OFFLINE": "1"},
    )
    assert "RESULT" in done.stdout, done.stderr
    return json.loads(done.stdout.partition("RESULT")[2]), done.stdout + done.stderr


def test_it_would_run_if_it_were_let(folder):
    run(folder, {"transformers": OF_THE_LIBRARY})
    assert (folder.parent / "ran").exists()


def test_it_is_refused_without_a_question(folder):
    said, printed = run(folder, LOADERS)
    assert not (folder.parent / "ran").exists()
    assert "[y/N]" not in printed
    for name in ("tokenizer", "masked_lm", "model", "command line", "training"):
        assert said[name].startswith("BundleError: this folder brings code of its own"), said
    assert said["hub kernel"].startswith("ConfigError: this implementation of attention"), said


def test_a_folder_of_diffusers(tmp_path, folder):
    pytest.importorskip("diffusers")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"_class_name": "DDPMScheduler"})
    )
    fields = {"_class_name": "UNet2DModel", "auto_map": {"UNet2DModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(fields))
    line = "from unnoise_images.diffusers_adapter import load_diffusers; load_diffusers(F)"
    said, printed = run(folder, {"diffusers": line})
    assert not (tmp_path / "ran").exists()
    assert "[y/N]" not in printed
    assert said["diffusers"].startswith("BundleError: this folder brings code of its own"), said


def test_a_folder_of_an_autoencoder(tmp_path, folder):
    pytest.importorskip("diffusers")
    fields = {"_class_name": "AutoencoderKL", "auto_map": {"AutoencoderKL": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(fields))
    line = "from unnoise_latent.adapters import load_autoencoder_kl; load_autoencoder_kl(F)"
    said, printed = run(folder, {"latent": line})
    assert not (tmp_path / "ran").exists()
    assert "[y/N]" not in printed
    assert said["latent"].startswith("BundleError: this folder brings code of its own"), said
