"""Every family of masked language models: loaded, saved, loaded again, the same in any batch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_lms import FAMILIES, save_family, save_tokenizer

from unnoise import api
from unnoise.cli import main
from unnoise.errors import BundleError, InputError
from unnoise_text.masked_lm import load_masked_lm

QUICK = ["bart", "bert", "convbert", "distilbert", "fnet", "mobilebert", "nystromformer", "roberta"]
OTHERS = [family for family in FAMILIES if family not in QUICK]


def check(family, tmp_path):
    save_family(tmp_path / "lm", family)
    model = load_masked_lm(tmp_path / "lm")
    asked = {"prompt": ["we", "we the people", "we of the"], "length": [5, 12, 9], "seed": 3}
    asked |= {"num_samples": 1, "steps": 12}
    together = model.generate(**asked).samples
    assert together == model.generate(**asked, batch_size=1).samples
    model.save(tmp_path / "bundle")
    again = api.load(tmp_path / "bundle")
    assert again.generate(**asked).samples == together
    assert again.denoiser.network.padding == model.denoiser.network.padding
    # the rows of some tokens are those of all
    network, x = model.denoiser.network, torch.arange(18).view(2, 9) % 13
    where = torch.arange(18).view(2, 9) % 5 == 3
    layout = model.denoiser.kernel.space.layout(x)
    with torch.no_grad():
        rows = network.at(x, torch.zeros(2), layout, where)
        torch.testing.assert_close(rows, network(x, torch.zeros(2), layout)[where])


@pytest.mark.parametrize("family", QUICK)
def test_what_is_saved_can_be_loaded_and_batches_do_not_matter(family, tmp_path):
    check(family, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS)
def test_other_families(family, tmp_path):
    check(family, tmp_path)


def test_convolutions_and_fourier_transforms_see_padding(tmp_path):
    save_family(tmp_path, "fnet")
    assert not load_masked_lm(tmp_path).denoiser.network.padding


def test_a_causal_xlm_is_refused(tmp_path):
    import transformers

    kind = transformers.XLMConfig(
        vocab_size=16, emb_dim=16, n_layers=1, n_heads=2, max_position_embeddings=24, causal=True
    )
    transformers.XLMWithLMHeadModel(kind).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(InputError, match="cannot see what comes after a gap"):
        load_masked_lm(tmp_path)


def test_a_folder_is_a_model_everywhere(tmp_path, capsys):
    save_family(tmp_path / "lm", "bert")
    direct = load_masked_lm(tmp_path / "lm").generate(prompt="we", length=8, seed=1).samples
    assert api.load(tmp_path / "lm").generate(prompt="we", length=8, seed=1).samples == direct
    out = tmp_path / "out"
    words = ["generate", "text", "--model", str(tmp_path / "lm"), "--out", str(out)]
    assert main([*words, "--prompt", "we", "--length", "8", "--seed", "1"]) == 0
    assert (out / "00000.txt").read_text() == direct[0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BundleError, match="has no schema number"):
        api.load(tmp_path / "other")
