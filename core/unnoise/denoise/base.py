"""Denoisers: what the clean data may have been.

    p(x_0 | x_t) = q(x_t | x_0) p(x_0) / q(x_t)

is approximated by a law that a kernel can integrate over: a point at E[x_0 | x_t], a Gaussian,
probabilities, or draws. For Gaussian kernels its mean is the score in other words (Tweedie),

    grad log q(x_t) = (alpha_t E[x_0 | x_t] - x_t) / sigma_t^2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from jaxtyping import Bool, Float
from torch import Tensor, nn

from unnoise.distributions import Categorical, Dirac, Distribution, Gaussian, Implicit
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import GaussianKernel, TransitionKernel
from unnoise.spaces import Euclidean, Layout, State, Time

Condition: TypeAlias = "Mapping[str, Tensor] | None"
"""What a denoiser knows besides the state: tensors with one leading row per sample. Beside a
ragged state they may have rows of their own, such as bonds beside atoms."""


def _ragged(layout: Layout) -> bool:
    return layout.index is not None or any(p.index is not None for p in layout.fields.values())


def check_condition(condition: object, layout: Layout) -> None:
    """InputError unless `condition` is a mapping of tensors with the rows of the batch."""
    if condition is None:
        return
    if not isinstance(condition, dict | Mapping):
        raise InputError(
            "a condition is a mapping of tensors by name",
            value=type(condition).__name__,
            fix='for example {"label": labels}',
        )
    for name, value in condition.items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"the condition {name!r} is no tensor",
                value=type(value).__name__,
                fix="convert it with torch.as_tensor",
            )
        if (value.ndim == 0 or value.size(0) != layout.batch) and not _ragged(layout):
            raise InputError(
                f"the condition {name!r} has other rows than the batch",
                value=tuple(value.shape),
                limit=f"({layout.batch}, ...), one row per sample",
            )


class Denoiser(nn.Module, ABC):
    """p(x_0 | x_t), for the process `kernel`. Guidance is a denoiser around a denoiser.

    Attributes
    ----------
    kernel : the process whose states it reads.
    evaluations : of a network, that one call takes: 1. A denoiser around others has the sum of
        theirs.
    """

    kernel: TransitionKernel

    if TYPE_CHECKING:  # a class attribute, or a property of a denoiser around others

        @property
        def evaluations(self) -> int: ...

    else:
        evaluations = 1

    @abstractmethod
    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        """The law of x_0 for each sample, given its state at time t in (0, 1]."""

    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        """log p(x_0 | x_t) of the tokens at `where` alone, in their order; one evaluation. A
        denoiser that can leave the work of the other tokens out does so here.

        Raises InputError where the law is not categorical.
        """
        law = self(x_t, t, layout, condition)
        if not isinstance(law, Categorical):
            raise InputError(
                "this sampler needs a Categorical prediction of x_0", value=type(law).__name__
            )
        return law.log_probs[where]

    if TYPE_CHECKING:

        def __call__(
            self, x_t: State, t: Time, layout: Layout, condition: Condition = None
        ) -> Distribution: ...


Range: TypeAlias = "tuple[float, float] | None"
"""The range (low, high) of real data that have one."""


def check_range(clip: Range, kernel: TransitionKernel) -> None:
    """ConfigError unless predictions of x_0 can be clamped to this range."""
    if clip is not None and not (
        isinstance(kernel, GaussianKernel)
        and isinstance(kernel.space, Euclidean)
        and clip[0] < clip[1]
    ):
        space = getattr(kernel, "space", None)
        raise ConfigError(
            "clip is a range (low, high) of real, unconstrained data",
            value=(clip, type(kernel).__name__, type(space).__name__),
        )


def clipped(law: Distribution, clip: Range, layout: Layout) -> Distribution:
    """`law` with its mean clamped to the range; the spread stays."""
    if clip is None:
        return law
    if isinstance(law, Implicit):
        return law.then(lambda point: clipped(point, clip, layout))
    if not isinstance(law.mean, Tensor):
        return law
    if isinstance(law, Gaussian):
        return Gaussian(law.mean.clamp(*clip), law.std, law.space, law.layout)
    return Dirac(law.mean.clamp(*clip), layout) if isinstance(law, Dirac) else law
