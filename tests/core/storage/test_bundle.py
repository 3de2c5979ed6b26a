"""Bundles: what is written comes back, and whatever is damaged, unsafe or newer is refused."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from unnoise.errors import BundleError, InputError, LimitExceeded
from unnoise.storage import bundle as bundles
from unnoise.storage import files
from unnoise.storage.bundle import (
    CONFIG,
    INCOMING,
    WEIGHTS,
    read_bundle,
    read_weights,
    write_bundle,
)
from unnoise.storage.tensors import fit_weights

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}
WRAPPERS = [{"name": "unit-variance", "fields": {}}]
SETTINGS = {"size": 28, "rates": [0.1, 0.2], "classes": {"0": "zero"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    write_bundle(target, "toy", SETTINGS, STATE, {"steps": 50}, {"licence": "CC0"}, WRAPPERS)
    return target


def edit(folder: Path, **entries: object) -> None:
    content = json.loads((folder / CONFIG).read_text())
    content.update(entries)
    (folder / CONFIG).write_text(json.dumps(content))


def test_what_is_written_comes_back(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert bundle.domain == "toy"
    assert bundle.configuration == SETTINGS
    assert bundle.wrappers == WRAPPERS
    assert bundle.defaults == {"steps": 50}
    assert bundle.card == {"licence": "CC0"}
    assert bundle.state_dict.keys() == STATE.keys()
    assert all(torch.equal(bundle.state_dict[name], STATE[name]) for name in STATE)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_hash_covers_weights_and_settings_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    def write(settings: dict, state: dict) -> str:
        target = tmp_path / f"other{len(list(tmp_path.iterdir()))}"
        more = {"steps": 50}, {"licence": "CC0"}, WRAPPERS
        written = write_bundle(target, "toy", settings, state, *more)
        assert written == read_bundle(target).hash
        return written

    same = read_bundle(folder).hash
    assert write(SETTINGS, STATE) == same
    assert write({**SETTINGS, "size": 32}, STATE) != same
    assert write(SETTINGS, {**STATE, "a.count": torch.tensor(4)}) != same


def test_tied_weights_and_views_are_written(tmp_path: Path) -> None:
    shared = torch.arange(12.0).view(3, 4)
    state = {"one": shared, "two": shared, "part": shared[:, 1:], "turned": shared.T}
    write_bundle(tmp_path / "tied", "toy", {}, state)
    back = read_bundle(tmp_path / "tied").state_dict
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(folder: Path, bad: float) -> None:
    before = (folder / CONFIG).read_bytes()
    with pytest.raises(BundleError, match=r"not finite.*model\.rates\[1\]"):
        write_bundle(folder, "toy", {"model": {"rates": [0.0, bad]}}, STATE)
    assert (folder / CONFIG).read_bytes() == before
    edit(folder, configuration={"rate": bad})
    with pytest.raises(BundleError, match=r"NaN|Infinity"):
        read_bundle(folder)
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace(json.dumps(bad), "1e999"))
    if bad > 0:
        with pytest.raises(BundleError, match="not finite"):
            read_bundle(folder)


def test_values_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        write_bundle(tmp_path / "x", "toy", {"path": object()}, STATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:keep])
    with pytest.raises(BundleError, match="truncated"):
        read_bundle(folder)


def test_one_changed_bit_is_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256") as caught:
        read_bundle(folder)
    assert caught.value.value != caught.value.limit


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        read_bundle(folder)


def test_no_folder_and_a_file_are_no_bundles(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="no such folder"):
        read_bundle(folder / CONFIG)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.pkl", "pytorch_model.BIN", "sub/last.ckpt"])
def test_a_folder_with_a_pickle_is_refused_and_not_written(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(BundleError, match="refused") as caught:
        read_bundle(folder)
    assert name in str(caught.value)
    with pytest.raises(BundleError, match="refused"):
        write_bundle(folder, "toy", SETTINGS, STATE)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_poses_as_safetensors_is_refused(folder: Path, zipped: bool) -> None:
    if zipped:
        torch.save(STATE, folder / WEIGHTS)
    else:
        (folder / WEIGHTS).write_bytes(pickle.dumps({"a": 1}))
    size = (folder / WEIGHTS).stat().st_size
    digest = bundles.file_digest(folder / WEIGHTS)
    edit(folder, weights={"sha256": digest, "bytes": size})
    with pytest.raises(BundleError, match="pickle"):
        read_bundle(folder)


def test_rubbish_with_the_right_hash_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\xff" * 100)
    digest = bundles.file_digest(folder / WEIGHTS)
    edit(folder, weights={"sha256": digest, "bytes": 100})
    with pytest.raises(BundleError, match="not a safetensors file"):
        read_bundle(folder)


def test_a_newer_schema_says_which_unnoise_is_needed(folder: Path) -> None:
    edit(folder, schema=3, versions={"unnoise": "3.4.5"}, weights="of another form")
    with pytest.raises(BundleError, match=r"newer unnoise.*install unnoise 3\.4\.5 or later"):
        read_bundle(folder)


def test_a_schema_from_before_the_first_release_is_refused(folder: Path) -> None:
    edit(folder, schema=1)
    with pytest.raises(BundleError, match=r"first release.*got 1.*train the model again"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("schema", "1"),
        ("schema", True),
        ("schema", 0),
        ("domain", None),
        ("configuration", []),
        ("wrappers", {}),
        ("wrappers", ["analytic-variance"]),
        ("wrappers", [{"name": 3, "fields": {}}]),
        ("card", "text"),
        ("weights", {}),
        ("weights", {"sha256": 3, "bytes": 3}),
    ],
)
def test_mistyped_entries_are_refused(folder: Path, entry: str, value: object) -> None:
    edit(folder, **{entry: value})
    with pytest.raises(BundleError, match=r"schema|damaged") as caught:
        read_bundle(folder)
    assert entry.rstrip("s") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100_000])
def test_a_config_that_is_not_one_is_refused(folder: Path, text: str) -> None:
    (folder / CONFIG).write_text(text, encoding="latin-1")
    with pytest.raises(BundleError):
        read_bundle(folder)


def test_another_librarys_config_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(BundleError, match="will not replace"):
        write_bundle(tmp_path, "toy", SETTINGS, STATE)
    assert (tmp_path / CONFIG).read_text() == '{"_class_name": "UNet2DModel"}'


def test_weights_that_do_not_fit_are_named_and_counted() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {name: value.clone() for name, value in module.state_dict().items()}
    del state["0.bias"]
    state["extra"] = torch.zeros(1)
    state["1.weight"] = torch.zeros(2, 3)
    expected = r"1 missing \(0\.bias\), 1 unexpected \(extra\), 1 of another shape \(1\.weight"
    with pytest.raises(BundleError, match=expected):
        fit_weights(module, state)
    with pytest.raises(BundleError, match=r"4 missing \(.*"):
        fit_weights(module, {})
    good = {name: torch.randn_like(value) for name, value in module.state_dict().items()}
    fit_weights(module, good)
    assert all(torch.equal(good[name], value) for name, value in module.state_dict().items())


class Killed(BaseException):
    pass


def test_replacing_is_safe_wherever_the_writer_dies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before each single rename, sync and removal of the replacement, and read."""
    (folder / "log.jsonl").write_text("kept")
    new = {**STATE, "a.count": torch.tensor(9)}
    calls = 0
    deaths = 0

    def deadly(name: str, fatal: int):
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fatal:
                raise Killed
            return real(*arguments)

        return call

    seen = set()
    for fatal in range(1, 100):
        write_bundle(folder, "toy", SETTINGS, STATE, {"steps": 50})
        calls = 0
        with monkeypatch.context() as patch:
            for name in ("replace", "rename", "fsync"):
                patch.setattr(os, name, deadly(name, fatal))
            # a killed process does not tidy up
            patch.setattr(files.shutil, "rmtree", lambda *a, **k: None)
            try:
                write_bundle(folder, "toy", SETTINGS, new, {"steps": 51})
            except Killed:
                deaths += 1
            else:
                break
        bundle = read_bundle(folder)
        count = int(bundle.state_dict["a.count"])
        assert (count, bundle.defaults["steps"]) in {(3, 50), (9, 51)}
        seen.add(count)
    assert deaths >= 8
    assert seen == {3, 9}
    bundle = read_bundle(folder)
    assert int(bundle.state_dict["a.count"]) == 9
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, "log.jsonl", WEIGHTS]


