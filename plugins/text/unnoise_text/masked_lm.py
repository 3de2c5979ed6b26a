"""A masked language model of transformers as an unnoise model: it is a denoiser already.

    model = load_masked_lm("folder")
    out = model.generate(prompt="The capital of France is", length=12)

A network that predicts masked tokens from the others is p(x_0 | x_t) of the absorbing kernel, which
needs no time. The folder holds what `save_pretrained` writes: config.json, model.safetensors and
the tokenizer's files. The tokens that the network expects around a text ([CLS] and [SEP]) are put
there inside the denoiser. `model.save(folder)` writes a bundle that needs the folder no more.

    model = masked_lm(network, tokenizer, length=512, mask="<|mdm_mask|>")

is one around a network that you have built: LLaDA, Dream (`shift=True`), your own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unnoise.denoise import Masked, NetworkDenoiser
from unnoise.errors import InputError
from unnoise.fields import configured
from unnoise.model import Model
from unnoise.spaces import Layout
from unnoise_text.called import Called
from unnoise_text.characters import Outside
from unnoise_text.configuration import CALLER, Configuration, Learned
from unnoise_text.domain import Text
from unnoise_text.lm_folders import read_folder
from unnoise_text.noise import kernel_of
from unnoise_text.vocabulary import tokenizer_of


def load_masked_lm(
    folder: str | Path, *, length: int | None = None, outside: Outside = "error"
) -> Model:
    """Load a folder of an `AutoModelForMaskedLM` and its tokenizer; nothing is downloaded.

    Parameters
    ----------
    length : tokens that the network sees at once; by default as many as it can, at most 1024.
    outside : what happens to characters that the tokenizer does not know.

    Raises
    ------
    InputError : no such folder, a causal language model, a tokenizer without a mask or of another
        vocabulary than the network, a length beyond the network.
    BundleError : weights that are missing, damaged or pickled.
    """
    found, domain = read_folder(folder, length, outside), Text()
    defaults = domain.defaults(found.configuration)
    return Model(domain, found.denoiser, found.configuration, defaults, found.card, found.hash)


def masked_lm(
    network: nn.Module,
    tokenizer: Any,
    *,
    length: int,
    mask: int | str | None = None,
    shift: bool = False,
    outside: Outside = "error",
) -> Model:
    """A model around a network that predicts masked tokens from all others.

    It computes in its own dtype, on its own device, and is never changed; no mask of attention is
    passed. It cannot be saved as a bundle.

    Parameters
    ----------
    network : called as network(tokens), (B, L) int64; returns logits (B, L, K), or an object that
        has them as `.logits`.
    tokenizer : of transformers, with a fast version; a `tokenizers.Tokenizer`; or its folder.
    length : tokens that the network sees at once.
    mask : the mask token, by number or name; by default the tokenizer's.
    shift : the logits at place i - 1 are those of token i.
    outside : what happens to characters that the tokenizer does not know.

    Raises
    ------
    InputError : no such mask, or a tokenizer of more tokens than the network.
    ConfigError : the network returns something else.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            "the network is a torch.nn.Module",
            value=type(network).__name__,
            fix="put what you call into the forward of one",
        )
    if isinstance(mask, bool | float):
        raise InputError("the mask token is a number or a name", value=mask)
    plain = configured(Configuration, {"outside": outside, "length": length})
    found = tokenizer_of(tokenizer, outside)
    number = found.number(mask) if isinstance(mask, str) else found.mask if mask is None else mask
    called = Called(network.eval(), shift)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    probe = torch.zeros(1, 2, dtype=torch.int64, device=device)
    with torch.no_grad():
        vocab = called(probe, probe, Layout.dense(1, (2,), dtype=probe.dtype)).shape[-1]
    if number is None or not 0 <= number < vocab:
        raise InputError(
            "the network needs a mask token",
            value=mask,
            limit=f"one of its {vocab} tokens",
            fix='pass mask=, for instance mask="<|mdm_mask|>"',
        )
    if found.size > vocab:
        raise InputError(
            "the tokenizer has more tokens than the network", value=found.size, limit=vocab
        )
    vocabulary = replace(found, mask=number)
    learned = Learned(
        tokenizer=vocabulary.content,
        mask=number,
        unknown=vocabulary.unknown,
        end=vocabulary.end,
        ends=vocabulary.end is not None,
        hash=vocabulary.hash,
        vocab=vocab,
    )
    configuration = plain.model_copy(update={"architecture": CALLER, "learned": learned})
    domain, kernel = Text(), kernel_of(configuration)
    denoiser = NetworkDenoiser(called, kernel, Masked(number))
    card = {"data": "see the network that was handed in"}
    return Model(domain, denoiser.eval(), configuration, domain.defaults(configuration), card)


__all__ = ["load_masked_lm", "masked_lm"]
