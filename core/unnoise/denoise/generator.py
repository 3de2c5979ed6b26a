"""A denoiser that draws: the generator of a denoising diffusion GAN (Xiao 2022).

    x_0 = G(x_t, t, z),  z ~ N(0, I_width),

one draw of p(x_0 | x_t) for one evaluation of a network. The law of such draws may have as many
modes as the data: a chain of two or four large steps, at each of which x_0 is far from known, needs
that, and no Gaussian law can give it.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from unnoise.denoise.base import Condition, Denoiser, check_condition, check_range, clipped
from unnoise.denoise.parametrizations import Clean, GaussianParametrization
from unnoise.distributions import Dirac, Implicit
from unnoise.errors import ConfigError
from unnoise.kernels import TransitionKernel
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, Time, tensor

Z = "z"
"""What the condition of a generator's network calls its noise."""


@final
class Generator(Denoiser):
    """p(x_0 | x_t) as the draws of a network.

    A law that is drawn from once, as samplers do, takes one evaluation; each further draw one more.

    Parameters
    ----------
    network : called as network(inputs, label, layout, condition), the condition with z (B, width)
        in it under "z".
    kernel : a Gaussian one.
    width : of z.
    parametrization : what its output means; x_0 itself by default.
    clip : clamp draws to this range; for real data that has one.

    Raises
    ------
    ConfigError : no width, or a parametrization or a range that does not fit the kernel.
    """

    def __init__(
        self,
        network: nn.Module,
        kernel: TransitionKernel,
        width: int,
        parametrization: GaussianParametrization | None = None,
        clip: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.parametrization = Clean() if parametrization is None else parametrization
        self.parametrization.check(kernel)
        check_range(clip, kernel)
        if width < 1:
            raise ConfigError("a generator has noise to draw from", value=width, limit=">= 1")
        self.network = network
        self.kernel = kernel
        self.width = width
        self.clip = clip

    def forward(self, x_t: State, t: Time, layout: Layout, condition: Condition = None) -> Implicit:
        def draw(noise: NoiseSource) -> State:
            point = Dirac(self.draw(x_t, t, layout, noise, condition), layout)
            return tensor(clipped(point, self.clip, layout).mean)

        return Implicit(draw, layout)

    def draw(
        self,
        x_t: State,
        t: Time,
        layout: Layout,
        noise: NoiseSource,
        condition: Condition = None,
    ) -> Tensor:
        """x_0 = G(x_t, t, z) before it is clipped, which is what is trained: a clipped draw has no
        gradient.

        Raises
        ------
        InputError, ConfigError : see `NetworkDenoiser.output`.
        """
        check_condition(condition, layout)
        kernel, kind = self.kernel, self.parametrization
        each = Layout.dense(layout.batch, (self.width,), dtype=layout.dtype, device=layout.device)
        label = torch.as_tensor(kind.label(kernel, t), device=layout.device)
        output = self.network(
            kind.inputs(kernel, x_t, t, layout),
            label.to(torch.float32).expand(layout.batch),
            layout,
            {**(condition or {}), Z: noise.normal(each)},
        )
        kind.check_output(kernel, output, x_t)
        x0 = tensor(kind.law(kernel, output, x_t, t, layout).mean)
        return tensor(kernel.space.project(x0, layout))
