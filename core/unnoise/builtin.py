"""What the core itself provides, through the same hooks as any plugin. Light."""

from __future__ import annotations

from unnoise.specs import KernelSpec, SamplerSpec, ScheduleSpec, SpaceSpec, hookimpl


@hookimpl
def unnoise_kernels() -> list[KernelSpec]:
    return [
        KernelSpec("gaussian", "alpha x + sigma noise", "unnoise.kernels:GaussianKernel"),
        KernelSpec("categorical", "tokens jump by a matrix", "unnoise.kernels:CategoricalKernel"),
        KernelSpec("product", "one kernel for each part", "unnoise.kernels:ProductKernel"),
    ]


@hookimpl
def unnoise_spaces() -> list[SpaceSpec]:
    return [
        SpaceSpec("euclidean", "real arrays", "unnoise.spaces:Euclidean"),
        SpaceSpec("tokens", "symbols of a vocabulary", "unnoise.spaces:Tokens"),
        SpaceSpec("zero_com", "points whose mean is zero", "unnoise.spaces:ZeroCoM"),
        SpaceSpec("product", "several spaces together", "unnoise.spaces:Product"),
    ]


@hookimpl
def unnoise_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "ancestral", "Bayes' rule step by step; any kernel", "unnoise.samplers:Ancestral"
        ),
        SamplerSpec("ddim", "deterministic, few steps; Gaussian kernels", "unnoise.samplers:DDIM"),
    ]


@hookimpl
def unnoise_schedules() -> list[ScheduleSpec]:
    return [
        ScheduleSpec("vp_linear", "variance preserving, beta linear", "unnoise.kernels:VPLinear"),
        ScheduleSpec("vp_cosine", "variance preserving, cosine", "unnoise.kernels:VPCosine"),
        ScheduleSpec("sub_vp", "below variance preserving", "unnoise.kernels:SubVP"),
        ScheduleSpec("ve", "variance exploding", "unnoise.kernels:VE"),
        ScheduleSpec("flow", "straight lines: flow matching", "unnoise.kernels:Linear"),
        ScheduleSpec("geometric", "the variance grows geometrically", "unnoise.kernels:Geometric"),
        ScheduleSpec("beta_table", "from the betas of discrete steps", "unnoise.kernels:BetaTable"),
    ]
