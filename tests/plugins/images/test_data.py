"""Folders of pictures: what is read, what is refused, and how they are split."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from unnoise.errors import ConfigError, InputError, LimitExceeded
from unnoise.fields import configured
from unnoise_images import data, files
from unnoise_images.configuration import Configuration


def complete(root: Path, **options: object) -> Configuration:
    return data.complete(root, Configuration(**options))


def save(path: Path, mode: str = "L", size: tuple[int, int] = (12, 10), colour: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def test_configuration_is_completed_from_the_pictures(folder: Path) -> None:
    found = complete(folder)
    assert (found.height, found.width, found.channels) == (10, 12, 1)
    assert found.classes == ("cat", "dog")
    assert found.held_out == 2  # a tenth


def test_pictures_are_levels_with_their_labels(folder: Path) -> None:
    pictures = data.read(folder, complete(folder), "train")
    assert len(pictures) == 18
    x, label = pictures[17]
    assert label == 1
    assert x.shape == (1, 10, 12)
    torch.testing.assert_close(x, torch.full_like(x, 108.0))


def test_parts_are_disjoint_stratified_and_the_last_by_name(folder: Path) -> None:
    listed = data.scan(folder).files
    held = data.split(listed, 6, "validation")
    train = data.split(listed, 6, "train")
    assert not set(held) & set(train)
    assert len(held) + len(train) == 20
    assert [path.name for path, label in held if label == 1] == ["07.png", "08.png", "09.png"]


@pytest.mark.parametrize("held_out", range(23))
def test_split_gives_the_number_asked_for_and_never_a_whole_class(held_out: int) -> None:
    listed = [(Path(f"{k}"), label) for label, n in enumerate((1, 5, 19)) for k in range(n)]
    held = data.split(listed, held_out, "validation")
    assert len(held) == held_out
    assert {label for _, label in data.split(listed, held_out, "train")} == {0, 1, 2}


def test_split_refuses_to_take_a_whole_class() -> None:
    with pytest.raises(ConfigError, match=r"0\.\.2"):
        data.split([(Path("a"), 0), (Path("b"), 0), (Path("c"), 0)], 3, "train")


def test_a_folder_without_classes(tmp_path: Path) -> None:
    for k in range(3):
        save(tmp_path / f"{k}.JPG")
    found = complete(tmp_path)
    assert found.classes == ()
    assert len(data.read(tmp_path, found, "train")) == 3


def test_classes_can_be_chosen_and_ordered(folder: Path) -> None:
    found = complete(folder, classes=("dog",))
    pictures = data.read(folder, found, "train")
    assert set(pictures.labels.tolist()) == {0}
    assert int(pictures.pixels.min()) == 100


def test_colour_anywhere_makes_three_channels(folder: Path) -> None:
    Image.new("RGB", (12, 10), (255, 0, 10)).save(folder / "cat" / "red.png")
    found = complete(folder, held_out=0)
    assert found.channels == 3
    assert data.read(folder, found, "train").pixels[10, :, 0, 0].tolist() == [255, 0, 10]
    grey = data.read(folder, complete(folder, channels=1, held_out=0), "train")
    assert grey.pixels.shape[1] == 1


def test_several_sizes_need_a_decision(folder: Path) -> None:
    save(folder / "cat" / "wide.png", size=(40, 10))
    with pytest.raises(InputError, match="several sizes"):
        complete(folder)
    with pytest.raises(InputError, match=r"wide.png.*another size"):
        data.read(folder, complete(folder, height=10, width=12, held_out=0), "train")
    for fit in ("resize", "crop"):
        found = complete(folder, height=10, width=12, fit=fit, held_out=0)
        assert len(data.read(folder, found, "train")) == 21


def test_crop_cuts_at_the_centre_and_resize_keeps_everything(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30), dtype=np.uint8)
    pixels[:, 10:20] = 255
    picture = Image.fromarray(pixels)
    assert files.to_pixels(picture, 10, 10, 1, "crop", "x").min() == 255
    assert files.to_pixels(picture, 10, 10, 1, "resize", "x").min() == 0


def sixteen_bits(width: int = 12, height: int = 10) -> bytes:
    """A PNG of 16 bits per channel, which Pillow opens as RGB of 8 bits."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * width) * height)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def keyed(path: Path) -> bytes:
    """The RGB picture in a file with a colour that stands for nothing (tRNS)."""
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.save(buffer, "PNG", transparency=(7, 7, 7))
    return buffer.getvalue()


def film(path: Path, kind: str) -> None:
    frames = [Image.fromarray(np.full((10, 12), 90 * k, dtype=np.uint8)) for k in range(3)]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("suffix", ["webp", "gif", "bmp", "tiff", "tif", "jfif", "ppm", "tga"])
