"""Laws of times: what is drawn has the density that is said, on every schedule."""

from __future__ import annotations

import pytest
import torch

from unnoise.errors import ConfigError
from unnoise.kernels import VE, Above, BetaTable, Geometric, LearnedSchedule, VPCosine, VPLinear
from unnoise.objectives import (
    ImportanceTimes,
    LogVarianceTimes,
    SignalTimes,
    UniformTimes,
    VarianceTimes,
)

F64 = torch.float64
SCHEDULES = [
    VPLinear(),
    Geometric(),
    VPCosine(),
    Above(VPCosine(log_snr_max=5.0)),
    LearnedSchedule(),
]
LAWS = [UniformTimes, ImportanceTimes, LogVarianceTimes, SignalTimes, VarianceTimes]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("eps", [1e-5, 0.01])
def test_the_inverse_and_the_density_agree(schedule, kind, eps):
    """dt / du = 1 / p(t), and times run from eps to 1: the density integrates to 1."""
    law = kind(eps)
    u = torch.linspace(0, 1, 1001, dtype=F64)
    with torch.no_grad():
        t = law.times(schedule, u)
        assert float(t[0]) == pytest.approx(eps, rel=1e-6)
        assert float(t[-1]) == pytest.approx(1, rel=1e-9)
        assert bool((t.diff() > 0).all())
        h, inner = 1e-6, u[10:-10]
        slope = (law.times(schedule, inner + h) - law.times(schedule, inner - h)) / (2 * h)
        product = law.density(schedule, law.times(schedule, inner)) * slope
        torch.testing.assert_close(product, torch.ones_like(product), rtol=1e-6, atol=0)


def test_what_has_no_such_law():
    u = torch.rand(4, dtype=F64)
    with pytest.raises(ConfigError, match="continuous clock"):
        SignalTimes().times(BetaTable.linear(), u)
    with pytest.raises(ConfigError, match="sigma does not exceed 1"):
        SignalTimes().times(VE(), u)
    for law in LAWS:
        with pytest.raises(ConfigError, match="eps"):
            law(0.0)
