"""Folders of tiny masked language models of transformers."""

from __future__ import annotations

import torch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "we", "the", "people", "of", "united", "states", "in", "order"]


def save_tokenizer(folder, words=WORDS, **options):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {
        "unk_token": "[UNK]", "mask_token": "[MASK]", "pad_token": "[PAD]",
        "cls_token": "[CLS]", "sep_token": "[SEP]",
    }  # fmt: skip
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{**special, **options})
    fast.save_pretrained(folder)


def save_network(folder, kind="BertForMaskedLM", **options):
    import transformers

    configuration = transformers.BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=20, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    network = getattr(transformers, kind)(configuration).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return network


TINY = {
    "vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 24, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "albert": {"embedding_size": 16},
    "bart": {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
    },
    "bert": {},
    "camembert": {"bos_token_id": 2, "eos_token_id": 3},
    "convbert": {"embedding_size": 16, "conv_kernel_size": 3},
    "deberta": {},
    "deberta-v2": {},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
    "electra": {"embedding_size": 16},
    "ernie": {},
    "flaubert": {"emb_dim": 16, "n_layers": 1, "n_heads": 2},
    "fnet": {"tpu_short_seq_length": 24},
    "funnel": {"block_sizes": [1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16},
    "ibert": {},
    "longformer": {"attention_window": 8},
    "megatron-bert": {},
    "mobilebert": {
        "embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1,
    },
    "modernbert": {"global_attn_every_n_layers": 1},
    "mpnet": {},
    "mra": {"max_position_embeddings": 64},
    "mvp": {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
    },
    "nystromformer": {"segment_means_seq_len": 24, "num_landmarks": 24, "conv_kernel_size": 3},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": {"bos_token_id": 2, "eos_token_id": 3},
    "roformer": {"embedding_size": 16},
    "squeezebert": {"embedding_size": 16},
    "xlm": {"emb_dim": 16, "n_layers": 1, "n_heads": 2},
    "xlm-roberta": {},
    "yoso": {},
}  # fmt: skip
"""Architectures of masked language models, and what each needs to be tiny."""


def save_family(folder, family):
    """A tiny network of an architecture, with a tokenizer."""
    import transformers

    configuration = transformers.AutoConfig.for_model(family, **{**TINY, **FAMILIES[family]})
    torch.manual_seed(0)
    network = transformers.AutoModelForMaskedLM.from_config(configuration).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return network
