"""What the core itself provides, through the same hooks as any plugin. Light."""

from __future__ import annotations

from typing import Final

from unnoise.specs import CodecSpec, KernelSpec, SamplerSpec, ScheduleSpec, SpaceSpec, hookimpl

_EXAMPLES: Final = "unnoise.testing.core_examples"


@hookimpl
def unnoise_kernels() -> list[KernelSpec]:
    return [
        KernelSpec(
            "gaussian",
            "alpha x + sigma noise",
            "unnoise.kernels:GaussianKernel",
            example=f"{_EXAMPLES}:gaussian_kernels",
        ),
        KernelSpec(
            "categorical",
            "tokens jump by a matrix",
            "unnoise.kernels:CategoricalKernel",
            example=f"{_EXAMPLES}:categorical_kernels",
        ),
        KernelSpec(
            "product",
            "one kernel for each part",
            "unnoise.kernels:ProductKernel",
            example=f"{_EXAMPLES}:product_kernels",
        ),
    ]


@hookimpl
def unnoise_spaces() -> list[SpaceSpec]:
    return [
        SpaceSpec("euclidean", "real arrays", "unnoise.spaces:Euclidean"),
        SpaceSpec(
            "tokens",
            "symbols of a vocabulary",
            "unnoise.spaces:Tokens",
            example=f"{_EXAMPLES}:tokens",
        ),
        SpaceSpec("zero-com", "points whose mean is zero", "unnoise.spaces:ZeroCoM"),
        SpaceSpec(
            "product",
            "several spaces together",
            "unnoise.spaces:ProductSpace",
            example=f"{_EXAMPLES}:products",
        ),
    ]


@hookimpl
def unnoise_samplers() -> list[SamplerSpec]:
    gaussian, masked = "GaussianKernel", "CategoricalKernel, Absorbing"
    parts = "GaussianKernel, products"
    return [
        _sampler(
            "ancestral",
            "Bayes' rule step by step: DDPM, D3PM",
            "Ancestral",
            "TransitionKernel",
            1,
            1,
            stochastic=True,
        ),
        _sampler(
            "ddim",
            "the first-order step along the prediction; eta adds noise",
            "DDIM",
            parts,
            1,
            1,
            example="ddim",
        ),
        _sampler(
            "restart",
            "another sampler, with returns into the noise",
            "Restart",
            "TransitionKernel",
            0,
            1,
            stochastic=True,
            example="restart",
        ),
        _sampler("euler", "Euler's method in t", "Euler", parts, 1, 1),
        _sampler("heun", "Heun's method in t", "Heun", gaussian, 2, 2),
        _sampler(
            "edm",
            "Heun's method in sigma / alpha; churn adds noise",
            "EDM",
            gaussian,
            2,
            2,
            example="edm",
        ),
        _sampler(
            "dpmpp",
            "DPM-Solver++ 2M; 2S and 3M as options",
            "DPMSolverPP",
            gaussian,
            1,
            2,
            example="dpmpp",
        ),
        _sampler(
            "unipc",
            "multistep predictor and free corrector: the best of few steps",
            "UniPC",
            gaussian,
            1,
            3,
            example="unipc",
        ),
        _sampler(
            "deis",
            "Adams-Bashforth on the exact linear part",
            "DEIS",
            gaussian,
            1,
            3,
            example="deis",
        ),
        _sampler(
            "pndm",
            "F-PNDM: 9 evaluations more than steps; S-PNDM as an option",
            "PNDM",
            gaussian,
            1,
            2,
            example="pndm",
        ),
        _sampler(
            "sa-solver",
            "stochastic Adams, predictor and corrector",
            "SASolver",
            gaussian,
            1,
            3,
            stochastic=True,
            example="sa_solver",
        ),
        _sampler(
            "reverse-diffusion",
            "the forward discretisation backwards",
            "ReverseDiffusion",
            parts,
            1,
            1,
            stochastic=True,
        ),
        _sampler(
            "predictor-corrector",
            "a Langevin step before each reverse-diffusion step",
            "PredictorCorrector",
            gaussian,
            2,
            1,
            stochastic=True,
        ),
        _sampler(
            "recovery",
            "Langevin's steps at each level, of an energy",
            "Recovery",
            f"{gaussian}, Energy",
            31,
            1,
            stochastic=True,
            example="recovery",
        ),
        _sampler(
            "adaptive-ode",
            "step sizes of each sample's own, by a tolerance",
            "AdaptiveODE",
            gaussian,
            0,
            5,
        ),
        _sampler(
            "cached",
            "ancestral, with evaluations only where a token appears",
            "Cached",
            masked,
            0,
            1,
            stochastic=True,
        ),
        _sampler(
            "first-hitting",
            "tokens appear one by one, at exact times; fewer steps make groups",
            "FirstHitting",
            masked,
            0,
            1,
            stochastic=True,
        ),
        _sampler(
            "confidence",
            "the surest tokens appear first; temperature, remasking and order as options",
            "Confidence",
            masked,
            0,
            1,
            stochastic=True,
            example="confidence",
        ),
        _sampler(
            "order-agnostic",
            "tokens appear in a random order, in groups of given sizes",
            "OrderAgnostic",
            masked,
            0,
            1,
            stochastic=True,
        ),
        _sampler(
            "entropy-bound",
            "as many tokens at once as a bound on the error, in nats, lets",
            "EntropyBound",
            masked,
            0,
            1,
            stochastic=True,
        ),
        _sampler(
            "threshold",
            "all tokens at once that the network is so sure of",
            "Threshold",
            masked,
            0,
            1,
            stochastic=True,
        ),
        _sampler(
            "remdm",
            "ancestral, but tokens may be taken back",
            "ReMDM",
            masked,
            0,
            1,
            stochastic=True,
        ),
    ]