def test_a_full_disk_leaves_the_old_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_bundle(folder).hash

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(LimitExceeded, match="no space left"):
            write_bundle(folder, "toy", {}, STATE)
        with pytest.raises(LimitExceeded, match="no space left"):
            write_bundle(folder.parent / "another", "toy", {}, STATE)
    assert read_bundle(folder).hash == before
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert not (folder / INCOMING).exists()


def test_a_file_in_the_way_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        write_bundle(tmp_path / "file" / "model", "toy", {}, STATE)
    with pytest.raises(BundleError, match="is a file"):
        write_bundle(tmp_path / "file", "toy", {}, STATE)


def test_reading_the_config_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from unnoise.storage.bundle import read_config, read_bundle;"
        f"read_config({str(folder)!r}); read_bundle({str(folder)!r});"
        "sys.exit('torch' in sys.modules)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_a_bundle_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    """What is read is one of the two as a whole, and never an error."""
    stop, target = threading.Event(), tmp_path / "model"
    states = [{"w": torch.full((200, 50), float(k))} for k in range(2)]
    write_bundle(target, "toy", {"number": 0}, states[0])

    def write() -> None:
        number = 0
        while not stop.is_set():
            number = 1 - number
            write_bundle(target, "toy", {"number": number}, states[number])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = set()
        for _ in range(60):
            bundle, weights = read_weights(target)
            number = bundle.configuration["number"]
            seen.add(number)
            assert torch.equal(weights["w"], states[number]["w"])
    finally:
        stop.set()
        writer.join()
    assert seen == {0, 1}


def test_a_damaged_bundle_is_still_refused_at_once(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="SHA-256"):
        read_weights(folder)


def test_a_file_that_moves_up_while_it_is_opened_is_read_where_it_went(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename changes neither inode nor time, and the folder it left may stand a moment more."""
    incoming = folder / INCOMING
    incoming.mkdir()
    (folder / CONFIG).rename(incoming / CONFIG)
    read_bytes = Path.read_bytes

    def moved(path: Path) -> bytes:
        if (incoming / CONFIG).exists():
            (incoming / CONFIG).rename(folder / CONFIG)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", moved)
    assert read_bundle(folder).configuration
