"""Folders of transformers' masked language models: what `save_pretrained` writes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import nn

from unnoise.compat import without_broken_torchaudio
from unnoise.denoise import Masked, NetworkDenoiser
from unnoise.errors import BundleError, InputError
from unnoise.storage.reading import json_of
from unnoise_text.characters import Outside
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.network import Encoder, attention_of, unprobed
from unnoise_text.noise import kernel_of
from unnoise_text.vocabulary import not_loaded, read_tokenizer

LONGEST: Final = 1024
_NOT_SETTINGS: Final = (
    "_name_or_path",
    "architectures",
    "model_type",
    "transformers_version",
    "auto_map",
)
_DTYPES: Final = ("dtype", "torch_dtype")


@final
@dataclass(frozen=True, eq=False)
class Found:
    """A masked language model as a denoiser, and what it was made from."""

    configuration: Configuration
    denoiser: NetworkDenoiser
    card: dict[str, Any]
    hash: str


def is_folder(folder: Path) -> bool:
    """Whether this looks like what `save_pretrained` wrote: a model and its tokenizer."""
    try:
        content = json_of((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    tokens = any((folder / n).is_file() for n in ("tokenizer.json", "tokenizer_config.json"))
    return isinstance(content, dict) and "model_type" in content and tokens


def read_folder(folder: str | Path, length: int | None = None, outside: Outside = "error") -> Found:
    """See `unnoise_text.masked_lm.load_masked_lm`."""
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise InputError("this folder holds no model of transformers", value=str(folder))
    vocabulary = read_tokenizer(path, outside)
    if vocabulary.mask is None:
        raise InputError("the tokenizer has no mask token", value=str(folder))
    network = _network(path)
    settings = _settings(network)
    size = settings["vocab_size"]
    if vocabulary.size > size:
        raise InputError(
            "the tokenizer has more tokens than the network",
            value=vocabulary.size,
            limit=f"{size} tokens",
            fix="take the tokenizer that the network was trained with",
        )
    frame = vocabulary.frame
    most = _positions(network) - sum(map(len, frame))
    asked = min(most, LONGEST) if length is None else length
    if not isinstance(asked, int) or isinstance(asked, bool):
        raise InputError("the length is a whole number", value=length, limit=f"2 to {most}")
    if not 2 <= asked <= most:
        raise InputError("the length is beyond the network", value=asked, limit=f"2 to {most}")
    configuration = Configuration(
        tokenizer=path.name,
        outside=outside,
        length=asked,
        architecture=network.config.model_type,
        settings=settings,
        learned=Learned(
            tokenizer=vocabulary.content,
            mask=vocabulary.mask,
            unknown=vocabulary.unknown,
            end=vocabulary.end,
            hash=vocabulary.hash,
            vocab=size,
            frame=frame,
        ),
    )
    encoder = Encoder(network.eval(), size, None, frame)
    encoder.probe(asked)
    known = configuration.known.model_copy(update={"padding": encoder.padding})
    configuration = configuration.model_copy(update={"learned": known})
    _check_rebuilt(encoder, configuration)
    denoiser = NetworkDenoiser(encoder, kernel_of(configuration), Masked(vocabulary.mask))
    digest = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    card = {"data": "see the folder of transformers that it was made from", "source": path.name}
    return Found(configuration, denoiser.eval(), card, digest)


def _check_rebuilt(encoder: Encoder, configuration: Configuration) -> None:
    """Raise InputError unless a bundle of this configuration holds the same weights."""
    with torch.device("meta"):
        again = unprobed(configuration).state_dict()
    own = {name: value.shape for name, value in encoder.state_dict().items()}
    other = sorted({n for n, v in again.items() if own.get(n) != v.shape} | (own.keys() - again))
    if other:
        raise InputError(
            "this network has other weights than its config.json says, and could not be saved",
            value=f"{len(other)}: {', '.join(other[:4])}",
            fix="pass it to masked_lm(network, tokenizer)",
        )


def _network(path: Path) -> Any:
    without_broken_torchaudio()
    from transformers import AutoConfig, AutoModelForMaskedLM  # slow to import

    try:
        configuration = AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        what = "transformers cannot read this config.json"
        raise not_loaded(path, what, error) from error
    attention_of(configuration)
    names = " ".join(configuration.architectures or ())
    known = AutoModelForMaskedLM._model_mapping
    own = known[type(configuration)].__name__ if type(configuration) in known else ""
    causal = "CausalLM" in names or ("LMHead" in names and names != own)
    causal = causal or bool(getattr(configuration, "is_decoder", False))
    causal = causal or bool(getattr(configuration, "causal", False))  # of an XLM
    if causal or not own:
        raise InputError(
            "this is no masked language model: it cannot see what comes after a gap"
            if causal
            else "this is no masked language model",
            value=names or configuration.model_type,
            limit="an AutoModelForMaskedLM, for instance BertForMaskedLM",
        )
    try:
        model, report = AutoModelForMaskedLM.from_pretrained(
            str(path),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # whatever transformers and safetensors raise on what they find
        raise BundleError(
            "the weights cannot be read",
            value=str(path),
            fix=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise BundleError(
            "weights of the masked language model are missing",
            value=f"{len(missing)}: {', '.join(missing[:4])}",
            fix="save the model with its head, for instance as BertForMaskedLM",
        )
    return model.float()


def _settings(network: Any) -> dict[str, Any]:
    found: dict[str, Any] = network.config.to_diff_dict()
    kept = {k: v for k, v in found.items() if k not in (*_NOT_SETTINGS, *_DTYPES)}
    return kept | {"vocab_size": network.config.vocab_size}


def _positions(network: Any) -> int:
    """Tokens that the network has positions for; RoBERTa and its kin begin after the padding."""
    most = int(getattr(network.config, "max_position_embeddings", None) or LONGEST)
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            skipped = -1 if module.padding_idx is None else int(module.padding_idx)
            return min(most, module.num_embeddings - skipped - 1)
    return most
