"""Networks of other libraries have all of their weights, and no others."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from unnoise.compat import without_broken_torchaudio
from unnoise.errors import BundleError
from unnoise_images.foreign import loaded

without_broken_torchaudio()
diffusers = pytest.importorskip("diffusers")


@pytest.fixture
def folder(tmp_path):
    diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8,),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    ).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("conv_out.weight"), "missing; got '1: conv_out.weight'"),
        (lambda w: w.update(more=torch.zeros(2)), "unexpected; got '1: more'"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, change, said):
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(BundleError, match=said):
        loaded(diffusers.UNet2DModel, folder, torch_dtype=torch.float32)


def test_whole_weights_are_read(folder):
    network = loaded(diffusers.UNet2DModel, folder, torch_dtype=torch.float32)
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert torch.equal(network.conv_out.weight, weights["conv_out.weight"])