def _sampler(
    name: str,
    summary: str,
    kind: str,
    requires: str,
    evaluations: int,
    order: int,
    *,
    stochastic: bool = False,
    example: str = "",
) -> SamplerSpec:
    return SamplerSpec(
        name,
        summary,
        f"unnoise.samplers:{kind}",
        requires=requires,
        evaluations=evaluations,
        order=order,
        stochastic=stochastic,
        example=f"{_EXAMPLES}:{example}" if example else "",
    )


@hookimpl
def unnoise_schedules() -> list[ScheduleSpec]:
    return [
        ScheduleSpec("vp-linear", "variance preserving, beta linear", "unnoise.kernels:VPLinear"),
        ScheduleSpec("vp-cosine", "variance preserving, cosine", "unnoise.kernels:VPCosine"),
        ScheduleSpec("sub-vp", "below variance preserving", "unnoise.kernels:SubVP"),
        ScheduleSpec("ve", "variance exploding", "unnoise.kernels:VE"),
        ScheduleSpec("flow", "straight lines: flow matching", "unnoise.kernels:Linear"),
        ScheduleSpec("geometric", "the variance grows geometrically", "unnoise.kernels:Geometric"),
        ScheduleSpec("learned", "monotone, trained (VDM)", "unnoise.kernels:LearnedSchedule"),
        ScheduleSpec(
            "beta-table",
            "from the betas of discrete steps",
            "unnoise.kernels:BetaTable",
            example=f"{_EXAMPLES}:beta_tables",
        ),
        ScheduleSpec(
            "above",
            "another one, from its least noise on",
            "unnoise.kernels:Above",
            example=f"{_EXAMPLES}:above_schedules",
        ),
        ScheduleSpec("cosine-survival", "of tokens, cosine", "unnoise.kernels:CosineSurvival"),
        ScheduleSpec(
            "survival-table",
            "of tokens, from a table",
            "unnoise.kernels:SurvivalTable",
            example=f"{_EXAMPLES}:survival_tables",
        ),
    ]


@hookimpl
def unnoise_codecs() -> list[CodecSpec]:
    return [
        CodecSpec("identity", "the state is the data", "unnoise.codecs:Identity"),
        CodecSpec(
            "affine",
            "data moved and scaled by fixed numbers",
            "unnoise.codecs:Affine",
            example=f"{_EXAMPLES}:affine_codecs",
        ),
        CodecSpec(
            "whitening",
            "data moved and scaled by their condition",
            "unnoise.codecs:Whitening",
            example=f"{_EXAMPLES}:whitening_codecs",
        ),
        CodecSpec(
            "autoencoder",
            "codes of two networks",
            "unnoise.codecs:Autoencoder",
            example=f"{_EXAMPLES}:autoencoder_codecs",
        ),
        CodecSpec(
            "tied",
            "codes with the least noise of a schedule",
            "unnoise.codecs:Tied",
            example=f"{_EXAMPLES}:tied_codecs",
        ),
        CodecSpec(
            "chain",
            "codecs one after the other",
            "unnoise.codecs:Chain",
            example=f"{_EXAMPLES}:chain_codecs",
        ),
        CodecSpec(
            "product",
            "one codec for each part",
            "unnoise.codecs:ProductCodec",
            example=f"{_EXAMPLES}:product_codecs",
        ),
    ]
