"""What the core provides, as things to check: the `example`s of `unnoise.discovery.builtin`."""

from __future__ import annotations

import torch

from unnoise.kernels import (
    VE,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    CosineSurvival,
    Linear,
    Matrices,
    ProductKernel,
    RandomWalk,
    Schedule,
    SubVP,
    SurvivalTable,
    TransitionKernel,
    Uniform,
    VPLinear,
)
from unnoise.kernels.gaussian import GaussianKernel
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    PNDM,
    Confidence,
    DPMSolverPP,
    Order,
    Pseudo,
    Sampler,
    SASolver,
    Solver,
    UniPC,
    Warmup,
)
from unnoise.spaces import DataSpace, Euclidean, Product, Tokens, ZeroCoM
from unnoise.testing.examples import Example


def tokens() -> list[DataSpace]:
    return [Tokens(2), Tokens(5)]


def products() -> list[DataSpace]:
    return [Product({"where": ZeroCoM(), "what": Tokens(5)})]


def gaussian_kernels() -> list[object]:
    """The kernel with schedules of each kind; those themselves are checked as schedules."""
    kinds: list[Schedule] = [VPLinear(), SubVP(), VE(), Linear(), BetaTable.linear()]
    kernels = [GaussianKernel(Euclidean(), schedule) for schedule in kinds]
    return [*kernels, GaussianKernel(ZeroCoM(), VE())]


def categorical_kernels() -> list[object]:
    joint = {
        "mixture_rule": "posterior='joint' is the normalised form of D3PM, which is another law "
        "than the average of the posteriors"
    }
    places = torch.tensor([[0.0, 0.1], [1.0, 0.0], [1.1, 0.9], [0.2, 1.3], [2.0, 2.1]])
    return [
        CategoricalKernel(Tokens(5), Uniform()),
        CategoricalKernel(Tokens(5), Uniform(BetaTable.linear(100, 1e-3, 0.2))),
        CategoricalKernel(Tokens(5), Absorbing(4)),
        CategoricalKernel(Tokens(5), Absorbing(0, CosineSurvival())),
        CategoricalKernel(Tokens(5), Matrices.discretised_gaussian(5, (0.3,) * 40)),
        CategoricalKernel(Tokens(5), RandomWalk.nearest_neighbours(places, 2)),
        Example(CategoricalKernel(Tokens(5), Uniform(), "joint"), {}, joint),
    ]


def product_kernels() -> list[TransitionKernel]:
    parts: dict[str, TransitionKernel] = {
        "where": GaussianKernel(ZeroCoM(), VPLinear()),
        "what": CategoricalKernel(Tokens(5), Absorbing(4)),
    }
    return [ProductKernel(parts)]


def beta_tables() -> list[Schedule]:
    return [BetaTable.linear(), BetaTable.quadratic(), BetaTable.survival((0.1, 0.2, 0.4))]


def survival_tables() -> list[Schedule]:
    values = (1.0, 0.7, 0.3, 0.0)
    return [SurvivalTable(values), SurvivalTable(values, discrete=False)]


def ddim() -> list[Sampler]:
    return [DDIM(), DDIM(eta=1.0)]


def edm() -> list[Sampler]:
    return [EDM()]


def dpmpp() -> list[Sampler]:
    return [
        DPMSolverPP(Solver.M2),
        DPMSolverPP(Solver.S2),
        DPMSolverPP(Solver.M3, Warmup.FULL),
    ]


def unipc() -> list[Sampler]:
    return [UniPC(), UniPC(2, "bh1"), UniPC(3, warmup=Warmup.FULL)]


def deis() -> list[Sampler]:
    return [DEIS(), DEIS(2), DEIS(4, warmup=Warmup.FULL)]


def pndm() -> list[Sampler]:
    return [PNDM(Pseudo.F), PNDM(Pseudo.S)]


def sa_solver() -> list[Sampler]:
    return [SASolver(), SASolver(tau=0.0, predictor=2, corrector=0)]


def confidence() -> list[object]:
    """In a random order the law is exact; the surest tokens first is another law."""
    chosen = {
        "recovers_the_data": "the surest draws are kept and the others drawn again, so that likely "
        "tokens become more likely"
    }
    return [
        Example(Confidence(), {}, chosen),
        Confidence(Order.RANDOM),
        Confidence(Order.LEFT_TO_RIGHT),
    ]
