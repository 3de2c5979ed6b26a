"""Samplers, grids, starts and observations."""

from unnoise.samplers import grids
from unnoise.samplers.absorbing import Cached, FirstHitting
from unnoise.samplers.adaptive import AdaptiveODE
from unnoise.samplers.ancestral import Ancestral
from unnoise.samplers.base import Sampler, Step, Steps, Times, intervals
from unnoise.samplers.ddim import DDIM
from unnoise.samplers.deis import DEIS
from unnoise.samplers.diffusion import Diffusion
from unnoise.samplers.dpmpp import DPMSolverPP, Solver
from unnoise.samplers.euler import Euler
from unnoise.samplers.gradient import Checkpointed, Memory, Plain
from unnoise.samplers.grids import Custom, Fitted, Grid, time_at
from unnoise.samplers.heun import EDM, Heun
from unnoise.samplers.latent import invert, slerp
from unnoise.samplers.multistep import Warmup
from unnoise.samplers.observe import (
    Conditioning,
    Observation,
    RePaint,
    Replacement,
    Reveal,
    Start,
    walk,
)
from unnoise.samplers.optimised import optimised
from unnoise.samplers.order import Confidence, Order, OrderAgnostic, parallel_schedule
from unnoise.samplers.parallel import EntropyBound, Threshold
from unnoise.samplers.pndm import PNDM, Pseudo
from unnoise.samplers.recovery import Recovery
from unnoise.samplers.remdm import ReMDM
from unnoise.samplers.restart import Restart
from unnoise.samplers.reverse_diffusion import PredictorCorrector, ReverseDiffusion
from unnoise.samplers.sa_solver import SASolver
from unnoise.samplers.strided import Strided
from unnoise.samplers.unipc import UniPC

__all__ = [
    "DDIM",
    "DEIS",
    "EDM",
    "PNDM",
    "AdaptiveODE",
    "Ancestral",
    "Cached",
    "Checkpointed",
    "Conditioning",
    "Confidence",
    "Custom",
    "DPMSolverPP",
    "Diffusion",
    "EntropyBound",
    "Euler",
    "FirstHitting",
    "Fitted",
    "Grid",
    "Heun",
    "Memory",
    "Observation",
    "Order",
    "OrderAgnostic",
    "Plain",
    "PredictorCorrector",
    "Pseudo",
    "ReMDM",
    "RePaint",
    "Recovery",
    "Replacement",
    "Restart",
    "Reveal",
    "ReverseDiffusion",
    "SASolver",
    "Sampler",
    "Solver",
    "Start",
    "Step",
    "Steps",
    "Strided",
    "Threshold",
    "Times",
    "UniPC",
    "Warmup",
    "grids",
    "intervals",
    "invert",
    "optimised",
    "parallel_schedule",
    "slerp",
    "time_at",
    "walk",
]
