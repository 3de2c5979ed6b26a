"""`unnoise evaluate`: likelihoods, and a domain's own metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from circle import DOMAIN, METRICS, PLUGIN, SHORT, TRAIN, failed

from unnoise.cli import main


def test_a_domain_measures_what_it_wants(install, here, tmp_path, capsys):
    install("circle", PLUGIN, domain=DOMAIN + METRICS)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    words = ["evaluate", "circle", "--data", "data.txt", "--model", "run"]
    assert main([*words, "--metric", "roundness"]) == 0
    out, err = capsys.readouterr()
    assert out == "data: 40\nsamples: 4\npower: 2.0\n"
    lines = [line.split() for line in err.splitlines()]  # stderr is no terminal here
    assert [(line[0], line[-1]) for line in lines] == [("50%", "measuring"), ("75%", "comparing")]
    assert (
        main([*words, "--metric", "roundness", "--num-samples", "2", "--power", "3", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    expected = {"domain": "circle", "metric": "roundness", "data": 40, "samples": 2, "power": 3.0}
    assert found == expected
    assert main(["evaluate", "circle", "--help"]) == 0
    assert "--metric roundness" in capsys.readouterr().out
    said = failed(capsys, *words, "--metric", "roundnes")
    assert "did you mean 'roundness'" in said
    assert "bound, limit, likelihood, roundness, flat" in said
    assert "--power does not belong" in failed(capsys, *words, "--metric", "bound", "--power", "3")
    assert "--steps does not belong" in failed(capsys, *words, "--metric", "flat", "--steps", "3")
    assert "power" in failed(capsys, *words, "--metric", "roundness", "--power", "0")
    assert main([*words, "--metric", "bound", "--steps", "5"]) == 0


GUEST_PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("guest", "a guest", "unnoise_guest.domain:Guest")]
"""

GUEST = """
from pydantic import BaseModel
from unnoise.domain import Domain
from unnoise.model import Metric

class Request(BaseModel):
    pass

class Owner(Metric):
    def measure(self, model, source, report):
        return {"owner": model.domain.name, "data": str(source)}

class Guest(Domain):
    name = "guest"
    Request = Request
    adopt = ("circle",)
    metrics = {"owner": Owner}

    def plan(self, inputs, model, draws):
        raise NotImplementedError

    def write(self, sample, folder, stem):
        raise NotImplementedError
"""


def test_a_domain_measures_the_models_that_it_adopts(install, here, tmp_path, capsys):
    install("circle", PLUGIN, domain=DOMAIN)
    install("guest", GUEST_PLUGIN, domain=GUEST)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    words = ["evaluate", "guest", "--data", "data.txt", "--model", "run"]
    assert main([*words, "--metric", "owner"]) == 0
    assert capsys.readouterr().out == "owner: circle\ndata: data.txt\n"
    assert main(words) == 0  # its only metric
    said = failed(capsys, *words, "--metric", "bound")
    assert "has no such metric" in said
    assert "owner" in said


TABLE_PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("table", "rows", "unnoise_table.domain:Table")]
"""

TABLE = """
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import nn

from unnoise.denoise import Clean, Joint, Logits, NetworkDenoiser
from unnoise.domain import Batch, Task, Trainable
from unnoise.kernels import Absorbing, CategoricalKernel, GaussianKernel, ProductKernel, VPCosine
from unnoise.objectives import Categories, Continuous, ProductData
from unnoise.spaces import Euclidean, Layout, Tokens

class Empty(BaseModel):
    pass

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.age, self.kind = nn.Linear(2, 2), nn.Parameter(torch.zeros(4))

    def forward(self, x, label, layout, condition):
        return {"age": self.age(x["age"]), "kind": self.kind.expand(*x["kind"].shape, 4)}

class Table(Trainable):
    name = "table"
    Request = Configuration = Empty

    def build(self, configuration):
        age, kind = Euclidean(), CategoricalKernel(Tokens(4), Absorbing(3))
        kernel = ProductKernel({"age": GaussianKernel(age, VPCosine(-10, 10)), "kind": kind})
        return NetworkDenoiser(Network(), kernel, Joint({"age": Clean(), "kind": Logits()}))

    def data_type(self, configuration):
        return ProductData({"age": Continuous(), "kind": Categories()})

    def dataset(self, source, configuration, part):
        g = torch.Generator().manual_seed(0)
        ages, kinds = torch.randn(40, 2, generator=g), torch.randint(3, (40,), generator=g)
        rows = list(zip(ages, kinds))
        return rows[:30] if part == "train" else rows[30:]

    def layout(self, n):
        parts = {"age": Layout.dense(n, (2,)), "kind": Layout.dense(n, dtype=torch.int64)}
        return Layout.product(parts)

    def collate(self, items):
        ages, kinds = zip(*items)
        x0 = {"age": torch.stack(ages), "kind": torch.stack(kinds)}
        return Batch(x0, self.layout(len(items)))

    def plan(self, inputs, model, draws):
        x = yield Task(self.layout(len(draws)))
        return list(zip(x["age"], x["kind"]))

    def write(self, sample, folder, stem):
        path = folder / stem
        path.write_text(str(sample))
        return path
"""


def test_a_product_is_evaluated_part_by_part(install, here, tmp_path, capsys):
    install("table", TABLE_PLUGIN, domain=TABLE)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main(["train", "table", "--data", "data.txt", *SHORT[:-2], "--out", "run"]) == 0
    capsys.readouterr()
    words = ["evaluate", "table", "--data", "data.txt", "--model", "run", "--steps", "20"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    age, kind = found["parts"]["age"], found["parts"]["kind"]
    assert (age["measure"], kind["measure"]) == ("density", "probability")
    assert (age["units"], kind["units"]) == ("Continuous(unit=1.0)", "Categories()")
    assert age["nats"] + kind["nats"] == pytest.approx(found["nats"])
    assert found["bits_per_dimension"] is None
    # two real numbers, one token
    assert kind["bits_per_dimension"] == pytest.approx(kind["nats"] / math.log(2))
    assert age["bits_per_dimension"] == pytest.approx(age["nats"] / 2 / math.log(2))
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "bits per dimension" not in lines[0]
    assert lines[1].startswith(f"age: {age['nats']:.4f} +- ")
    assert f"nats of density a sample, {age['bits_per_dimension']:.4f} bits" in lines[1]
    assert lines[2].startswith(f"kind: {kind['nats']:.4f} +- ")
    assert "nats of probability a sample" in lines[2]


JITTERED = """
class Jittered(torch.utils.data.Dataset):
    def __init__(self, points):
        self.points = points

    def __len__(self):
        return len(self.points)

    def __getitem__(self, k):
        return self.points[k] + 0.1 * torch.randn(2)

class Circle(Trainable):"""


def test_augmentation_is_a_function_of_the_seed(install, here, tmp_path, capsys):
    domain = DOMAIN.replace("\nclass Circle(Trainable):", JITTERED)
    cut = 'return points[:-8] if part == "train" else points[-8:]'
    domain = domain.replace(cut, cut.replace("return ", "return Jittered(") + ")")
    assert domain.count("Jittered") == 2
    install("circle", PLUGIN, domain=domain)
    here.chdir(tmp_path)
    Path("data.txt").write_text("40")
    assert main([*TRAIN, *SHORT, "--out", "run"]) == 0
    found = []
    for seed in ("0", "0", "1"):
        capsys.readouterr()
        words = ["evaluate", "circle", "--data", "data.txt", "--model", "run", "--steps", "5"]
        assert main([*words, "--seed", seed]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] != found[2]
