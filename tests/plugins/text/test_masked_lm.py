"""Folders of transformers' masked language models: loaded, generated from, evaluated, saved."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_lms import WORDS, save_network, save_tokenizer

from unnoise import api
from unnoise.errors import BundleError, InputError
from unnoise_text.masked_lm import load_masked_lm


@pytest.fixture
def folder(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path)
    return tmp_path


def test_code_beside_a_network_that_transformers_has_itself_is_left_alone(folder):
    own = {"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"}
    for name, entries in (
        ("config.json", own),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.T", None]}),
    ):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": entries}))
    (folder / "own.py").write_text("raise AssertionError('the code of the folder ran')\n")
    model = load_masked_lm(folder)
    assert model.configuration.architecture == "bert"
    assert "auto_map" not in model.configuration.settings


def test_it_is_a_denoiser_of_the_absorbing_kernel(folder):
    from transformers import AutoModelForMaskedLM

    model = load_masked_lm(folder)
    assert model.configuration.length == 18  # 20 positions less [CLS] and [SEP]
    tokens = torch.tensor([[5, 4, 7, 8, 4, 10]])
    layout = model.denoiser.kernel.space.layout(tokens)
    law = model.denoiser(tokens, 0.5, layout)
    framed = torch.tensor([[2, 5, 4, 7, 8, 4, 10, 3]])
    logits = AutoModelForMaskedLM.from_pretrained(folder)(framed).logits[:, 1:-1]
    logits[..., 4] = -torch.inf  # the mask is no text
    expected = logits.log_softmax(-1)
    assert torch.allclose(law.log_probs[0, 1], expected[0, 1], atol=1e-5)
    assert law.log_probs[0, 0].argmax() == 5
    assert law.log_probs[0, 0].exp().max() == 1


def test_padded_batches_put_the_frame_around_each_text(folder):
    model = load_masked_lm(folder)
    items = [torch.tensor([5, 4, 7]), torch.tensor([6, 4, 8, 4, 10])]
    batch = model.domain.collate(items)
    law = model.denoiser(batch.x0, 0.5, batch.layout).log_probs
    for row, item in zip(law, items, strict=True):
        alone = model.domain.collate([item])
        single = model.denoiser(alone.x0, 0.5, alone.layout).log_probs[0]
        assert torch.allclose(row[: len(item)], single, atol=1e-5)


@pytest.mark.parametrize("sampler", ["ancestral", "first-hitting"])
def test_it_generates_and_evaluates_and_is_saved(folder, tmp_path, sampler):
    model = load_masked_lm(folder)
    fields = {"template": "we the ____:3 of united states", "num_samples": 3, "seed": 4}
    out = model.generate(**fields, steps=6, sampler=sampler)
    assert all(t.startswith("we the ") and t.endswith(" of united states") for t in out.samples)
    found = model.bound([torch.tensor([5, 6, 7, 8]), torch.tensor([6, 7])], evaluations=5)
    assert torch.isfinite(found.total).all()
    model.save(tmp_path / "bundle")
    again = api.load(tmp_path / "bundle")
    assert again.generate(**fields, steps=6, sampler=sampler).samples == out.samples


def test_words_have_spaces_between_them(folder):
    model = load_masked_lm(folder)
    text = model.generate(template="we the ____:3 in order", steps=4, seed=1).samples[0]
    gap = text.removeprefix("we the ").removesuffix(" in order")
    assert set(gap.split()) <= set(WORDS)


def test_a_causal_language_model_is_refused(tmp_path):
    save_network(tmp_path, "BertLMHeadModel", is_decoder=True)
    save_tokenizer(tmp_path)
    with pytest.raises(InputError, match="no masked language model: it cannot see"):
        load_masked_lm(tmp_path)


def test_a_model_without_the_head_is_refused(tmp_path):
    save_network(tmp_path, "BertModel")
    save_tokenizer(tmp_path)
    with pytest.raises(BundleError, match="weights of the masked language model are missing"):
        load_masked_lm(tmp_path)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path, [*WORDS, "more", "tokens", "than", "a", "network"])
    with pytest.raises(InputError, match="more tokens than the network"):
        load_masked_lm(tmp_path)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path):
    save_network(tmp_path)
    save_tokenizer(tmp_path, mask_token=None)
    with pytest.raises(InputError, match="no mask token"):
        load_masked_lm(tmp_path)


def test_folders_that_cannot_be_read(folder, tmp_path):
    with pytest.raises(InputError, match="holds no model of transformers"):
        load_masked_lm(tmp_path / "nothing")
    with pytest.raises(InputError, match="beyond the network; got 30"):
        load_masked_lm(folder, length=30)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="weights cannot be read"):
        load_masked_lm(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BundleError, match="weights cannot be read"):
        load_masked_lm(folder)
