"""Two denoisers as one model: a base that draws small pictures, and an upsampler."""

from __future__ import annotations

from typing import final

from unnoise.denoise import Condition, Denoiser, NetworkDenoiser
from unnoise.distributions import Distribution
from unnoise.errors import ConfigError
from unnoise.model import Model
from unnoise.spaces import Layout, State, Time
from unnoise_text2image.configuration import Configuration

_OWN = {
    "base": {"widths", "blocks", "guidance_scale", "painter"},
    "upsampler": {"upsampler_widths", "upsampler_blocks", "upsampler_scale", "augmentation"},
}
"""What one stage alone decides."""


@final
class Cascade(Denoiser):
    """The denoiser of the base, beside that of the upsampler: each is a diffusion of its own."""

    def __init__(self, base: NetworkDenoiser, upsampler: NetworkDenoiser) -> None:
        super().__init__()
        self.base, self.upsampler = base, upsampler
        self.kernel = base.kernel

    def forward(
        self, x_t: State, t: Time, layout: Layout, condition: Condition = None
    ) -> Distribution:
        """The law of a small picture."""
        return self.base(x_t, t, layout, condition)


def joined(base: Model, upsampler: Model) -> Model:
    """The cascade of two models that were trained on the same data.

    Raises ConfigError when they are not a base and an upsampler, or differ in what they share: the
    sizes, the tokenizer, the noise.
    """
    small, large = base.configuration, upsampler.configuration
    if (small.stage, large.stage) != ("base", "upsampler"):
        raise ConfigError("a cascade is a base and an upsampler", value=(small.stage, large.stage))
    free = {"stage", *_OWN["base"], *_OWN["upsampler"]}
    other = {
        name
        for name in Configuration.model_fields
        if name not in free and getattr(small, name) != getattr(large, name)
    }
    if other:
        raise ConfigError(
            "base and upsampler differ in what they share",
            value=sorted(other),
            fix="train both on the same data with the same options",
        )
    own = {name: getattr(large, name) for name in _OWN["upsampler"]}
    configuration = small.model_copy(update={"stage": "cascade", **own})
    assert isinstance(base.denoiser, NetworkDenoiser)
    assert isinstance(upsampler.denoiser, NetworkDenoiser)
    return Model(
        base.domain,
        Cascade(base.denoiser, upsampler.denoiser),
        configuration,
        base.domain.defaults(configuration),
        {**base.card, "upsampler": dict(upsampler.card)},
        codec=base.codec,
    )
