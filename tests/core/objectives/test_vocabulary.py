"""Large vocabularies: 50,257 tokens, 1,024 of them, in a process that may not grow."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("resource")  # not on Windows

# A network without weights: logits from the position alone, the most that a table may cost.
PROLOGUE = """
import resource, sys
import torch
from unnoise.denoise import Logits, Masked, NetworkDenoiser
from unnoise.kernels import Absorbing, CategoricalKernel, Linear, Uniform
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Simple, bound
from unnoise.samplers import Ancestral, Diffusion, grids
from unnoise.spaces import Layout, Tokens

torch.set_num_threads(1)
K, L = 50_257, int(sys.argv[1])

class Cheap(torch.nn.Module):
    def forward(self, x, label, layout, condition):
        i = torch.arange(K).float() - 40 * torch.arange(L)[:, None]
        return i.square_().mul_(-1e-8)[None]

def peak():
    try:  # ru_maxrss begins at the size of the parent, here a process with all the tests
        status = open("/proc/self/status").read()
        return int(status.split("VmHWM:")[1].split()[0])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

x0 = (torch.arange(L) * 40)[None]
layout, noise = Layout.dense(1, (L,), dtype=torch.int64), NoiseSource(0, [0])
"""

ABSORBING = """
kernel = CategoricalKernel(Tokens(K), Absorbing(K - 1))
model = NetworkDenoiser(Cheap(), kernel, Masked(K - 1))
with torch.no_grad():
    found = bound(Diffusion(model, layout, noise), x0, steps=1000, evaluations=2)
    logs = Masked(K - 1).law(kernel, Cheap()(None, None, None, None), x0 * 0 + K - 1, 1.0, layout)
    exact = -logs.log_prob(x0)  # every token is shown once, and costs this whatever else is seen
print(found.total.item(), exact.item(), found.standard_error.item(), peak())
"""

UNIFORM = """
kernel = CategoricalKernel(Tokens(K), Uniform(Linear(1e-3)))
model = NetworkDenoiser(Cheap(), kernel, Logits())
with torch.no_grad():
    x = kernel.prior(layout).sample(noise)
    *_, last = Ancestral()(Diffusion(model, layout, noise), x, grids.custom([1.0, 0.5, 0.0]))
    assert last.x.shape == (1, L)
    found = bound(Diffusion(model, layout, noise), x0, steps=3)
    loss = Simple()(model, Batch(x0, layout), noise)
assert found.total.isfinite().all() and loss.isfinite().all()
print(peak())
"""


def run(body: str, length: int) -> list[float]:
    code = PROLOGUE + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code, str(length)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


# ru_maxrss counts KiB on Linux and bytes on macOS
UNIT = 1 if sys.platform == "darwin" else 1024


@pytest.mark.slow
def test_absorbing_bound_in_two_gibibytes():
    total, exact, error, peak = run(ABSORBING, 1024)
    assert peak * UNIT < 2 * 2**30
    # from two of 999 terms and a few draws of the last step; about one token is shown in each
    assert abs(total - exact) < 6 * error
    assert error < 0.1 * exact


def test_uniform_kernel_builds_no_matrix():
    (peak,) = run(UNIFORM, 128)
    # one K x K matrix of float32 would be 9.4 GiB; a handful of tables of 128 x K doubles are not
    assert peak * UNIT < 2 * 2**30
