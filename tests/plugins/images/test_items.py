"""Pictures of parquet files, and of sets of `datasets` as far as they can be told without it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import unnoise
from unnoise.errors import InputError
from unnoise_images import data
from unnoise_images.configuration import Configuration
from unnoise_images.items import items_of
from unnoise_images.sources import scan

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def png(value: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def table(path, values, labels=None, names=None, pictures=None):
    """As `datasets` writes it: a struct of bytes and path, the names in the schema."""
    pictures = [png(v) for v in values] if pictures is None else pictures
    columns = {"image": [{"bytes": p, "path": f"{k}.png"} for k, p in enumerate(pictures)]}
    if labels is not None:
        columns["label"] = labels
    made = pa.table(columns)
    if names is not None:
        told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(told)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(made, path, row_group_size=3)
    return path


def read(source, part="train", **options):
    told = data.complete(source, Configuration(**options))
    return data.read(source, told, part), told


def test_a_file_with_the_names_of_its_numbers(tmp_path):
    path = table(tmp_path / "a.parquet", range(10), [0, 1] * 5, ["cat", "dog"])
    found, told = read(path, held_out=2)
    assert told.classes == ("cat", "dog")
    assert told.size == (1, 8, 8)
    assert found.labels.tolist() == [0] * 4 + [1] * 4
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert read(path, "validation", held_out=2)[0].pixels[:, 0, 0, 0].tolist() == [8, 9]


def test_a_folder_of_several_as_hubs_keep_them(tmp_path):
    for k in (0, 1):
        name = f"train-{k:05}-of-00002.parquet"
        table(tmp_path / "set" / "data" / name, range(5 * k, 5 * k + 5), ["b", "a", "b", "a", "b"])
    table(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", [200], ["a"])
    found, told = read(tmp_path / "set", held_out=0)
    assert told.classes == ("a", "b")
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 3, 6, 8, 0, 2, 4, 5, 7, 9]


def test_bytes_alone_and_no_labels(tmp_path):
    parquet.write_table(pa.table({"image": [png(3), png(4)]}), tmp_path / "a.parquet")
    found, told = read(tmp_path / "a.parquet", held_out=0)
    assert told.classes == ()
    assert found.pixels[:, 0, 0, 0].tolist() == [3, 4]


def test_training_from_a_file(tmp_path):
    path = table(tmp_path / "a.parquet", range(40), [0, 1] * 20, ["cat", "dog"])
    small = {"widths": (8, 8), "blocks": (0, 1), "bound_samples": 0}
    model = unnoise.train("images", path, tmp_path / "run", steps=1, device="cpu", **small)
    assert model.configuration.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([png(1), png(2)[:40]], "item 1"),
        ([png(1), b"no picture"], "item 1 is no picture"),
        ([png(1), None], "bytes of its file"),
    ],
)
def test_bad_pictures_are_named(tmp_path, pictures, said):
    path = table(tmp_path / "a.parquet", [], pictures=pictures)
    with pytest.raises(InputError, match=said):
        read(path, held_out=0)


def test_bad_ones_can_be_left_out(tmp_path):
    path = table(tmp_path / "a.parquet", [], pictures=[png(1), b"none", png(3)])
    with pytest.warns(UserWarning, match="1 of 3 pictures of the train part .*: item 1"):
        found, _ = read(path, held_out=0, unreadable="skip")
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 3]


def test_checks_of_files_hold_for_bytes_too(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(buffer, "PNG")
    path = table(tmp_path / "a.parquet", [], pictures=[buffer.getvalue()])
    with pytest.raises(InputError, match="item 0"):
        read(path, held_out=0)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: p.write_bytes(b"PAR1 and no more"), "no parquet file, or damaged"),
        (lambda p: parquet.write_table(pa.table({"picture": [b"x"]}), p), "no column of pictures"),
        (lambda p: table(p, []), "no pictures"),
        (lambda p: table(p, [1, 2], [0, None]), "has no label"),
    ],
)
def test_files_that_hold_no_set(tmp_path, write, said):
    write(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=said):
        scan(tmp_path / "a.parquet")


def test_items_are_read_when_they_are_asked_for():
    """A set larger than memory: labels are read once, no picture is kept."""
    asked: list[int] = []

    class Lazy(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, k):
            asked.append(k)
            return torch.full((1, 8, 8), k / 5), k % 2

    items = items_of(Lazy())
    assert items.labels() == [0, 1, 0, 1, 0]
    asked.clear()
    items.picture(3)
    items.picture(3)
    assert asked == [3, 3]


def test_a_set_of_datasets(tmp_path):
    """Its labels are a column: no picture is decoded for them."""
    datasets = pytest.importorskip("datasets")
    path = table(tmp_path / "a.parquet", range(4), [0, 1, 0, 1])
    made = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    made = made.cast_column("image", datasets.Image())
    made = made.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    found, told = read(made, held_out=0)
    assert told.classes == ("cat", "dog")
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 2, 1, 3]
    undecoded, _ = read(made.cast_column("image", datasets.Image(decode=False)), held_out=0)
    assert torch.equal(undecoded.pixels, found.pixels)
