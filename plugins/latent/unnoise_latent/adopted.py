"""A model over an autoencoder of others: latent diffusion.

    start = over_autoencoder_kl("stable-diffusion/vae", "pictures")
    unnoise.train("latent", "pictures", "runs/mine", initial=start, **dict(start.configuration))

The bundle of such a model holds architecture and weights of the autoencoder: it needs diffusers,
and the folder no more.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import torch

from unnoise.codecs import Codec
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.spaces import tensor
from unnoise_latent.adapters import load_autoencoder_kl, read_autoencoder_kl
from unnoise_latent.domain import Latent

_WHITE: Final = (0.0, 255.0)
_ROUNDED: Final = 12**-0.5  # of a value that is rounded to a level, and otherwise right
_AT_ONCE: Final = 16


def over_autoencoder_kl(
    folder: str | Path, data: Any, *, pictures: int = 256, **options: Any
) -> Model:
    """The autoencoder of a diffusers folder and a prior with fresh weights, as a model of the
    domain "latent".

    p(x | z) is normal around the decoder's output; its standard deviation is what is missed, as a
    root mean square, on pictures of the training part. So a bound of pictures is finite and says
    how much the autoencoder leaves open.

    Parameters
    ----------
    folder : see `load_autoencoder_kl`.
    data : the pictures of the training to come.
    pictures : how many of them measure that, evenly spaced.
    options : of the configuration.

    Raises
    ------
    What `load_autoencoder_kl` raises, and what is wrong with the pictures.
    """
    domain = Latent()
    told = read_autoencoder_kl(folder, black_white=_WHITE)
    codec = load_autoencoder_kl(folder, black_white=_WHITE).eval()
    own = {"method": "frozen", "likelihood": "gaussian", "picture_channels": told.channels[0]}
    configuration = domain.configure(data, {**own, **options, "autoencoder": told})
    items = domain.dataset(data, configuration, "train")
    chosen = torch.linspace(0, len(items) - 1, min(pictures, len(items))).round().long()
    spread = _missed(domain, codec, [items[k] for k in chosen.tolist()])
    known = read_autoencoder_kl(folder, black_white=_WHITE, spread=spread)
    configuration = type(configuration)(**(dict(configuration) | {"autoencoder": known}))
    codec = load_autoencoder_kl(folder, black_white=_WHITE, spread=spread).eval()
    denoiser = domain.build(configuration).eval()
    card = {"autoencoder": f"the diffusers folder {Path(folder).name!r}"}
    defaults = domain.defaults(configuration)
    return Model(domain, denoiser, configuration, defaults, card, _digest(codec), codec)


@torch.no_grad()
def _missed(domain: Latent, codec: Codec, items: list[Any]) -> float:
    """Root mean square of picture less decoded code, in levels."""
    squares, count = 0.0, 0
    for first in range(0, len(items), _AT_ONCE):
        batch = domain.collate(items[first : first + _AT_ONCE])
        noise = NoiseSource(0, range(first, first + batch.layout.batch))
        z, layout = codec.embed(batch.x0, batch.layout, None, noise)
        off = tensor(codec.decode(z, layout).mode) - tensor(batch.x0)
        squares, count = squares + float(off.double().square().sum()), count + off.numel()
    return max(_ROUNDED, (squares / count) ** 0.5)


def _digest(codec: Codec) -> str:
    digest = hashlib.sha256()
    for name, value in codec.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
