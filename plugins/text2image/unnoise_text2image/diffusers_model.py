"""A diffusers folder (UNet2DConditionModel, text encoder, tokenizer) as a model.

    model = unnoise.load("folder")
    out = model.generate(prompt="a red apple", guidance_scale=7.5)

The folder holds `unet/`, `text_encoder/` (a CLIPTextModel or T5EncoderModel of transformers),
`tokenizer/` and `scheduler/`, as `save_pretrained` of a pipeline writes them, and `vae/` where the
network diffuses the codes of an AutoencoderKL (latent diffusion): without one it reads the three
channels of pixels. Other parts are refused, a safety checker too, which is not run here, and so is
every field that the classes do not know. All states of the encoder's last layer go to the cross
attention, those at padding too, as in diffusers. What the scheduler says is honoured as in
`unnoise_images.diffusers_model`. Guidance comes before a picture is clipped, and the noise stays as
it was predicted.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from unnoise.codecs import Codec
from unnoise.compat import without_broken_torchaudio
from unnoise.denoise import Condition, NetworkDenoiser
from unnoise.errors import BundleError, ConfigError, InputError, nearest
from unnoise.fields import configured
from unnoise.spaces import Layout
from unnoise_images.diffusers_model import Kept
from unnoise_images.diffusers_scheduler import DiffusersScheduler, json_in, scheduler_file
from unnoise_images.foreign import loaded, of_diffusers, unloadable
from unnoise_latent.adapters import KL, load_autoencoder_kl, read_autoencoder_kl
from unnoise_text2image.configuration import Configuration
from unnoise_text2image.guidance import Clip

_NETWORK: Final = "UNet2DConditionModel"
_PARTS: Final = ("scheduler", "text_encoder", "tokenizer", "unet")
_AUTOENCODER: Final = "vae"
_WHITE: Final = (0.0, 255.0)
_ENCODERS: Final[Mapping[str, tuple[str, str]]] = {
    "clip_text_model": ("CLIPTextConfig", "CLIPTextModel"),
    "t5": ("T5Config", "T5EncoderModel"),
}
"""Classes of transformers, of the configuration and of the encoder."""
_FREE: Final = frozenset({"torch_dtype", "_attn_implementation_autoset", "architectures"})
_UNTOLD: Final = (
    *("class_embed_type", "num_class_embeds", "addition_embed_type", "time_cond_proj_dim"),
    *("encoder_hid_dim_type", "projection_class_embeddings_input_dim"),
)
"""Fields of a UNet that ask for more than a picture, a time and the states of a text."""


@final
class DiffusersNetwork(nn.Module):
    """A UNet2DConditionModel and its text encoder in the signature of unnoise's networks."""

    def __init__(self, unet: nn.Module, encoder: nn.Module, steps: int) -> None:
        super().__init__()
        self.unet, self.encoder, self.steps = unet, encoder, steps

    def forward(
        self, x_t: Tensor, label: Tensor, layout: Layout, condition: Condition = None
    ) -> Tensor:
        if condition is None:
            raise InputError("this network is told a prompt", value=None, fix="pass ids")
        timestep = (label * self.steps).round() - 1
        states = self.encoder(condition["ids"])[0]
        output: Tensor = self.unet(x_t, timestep, encoder_hidden_states=states).sample
        return output


def is_diffusers(folder: Path) -> bool:
    """Whether a folder is a pipeline of diffusers around a UNet that is told something."""
    path = folder / "unet" / "config.json"
    return path.is_file() and json_in(path).get("_class_name") == _NETWORK


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """What is in a folder. `digest` is of its files; `codec` is None for a model of pixels."""

    configuration: Configuration
    denoiser: NetworkDenoiser
    codec: Codec | None
    digest: str


def opened(folder: Path) -> Opened:
    """The model in a folder.

    Raises
    ------
    PluginError : diffusers is not installed. BundleError : a file is missing or damaged, weights
    are pickled or incomplete, or the folder brings code. ConfigError : a part or a field that is
    not supported.
    """
    _check_pipeline(folder)
    unet, encoder = (
        json_in(folder / "unet/config.json"),
        json_in(folder / "text_encoder/config.json"),
    )
    scheduler = json_in(scheduler_file(folder))
    latent = (folder / _AUTOENCODER).is_dir()
    told = read_autoencoder_kl(folder, black_white=_WHITE) if latent else None
    configuration = _configuration(unet, encoder, scheduler, told, folder)
    kind = _encoder(encoder["model_type"])[1]
    networks = (
        loaded(_library(), folder / "unet", torch_dtype=torch.float32),
        loaded(kind, folder / "text_encoder", dtype=torch.float32),
    )
    codec = load_autoencoder_kl(folder, black_white=_WHITE).eval() if latent else None
    denoiser = _denoiser(configuration, *networks)
    return Opened(configuration, denoiser.eval(), codec, _digest(folder))


