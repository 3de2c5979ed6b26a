"""Which grid a task walks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from engine_toy import Configuration, Toy

from unnoise.denoise import Clean, NetworkDenoiser
from unnoise.domain import Task
from unnoise.engine.options import Options
from unnoise.engine.request import check_ahead, grid_of, steps_of
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel, VPLinear
from unnoise.model import Model
from unnoise.samplers import Custom, Fitted, grids
from unnoise.samplers.grids import fingerprint
from unnoise.spaces import Euclidean, Layout

VP = GaussianKernel(Euclidean(), VPLinear())
MODEL = NetworkDenoiser(torch.nn.Linear(2, 2), VP, Clean())
TIMES = [1.0, 0.6, 0.2, 0.0]


def test_a_request_names_its_grid():
    assert torch.equal(grid_of(MODEL, 5, 1.0), grids.uniform.times(VP, 5))
    assert torch.equal(grid_of(MODEL, 5, 0.5, "karras"), grids.karras.times(VP, 5, 0.5))
    steep = grids.Karras(3.0)
    assert torch.equal(grid_of(MODEL, 5, 0.5, steep), steep.times(VP, 5, 0.5))
    assert grid_of(MODEL, TIMES, 1.0).tolist() == TIMES
    with pytest.raises(InputError, match="did you mean 'karras'"):
        grid_of(MODEL, 5, 1.0, "karas")
    with pytest.raises(InputError, match="list of times"):
        grid_of(MODEL, [1.0, 0.0], 1.0, "karras")
    for times in ([0.9, 0.0], [1.0, 0.5, 0.7]):
        with pytest.raises(InputError):
            grid_of(MODEL, times, 1.0)


def test_times_are_cut_below_a_start():
    assert grid_of(MODEL, None, 0.3, Custom(TIMES)).tolist() == [0.3, 0.2, 0.0]
    with pytest.raises(InputError, match="begin where"):
        grid_of(MODEL, TIMES, 0.3)
    fitted = Fitted(tuple(TIMES), fingerprint(MODEL))
    assert grid_of(MODEL, None, 0.3, fitted).tolist() == [0.3, 0.2, 0.0]
    other = NetworkDenoiser(torch.nn.Linear(2, 2), VP, Clean())
    torch.nn.init.ones_(other.network.weight)
    with pytest.raises(InputError, match="another denoiser"):
        grid_of(other, None, 1.0, fitted)


def test_task_request_and_model_in_this_order():
    own = {"steps": tuple(TIMES)}
    assert steps_of(None, Options(), own) == (None, Custom(TIMES))
    assert steps_of(None, Options(grid="karras"), own) == (3, "karras")
    assert steps_of(None, Options(steps=9), own) == (9, None)
    named = {"steps": 20, "grid": "log-snr"}
    assert steps_of(None, Options(), named) == (20, "log-snr")
    assert steps_of(None, Options(steps=7), named) == (7, "log-snr")
    assert steps_of(None, Options(steps=7, grid="uniform"), named) == (7, "uniform")
    assert steps_of(None, Options(steps=[1.0, 0.0]), named) == ((1.0, 0.0), None)
    mine = Custom(TIMES)
    assert steps_of(None, Options(grid=mine), named) == (None, mine)
    task = Task(Layout.dense(1, (2,)), steps=4, grid="quadratic")
    assert steps_of(task, Options(grid=mine), named) == (4, "quadratic")


def test_a_run_ends_at_the_data():
    """Times that stop before 0 would hand out noise."""
    toy = Toy()
    model = Model(toy, toy.build(Configuration()), Configuration())
    with pytest.raises(InputError, match="ends at the data"):
        check_ahead(model, Options(steps=(1.0, 0.5)))
    with pytest.raises(InputError, match="ends at the data"):
        check_ahead(model, Options(grid=Custom((1.0, 0.5))))
    check_ahead(model, Options(steps=(1.0, 0.5, 0.0)))
    with pytest.raises(InputError, match="give a number of steps"):  # in no language of its own
        check_ahead(model, Options(steps=(0.9, 0.5, 0.0)))
