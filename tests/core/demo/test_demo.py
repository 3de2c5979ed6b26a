"""The demo page: what is on it, what a failing domain costs, whether its lines say the truth."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import unnoise
from unnoise.demo import run_demo
from unnoise.demo.moments import moments, spread
from unnoise.discovery import registry
from unnoise.errors import InputError, PluginError
from unnoise.storage.bundle import write_bundle

PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec({name!r}, {summary!r}, "unnoise_{name}.domain:Toy")]
"""

# x_0 ~ N(centre, 1) in two dimensions, with the exact posterior as denoiser.
DOMAIN = """
import html, json
from pathlib import Path
import torch
from pydantic import BaseModel
from unnoise.denoise import Denoiser
from unnoise.distributions import Gaussian
from unnoise.display import Display
from unnoise.domain import Task, Trainable
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.spaces import Euclidean, Layout

class Request(BaseModel):
    shift: list[float] = []
    word: str = ""

class Configuration(BaseModel):
    pass

class Exact(Denoiser):
    def __init__(self):
        super().__init__()
        self.centre = torch.nn.Parameter(torch.zeros(2))
        self.kernel = GaussianKernel(Euclidean(), VPCosine())

    def forward(self, x, t, layout, condition=None):
        a, s = self.kernel.schedule.alpha(t), self.kernel.schedule.sigma(t)
        mean = self.centre + a / (a * a + s * s) * (x - a * self.centre)
        return Gaussian(mean, s / (a * a + s * s) ** 0.5, layout=layout)

class Shown(Display):
    def preview(self, samples):
        return f'<p title="samples">{{html.escape(json.dumps(samples))}}</p>'

    def moments(self, frames, rows, model):
        return [[f"<i>{{i}}: {{f.x[i, 0].item():.6f}}</i>" for f in frames] for i in rows]
{show}

class Toy(Trainable):
    name = {name!r}
    Request, Configuration = Request, Configuration
    bundle = Path(__file__).parent / "bundle"
    display = Shown()
    demo = {{"num_samples": 5, "shift": [-1.5, 2], "word": "<b> it's"}}

    def build(self, configuration):
        return Exact()

    def dataset(self, source, configuration, part):
        raise NotImplementedError

    def collate(self, items):
        raise NotImplementedError

    def plan(self, inputs, model, draws):
        states = yield Task(Layout.dense(len(draws), (2,)))
        return [(x + torch.tensor(inputs[0].shift)).tolist() for x in states]

    def write(self, sample, folder, stem):
        path = folder / f"{{stem}}.json"
        path.write_text(json.dumps(sample))
        return path
{more}
"""


@pytest.fixture
def only(here) -> Callable[..., None]:
    """only(*names): this process sees these plugins and no others."""

    def allow(*names: str) -> None:
        here.setenv("UNNOISE_PLUGINS", ",".join(names))
        registry.reload()

    return allow


@pytest.fixture
def toy(install, only, site) -> Callable[..., None]:
    """toy(name, more="", show="", summary=""): install a domain with a trained model; `more` is
    put at the end of its class, `show` at the end of that of its display."""
    added: list[str] = []

    def add(
        name: str, more: str = "", show: str = "", summary: str = "points", bundle: bool = True
    ) -> None:
        added.append(name)
        package = f"unnoise_{name}"
        install(
            name,
            PLUGIN.format(name=name, summary=summary),
            domain=DOMAIN.format(name=name, more=more, show=show),
        )
        if bundle:
            weights = {"denoiser.centre": torch.tensor([3.0, -4.0])}
            write_bundle(site / package / "bundle", name, {}, weights, {"steps": 20})
        only(*added)

    return add


def _without_seconds(page: str) -> str:
    return re.sub(r"\d+(\.\d)?(?=( seconds|</dd>))|\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", page)


class Page(HTMLParser):
    """Elements whose end is missing, attributes that lead away, and the text by element."""

    EMPTY = ("meta", "link", "circle", "path", "rect")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.text: dict[str, list[str]] = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.attributes[tag] = values
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action", "data", "poster")]
        if tag not in self.EMPTY:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.text[tag][-1] += data

    def code(self) -> list[str]:
        return self.text["code"]


