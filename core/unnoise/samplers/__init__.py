"""Samplers, grids, starts and observations."""

from unnoise.samplers import grids
from unnoise.samplers.ancestral import Ancestral
from unnoise.samplers.base import Sampler, Step, intervals
from unnoise.samplers.ddim import DDIM
from unnoise.samplers.observe import (
    Conditioning,
    Observation,
    RePaint,
    Replacement,
    Start,
    walk,
)

__all__ = [
    "DDIM",
    "Ancestral",
    "Conditioning",
    "Observation",
    "RePaint",
    "Replacement",
    "Sampler",
    "Start",
    "Step",
    "grids",
    "intervals",
    "walk",
]