def autoencoder(configuration: Configuration) -> KL | None:
    """Of whose codes a model of latent diffusion is."""
    told = (configuration.diffusers or {}).get("autoencoder")
    return None if told is None else KL(**told)


def build(configuration: Configuration) -> NetworkDenoiser:
    """A denoiser with fresh weights, of a configuration with `diffusers`."""
    parts = configuration.diffusers or {}
    told, kind = _encoder(parts["text_encoder"]["model_type"])
    try:
        unet = _library().from_config(dict(parts["unet"]))
        encoder = kind(told.from_dict(dict(parts["text_encoder"])))
    except Exception as error:  # whatever the libraries meet in it
        raise unloadable("the configuration", _NETWORK, error) from error
    return _denoiser(configuration, unet, encoder)


def defaults(configuration: Configuration) -> Mapping[str, Any]:
    """Steps, grid and sampler of a configuration with `diffusers`."""
    scheduler = _scheduler(configuration)
    grid = scheduler.grid
    return {
        "steps": min(50, len(scheduler.schedule.betas)),
        "grid": f"strided(spacing={grid.spacing}, offset={grid.offset}, end={grid.end})",
        "sampler": "ancestral" if scheduler.learned else "diffusers-ddim",
    }


def clip(configuration: Configuration) -> Clip | None:
    """The range of guided pictures."""
    scheduler = _scheduler(configuration)
    if scheduler.clip is None:
        return None
    return Clip(*scheduler.clip, "clipped" if scheduler.learned else "predicted")


def unclipped(denoiser: NetworkDenoiser, configuration: Configuration) -> NetworkDenoiser:
    """The same network, its pictures not clipped: what is guided."""
    law = _scheduler(configuration).parametrization
    return NetworkDenoiser(denoiser.network, denoiser.kernel, law).train(denoiser.training)


def _scheduler(configuration: Configuration) -> DiffusersScheduler:
    return DiffusersScheduler.of((configuration.diffusers or {})["scheduler"])


def _denoiser(configuration: Configuration, unet: nn.Module, encoder: nn.Module) -> NetworkDenoiser:
    scheduler = _scheduler(configuration)
    network = DiffusersNetwork(unet, encoder, len(scheduler.schedule.betas))
    if scheduler.clip is not None and not scheduler.learned:
        kept = Kept(scheduler.mean, scheduler.clip)
        return NetworkDenoiser(network, scheduler.kernel, kept)
    return NetworkDenoiser(network, scheduler.kernel, scheduler.parametrization, scheduler.clip)


def _configuration(
    unet: Mapping[str, Any],
    encoder: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    autoencoder: KL | None,
    folder: Path,
) -> Configuration:
    """The configuration of a model, from those of its parts."""
    learned = DiffusersScheduler.of(scheduler).learned
    _check_unet(unet, 2 if learned else 1, autoencoder)
    side = unet["sample_size"] * (1 if autoencoder is None else autoencoder.factor)
    width = _check_encoder(encoder)
    if unet.get("cross_attention_dim", 1280) != width and unet.get("encoder_hid_dim") is None:
        raise ConfigError(
            "the network attends to states of another width than its text encoder has",
            value=unet.get("cross_attention_dim", 1280),
            limit=width,
        )
    tokenizer, pad, length = _tokenizer(folder / "tokenizer")
    if encoder["model_type"] == "clip_text_model":
        length = min(length, encoder.get("max_position_embeddings", 77))
    return configured(
        Configuration,
        {
            "stage": "base",
            "side": side,
            "base_side": side,
            "length": length,
            "tokenizer": tokenizer,
            "caption_dropout": 0.1,
            "guidance_scale": 7.5,
            "diffusers": {
                "unet": _plain(unet),
                "text_encoder": dict(encoder),
                "scheduler": dict(scheduler),
                "pad": pad,
                "autoencoder": autoencoder and autoencoder.model_dump(mode="json"),
            },
        },
    )