def test_the_page_shows_samples_trajectory_facts_and_recipes(toy, tmp_path, capsys):
    toy("ring", summary="points & <angles>")
    one = "    demo = {'num_samples': 1, 'shift': [0, 0], 'seed': 7}"
    toy("other", more=one, show="    strip = 'down'")
    lines, ticks = [], []

    path = run_demo(tmp_path / "a/b", lines.append, lambda *where: ticks.append(where))

    assert path == tmp_path / "a/b/index.html"
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    page = Page(path)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert page.text["h2"] == ["other", "ring"]
    assert "points & <angles>" in page.text["p"]
    out = unnoise.generate("ring", num_samples=5, shift=[-1.5, 2], word="<b> it's", seed=0)
    shown = [json.loads(text) for text in page.text["p"] if text.startswith("[[")]
    assert shown[1] == out.samples
    assert len(shown[0]) == 1
    # 4 of 5 samples and the only one, at their moments, the last of which is the sample
    cells = page.text["i"]
    of_ring = [cell for cell in cells if cell.startswith("4: ")]
    again = {"num_samples": 5, "shift": [-1.5, 2], "word": "<b> it's", "return_trajectory": True}
    way = unnoise.generate("ring", seed=0, **again).trajectory
    assert len(of_ring) == len(moments(way, spread(5)))
    assert 5 < len(of_ring) <= 10
    assert 4 * len(of_ring) < len(cells) <= 4 * len(of_ring) + 10
    assert cells[-1] == f"4: {out.states[4, 0].item():.6f}"
    assert page.text["dd"][:4] == ["1", "DDIM(eta=0.0)", "20", "20"]
    assert [text[:12] for text in page.code() if re.fullmatch("[0-9a-f]{12}", text)] == [
        unnoise.load(name).hash[:12] for name in ("other", "ring")
    ]
    assert f"unnoise {unnoise.__version__}, torch " in page.text["footer"][0]
    assert [re.sub(r"[\d.]+ s$", "S s", line) for line in lines] == [
        "other  1 sample, S s",
        "ring   5 samples, S s",
    ]
    assert [name for name, part in ticks if part == 1] == ["other", "ring"]
    assert capsys.readouterr() == ("", "")

    again = run_demo(tmp_path / "again").read_text()  # nothing but times changes
    assert _without_seconds(again) == _without_seconds(page.source)


def test_nothing_on_the_page_leads_to_the_network(toy, tmp_path):
    toy("ring")
    page = Page(run_demo(tmp_path))
    assert [a for a in page.addresses if not a.startswith(("#", "data:"))] == []
    assert not re.search(r"url\(|@import|//[a-z]", page.text["style"][0])
    (policy,) = re.findall(r'Policy" content="([^"]*)"', page.source)
    policy = html.unescape(policy)
    digest = hashlib.sha256(page.text["script"][0].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}';" in policy
    assert policy.startswith("default-src 'none';")


def test_the_lines_on_the_page_make_the_same_samples(toy, tmp_path, monkeypatch):
    toy("ring")
    page = Page(run_demo(tmp_path))
    shown = json.loads(next(text for text in page.text["p"] if text.startswith("[[")))
    command, python = (text for text in page.code() if "generate" in text)
    monkeypatch.chdir(tmp_path)

    exec(python, {})
    saved = [json.loads(p.read_text()) for p in sorted(Path("samples/ring").glob("0*.json"))]
    assert saved == shown

    words = shlex.split(command)
    words[-1] = "by-command"
    from unnoise.cli import main

    assert main(words[1:]) == 0
    saved = [json.loads(p.read_text()) for p in sorted(Path("by-command").glob("0*.json"))]
    assert saved == shown


