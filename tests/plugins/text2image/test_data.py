"""Pictures with captions: where they are found, how they are split, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from unnoise.errors import InputError
from unnoise_text2image.data import complete, part_of, read, scan
from unnoise_text2image.domain import Text2Image

CONFIGURATION = Text2Image.Configuration(held_out=1)


def pictures(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        Image.new("RGB", (16, 16), (40 * k, 0, 0)).save(root / name)
    return root


def captions(source: Path) -> dict[str, tuple[str, ...]]:
    return {one.path.name: one.captions for one in scan(source, CONFIGURATION)}


def test_text_files_beside_pictures(tmp_path: Path) -> None:
    root = pictures(tmp_path / "p", "a.png", "b.png")
    (root / "a.txt").write_text("red apple\n\n an apple \n", encoding="utf-8-sig")
    (root / "b.txt").write_text("heart")
    assert captions(root) == {"a.png": ("red apple", "an apple"), "b.png": ("heart",)}


@pytest.mark.parametrize("kind", ["hugging face", "csv", "parquet", "named table"])
def test_tables(tmp_path: Path, kind: str) -> None:
    root = pictures(tmp_path / "p", "a.png", "b.png")
    source = root
    if kind == "hugging face":
        rows = [{"file_name": "b.png", "text": "heart"}, {"file_name": "a.png", "text": "apple"}]
        (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif kind == "csv":
        (root / "metadata.csv").write_text('file_name,caption\nb.png,heart\na.png,"apple"\n')
    elif kind == "parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        table = {"path": ["b.png", "a.png"], "captions": [["heart"], ["apple"]]}
        pq.write_table(pytest.importorskip("pyarrow").table(table), root / "train.parquet")
    else:
        source = tmp_path / "any.jsonl"
        rows = [{"path": f"p/{n}.png", "prompt": c} for n, c in (("b", "heart"), ("a", "apple"))]
        source.write_text("\n".join(map(json.dumps, rows)))
    assert captions(source) == {"a.png": ("apple",), "b.png": ("heart",)}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("m.csv", "path,caption\na.png,red, round\n", "line 2 has another number of cells"),
        ("m.csv", "path,caption,caption\na.png,red,b\n", "have one name; got 'caption'"),
        ("m.jsonl", "[" * 100_000, "is no JSON: it is nested too deeply"),
        ("m.jsonl", '{"path": "a.png", "caption": "a\\ud83d"}', "holds half of a character"),
    ],
)
def test_tables_that_would_lose_something(
    tmp_path: Path, name: str, content: str, why: str
) -> None:
    root = pictures(tmp_path, "a.png")
    (root / name).write_text(content)
    with pytest.raises(InputError, match=why):
        scan(root / name, CONFIGURATION)


def test_prompts_are_whole_characters() -> None:
    for name in ("prompt", "negative_prompt"):
        with pytest.raises(InputError, match=f"{name} holds half of a character"):
            Text2Image.Request(**{name: ["a", "b\udcff"]})


def test_a_column_says_the_split_and_other_parts_are_kept_apart(folder: Path) -> None:
    found = scan(folder, CONFIGURATION)
    assert len(part_of(found, "train", CONFIGURATION)) == 11
    (held_out,) = part_of(found, "validation", CONFIGURATION)
    assert held_out.path.name == "black-flag.png"
    assert part_of(found, "names", CONFIGURATION) == []


def test_without_a_split_the_last_are_held_out(tmp_path: Path) -> None:
    root = pictures(tmp_path / "p", "b.png", "a.png", "c.png")
    for name in "abc":
        (root / f"{name}.txt").write_text(name)
    found = scan(root, CONFIGURATION)
    assert [one.path.stem for one in part_of(found, "train", CONFIGURATION)] == ["a", "b"]
    assert [one.path.stem for one in part_of(found, "validation", CONFIGURATION)] == ["c"]
    with pytest.raises(InputError, match="held_out"):
        part_of(found, "train", Text2Image.Configuration(held_out=3))


def test_sizes_and_vocabulary_come_from_the_training_part(folder: Path) -> None:
    found = complete(folder, Text2Image.Configuration(vocabulary=400))
    assert (found.side, found.base_side, found.factor) == (16, 8, 2)
    words = set(found.tokenizer["model"]["vocab"])
    assert {"red", "apple", "heart", "flag", "green", "black"} <= words
    tiny = complete(folder, Text2Image.Configuration(vocabulary=400, side=8, fit="resize"))
    assert (tiny.side, tiny.base_side) == (8, 8)  # half of it would be too small a picture
    assert complete(folder, Text2Image.Configuration(vocabulary=400)) == found


def test_each_stage_sees_its_size_and_all_captions(folder: Path) -> None:
    domain = Text2Image()
    for stage, side in (("base", 8), ("upsampler", 16)):
        configuration = domain.configure(folder, {"stage": stage})
        items = domain.dataset(folder, configuration, "train")
        item = items[0]
        assert item.picture.shape == (3, side, side)
        assert (item.low is None) == (stage == "base")
    whole, small = item.picture, item.low
    torch.testing.assert_close(
        whole.view(3, 8, 2, 8, 2).mean((2, 4)) / 127.5 - 1, small, atol=1e-5, rtol=0
    )
    torch.manual_seed(0)
    # all of 30 draws alike: a false alarm in 500 million
    assert len({tuple(items[0].ids.tolist()) for _ in range(30)}) == 2
    batch = domain.collate([items[k] for k in range(3)])
    assert {n: tuple(v.shape) for n, v in batch.condition.items()} == {
        "ids": (3, 24),
        "mask": (3, 24),
        "low": (3, 3, 8, 8),
        "level": (3,),
    }


def test_pictures_without_captions_are_named(tmp_path: Path) -> None:
    root = pictures(tmp_path / "p", "a.png", "b.png")
    (root / "a.txt").write_text("apple")
    with pytest.raises(InputError, match=r"1 of 2 pictures have no caption.*b\.png"):
        captions(root)
    skip = Text2Image.Configuration(without_caption="skip")
    assert [one.path.name for one in scan(root, skip)] == ["a.png"]
    empty = Text2Image.Configuration(without_caption="empty")
    assert scan(root, empty)[1].captions == ("",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.png"}', "lacks a column"),
        ('{"text": "apple"}', "lacks a column"),
        ('{"path": "z.png", "text": "apple"}', "no file"),
        ('{"path": "a.png", "text": 3}', "no text"),
        ('{"path": "a.png", "text": "b"}\n{"path": "a.png", "text": "c"}', "twice"),
        ("[1]", "no object"),
        ("{", "no JSON"),
        ("", "holds no pictures"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    root = pictures(tmp_path / "p", "a.png")
    (root / "captions.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        scan(root, CONFIGURATION)


def test_bad_sources_are_refused(tmp_path: Path, folder: Path) -> None:
    for source, message in (
        (tmp_path / "none", "no such folder"),
        (folder / "red-apple.png", "no table"),
    ):
        with pytest.raises(InputError, match=message):
            scan(source, CONFIGURATION)
    (folder / "metadata.csv").write_text("file_name,text\n")
    with pytest.raises(InputError, match="several tables"):
        scan(folder, CONFIGURATION)


def test_pictures_of_several_sizes_need_a_side(folder: Path) -> None:
    Image.new("RGB", (20, 16)).save(folder / "red-apple.png")
    with pytest.raises(InputError, match="squares of one size"):
        complete(folder, CONFIGURATION)
    fitted = complete(folder, Text2Image.Configuration(side=16, fit="crop"))
    assert read(folder, fitted, "train").pixels.shape == (11, 3, 16, 16)
