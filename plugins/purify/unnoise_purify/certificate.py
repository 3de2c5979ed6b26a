"""A certificate by randomised smoothing (Cohen 2019), with denoising in one evaluation (Salman
2020; Carlini 2023).

The smoothed classifier answers g(x) = argmax_c P(f(x + delta) = c), delta ~ N(0, s^2). If the
probability of its answer is at least p > 1/2, no perturbation of l_2 norm below

    r = s Phi^-1(p)

changes it. p is bounded below from n draws, with confidence 1 - alpha for each picture (Clopper &
Pearson); the answer itself comes from n_0 draws of its own, and where p <= 1/2 the classifier
abstains. The certificate is one of g, which is another defence than a walk of many steps: its f is
noise, one evaluation of the denoiser at the level of s, and the classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from jaxtyping import Float
from scipy.stats import norm
from torch import Tensor, nn

from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM
from unnoise.samplers.strength import level_of, strength_of
from unnoise.spaces import tensor
from unnoise_purify.defended import PurifiedClassifier, device_of
from unnoise_purify.draws import draws_of
from unnoise_purify.pixels import Pixels
from unnoise_purify.purifier import Purifier
from unnoise_purify.statistics import lower

Noisy = Callable[[Tensor, NoiseSource], Tensor]
"""f(x + delta): logits of pictures under given noise."""
BATCH: Final = 256


@final
@dataclass(frozen=True)
class Certificate:
    """Of one picture: the answer, None where it abstains, and the l_2 radius within which it does
    not change."""

    answer: int | None
    radius: float
    probability: float


def radius(right: int, total: int, sigma: float, alpha: float) -> float:
    """s Phi^-1 of the lower bound of `right` of `total`; 0 where that is at most 1/2."""
    least = lower(right, total, alpha)
    return sigma * float(norm.ppf(least)) if least > 0.5 else 0.0


def certify(
    noisy: Noisy,
    x: Float[Tensor, "batch c h w"],
    sigma: float,
    *,
    numbers: Sequence[int],
    draws: int = 1000,
    choosing: int = 100,
    alpha: float = 1e-3,
    seed: int = 0,
    batch: int = BATCH,
    report: Callable[[float], None] | None = None,
) -> list[Certificate]:
    """Certificates of pictures.

    Parameters
    ----------
    noisy : the classifier under noise, `Smoothed.noisy`.
    sigma : standard deviation of the noise, in units of pictures in [0, 1].
    draws, choosing : for the bound and for the answer.
    alpha : probability that a certificate is wrong.

    Raises InputError for numbers that are out of range.
    """
    if draws < 1 or choosing < 1 or not 0 < alpha < 1 or not sigma > 0:
        raise InputError(
            "a certificate needs draws, alpha in (0, 1) and sigma > 0",
            value=(draws, choosing, alpha, sigma),
        )
    found = []
    for k, number in enumerate(numbers):
        first = _counts(noisy, x[k : k + 1], seed, number, 0, choosing, batch)
        answer = int(first.argmax())
        again = _counts(noisy, x[k : k + 1], seed, number, choosing, draws, batch)
        right = int(again[answer])
        size = radius(right, draws, sigma, alpha)
        found.append(Certificate(answer if size > 0 else None, size, right / draws))
        if report is not None:
            report((k + 1) / len(numbers))
    return found


def majority(
    noisy: Noisy,
    x: Float[Tensor, "batch c h w"],
    *,
    numbers: Sequence[int],
    draws: int = 100,
    seed: int = 0,
    batch: int = BATCH,
) -> list[int]:
    """The smoothed classifier's answer to each picture: the class that most of `draws` name."""
    return [
        int(_counts(noisy, x[k : k + 1], seed, number, 0, draws, batch).argmax())
        for k, number in enumerate(numbers)
    ]


@torch.no_grad()
def _counts(
    noisy: Noisy, x: Tensor, seed: int, number: int, begin: int, count: int, batch: int
) -> Tensor:
    """How often each class is the answer, over draws begin .. begin + count - 1 of a picture."""
    total: Tensor | None = None
    for start in range(begin, begin + count, batch):
        size = min(batch, begin + count - start)
        # a draw belongs to its picture and its number, so that batches do not matter
        noise = NoiseSource(seed, draws_of(number, start, size))
        logits = noisy(x.expand(size, *x.shape[1:]), noise)
        own = torch.bincount(logits.argmax(1).cpu(), minlength=logits.shape[1])
        total = own if total is None else total + own
    assert total is not None
    return total


@final
class Smoothed:
    """What is certified: noise, one evaluation of the denoiser, the classifier.

    Parameters
    ----------
    purifier : whose model denoises; its strength is the level of the noise.
    classifier : pictures in [0, 1] to logits.

    Attributes
    ----------
    defence : the same as a module, which can be attacked.
    sigma : standard deviation of the noise in units of pictures in [0, 1].

    Raises InputError for a model whose states are no pictures scaled by one factor.
    """

    def __init__(self, purifier: Purifier, classifier: nn.Module) -> None:
        one = replace(purifier, sampler=DDIM(), steps=1)
        self.defence = PurifiedClassifier(one, classifier)
        scale = state_scale(one, self.defence.pixels)
        self.sigma = level_of(one.reached) / scale

    def noisy(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """Logits under given noise."""
        return self.defence.logits(x, noise)

    def voting(self, votes: int) -> PurifiedClassifier:
        """The smoothed classifier as it is used: `votes` draws for each answer."""
        return self.defence.like(votes=votes)


def strength_of_sigma(sigma: float, scale: float) -> float:
    """The strength whose noise has this standard deviation in pictures in [0, 1]."""
    return strength_of(sigma * scale)


@torch.no_grad()
def state_scale(purifier: Purifier, pixels: Pixels) -> float:
    """d state / d picture, the same for every entry; InputError where it is not."""
    device = device_of(purifier.model.denoiser)
    levels = torch.tensor([0.0, 0.5, 1.0], device=device)
    levels = levels.view(-1, 1, 1, 1).expand(-1, *pixels.shape)
    told = pixels.condition(3, levels.device)
    z, layout = purifier.embedded(pixels.data(levels), pixels.layout(3, levels), told)
    z = tensor(z)
    same = layout.shape == (3, *pixels.shape)
    scale = float((z[2] - z[0]).flatten()[0])
    if not same or not torch.allclose(z, z[:1] + scale * levels.to(z), atol=1e-4):
        raise InputError(
            "a certificate is one of noise in pictures, and this model's is in its codes",
            value=type(purifier.model.codec).__name__,
            fix="certify with a model of pixels",
        )
    return scale