def test_what_pillow_reads_is_read(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / f"0.{suffix}")
        save(tmp_path / name / "deeper" / f"1.{suffix.upper()}")
    found = complete(tmp_path)
    assert found.classes == ("a", "b")
    assert len(data.read(tmp_path, found, "train")) == 4


def test_what_is_left_out_is_counted_and_named(folder: Path) -> None:
    save(folder / "cat" / "._x.png")
    (folder / "cat" / "notes.txt").write_text("a cat")
    save(folder / "__MACOSX" / "x.png")
    with pytest.warns(UserWarning, match=r"3 files.*left out: __MACOSX, \._x\.png, notes\.txt"):
        found = complete(folder)
    assert found.classes == ("cat", "dog")
    assert len(data.read(folder, found, "train")) == 18


def test_a_class_of_which_nothing_can_be_read_is_an_error(folder: Path) -> None:
    (folder / "bird").mkdir()
    (folder / "bird" / "0.xcf").write_bytes(b"gimp")
    with pytest.raises(InputError, match=r"bird.*1 files: 0\.xcf"):
        complete(folder)


def test_numbers_are_in_numeric_order(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        save(tmp_path / name / "0.png")
    assert complete(tmp_path).classes == ("1", "2", "10")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pictures_lie_on_the_background_that_is_named(
    tmp_path: Path, mode: str
) -> None:
    picture = Image.new("RGBA", (12, 10), (200, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 6, 10))
    picture.convert(mode).save(tmp_path / "a.png")
    found = complete(tmp_path, background="white", channels=1, held_out=0)
    row = data.read(tmp_path, found, "train").pixels[0, 0, 5]
    assert row[:6].tolist() == [0] * 6
    assert row[6:].tolist() == [255] * 6
    with pytest.raises(InputError, match="background"):
        complete(tmp_path)
    with pytest.raises(ConfigError, match="unknown colour"):
        complete(tmp_path, background="whitish")


class Pairs(Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        return torch.full((1, 10, 12), k / 255), k % 2


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("L", (12, 10), k) for k in range(count)]


@pytest.mark.parametrize(
    ("source", "classes"),
    [
        (pictures(6), ()),
        ([np.full((10, 12), k, dtype=np.uint8) for k in range(6)], ()),
        (torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 10, 12), ()),
        (list(zip(pictures(6), [0, 1] * 3, strict=True)), ("0", "1")),
        (list(zip(pictures(6), ["dog", "cat"] * 3, strict=True)), ("cat", "dog")),
        ([{"image": p, "label": k % 2} for k, p in enumerate(pictures(6))], ("0", "1")),
        (Pairs(), ("0", "1")),
    ],
)
def test_pictures_that_a_program_holds(source: object, classes: tuple[str, ...]) -> None:
    found = data.complete(source, Configuration(held_out=2))
    assert (found.height, found.width, found.channels) == (10, 12, 1)
    assert found.classes == classes
    train = data.read(source, found, "train")
    held = data.read(source, found, "validation")
    assert (len(train), len(held)) == (4, 2)
    values = torch.cat([train.pixels, held.pixels])[:, 0, 0, 0]
    assert sorted(values.tolist()) == list(range(6))
    if classes == ("cat", "dog"):  # the odd ones are cats
        assert ((train.pixels[:, 0, 0, 0] % 2 == 1) == (train.labels == 0)).all()


def test_numbers_of_classes_that_are_named() -> None:
    source = list(zip(pictures(4), [1, 0, 1, 0], strict=True))
    found = data.complete(source, Configuration(classes=("cat", "dog"), held_out=0))
    assert data.read(source, found, "train").labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="no label"):
        data.scan([*source, Image.new("L", (12, 10))])
    with pytest.raises(InputError, match="hold no pictures"):
        data.scan([])
    with pytest.raises(InputError, match="must be a folder, a parquet file, or pictures"):
        data.scan(7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"not a picture"), "no picture"),
        (lambda p: p.write_bytes(save(p).read_bytes()[:44]), "cannot be read"),
        (lambda p: p.write_bytes(b""), "no picture"),
        (lambda p: save(p, "RGBA"), "alpha"),
        (lambda p: save(p, "LA"), "alpha"),
        (lambda p: save(p, "I;16"), "8-bit"),
        (lambda p: Image.new("CMYK", (12, 10)).save(p, "JPEG"), "8-bit"),
        (lambda p: p.write_bytes(sixteen_bits()), "16 bits per channel"),
        (lambda p: save(p, "RGB").write_bytes(keyed(p)), "transparency"),
        (lambda p: film(p, "GIF"), "several frames"),
        (lambda p: film(p, "WEBP"), "several frames"),
        (lambda p: film(p, "TIFF"), "several frames"),
        (lambda p: Image.new("1", (9000, 9000)).save(p), "too large"),
    ],
)
def test_a_bad_file_is_named(folder: Path, make: object, message: str) -> None:
    make(folder / "dog" / "05.png")  # type: ignore[operator]
    options = Configuration(height=10, width=12, channels=1, classes=("cat", "dog"), held_out=0)
    with pytest.raises(InputError, match=rf"05.png.*{message}"):
        data.read(folder, options, "train")


