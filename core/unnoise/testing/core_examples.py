"""What the core provides, as things to check: the `example`s of `unnoise.discovery.builtin`."""

from __future__ import annotations

import torch

from unnoise.codecs import (
    Affine,
    Autoencoder,
    Chain,
    Codec,
    Identity,
    ProductCodec,
    Tied,
    Whitening,
)
from unnoise.kernels import (
    VE,
    Above,
    Absorbing,
    BetaTable,
    CategoricalKernel,
    CosineSurvival,
    Geometric,
    Linear,
    Matrices,
    ProductKernel,
    RandomWalk,
    Schedule,
    SubVP,
    SurvivalTable,
    TransitionKernel,
    Uniform,
    VPCosine,
    VPLinear,
)
from unnoise.kernels.gaussian import GaussianKernel
from unnoise.samplers import (
    DDIM,
    DEIS,
    EDM,
    PNDM,
    Ancestral,
    Confidence,
    DPMSolverPP,
    Order,
    Pseudo,
    Recovery,
    Restart,
    Sampler,
    SASolver,
    Solver,
    UniPC,
    Warmup,
)
from unnoise.spaces import DataSpace, Euclidean, Layout, ProductSpace, Tokens, ZeroCoM
from unnoise.testing.examples import Example
from unnoise.testing.linear_codec import linear_codec


def tokens() -> list[DataSpace]:
    return [Tokens(2), Tokens(5)]


def products() -> list[DataSpace]:
    return [ProductSpace({"where": ZeroCoM(), "what": Tokens(5)})]


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


def above_schedules() -> list[Schedule]:
    return [Above(VPCosine(log_snr_max=5.0)), Above(Geometric(v_max=0.9, v_0=0.01))]


def beta_tables() -> list[Schedule]:
    return [BetaTable.linear(), BetaTable.quadratic(), BetaTable.survival((0.1, 0.2, 0.4))]


def survival_tables() -> list[Schedule]:
    values = (1.0, 0.7, 0.3, 0.0)
    return [SurvivalTable(values), SurvivalTable(values, discrete=False)]


def ddim() -> list[Sampler]:
    return [DDIM(), DDIM(eta=1.0)]


def restart() -> list[Sampler]:
    return [
        Restart(Ancestral(), ((0.2, 0.6, 1), (0.7, 1.0, 1))),
        Restart(DDIM(), ((0.0, 0.5, 2),)),
    ]


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


def recovery() -> list[Sampler]:
    """With as many steps of Langevin's as it takes to come to rest: the default is for levels that
    are far apart, with networks that were trained with it."""
    return [Recovery(40, 0.5)]


def affine_codecs() -> list[object]:
    columns = Affine(mean=(3.0, -1.0, 0.5), scale=(2.0, 0.1, 7.0))
    points = Example(Affine(scale=4.0, space=ZeroCoM()), {"space": ZeroCoM()})
    return [Affine.onto(0.0, 255.0), columns, points]


def whitening_codecs() -> list[object]:
    generator = torch.Generator().manual_seed(0)
    guess = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64)
    spread = 0.1 + torch.rand(3, 1, 3, generator=generator, dtype=torch.float64)
    condition = {"guess": guess, "spread": spread}
    return [Example(Whitening("guess", "spread"), {"condition": condition})]


def autoencoder_codecs() -> list[Codec]:
    return [_linear()]


def tied_codecs() -> list[Codec]:
    return [Tied(_linear(), VPCosine(log_snr_max=4.0))]


def chain_codecs() -> list[Codec]:
    return [Chain(_linear(), Affine(scale=0.2)), Chain(Affine(1.0, 2.0), Affine(scale=(1, 2, 3)))]


def product_codecs() -> list[object]:
    real = Layout.dense(3, (4, 3), dtype=torch.float64)
    tokens = Layout.dense(3, (5,), dtype=torch.int64)
    layout = Layout.product({"where": real, "what": tokens})
    codec = ProductCodec({"where": _linear(), "what": Identity()})
    data = {
        "where": torch.linspace(-1, 1, 36, dtype=torch.float64).view(3, 4, 3),
        "what": torch.arange(15).view(3, 5) % 4,
    }
    return [Example(codec, {"layout": layout, "data": data})]


def _linear() -> Autoencoder:
    """Three numbers of each row, two of its code."""
    weight = torch.tensor([[1.0, 0.5], [0.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
    offset = torch.tensor([0.3, 0.0, -0.2], dtype=torch.float64)
    return linear_codec(weight, offset, 0.4)
