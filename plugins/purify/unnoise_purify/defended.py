"""A classifier behind a purifier: an ordinary `nn.Module` from pictures to logits."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise_purify.draws import Draws, Fresh
from unnoise_purify.gradients import Full, Gradient
from unnoise_purify.pixels import Pixels, pixels_of
from unnoise_purify.purifier import Purifier


@final
class PurifiedClassifier(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to logits (B, classes): purified, then classified.

    Libraries of attacks take it as it is. It certifies nothing; `unnoise_purify.certificate` does,
    of a defence of its own.

    Parameters
    ----------
    purifier : over a model of pictures. Its networks are copied, so that attacks which call
        `backward` leave the model as it is.
    classifier : pictures in [0, 1] to logits, `unnoise_purify.classifiers.load_classifier`. It is
        used as it is, and put into eval mode.
    votes : purifications of each picture. Of several, the answer is the logarithm of the mean of
        the probabilities.
    noise : `Fresh()` or `Pinned()`.
    gradient : what is differentiated: `unnoise_purify.gradients`.
    pixels : how pictures are data of the model, by default what the model says.

    Raises
    ------
    InputError : the model is none of pictures; the classifier does not take its pictures, or
        returns no logits (B, classes); when it is called, pictures of another size, or outside of
        [0, 1].
    ConfigError : the gradient does not fit the purifier.
    """

    def __init__(
        self,
        purifier: Purifier,
        classifier: nn.Module,
        *,
        votes: int = 1,
        noise: Draws | None = None,
        gradient: Gradient | None = None,
        pixels: Pixels | None = None,
    ) -> None:
        super().__init__()
        if votes < 1:
            raise ConfigError("there is at least one vote", value=votes, limit=">= 1")
        self.gradient = Full() if gradient is None else gradient
        self.gradient.check(purifier)
        self.pixels = pixels_of(purifier.model) if pixels is None else pixels
        self.votes = votes
        self.noise = Fresh() if noise is None else noise
        model = purifier.model
        self.denoiser = copy.deepcopy(model.denoiser).requires_grad_(False)
        self.codec = copy.deepcopy(model.codec).requires_grad_(False)
        self.classifier = classifier
        own = replace(model, denoiser=self.denoiser, codec=self.codec)
        self.purifier = replace(purifier, model=own)
        self.train(False)
        check_classifier(classifier, self.pixels.shape)

    def train(self, mode: bool = True) -> PurifiedClassifier:
        """Stays in eval mode: what is purified and what is classified is not being trained."""
        super().train(False)
        return self

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Logits, under the noise of this call."""
        return self.logits(x, self.noise.source(len(x) * self.votes))

    def logits(
        self, x: Float[Tensor, "batch c h w"], noise: NoiseSource
    ) -> Float[Tensor, "batch classes"]:
        """Logits under given noise: streams of `votes` samples in a row for each picture."""
        copies = x if self.votes == 1 else x.repeat_interleave(self.votes, 0)
        found = answers(self.classifier, self.purified(copies, noise))
        if self.votes == 1:
            return found
        each = found.log_softmax(1).view(len(x), self.votes, -1)
        return each.logsumexp(1) - math.log(self.votes)

    def purified(
        self, x: Float[Tensor, "batch c h w"], noise: NoiseSource
    ) -> Float[Tensor, "batch c h w"]:
        """Purified pictures, with the gradient of this defence."""
        self.pixels.check(x)
        layout = self.pixels.layout(len(x), x)
        told = self.pixels.condition(len(x), x.device)
        data = self.pixels.data(x)
        found = self.gradient.purified(self.purifier, data, layout, told, noise)
        return self.pixels.unit(found)

    def like(self, **changes: Any) -> PurifiedClassifier:
        """This defence with another `purifier`, `classifier`, `votes`, `noise` or `gradient`."""
        same: dict[str, Any] = {
            "purifier": self.purifier,
            "classifier": self.classifier,
            "votes": self.votes,
            "noise": self.noise,
            "gradient": self.gradient,
            "pixels": self.pixels,
        }
        return PurifiedClassifier(**{**same, **changes})


def answers(classifier: nn.Module, x: Float[Tensor, "batch c h w"]) -> Tensor:
    """What a classifier says of pictures; InputError unless that is (B, classes) of numbers."""
    found = classifier(x)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            "a classifier returns logits (batch, classes)",
            value=shape,
            limit=f"({len(x)}, classes)",
            fix="wrap it in a module that returns the tensor of logits",
        )
    if found.shape[1] < 2 or not found.dtype.is_floating_point:
        raise InputError("a classifier has at least two classes", value=tuple(found.shape))
    return found


@torch.no_grad()
def check_classifier(classifier: nn.Module, shape: tuple[int, int, int]) -> None:
    """Raise InputError unless a classifier answers to a black picture (channels, height, width)."""
    black = torch.zeros(1, *shape, device=device_of(classifier))
    try:
        answers(classifier, black)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # whatever a network raises
        raise InputError(
            "the classifier does not take pictures of the model's size",
            value=str(error).split("\n")[0],
            limit=f"{shape} (channels, height, width)",
            fix="wrap it in a module that resizes them, or repeats their channel",
        ) from error


def logits_of(defence: nn.Module, x: Tensor, noise: NoiseSource) -> Tensor:
    """Logits of a defence under given noise, or of an undefended classifier, which draws none."""
    if isinstance(defence, PurifiedClassifier):
        return defence.logits(x, noise)
    return answers(defence, x)


def votes_of(defence: nn.Module) -> int:
    """Purifications of a picture in one answer."""
    return defence.votes if isinstance(defence, PurifiedClassifier) else 1


def device_of(module: nn.Module) -> torch.device:
    """Where it computes."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))
