"""Samplers: generators that walk a grid of times from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeGuard, final

from jaxtyping import Float64
from torch import Tensor

from unnoise.denoise import Denoiser
from unnoise.distributions import Distribution
from unnoise.errors import IncompatibleSampler, InputError
from unnoise.kernels import CategoricalKernel, Corruption, ProductKernel, TransitionKernel
from unnoise.samplers.diffusion import Diffusion
from unnoise.spaces import State

Times: TypeAlias = Float64[Tensor, " times"]
"""Strictly decreasing times of a grid, from that of the first state on."""


@final
@dataclass(frozen=True, eq=False)
class Step:
    """A state `x` at time `t`, and the prediction of x_0 that led to it: as much of it as the
    sampler has asked for, which for those of the absorbing kernel is what they show. `notes` are
    what a sampler has to say of the samples so far, (B,) each, by name."""

    t: float
    x: State
    x0: Distribution
    notes: Mapping[str, Float64[Tensor, " batch"]] = field(default_factory=dict)


Steps: TypeAlias = Generator[Step, "State | None", None]
"""What a sampler is when called; a state that is sent into it replaces the one it yielded."""


class Sampler(ABC):
    """A way to walk from x_1 to x_0. Frozen: history lives in the generator, so runs never mix.

    Attributes
    ----------
    requires : the kernel it runs on.
    denoiser : the kind of denoiser it asks; any by default.
    corruption : what the corruption of a categorical kernel must be; any by default.
    products : whether it also runs on a product of which a part is such a kernel; other parts
        then take the step of their own `reverse`.
    evaluations : calls of the run per step, once it is under way; 0 when it decides for itself.
    order : of convergence of the deterministic part on the probability-flow ODE.
    one_step : whether a step depends on the current state alone, so that jumps are allowed.
    """

    requires: ClassVar[type]
    denoiser: ClassVar[type] = Denoiser
    corruption: ClassVar[type] = Corruption
    products: ClassVar[bool] = False

    if TYPE_CHECKING:  # class attributes, or fields of a sampler with several variants

        @property
        def evaluations(self) -> int: ...

        @property
        def order(self) -> int: ...

        @property
        def one_step(self) -> bool: ...

    else:
        evaluations = 1
        order = 1
        one_step = True

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether steps draw noise."""

    @abstractmethod
    def __call__(self, run: Diffusion, x: State, grid: Times) -> Steps:
        """Yield one Step per interval of `grid` (decreasing times, from that of `x` on).

        A state sent back into the generator replaces the one it yielded: that is how known parts
        are put in.
        """

    def check(self, kernel: TransitionKernel) -> None:
        """Raise IncompatibleSampler unless this sampler runs on `kernel`."""
        if not self.fits(kernel):
            names = ", ".join(
                sorted(
                    kind.__name__
                    for kind in Sampler.__subclasses__()
                    if kind.fits(kernel) and kind.denoiser is Denoiser
                )
            )
            product = ", or a product with one" if self.products else ""
            special = "" if self.corruption is Corruption else f" with {self.corruption.__name__}"
            own = f" with {type(kernel.corruption).__name__}" if _tokens(kernel) else ""
            raise IncompatibleSampler(
                f"{type(self).__name__} needs a {self.requires.__name__}{special}{product}",
                value=type(kernel).__name__ + own,
                fix=f"samplers for this kernel: {names}",
            )

    def check_denoiser(self, denoiser: Denoiser) -> None:
        """Raise IncompatibleSampler unless this sampler runs on `denoiser` and its kernel; the
        engine asks before any work."""
        self.check(denoiser.kernel)
        if not isinstance(denoiser, self.denoiser):
            raise IncompatibleSampler(
                f"{type(self).__name__} asks for more than a law of the data: it needs"
                f" {_named(self.denoiser)}",
                value=type(denoiser).__name__,
                fix="use ancestral or ddim",
            )

    def check_grid(  # noqa: B027 - nothing to ask by default
        self, kernel: TransitionKernel, grid: Times
    ) -> None:
        """Raise IncompatibleSampler when a run on these times of a kernel that it fits would be
        worse than one of DDIM at its evaluations; the engine asks before any work. By default every
        grid will do."""

    @classmethod
    def fits(cls, kernel: TransitionKernel) -> bool:
        """Whether this sampler runs on `kernel`."""
        if cls.products and isinstance(kernel, ProductKernel):
            return any(cls.fits(part) for part in kernel.parts.values())
        if not isinstance(kernel, cls.requires):
            return False
        return not _tokens(kernel) or isinstance(kernel.corruption, cls.corruption)


def _named(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def _tokens(kernel: TransitionKernel) -> TypeGuard[CategoricalKernel]:
    return isinstance(kernel, CategoricalKernel)


def intervals(grid: Times) -> Iterator[tuple[float, float]]:
    """The pairs (t, s) of neighbouring times, t > s, as floats."""
    times = grid.tolist()
    if len(times) < 2 or any(t <= s for t, s in pairwise(times)):
        raise InputError("a grid is at least two strictly decreasing times", value=times[:5])
    return pairwise(times)
