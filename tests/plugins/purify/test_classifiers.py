"""Classifiers from files and folders, none of which runs code."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError, InputError
from unnoise.storage.tensors import tensor_bytes
from unnoise_purify.classifiers import load_classifier
from unnoise_purify.digits import DigitsNet, card, digits


@pytest.fixture
def x():
    return torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_the_shipped_one_recognises_digits(pictures):
    x, y = pictures
    before = torch.get_rng_state()
    network = load_classifier("digits")
    assert torch.equal(torch.get_rng_state(), before)
    assert network(x).argmax(1).tolist() == y.tolist()
    assert not network.training
    assert card()["accuracy"] > 0.98
    assert card()["parameters"] == sum(p.numel() for p in network.parameters())


def test_a_state_dict_needs_its_class(tmp_path, x):
    network = digits()
    state = network.state_dict()
    torch.save(state, tmp_path / "a.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "b.pt")
    (tmp_path / "c.safetensors").write_bytes(tensor_bytes(state))
    for source in (state, tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.safetensors"):
        for architecture in (DigitsNet, DigitsNet()):
            found = load_classifier(source, architecture)
            assert torch.equal(found(x), network(x))
    with pytest.raises(InputError, match="architecture"):
        load_classifier(state)
    with pytest.raises(BundleError, match="do not fit"):
        load_classifier(tmp_path / "a.pt", lambda: nn.Linear(2, 2))


def test_torchscript_is_read(tmp_path, x):
    network = digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(network, x).save(tmp_path / "net.pt")
    assert torch.allclose(load_classifier(tmp_path / "net.pt")(x), network(x), atol=1e-5)


def test_normalisation_is_put_before_it(x):
    seen = []

    class Net(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)[:, :2]

    load_classifier(Net(), mean=[0.5], std=[0.25])(x)
    assert torch.allclose(seen[0], (x - 0.5) / 0.25)
    with pytest.raises(InputError, match="together"):
        load_classifier(Net(), mean=[0.5])
    with pytest.raises(InputError, match="std > 0"):
        load_classifier(Net(), mean=[0.5], std=[0.0])


class Bomb:
    """What a pickle runs when it is opened."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


def test_pickled_code_never_runs(tmp_path):
    torch.save({"layer.weight": Bomb()}, tmp_path / "bad.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("bad.pt", "module.pt"):
        with pytest.raises(InputError, match="weights alone"):
            load_classifier(tmp_path / name, DigitsNet)
        with pytest.raises(InputError, match="no TorchScript"):
            load_classifier(tmp_path / name)


def test_what_is_none_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    for source, message in (
        ("no-such", "no such classifier"),
        (object(), "no classifier"),
        (tmp_path / "text.txt", "no TorchScript"),
        (tmp_path, "no config.json"),
    ):
        with pytest.raises(InputError, match=message):
            load_classifier(source)


def test_a_transformers_folder_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    without_broken_torchaudio()
    configuration = transformers.ResNetConfig(
        num_channels=1,
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        num_labels=10,
        layer_type="basic",
    )
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(configuration).half().eval()
    model.save_pretrained(tmp_path, safe_serialization=True)
    told = {
        "do_normalize": True,
        "image_mean": [0.2],
        "image_std": [0.5],
        "do_resize": True,
        "size": {"height": 32, "width": 32},
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    x = torch.rand(2, 1, 28, 28)
    found = load_classifier(tmp_path)
    bigger = nn.functional.interpolate(
        x, (32, 32), mode="bilinear", align_corners=False, antialias=True
    )
    with torch.no_grad():
        expected = model.float()(pixel_values=(bigger - 0.2) / 0.5).logits
        assert torch.allclose(found(x), expected, atol=1e-4)
    weights = load_file(tmp_path / "model.safetensors")
    short = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(short, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="are missing"):  # they would be random numbers
        load_classifier(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["auto_map"] = {"AutoModelForImageClassification": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="code of its own"):
        load_classifier(tmp_path)
    for text in ("{", "[]", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match="is damaged"):
            load_classifier(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="no safetensors"):
        load_classifier(tmp_path)
