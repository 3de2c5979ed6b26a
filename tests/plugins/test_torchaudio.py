"""Folders of transformers and diffusers load beside any torchaudio: broken, healthy, or none; and
what is computed by torchaudio itself says clearly when there is none."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unnoise.compat import without_broken_torchaudio

transformers = pytest.importorskip("transformers")
without_broken_torchaudio()  # for the folders that are written here

PLUGINS = Path(__file__).parents[2] / "plugins"
BROKEN = "raise OSError('libtorchaudio.so: undefined symbol')\n"
TORCHAUDIO = {
    "broken": {
        "__init__.py": "from . import _extension\n__version__ = '2.11.0'\n",
        "_extension.py": BROKEN,
    },
    "broken outright": {"__init__.py": BROKEN},
    "healthy": {"__init__.py": "__version__ = '2.11.0'\n", "_extension.py": ""},
}
LOADERS = {
    "masked_lm": "load_masked_lm(masked_lm).generate(num_samples=1, length=4, steps=2)",
    "diffusers": "load_diffusers(unet).generate(num_samples=1, steps=2)",
    "latent": "load_autoencoder_kl(vae)",
    "without the cure": "from diffusers import UNet2DModel",
}
CASES = [
    ("broken", ["masked_lm"]),
    ("broken", ["diffusers"]),
    ("broken", ["latent"]),
    ("broken outright", ["masked_lm", "diffusers", "latent"]),
    ("healthy", ["latent", "diffusers", "masked_lm"]),
    ("none", ["masked_lm", "latent", "diffusers"]),
    ("broken", ["without the cure"]),
]
PROGRAM = """
import os, sys, traceback
from unnoise_images.diffusers_adapter import load_diffusers
from unnoise_latent.adapters import load_autoencoder_kl
from unnoise_text.masked_lm import load_masked_lm
assert not {{"transformers", "diffusers", "torchaudio"}} & set(sys.modules)
masked_lm, unet, vae, site = {paths!r}
for kind, names, lines in {cases!r}:
    sys.stdout.flush()
    if os.fork():
        _, status = os.wait()
        print("CASE", kind, names, status == 0, sep="|")
        continue
    try:
        if kind == "none":
            sys.modules["torchaudio"] = None
        else:
            sys.path.insert(0, os.path.join(site, kind))
        for line in lines:
            exec(line)
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
"""


@pytest.fixture
def masked_lm(tmp_path: Path) -> Path:
    folder = tmp_path / "masked_lm"
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "the", "people"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", mask_token="[MASK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    sizes = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}
    configuration = transformers.BertConfig(
        **sizes, num_attention_heads=1, max_position_embeddings=8
    )
    transformers.BertForMaskedLM(configuration).save_pretrained(folder)
    return folder


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    ).save_pretrained(tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    scheduler = {"_class_name": "DDPMScheduler"}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return tmp_path


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    diffusers = pytest.importorskip("diffusers")
    diffusers.AutoencoderKL(
        in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4, sample_size=8
    ).save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_folders_load_beside_any_torchaudio(masked_lm, unet, vae, tmp_path):
    """Each in a fresh process (a fork, before any of the libraries was imported)."""
    for kind, files in TORCHAUDIO.items():
        (tmp_path / kind / "torchaudio").mkdir(parents=True)
        for name, source in files.items():
            (tmp_path / kind / "torchaudio" / name).write_text(source)
    paths = (str(masked_lm), str(unet), str(vae), str(tmp_path))
    cases = [(kind, ", ".join(names), [LOADERS[n] for n in names]) for kind, names in CASES]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(paths=paths, cases=cases)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    said = [line.split("|")[1:] for line in done.stdout.splitlines() if line.startswith("CASE")]
    expected = [[kind, names, str(names != "without the cure")] for kind, names, _ in cases]
    assert said == expected, done.stderr
    assert "undefined symbol" in done.stderr  # what the last of them died of


@pytest.mark.parametrize("path", sorted(PLUGINS.glob("*/unnoise_*/*.py")), ids=lambda p: p.stem)
def test_the_cure_comes_before_every_import(path):
    """Whatever a function imports of transformers or diffusers, it calls the cure first; and it
    imports nothing of them where modules are imported, at the top."""
    tree = ast.parse(path.read_text())
    for scope in (n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.FunctionDef)):
        nodes = scope.body if isinstance(scope, ast.Module) else list(ast.walk(scope))
        cures = [n.lineno for n in nodes if isinstance(n, ast.Call) and is_cure(n)]
        for node in nodes:
            if imports_models(node):
                assert any(line < node.lineno for line in cures), f"{path.name}:{node.lineno}"


def is_cure(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "without_broken_torchaudio"


def imports_models(node: ast.AST) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return any(name.partition(".")[0] in ("transformers", "diffusers") for name in names)


# ---- spectrograms are torchaudio's

AUDIO = """
import sys
{before}
import unnoise_audio
assert "torchaudio._extension" not in sys.modules or {healthy}
import torch
wave = torch.sin(torch.arange(4000) / 5)[None] / 2
mel = unnoise_audio.mel_spectrogram(wave, unnoise_audio.MelConfiguration())
print(tuple(mel.shape), len(unnoise_audio.Audio(wave, 16000).mono(8000)))
"""
UNLOADABLE = """
class Unloadable:
    def find_spec(self, name, path=None, target=None):
        if name == "torchaudio._extension":
            raise OSError("libtorchaudio.so: undefined symbol")
sys.meta_path.insert(0, Unloadable())
"""
LOADED = """
import types
whole = types.ModuleType("torchaudio._extension")  # what a compiled part that loads leaves
whole.fail_if_no_align = lambda function: function
whole._IS_TORCHAUDIO_EXT_AVAILABLE = True
sys.modules["torchaudio._extension"] = whole
"""


def audio(before: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("unnoise_audio")
    program = AUDIO.format(before=before, healthy=before == LOADED)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize("before", [UNLOADABLE, LOADED], ids=["broken", "healthy"])
def test_spectrograms_need_no_compiled_part(before):
    done = audio(before)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 80, 21) 2000\n"


def test_without_a_torchaudio_the_audio_domain_says_so_and_the_others_work():
    """One line that says what to install; listings, and every other domain, do not notice."""
    none = "sys.modules['torchaudio'] = None\n"
    command = "from unnoise.cli import main; main(['generate', 'audio', '--source', 'a.wav'])"
    done = audio(none + command)
    first = done.stderr.splitlines()[0]
    assert first.startswith("unnoise: torchaudio cannot be imported")
    assert first.endswith("pip install torchaudio")
    assert "PluginError: torchaudio cannot be imported" in done.stderr  # of what comes after it
    listed = "import unnoise, unnoise_images.domain, unnoise_text.domain\n"
    done = audio(none + listed + "print('audio' in unnoise.domains()); sys.exit()")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
