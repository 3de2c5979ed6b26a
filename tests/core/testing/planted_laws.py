"""Kernels whose laws, or ways to a law, have one mistake planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from planted_kernels import TOKENS, VP, Bent, Law, with_law

from unnoise.distributions import Distribution, Gaussian
from unnoise.errors import InputError
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout


@dataclass(frozen=True, eq=False)
class Laplace(Distribution):
    """exp(-|x - centre| / width) / 2 width on every entry: a law that the core does not have."""

    centre: torch.Tensor
    width: float
    layout: Layout

    @property
    def mean(self):
        return self.centre

    @property
    def mode(self):
        return self.centre

    def sample(self, noise):
        u = noise.uniform(self.layout) - 0.5
        u = self.layout.zero_padding(u)
        steps = -self.width * u.sign() * torch.log1p(-2 * u.abs())
        return self.centre + steps.to(self.centre.dtype)

    def log_prob(self, x):
        terms = -(x - self.centre).abs() / self.width - math.log(2 * self.width)
        return self.layout.sum(terms)

    def entropy(self):
        return self.layout.sizes * (1 + math.log(2 * self.width))

    def kl(self, other):
        if not isinstance(other, Laplace):
            raise InputError("no divergence between a Laplace law and", value=type(other).__name__)
        gap, ratio = (self.centre - other.centre).abs(), self.width / other.width
        shifted = gap / other.width + ratio * (-gap / self.width).exp()
        return self.layout.sum(shifted - 1 - math.log(ratio))


@dataclass(frozen=True, eq=False)
class Heavy(Laplace):
    """Laplace, of which one method is another."""

    name: str = ""
    bent: Callable | None = None

    @property
    def mean(self):
        return self.bent(self) if self.name == "mean" else self.centre

    @property
    def mode(self):
        return self.bent(self) if self.name == "mode" else self.centre

    def sample(self, noise):
        return self.bent(self, noise) if self.name == "sample" else super().sample(noise)

    def log_prob(self, x):
        return self.bent(self, x) if self.name == "log_prob" else super().log_prob(x)

    def entropy(self):
        return self.bent(self) if self.name == "entropy" else super().entropy()

    def kl(self, other):
        return self.bent(self, other) if self.name == "kl" else super().kl(other)


def heavy(name="", bent=None, line="prior"):
    """VP with a line whose law is of no class of the core."""

    def law(k, *arguments):
        of = getattr(k, line)(*arguments)
        return Heavy(of.mean, 0.7, arguments[-1], name, bent)

    return Bent(VP, **{line: law})


def plain(law, noise):
    return Laplace.sample(law, noise)


def own_stream(law, noise):
    return plain(law, NoiseSource(noise.seed + 1, noise.ids))


def constant_seed(law, noise):
    return plain(law, NoiseSource(0, noise.ids))


def global_torch(law, noise):
    return law.centre + 0.7 * torch.randn_like(law.centre)


def global_numpy(law, noise):
    return law.centre + torch.as_tensor(np.random.laplace(0, 0.7, law.centre.shape))


def reseeded(law, noise):
    torch.manual_seed(noise.seed)
    return plain(law, noise)


def later_rows_first(law, noise):
    """Noise of the batch, cut from one stream."""
    one = NoiseSource(noise.seed, noise.ids[:1])
    own = torch.Generator().manual_seed(int(1e6 * float(one.normal(Layout.dense(1, ())))))
    u = torch.rand(law.centre.shape, generator=own, dtype=torch.float64) - 0.5
    return law.centre - 0.7 * u.sign() * torch.log1p(-2 * u.abs())


def half(law, noise):
    return plain(law, noise).float()


def flattened(law, noise):
    return plain(law, noise).flatten(1)


def narrow_reverse(k, x_t, x0, t, s, layout):
    law = k.reverse(x_t, x0, t, s, layout)
    if isinstance(s, float) and s == 0:
        return law
    return Law(law, "sample", lambda p, noise: replace(p, std=0.8 * p.std).sample(noise))


def narrow_transition(k, x_s, s, t, layout):
    law = k.transition(x_s, s, t, layout)
    return Law(law, "sample", lambda p, noise: replace(p, std=0.8 * p.std).sample(noise))


def likelier_tokens(law, noise):
    """Two draws, the more probable of which is kept."""
    one, two = law.sample(noise), law.sample(noise)
    p = law.log_probs
    better = p.gather(-1, one[..., None]) > p.gather(-1, two[..., None])
    return torch.where(better[..., 0], one, two)


def wide_bridge(k, x_t, x0, t, s, layout, eta):
    law = k.bridge(x_t, x0, t, s, layout, eta)
    return replace(law, std=law.std * 1.2 if eta == 0.5 else law.std)


def squared_eta(k, x_t, x0, t, s, layout, eta):
    """The variance of another eta than the mean."""
    law = k.bridge(x_t, x0, t, s, layout, eta)
    return replace(law, std=k.bridge(x_t, x0, t, s, layout, eta**2).std)


def forgetful_path(k, x, times, layout, noise):
    """Every state from the data, but with the variance of the last interval."""
    for s, t in pairwise(times):
        yield k.transition(x, s, t, layout).sample(noise)


def quick(k, x0, t, layout, noise):
    """sigma^2 in the place of sigma."""
    law = k.marginal(x0, t, layout)
    return replace(law, std=law.std**2).sample(noise)


def into_x0(k, x0, t, layout):
    if isinstance(t, float) and t == 0:
        return k.marginal(x0, t, layout)
    x0.mul_(k.schedule.alpha(t) if isinstance(t, float) else 1.0)
    return Gaussian(x0, k.schedule.sigma(t), k.space, layout)


def into_xt(k, x_t, x0, t, s, layout):
    law = k.reverse(x_t, x0, t, s, layout)
    return Law(law, "sample", lambda p, noise: x_t.copy_(p.sample(noise)))


def unpadded(law, noise):
    """Noise in the padding, too."""
    layout = replace(law.layout, mask=None)
    return Gaussian(law.mean, law.std, law.space, layout).sample(noise)


def density_of_padding(law, x):
    terms = -0.5 * ((x - law.mean) / law.scale) ** 2 - math.log(2 * math.pi) / 2
    rows = (terms - torch.as_tensor(law.scale).log()).flatten(1).sum(1)
    return rows if law.layout.index is None else law.log_prob(x)


def first_rows(law, noise):
    """Noise by the row, as though each were a sample."""
    if law.layout.index is None:
        return law.sample(noise)
    own = torch.Generator().manual_seed(noise.seed)
    z = torch.randn(law.mean.shape, generator=own, dtype=law.mean.dtype)
    return law.mean + law.scale * z


def counted_padding(k, x0, t, layout):
    """The mean of a sample's entries moved, with those of the padding counted."""
    law = k.marginal(x0, t, layout)
    if isinstance(t, float) and t == 0:
        return law
    moved = 1e-3 * x0.flatten(1).sum(1) if layout.index is None else torch.zeros(layout.batch)
    return replace(law, mean=layout.zero_padding(law.mean + layout.expand(moved, law.mean)))