def _check_unet(unet: Mapping[str, Any], outputs: int, autoencoder: KL | None) -> None:
    """ConfigError for a network that cannot be used, or a field of it that nothing knows."""
    if "auto_map" in unet:
        raise _code("unet/config.json", _NETWORK)
    known = inspect.signature(_library().__init__).parameters
    _check_known(_plain(unet).keys() - {"_class_name"}, known, "unet")
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4)
    data, seen = (3, 3) if autoencoder is None else autoencoder.channels
    if channels != (seen, seen * outputs):
        raise ConfigError(
            f"a {_NETWORK} sees the 3 channels of pixels, or those of the codes of the autoencoder"
            " in vae/, and puts out as many, or twice as many with variance_type learned_range",
            value=channels,
            limit=(seen, seen * outputs),
        )
    if data != 3:
        raise ConfigError("the autoencoder's pictures have 3 channels", value=data, limit=3)
    for name in _UNTOLD:
        if unet.get(name) is not None:
            raise ConfigError(
                f"unet field {name!r} asks for what a prompt does not say",
                value=unet[name],
                limit="none",
            )
    size, blocks = unet.get("sample_size"), unet.get("block_out_channels", [0] * 4)
    factor = 2 ** (len(blocks) - 1)
    if type(size) is not int or size % factor:
        raise ConfigError(
            f"sample_size of this {_NETWORK} cannot be used",
            value=size,
            limit=f"one number, a multiple of {factor}",
        )


def _check_encoder(encoder: Mapping[str, Any]) -> int:
    """The width of the states of a text encoder."""
    kind = encoder.get("model_type")
    if kind not in _ENCODERS:
        raise ConfigError(
            "this text encoder is not supported", value=kind, limit=", ".join(_ENCODERS)
        )
    told, model = _encoder(kind)
    if "auto_map" in encoder:
        raise _code("text_encoder/config.json", model.__name__)
    if encoder.get("use_attention_mask"):
        raise ConfigError(
            "this encoder hides padding, which is not supported", value="use_attention_mask"
        )
    usual = told().to_dict()
    _check_known(encoder.keys() - _FREE, usual, "text_encoder")
    width: int = encoder.get("d_model", 512) if kind == "t5" else encoder.get("hidden_size", 512)
    return width


def _check_known(found: Iterable[str], known: Iterable[str], part: str) -> None:
    names = set(known)
    for name in sorted(found):
        if name not in names:
            raise ConfigError(f"unknown {part} field {name!r}", fix=nearest(name, names))


def _tokenizer(folder: Path) -> tuple[dict[str, Any], int, int]:
    """The JSON of a tokenizer, its token of padding, and how many tokens it makes at most."""
    told = json_in(folder / "tokenizer_config.json")
    if "auto_map" in told:
        raise _code("tokenizer/tokenizer_config.json", "a tokenizer")
    without_broken_torchaudio()
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else CLIPTokenizer
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # whatever transformers meets in the files
        raise unloadable(repr(str(folder)), "tokenizer", error) from error
    pad, length = tokenizer.pad_token_id, tokenizer.model_max_length
    if pad is None or not 2 <= length <= 512:
        raise ConfigError(
            "the tokenizer names a token of padding, and a length", value=(pad, length), limit=512
        )
    return {**content, "truncation": None, "padding": None}, pad, length


def _check_pipeline(root: Path) -> None:
    """ConfigError for a pipeline with other parts, or without one of these."""
    if (root / "model_index.json").is_file():
        index = json_in(root / "model_index.json")
        parts = [n for n, v in index.items() if isinstance(v, list) and v != [None, None]]
        if other := sorted({*parts} - {*_PARTS, _AUTOENCODER}):
            raise ConfigError(
                f"this {index.get('_class_name')} of diffusers has parts that are not supported",
                value=", ".join(other),
                limit=", ".join((*_PARTS, _AUTOENCODER)),
                fix="set what does not draw, such as safety_checker, to [null, null] in"
                " model_index.json",
            )
    if missing := [part for part in _PARTS if not (root / part).is_dir()]:
        raise BundleError(f"this folder lacks {', '.join(missing)}", value=str(root))


def _encoder(kind: str) -> tuple[Any, Any]:
    """The classes of a configuration and of an encoder."""
    without_broken_torchaudio()
    import transformers

    told, model = _ENCODERS[kind]
    return getattr(transformers, told), getattr(transformers, model)


def _library() -> Any:
    return of_diffusers(_NETWORK, "unnoise-text2image[diffusers]")


def _plain(unet: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in unet.items() if not k.startswith("_") or k == "_class_name"}


def _code(file: str, what: str) -> BundleError:
    return BundleError(
        "this folder brings code of its own, which is never run",
        value=file,
        limit=f"{what} of the library itself, without auto_map",
    )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for part in (*_PARTS, _AUTOENCODER):
        for file in sorted(
            [*(folder / part).glob("*.json"), *(folder / part).glob("*.safetensors")]
        ):
            digest.update(file.read_bytes())
    return digest.hexdigest()
