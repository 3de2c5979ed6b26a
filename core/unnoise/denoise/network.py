"""A network, its parametrization and its kernel: the denoiser that is trained and saved.

    p(x_0 | x_t) = law(F(inputs(x_t, t), label(t), condition), x_t, t)

F is the network; `inputs`, `label` and `law` are the parametrization's, for the kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unnoise.denoise.base import Condition, Denoiser, check_condition, check_range, clipped
from unnoise.denoise.parametrizations import Parametrization
from unnoise.distributions import Categorical, Distribution
from unnoise.kernels import TransitionKernel
from unnoise.spaces import Layout, State, Time, tensor


class TokenNetwork(nn.Module, ABC):
    """A network for tokens that can be asked about some of them alone."""

    @abstractmethod
    def at(
        self,
        x_t: Int64[Tensor, "*rows"],
        label: Tensor,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        """The rows of its output at `where`, in order."""


@final
class NetworkDenoiser(Denoiser):
    """p(x_0 | x_t) from a network.

    Parameters
    ----------
    network : called as network(inputs, label, layout, condition), label (B,) float32.
    kernel : the process it was trained on.
    parametrization : what its output means.
    clip : clamp the predicted mean of x_0 to this range; for real data that has one.

    Raises
    ------
    ConfigError : the parametrization or the range does not fit the kernel.
    """

    def __init__(
        self,
        network: nn.Module,
        kernel: TransitionKernel,
        parametrization: Parametrization,
        clip: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        parametrization.check(kernel)
        check_range(clip, kernel)
        self.network = network
        self.kernel = kernel
        self.learned = nn.ModuleList(_outermost(kernel.modules()))  # trained and saved with us
        self.parametrization = parametrization
        self.clip = clip

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        output = self.output(x_t, t, layout, condition)
        law = self.parametrization.law(self.kernel, output, x_t, t, layout)
        return clipped(law, self.clip, layout)

    def at(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        where: Bool[Tensor, "*rows"],
        condition: Condition = None,
    ) -> Float[Tensor, "some k"]:
        """As of any denoiser; a `TokenNetwork` is asked about these tokens only."""
        if not isinstance(self.network, TokenNetwork):
            return super().at(x_t, t, layout, where, condition)
        if condition is not None:
            check_condition(condition, layout)
        x, label = tensor(x_t), self._label(t, layout, self.kernel)
        inputs = tensor(self.parametrization.inputs(self.kernel, x_t, t, layout))
        output = self.network.at(inputs, label, layout, where, condition)
        chosen = x[where]
        self.parametrization.check_output(self.kernel, output, chosen)
        # each token as a sample of its own: those of a law are independent
        if isinstance(t, Tensor):
            t = tensor(layout.expand(t, x.to(t.dtype))).expand(x.shape)[where]
        rows = Layout.dense(len(chosen), dtype=x.dtype, device=x.device)
        law = self.parametrization.law(self.kernel, output, chosen, t, rows)
        assert isinstance(law, Categorical)
        return law.log_probs

    def output(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        condition: Condition = None,
        kernel: TransitionKernel | None = None,
    ) -> State:
        """The network's raw output; `kernel` stands in for its own.

        Raises
        ------
        InputError : a condition that is no tensor, or has other rows than the batch.
        ConfigError : the output has another shape than the parametrization reads.
        """
        if condition is not None:
            check_condition(condition, layout)
        kernel = self.kernel if kernel is None else kernel
        label = self._label(t, layout, kernel)
        inputs = self.parametrization.inputs(kernel, x_t, t, layout)
        network = self._modules["network"]  # as an attribute it is found a microsecond later
        assert network is not None
        result: State = network(inputs, label, layout, condition)
        self.parametrization.check_output(kernel, result, x_t)
        return result

    def _label(self, t: Time, layout: Layout, kernel: TransitionKernel) -> Tensor:
        """(B,) float32, what the network is told of the time."""
        label = self.parametrization.label(kernel, t)
        if isinstance(label, Tensor):
            return label.to(layout.device, torch.float32)
        return torch.full((layout.batch,), label, device=layout.device)


def _outermost(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Those that are inside no other of them, each once."""
    unique = list(dict.fromkeys(modules))
    inner = {child for module in unique for child in module.modules() if child is not module}
    return [module for module in unique if module not in inner]