LAWS = [
    ("a law of its own, drawn too narrow", "samples_match_log_prob",
     heavy("sample", lambda p, n: p.centre + 0.85 * (plain(p, n) - p.centre))),
    ("a law of its own, density off by a constant", "samples_match_log_prob",
     heavy("log_prob", lambda p, x: Laplace.log_prob(p, x) + 0.3)),
    ("a law of its own, density not normalised", "samples_match_log_prob",
     heavy("log_prob", lambda p, x: p.layout.sum(-(x - p.centre).abs() / p.width))),
    ("a law of its own, density of one sign", "samples_match_log_prob",
     heavy("log_prob", lambda p, x: Laplace.log_prob(p, p.centre + (x - p.centre).clamp(min=0)))),
    ("draws of the posterior too narrow", "samples_match_log_prob",
     Bent(VP, reverse=narrow_reverse)),
    ("draws of the transition too narrow", "samples_match_log_prob",
     Bent(VP, transition=narrow_transition)),
    ("tokens drawn from a sharper law", "samples_match_log_prob",
     Bent(TOKENS, marginal=lambda k, x0, t, lay: Law(k.marginal(x0, t, lay), "sample",
                                                     likelier_tokens))),
    ("mean off", "laws_describe_their_draws", heavy("mean", lambda p: p.centre + 0.1)),
    ("mode off", "laws_describe_their_draws", heavy("mode", lambda p: p.centre + 0.2)),
    ("entropy in bits", "laws_describe_their_draws",
     heavy("entropy", lambda p: Laplace.entropy(p) / math.log(2))),
    ("divergence of one entry", "divergence",
     with_law("kl", lambda p, q: p.kl(q) / p.mean[0].numel())),
    ("draws of a stream of its own", "noise_source_is_used", heavy("sample", constant_seed)),
    ("global numbers of torch", "noise_source_is_used", heavy("sample", global_torch)),
    ("global numbers of numpy", "noise_source_is_used", heavy("sample", global_numpy)),
    ("torch seeded in sample", "noise_source_is_used", heavy("sample", reseeded)),
    ("always the mean", "noise_source_is_used", heavy("sample", lambda p, n: p.centre.clone())),
    ("one stream for the batch", "noise_belongs_to_the_sample",
     heavy("sample", later_rows_first)),
    ("draws in float32", "states_keep_their_type", heavy("sample", half)),
    ("draws in float64 always", "states_keep_their_type",
     heavy("sample", lambda p, n: plain(p, n).double())),
    ("draws of another shape", "states_keep_their_type", heavy("sample", flattened)),
    ("one density for the batch", "states_keep_their_type",
     heavy("log_prob", lambda p, x: Laplace.log_prob(p, x).sum())),
    ("a bridge with too much noise", "bridges_keep_the_marginals", Bent(VP, bridge=wide_bridge)),
    ("a bridge with the noise of another eta", "bridges_keep_the_marginals",
     Bent(VP, bridge=squared_eta)),
    ("a path that forgets where it is", "paths_follow_the_marginals",
     Bent(VP, simulate=forgetful_path)),
    ("a short cut with another variance", "short_cut_is_the_marginal", Bent(VP, noisy=quick)),
    ("marginal in place", "arguments_are_left_alone", Bent(VP, marginal=into_x0)),
    ("a draw written over x_t", "arguments_are_left_alone", Bent(VP, reverse=into_xt)),
    ("noise in the padding", "padding_is_ignored", with_law("sample", unpadded)),
    ("density of the padding", "padding_is_ignored", with_law("log_prob", density_of_padding)),
    ("padding counted in a mean", "padding_is_ignored", Bent(VP, marginal=counted_padding)),
    ("noise of the row, not of the sample", "ragged_batches", with_law("sample", first_rows)),
]  # fmt: skip
