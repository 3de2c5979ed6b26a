"""A domain that is checked, with its model, its request, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

from pydantic import ValidationError

from unnoise.api import model_for, shipped
from unnoise.discovery.domains import built, defaults_of
from unnoise.discovery.registry import domains
from unnoise.domain import Domain, Trainable
from unnoise.engine.output import Output, collect
from unnoise.engine.run import generate_iter
from unnoise.errors import PluginError, UnnoiseError
from unnoise.model import Model
from unnoise.testing.report import Skip
from unnoise.testing.sandbox import Facts, observe

STEPS: Final = 4
IDS: Final = (0, 1, 2)


@final
@dataclass(frozen=True, eq=False)
class DomainCase:
    """A domain, its model (by default the shipped one), data to train on (by default none), and
    examples of requests with what holds of their samples."""

    domain: Domain
    given: Model | None = None
    data: Any = None
    examples: Sequence[Mapping[str, Any]] = ()
    holds: Callable[[Mapping[str, Any], int, Any], object] | None = None

    @cached_property
    def model(self) -> Model:
        if self.given is not None:
            return self.given
        domain = self.domain
        if shipped(domain) is not None:
            self.installed()
            return model_for(domain)
        if not isinstance(domain, Trainable):
            raise Skip("the domain has no model to run on; pass model=")
        try:
            configuration = domain.Configuration()
            denoiser = built(domain, configuration)
        except PluginError:
            raise
        except (ValidationError, UnnoiseError) as error:
            raise Skip(
                "the domain ships no model, and a fresh one needs more than a default "
                "Configuration; pass model="
            ) from error
        defaults = defaults_of(domain, configuration)
        return Model(domain, denoiser.eval(), configuration, defaults)

    def installed(self) -> None:
        if self.domain.name not in domains():
            raise Skip("the domain is not installed")

    @property
    def request(self) -> dict[str, Any]:
        """The demo's fields, for at least 4 samples."""
        own = {n: v for n, v in self.domain.demo.items() if n not in ("steps", "batch_size")}
        return {**own, "num_samples": max(4, int(own.get("num_samples", 1)))}

    def run(self, **changes: Any) -> Output:
        """A short request: samples 0, 1 and 2 on the CPU."""
        wanted = {"ids": IDS, "steps": STEPS, "device": "cpu", **self.request, **changes}
        wanted["return_trajectory"] = True
        return collect(generate_iter(self.domain, self.model, **wanted))

    @cached_property
    def output(self) -> Output:
        return self.run()

    @cached_property
    def facts(self) -> Facts:
        self.installed()
        if self.given is not None or shipped(self.domain) is None:
            raise Skip("the domain ships no model to run in a process of its own")
        return observe(self.domain.name, {**self.request, "steps": STEPS, "ids": list(IDS)})

    @cached_property
    def first_call(self) -> tuple[Any, Any]:
        """Layout and condition of the first call of the model's denoiser in the demo."""
        seen: list[tuple[Any, Any]] = []

        def look(_: object, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            order = ("x_t", "t", "layout", "condition")
            given = dict(zip(order, arguments, strict=False)) | dict(named)
            seen.append((given["layout"], given.get("condition")))

        hook = self.model.denoiser.register_forward_pre_hook(look, with_kwargs=True)
        try:
            self.run(steps=1)
        finally:
            hook.remove()
        if not seen:
            raise Skip("the demo does not call the denoiser")
        return seen[0]
