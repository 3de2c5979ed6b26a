"""What of somebody's data is not used is said, with its name, and what is used is not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.discovery.domains import trainable_named
from unnoise.errors import InputError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def file(name: str, text: str = "") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def picture(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(name)


def sound(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, np.sin(np.arange(44100)), 22050)


def said(domain: str, source: Any, **options: Any) -> list[str]:
    """The warnings of a training's first step, the completion of its configuration."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = trainable_named(domain)
        configuration = found.configure(source, options)
        found.dataset(source, configuration, "train")
    return [str(one.message) for one in caught if one.category is UserWarning]


def test_pictures():
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        picture(f"data/{name}")
    for domain in ("images", "latent"):
        assert said(domain, Path("data")) == []
    Path("data/cat").mkdir()
    Path("data/dog/deep").mkdir(parents=True)
    file("data/a/notes.txt")
    for domain in ("images", "latent"):
        files, folders = said(domain, Path("data"))
        assert "1 files" in files
        assert "notes.txt" in files
        assert folders.startswith("2 folders")
        assert "cat, dog" in folders
        assert "no classes" in folders


def test_a_class_that_was_asked_for_is_there():
    picture("data/a/1.png")
    Path("data/cat").mkdir()
    with pytest.raises(InputError, match=r"lacks the class folder.*'cat'"):
        said("images", Path("data"), classes=("a", "cat"))


def test_a_class_of_which_nothing_can_be_read():
    for name in ("a/1.png", "a/2.png"):
        picture(f"data/{name}")
    file("data/b/1.png", "no picture")
    with pytest.raises(InputError, match=r"picture of a class can be read; got 'b'"):
        said("images", Path("data"), unreadable="skip", held_out=0)


def test_labels_of_a_program_that_are_no_classes():
    shown = [Image.new("L", (8, 8))] * 4

    assert said("images", list(zip(shown, "abab", strict=True))) == []
    for bad in (1.5, float("nan"), b"a", (0, 1)):
        with pytest.raises(InputError, match="name of a class or its number"):
            said("images", [(shown[0], 0), (shown[1], bad)])


def test_numbers_without_a_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])}
    )
    rows = {"image": [Image.new("L", (8, 8))] * 4, "label": [0, 1, 1, -1]}
    (line,) = said("images", datasets.Dataset.from_dict(rows, features=features))
    assert line.startswith("1 items")
    assert "item 3 (-1)" in line


def test_pictures_beside_a_table():
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"image": [b""], "label": [0]})
    picture("data/a/1.png")
    parquet.write_table(table, "data/more.parquet")
    with pytest.raises(InputError, match="side by side"):
        said("images", Path("data"))


def test_sound():
    for k in range(8):
        sound(f"data/wavs/{k}.wav")
    sound("data/.hidden.wav")
    for transcript in ("metadata.csv", "README", "wavs/1.txt"):  # as beside LJSpeech
        file(f"data/{transcript}")
    assert said("audio", Path("data")) == []
    file("data/wavs/8.mp4")
    file("data/speaker/readme")
    files, folders = said("audio", Path("data"))
    assert files.startswith("1 files")
    assert "wavs/8.mp4" in files
    assert folders.startswith("1 folders")
    assert "speaker" in folders


def test_text():
    file("data/a.txt", "we the people")
    file("data/b.jsonl", '{"text": "of the"}\n')
    assert said("text", Path("data")) == []
    file("data/c.pdf", "?")
    file("data/d.txt", " \n")
    file("data/b.jsonl", '{"text": "of the"}\n{"text": ""}\n{"text": null}\n')
    empty, other = said("text", Path("data"))
    assert "b.jsonl (2), d.txt" in empty
    assert other.startswith("1 files")
    assert "c.pdf" in other
    assert said("text", Path("data/a.txt")) == []


def test_molecules():
    def written(smiles: list[str]) -> Path:
        with Chem.SDWriter("data.sdf") as writer:
            for one in smiles:
                mol = Chem.AddHs(Chem.MolFromSmiles(one))
                rdDistGeom.EmbedMolecule(mol, randomSeed=1)
                mol.SetProp("_Name", one)
                writer.write(mol)
        return Path("data.sdf")

    good = ["CCO", "CCC", "CCN", "c1ccccc1"]
    assert said("molecules", written(good)) == []
    (line,) = said("molecules", written([*good, "C[Si](C)(C)C", "CO.CO"]))
    assert line.startswith("2 of 6 molecules")
    assert "C[Si](C)(C)C, CO.CO" in line


def test_captions():
    for k in range(4):
        picture(f"beside/{k}.png")
        file(f"beside/{k}.txt", f"number {k}")
        picture(f"table/{k}.png")
    rows = [{"file": f"{k}.png", "text": "a", "split": "train"} for k in range(4)]
    file("table/captions.jsonl", "\n".join(map(json.dumps, rows)))
    for name in ("beside", "table"):
        assert said("text2image", Path(name)) == []
    file("beside/9.txt", "no picture")
    picture("beside/8.png")
    pictures, texts = said("text2image", Path("beside"), without_caption="skip")
    assert "8.png" in pictures
    assert "9.txt" in texts
    picture("table/9.png")
    rows[3]["split"] = "test"
    file("table/captions.jsonl", "\n".join(map(json.dumps, rows)))
    parts, pictures = said("text2image", Path("table"))
    assert "test (1)" in parts
    assert "9.png" in pictures
