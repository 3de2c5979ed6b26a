"""A masked language model of transformers as an unnoise model: it is a denoiser already.

    model = load_masked_lm("folder")
    out = model.generate(prompt="The capital of France is", length=12)

A network that predicts masked tokens from the others is p(x_0 | x_t) of the absorbing kernel, which
needs no time. The folder holds what `save_pretrained` writes: config.json, model.safetensors and
the tokenizer's files. The tokens that the network expects around a text ([CLS] and [SEP]) are put
there inside the denoiser. `model.save(folder)` writes a bundle that needs the folder no more.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from torch import nn

from unnoise.compat import without_broken_torchaudio
from unnoise.denoise import Masked, NetworkDenoiser
from unnoise.errors import BundleError, InputError
from unnoise.model import Model
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.domain import Text
from unnoise_text.network import Encoder, attention_of
from unnoise_text.noise import kernel_of
from unnoise_text.vocabulary import Outside, not_loaded, read_tokenizer

_LONGEST: Final = 1024
_NOT_SETTINGS: Final = (
    "_name_or_path",
    "architectures",
    "model_type",
    "transformers_version",
    "auto_map",
)
_DTYPES: Final = ("dtype", "torch_dtype")


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
    most = _positions(network, settings) - sum(map(len, frame))
    asked = min(most, _LONGEST) if length is None else length
    if not 2 <= asked <= most:
        raise InputError("the length is beyond the network", value=asked, limit=f"2 to {most}")
    configuration = Configuration(
        tokenizer=path.name,
        outside=outside,
        length=asked,
        architecture=network.config.model_type,
        settings={k: v for k, v in settings.items() if k not in (*_NOT_SETTINGS, *_DTYPES)},
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
    domain = Text()
    denoiser = NetworkDenoiser(
        Encoder(network, None, frame), kernel_of(configuration), Masked(vocabulary.mask)
    )
    digest = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    card = {"data": "see the folder of transformers that it was made from", "source": path.name}
    defaults = domain.defaults(configuration)
    return Model(domain, denoiser.eval(), configuration, defaults, card, digest)


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
    causal = "CausalLM" in names or "LMHead" in names or getattr(configuration, "is_decoder", False)
    if causal or type(configuration) not in AutoModelForMaskedLM._model_mapping:
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
    found: dict[str, Any] = network.config.to_dict()
    return {name: value for name, value in found.items() if value is not None} | {
        "vocab_size": network.config.vocab_size
    }


def _positions(network: nn.Module, settings: dict[str, Any]) -> int:
    """Tokens that the network has positions for; RoBERTa and its kin begin after the padding."""
    most = int(settings.get("max_position_embeddings", _LONGEST))
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            skipped = -1 if module.padding_idx is None else int(module.padding_idx)
            return module.num_embeddings - skipped - 1
    return most


__all__ = ["load_masked_lm"]
