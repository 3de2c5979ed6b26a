"""The guide says what happens."""

from __future__ import annotations

import re
from pathlib import Path

from vocoders import vocoder

import unnoise
from unnoise_audio.front_ends import FRONT_ENDS
from unnoise_audio.mel import MelConfiguration

GUIDE = Path(__file__).parents[3] / "docs/pages/howto/text-to-speech.md"


def test_what_the_guide_shows_runs(tmp_path, monkeypatch, capsys):
    """Every block of Python, one after the other, on a model with the default front end."""
    monkeypatch.chdir(tmp_path)
    model = vocoder(MelConfiguration(), patch=40)
    monkeypatch.setattr(unnoise, "load", lambda name: model)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(block, names)
    assert Path("said.wav").is_file()
    assert len(names["out"].samples) == 1
    said = capsys.readouterr().out
    for piece in re.findall(r"# \.\.\. (.*); \.\.\.", GUIDE.read_text())[0].split("; "):
        assert piece in said, piece


def test_every_field_and_every_name_is_in_the_guide():
    text = GUIDE.read_text()
    rest = {"window_norm", "span"}  # of one published front end
    for name in set(MelConfiguration.model_fields) - rest | set(FRONT_ENDS):
        assert f"`{name}`" in text or f'"{name}"' in text, name
