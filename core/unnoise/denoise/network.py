"""A network, its parametrization and its kernel: the denoiser that is trained and saved.

    p(x_0 | x_t) = law(F(inputs(x_t, t), label(t), condition), x_t, t)

F is the network; `inputs`, `label` and `law` are the parametrization's, for the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor, nn

from unnoise.denoise.base import Condition, Denoiser, check_condition, check_range, clipped
from unnoise.denoise.parametrizations import Parametrization
from unnoise.distributions import Distribution
from unnoise.kernels import TransitionKernel
from unnoise.spaces import Layout, State, Time


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
        label = self.parametrization.label(kernel, t)
        if isinstance(label, Tensor):
            label = label.to(layout.device, torch.float32)
        else:
            label = torch.full((layout.batch,), label, device=layout.device)
        inputs = self.parametrization.inputs(kernel, x_t, t, layout)
        network = self._modules["network"]  # as an attribute it is found a microsecond later
        assert network is not None
        result: State = network(inputs, label, layout, condition)
        self.parametrization.check_output(kernel, result, x_t)
        return result


def _outermost(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Those that are inside no other of them, each once."""
    unique = list(dict.fromkeys(modules))
    inner = {child for module in unique for child in module.modules() if child is not module}
    return [module for module in unique if module not in inner]
