"""What a small network sees in pictures: the numbers before its last layer.

`FeatureNet` learns to tell the classes of a folder apart or, where there are none, by how many
quarters a picture was turned (Gidaris 2018). It is what distances between generated and real
pictures are measured with where nothing better is at hand, and it knows no pictures but those: its
distances compare models of one data set, and not data sets. The one of the digits is shipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.errors import BundleError, InputError
from unnoise.storage.files import disk_errors
from unnoise.storage.reading import json_of
from unnoise.storage.tensors import fit_weights, read_tensors, tensor_bytes

SHIPPED: Final = Path(__file__).parent / "judge"
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_WIDTH = 64
_SIDE = 64  # larger pictures are made smaller before the network sees them
_BATCH, _RATE = 100, 4e-3
_TURNS: Final = ("0", "90", "180", "270")

Network = Callable[[Float[Tensor, "batch c h w"]], Float[Tensor, "batch features"]]
"""From pictures in [0, 1] to features: a FeatureNet's `features`, or any module of torch."""


@final
class FeatureNet(nn.Module):
    """Five convolutions; logits (B, classes) of pictures (B, channels, h, w) in [0, 1]."""

    def __init__(self, channels: int, classes: Sequence[str], turns: bool = False) -> None:
        super().__init__()
        self.channels, self.classes, self.turns = channels, tuple(classes), turns
        self.features = nn.Sequential(
            *_layer(channels, 32), *_layer(32, 32), nn.MaxPool2d(2),
            *_layer(32, 64), *_layer(64, 64), nn.MaxPool2d(2),
            *_layer(64, 96), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(96, _WIDTH), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(_WIDTH, len(self.classes))

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        logits: Tensor = self.head(self.seen(x))
        return logits

    def seen(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch 64"]:
        """The features."""
        longest = max(x.shape[-2:])
        if longest > _SIDE:
            size = [max(8, round(n * _SIDE / longest)) for n in x.shape[-2:]]
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
        found: Tensor = self.features(2 * x - 1)
        return found

    def save(self, folder: Path) -> None:
        """Write weights and what they are of; `read` reads them."""
        own = {"channels": self.channels, "classes": self.classes, "turns": self.turns}
        with disk_errors("saving the network of features"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _WEIGHTS).write_bytes(tensor_bytes(self.state_dict()))
            (folder / _CONFIG).write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")


def _layer(a: int, b: int) -> list[nn.Module]:
    return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]


def read(folder: Path) -> FeatureNet:
    """What `FeatureNet.save` wrote, in eval mode.

    Raises
    ------
    InputError : there is no such folder. BundleError : it is damaged.
    """
    try:
        own: dict[str, Any] = json_of((folder / _CONFIG).read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and thrown away
            network = FeatureNet(int(own["channels"]), list(own["classes"]), bool(own["turns"]))
    except OSError as error:
        raise InputError(
            f"there is no network of features in {str(folder)!r}", value=error.strerror
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{str(folder / _CONFIG)!r} is damaged: {error}") from error
    fit_weights(network, read_tensors(folder / _WEIGHTS), str(folder))
    return network.eval().requires_grad_(False)


def learned(
    pictures: Float[Tensor, "n c h w"],
    labels: Tensor,
    classes: Sequence[str],
    epochs: int = 8,
    report: Callable[[float], None] = lambda part: None,
) -> FeatureNet:
    """A network that has learned to tell `classes` apart, or quarter turns where there are none.

    Parameters
    ----------
    pictures : in [0, 1].
    report : called with the part that is done.

    Raises
    ------
    InputError : fewer pictures than one batch of 100.
    """
    if len(pictures) < _BATCH:
        raise InputError(
            "too few pictures to learn features from", value=len(pictures), limit=f">= {_BATCH}"
        )
    turns = len(classes) < 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = FeatureNet(pictures.shape[1], _TURNS if turns else classes, turns)
    network = network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), _RATE / 2, weight_decay=1e-2)
    steps = len(pictures) // _BATCH * epochs
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for step in range(steps):
        if step % (steps // epochs) == 0:
            order = torch.randperm(len(pictures), generator=generator)
        rows, order = order[:_BATCH], order[_BATCH:]
        seen, wanted = _deformed(pictures[rows], generator), labels[rows]
        if turns:
            wanted = torch.randint(4, (_BATCH,), generator=generator)
            if seen.shape[-1] != seen.shape[-2]:  # half turns keep the shape of any picture
                wanted = wanted // 2 * 2
            seen = _turned(seen, wanted)
        loss = F.cross_entropy(network(seen), wanted, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.step()
        report((step + 1) / steps)
    return network.eval().requires_grad_(False)


def _turned(x: Tensor, quarters: Tensor) -> Tensor:
    x = x.clone()
    for k in (1, 2, 3):
        if (rows := quarters == k).any():
            x[rows] = x[rows].rot90(k, (-2, -1))
    return x


def _deformed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Small random rotation, scale, shear and shift of each picture."""
    u = torch.rand(5, len(x), generator=generator) - 0.5
    angle, size, shear = 0.35 * u[0], 1 + 0.2 * u[1], 0.3 * u[2]
    cos, sin = size * angle.cos(), size * angle.sin()
    rows = [
        torch.stack([cos, shear - sin, 0.25 * u[3]], 1),
        torch.stack([sin, cos, 0.25 * u[4]], 1),
    ]
    where = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, where, padding_mode="border", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def features_of(network: Network, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Rows of float64.

    Raises
    ------
    InputError : the network returns no row of numbers for each picture.
    """
    found = []
    for part in pictures.split(500):
        rows = network(part)
        if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(part):
            shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise InputError(
                "a network of features returns one row for each picture",
                value=shape,
                limit=f"({len(part)}, features)",
            )
        found.append(rows.double())
    return torch.cat(found)
