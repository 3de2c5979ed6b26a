"""Potentials of several things at once, and of one part of a product.

Under a law whose parts are independent, E g_1(a) g_2(b) = E g_1(a) E g_2(b); of one state,

    E g_1 g_2 = E g_1  E_1 g_2,        E_1 over the law times g_1 / E g_1

where that law has a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unnoise.conditioning.potentials import Potential, Proposal
from unnoise.distributions import Distribution, Product
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout, State, parts, tensor


@final
@dataclass(frozen=True, eq=False)
class All(Potential):
    """Several at once: the product of their g."""

    potentials: Sequence[Potential]

    def __post_init__(self) -> None:
        if not self.potentials:
            raise InputError("nothing is asked for", value="All([])", fix="leave potential out")

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return torch.stack([one.log(x0, layout).double() for one in self.potentials]).sum(0)

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        total = torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)
        left = list(self.potentials)
        while left:
            updated = [(one, one.posterior(law, layout)) for one in left]
            one, after = next((pair for pair in updated if pair[1] is not None), updated[0])
            left.remove(one)
            found = one.expected(law, layout)
            if found is None or (after is None and left):
                return None
            total = total + found
            law = law if after is None else after
        return total

    def posterior(self, law: Distribution, layout: Layout) -> Distribution | None:
        found: Distribution | None = law
        for one in self.potentials:
            found = None if found is None else one.posterior(found, layout)
        return found

    def within(self, name: str) -> Potential | None:
        found = [part for one in self.potentials if (part := one.within(name)) is not None]
        return All(found) if len(found) > 1 else found[0] if found else None

    def of(self, samples: Int64[Tensor, " some"]) -> Potential:
        return All([one.of(samples) for one in self.potentials])


@final
@dataclass(frozen=True, eq=False)
class Part(Potential):
    """What is asked of one part of a product state.

    Attributes
    ----------
    name : of the part.
    potential : of its states.
    """

    name: str
    potential: Potential

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        if isinstance(x0, Tensor) or self.name not in x0:
            names = "one tensor" if isinstance(x0, Tensor) else sorted(x0)
            raise InputError("there is no such part of the state", value=self.name, limit=names)
        return self.potential.log(x0[self.name], layout[self.name])

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"] | None:
        if not isinstance(law, Product) or self.name not in law.parts:
            return super().expected(law, layout)
        return self.potential.expected(law.parts[self.name], layout[self.name])

    def posterior(self, law: Distribution, layout: Layout) -> Distribution | None:
        if not isinstance(law, Product) or self.name not in law.parts:
            return super().posterior(law, layout)
        found = self.potential.posterior(law.parts[self.name], layout[self.name])
        return None if found is None else Product({**law.parts, self.name: found})

    def within(self, name: str) -> Potential | None:
        return self.potential if name == self.name else None

    def of(self, samples: Int64[Tensor, " some"]) -> Potential:
        return replace(self, potential=self.potential.of(samples))


@final
@dataclass(frozen=True)
class Nothing(Potential):
    """g = 1: all is well."""

    def log(self, x0: State, layout: Layout) -> Float[Tensor, " batch"]:
        return torch.zeros(layout.batch, dtype=torch.float64, device=layout.device)

    def expected(self, law: Distribution, layout: Layout) -> Float[Tensor, " batch"]:
        return self.log({}, layout)


@final
@dataclass(frozen=True, eq=False)
class Apart(Proposal):
    """Proposals of the parts of a product, each for itself."""

    parts: Mapping[str, Distribution | Proposal]

    def sample(self, noise: NoiseSource) -> State:
        return {name: tensor(one.sample(noise)) for name, one in self.parts.items()}

    def log_prob(self, x: State) -> Float[Tensor, " batch"]:
        x = parts(x, self.parts)
        every = [one.log_prob(x[name]).double() for name, one in self.parts.items()]
        return torch.stack(every).sum(0)