FAILURES = {
    "raises": (
        {"more": "    def plan(self, *a):\n        raise ValueError('<i>bad</i> day')"},
        "ValueError",
    ),
    "exits": ({"show": "    def preview(self, s):\n        raise SystemExit(3)"}, "SystemExit: 3"),
    "breaks the page": (
        {"show": "    def preview(self, s):\n        return '<table><tr>'"},
        "<tr> is not closed",
    ),
    "wrong rows": (
        {"show": "    def moments(self, f, r, m):\n        return [['<i></i>']]"},
        "another length than the frames",
    ),
    "no words for it": (
        {"more": "    demo = {'shift': [[1]]}"},
        "cannot be given on a command line",
    ),
    "wrong request": ({"more": "    demo = {'shft': 1}"}, "unknown request field 'shft'"),
}


@pytest.mark.parametrize(("wrong", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_failing_domain_is_on_the_page_and_the_others_are_too(wrong, reason, toy, tmp_path):
    toy("ring")
    toy("other", **wrong)
    lines = []
    page = Page(run_demo(tmp_path, lines.append))
    assert page.open == []
    assert page.text["h2"] == ["other", "ring"]
    assert sum(text.startswith("[[") for text in page.text["p"]) == 1
    (error,) = page.text["details"]
    assert reason in page.text["main"][0].split(error)[0]
    assert "Traceback (most recent call last)" in error
    assert "unnoise generate other --out samples/other --debug" in page.code()
    assert re.fullmatch(r"other  failed: .*, \d+\.\d s", lines[0])
    assert reason in lines[0]
    assert lines[1].startswith("ring   5 samples")


def test_a_damaged_model_and_a_missing_one(toy, site, tmp_path):
    toy("ring")
    toy("other")
    toy("worse", bundle=False)
    weights = site / "unnoise_other" / "bundle" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    lines = []
    page = Page(run_demo(tmp_path, lines.append))
    assert "is truncated" in lines[0]
    assert lines[2].startswith("worse  ships no model, ")
    assert "unnoise train worse" in page.code()
    assert len(page.text["details"]) == 1


def test_when_every_domain_fails_that_is_an_error_and_the_page_says_why(toy, tmp_path):
    toy("other", **FAILURES["raises"][0])
    with pytest.raises(PluginError, match=r"no domain could be shown.*index\.html"):
        run_demo(tmp_path)
    assert len(Page(tmp_path / "index.html").text["details"]) == 1


def test_strict_raises(toy, here, tmp_path):
    toy("other", **FAILURES["raises"][0])
    here.setenv("UNNOISE_STRICT", "1")
    with pytest.raises(ValueError, match="bad"):
        run_demo(tmp_path)


def test_plugins_that_are_not_loaded_are_named(toy, install, only, tmp_path):
    toy("ring")
    install("worse", "raise RuntimeError('<script>alert(1)</script>')")
    only("ring", "worse")
    page = Page(run_demo(tmp_path))
    assert page.text["h2"] == ["ring", "Not loaded"]
    assert "RuntimeError: <script>alert(1)</script>" in page.text["p"]
    assert page.source.count("<script>") == 1


def test_a_folder_that_cannot_be_written_is_an_error_before_any_work(toy, tmp_path):
    toy("ring")
    (tmp_path / "file").write_text("")
    lines = []
    with pytest.raises(InputError, match="choose a folder that can be written"):
        run_demo(tmp_path / "file", lines.append)
    assert lines == []


def test_a_demo_that_fails_leaves_no_folder(only, tmp_path):
    only("nobody")
    with pytest.raises(PluginError, match="nothing to show"):
        run_demo(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_only_a_demo_page_is_replaced(toy, tmp_path):
    toy("ring")
    first = run_demo(tmp_path).stat().st_ino
    assert run_demo(tmp_path).stat().st_ino != first
    mine = tmp_path / "index.html"
    mine.write_text("<title>my home page</title>")
    lines = []
    with pytest.raises(InputError, match="not a demo page"):
        run_demo(tmp_path, lines.append)
    assert (mine.read_text(), lines) == ("<title>my home page</title>", [])


def test_without_any_domain_there_is_nothing_to_show(only, tmp_path):
    only()
    with pytest.raises(PluginError, match="pip install unnoise-images"):
        run_demo(tmp_path)
    assert list(tmp_path.glob("index.html")) == []
