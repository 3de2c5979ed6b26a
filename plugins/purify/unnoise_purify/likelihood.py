"""A classifier from a diffusion model alone, by the bound (Li 2023; Chen 2024).

Of a model that is told a class c, the bound of -log p(x | c) is, but for its ends, which know
little of the class,

    L_c = 1/2 int E |eps - eps_c(x_t)|^2 d gamma,    |eps - eps_c|^2 = SNR |x_0 - E_c[x_0 | x_t]|^2,

gamma = -log SNR, and with equal classes Bayes' rule is the softmax of logit_c = -L_c. The integral
runs between two strengths, by the midpoint rule in gamma. All classes see the same noise, eps and
-eps at each time, so that what is common to their errors cancels in the differences of logits.

With exact denoisers of Gaussians N(m_c, v) the linear terms in eps cancel, too, and the differences
are those of the log-likelihoods,

    L_c = F |x - m_c|^2 / 2v + what all classes have,     F = 1 / (1 + S_1 v) - 1 / (1 + S_0 v),

S_0 and S_1 the SNR at the weaker and the stronger end: F -> 1 over the whole range.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unnoise.domain import Trained
from unnoise.errors import ConfigError, InputError
from unnoise.noise import NoiseSource
from unnoise.samplers import Diffusion, time_at
from unnoise.samplers.strength import level_of, time_of_strength
from unnoise.spaces import Layout, tensor
from unnoise_purify.draws import Draws, Fresh
from unnoise_purify.pixels import Pixels
from unnoise_purify.purifier import gaussian


@final
class LikelihoodClassifier(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to logits (B, classes), by a model that can be told a class.

    Differentiable through all evaluations, one time after the other (checkpointed).

    Parameters
    ----------
    model : of pictures. Its networks are copied.
    classes : for each class how pictures are data of the model and what it is told,
        `[pixels_of(model, label=k) for k in range(10)]`.
    times : at which the errors are measured; an answer costs 2 times classes evaluations.
    strengths : the weaker and the stronger end, sigma of a variance-preserving state. The wider the
        range, the nearer to the likelihood, and on digits the easier to attack.
    temperature : logits are divided by it. Those of pictures are many nats apart, and the softmax
        of such logits has a gradient of 0.
    noise : `Fresh()` or `Pinned()`.

    Raises
    ------
    InputError : the model's noise is not Gaussian, or has no such strength; fewer than two classes,
        or classes of other pictures; when it is called, pictures of another size, or outside of
        [0, 1].
    ConfigError : no time, no temperature, strengths in the wrong order.
    """

    def __init__(
        self,
        model: Trained,
        classes: Sequence[Pixels],
        *,
        times: int = 8,
        strengths: tuple[float, float] = (0.7, 0.98),
        temperature: float = 1.0,
        noise: Draws | None = None,
    ) -> None:
        super().__init__()
        if len(classes) < 2 or len({(one.shape, one.low, one.high) for one in classes}) > 1:
            raise InputError("there are at least two classes, of the same pictures", value=classes)
        if times < 1 or not 0 < temperature < math.inf:
            raise ConfigError("times >= 1, temperature > 0", value=(times, temperature))
        if not strengths[0] < strengths[1]:
            raise ConfigError("the weaker strength comes first", value=strengths)
        self.denoiser = copy.deepcopy(model.denoiser).requires_grad_(False)
        self.codec = copy.deepcopy(model.codec).requires_grad_(False)
        self.classes, self.temperature = tuple(classes), temperature
        self.noise = Fresh() if noise is None else noise
        kernel = self.kernel = gaussian(model.denoiser.kernel)
        for strength in strengths:
            time_of_strength(kernel, strength)  # says so when there is none
        first, last = (2 * math.log(level_of(strength)) for strength in strengths)
        self.width = (last - first) / times  # of gamma, for each time
        gammas = [first + (k + 0.5) * self.width for k in range(times)]
        self.times = tuple(time_at(kernel, math.exp(gamma / 2)) for gamma in gammas)
        self.train(False)

    def train(self, mode: bool = True) -> LikelihoodClassifier:
        """Stays in eval mode."""
        super().train(False)
        return self

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Logits, under the noise of this call."""
        return self.logits(x, self.noise.source(len(x)))

    def logits(
        self, x: Float[Tensor, "batch c h w"], noise: NoiseSource
    ) -> Float[Tensor, "batch classes"]:
        """Logits under given noise, a stream for each picture."""
        pixels, many = self.classes[0], len(self.classes)
        pixels.check(x)
        told = self._told(len(x), x.device)
        copies = pixels.data(x).repeat_interleave(many, 0)  # the classes of a picture in a row
        z, states = self.codec.embed(copies, pixels.layout(len(copies), x), told)
        own, _ = states.take(torch.arange(0, len(copies), many, device=x.device))
        run = Diffusion(self.denoiser, states, noise, told)
        total = torch.zeros(len(copies), dtype=torch.float64, device=x.device)
        for t in self.times:
            eps = tensor(noise.normal(own)).repeat_interleave(many, 0)
            for sign in (1, -1):
                found = checkpoint(_error, run, tensor(z), sign * eps, t, use_reentrant=False)
                assert isinstance(found, Tensor)
                total = total - 0.25 * self.width * found
        return (total / self.temperature).float().view(len(x), many)

    def _told(self, batch: int, device: torch.device) -> dict[str, Tensor] | None:
        """What the model is told, the classes of each picture in a row."""
        each = [one.condition(1, device) or {} for one in self.classes]
        names = each[0].keys()
        return {name: torch.cat([one[name] for one in each] * batch) for name in names} or None


def _error(run: Diffusion, z: Tensor, eps: Tensor, t: float) -> Tensor:
    """(B,) |eps - eps_hat|^2 of states, float64."""
    schedule = gaussian(run.kernel).schedule
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    mean = tensor(run(alpha * z + sigma * eps, t).mean)
    layout: Layout = run.layout
    return (alpha / sigma) ** 2 * layout.sum((z - mean).double() ** 2)