def test_unreadable_files_are_counted_or_skipped_as_asked(folder: Path) -> None:
    for k in range(7):
        (folder / "cat" / f"{k:02}.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"00.png"):
        complete(folder)
    found = complete(folder, unreadable="skip", held_out=0)
    with pytest.warns(UserWarning, match=r"7 of 20 pictures.*00.png.*and 2 more"):
        pictures = data.read(folder, found, "train")
    assert len(pictures) == 13
    assert len(pictures.skipped) == 7
    strict = found.model_copy(update={"unreadable": "error"})
    with pytest.raises(InputError, match=r"7 of 20 pictures.*skip"):
        data.read(folder, strict, "train")


def test_nothing_readable_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="not one picture"):
        complete(tmp_path, unreadable="skip")


def test_folders_that_hold_no_data(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="must be a folder"):
        data.scan(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        data.scan(empty)
    save(folder / "loose.png")
    with pytest.raises(InputError, match="side by side"):
        data.scan(folder)
    (folder / "loose.png").unlink()
    with pytest.raises(InputError, match="'bird'"):
        data.scan(folder, ("cat", "bird"))


def test_sides_have_limits(folder: Path) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        Configuration(height=4)
    root = folder.parent / "large"
    save(root / "a.png", size=(300, 300))
    with pytest.raises(ConfigError, match="256"):
        complete(root)


def test_decoded_data_must_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MOST_BYTES", 1000)
    with pytest.raises(LimitExceeded, match="do not fit"):
        data.read(folder, complete(folder), "train")


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("L", (12, 10))
    exif = picture.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees when shown
    picture.save(tmp_path / "a.jpg", exif=exif)
    found = complete(tmp_path)
    assert (found.height, found.width) == (12, 10)
    assert data.read(tmp_path, found, "train")[0][0].shape == (1, 12, 10)


def test_parts_of_a_set_are_no_classes(tmp_path: Path) -> None:
    """Else the model would learn what is train and what is test."""
    for part in ("Train", "val", "test"):
        for name in ("cat", "dog"):
            save(tmp_path / part / name / "0.png")
    with pytest.raises(InputError, match=r"parts of a data set.*Train'"):
        complete(tmp_path)
    assert complete(tmp_path / "Train").classes == ("cat", "dog")
    assert complete(tmp_path, classes=("test", "Train")).classes == ("test", "Train")
    save(tmp_path / "cat" / "0.png")
    assert len(complete(tmp_path).classes or ()) == 4


def test_a_class_is_named_once(folder: Path) -> None:
    with pytest.raises(ConfigError, match="named twice: 'cat'"):
        configured(Configuration, {"classes": ("cat", "dog", "cat")})
    assert complete(folder, classes=()).classes == ()


def test_a_background_is_not_transparent() -> None:
    for name in ("#ffffff00", "#0000", "no colour"):
        with pytest.raises(ConfigError):
            Configuration(background=name)
    assert Configuration(background="#ffffffff").background


def test_zeros_and_ones_are_no_levels(tmp_path: Path) -> None:
    """Truth values in uint8 would be a set of black pictures."""
    flags = [np.eye(12, dtype=np.uint8) for _ in range(4)]
    options = data.complete(flags, Configuration(held_out=0))
    with pytest.raises(InputError, match="would be black"):
        data.read(flags, options, "train")
    for fine in (bool, float):
        assert data.read([f.astype(fine) for f in flags], options, "train").pixels.max() == 255
    dark = [*flags, np.full((12, 12), 9, np.uint8)]  # one of many may be
    assert data.read(dark, options, "train").pixels.max() == 9
    with pytest.raises(InputError, match="would be black"):
        files.given_picture(torch.eye(12, dtype=torch.uint8), "image")
    assert files.to_mask(files.as_picture(flags[0], "mask"), 12, 12, "mask").sum() == 12


def test_pictures_are_not_moved_out_of_sight(folder: Path) -> None:
    with pytest.raises(ConfigError, match="out of sight"):
        complete(folder, shift=10)  # pictures are 12 x 10
    assert complete(folder, shift=9).shift == 9


def test_a_model_of_elsewhere_is_judged_on_everything(folder: Path) -> None:
    own = complete(folder)
    elsewhere = own.model_copy(update={"held_out": None})
    parts = [len(data.read(folder, own, part)) for part in ("train", "validation")]
    assert len(data.read(folder, elsewhere, "validation")) == sum(parts)
    none = own.model_copy(update={"held_out": 0})
    assert len(data.read(folder, none, "validation")) == 0
