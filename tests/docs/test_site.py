"""The site is made without a warning and loads nothing from outside; every link leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from latex2mathml.converter import convert

from builder import checks, docstrings, gallery, plain, reference, render, samplers
from unnoise.discovery import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    words = [sys.executable, "docs/build.py", "--fast", "--out", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_the_site(site):
    """Sphinx had no warning and `checks` found nothing, or the build had failed."""
    pages = [p.relative_to(site).as_posix() for p in site.rglob("*.html")]
    assert len(pages) > 100
    made = [name for name in pages if name not in ("search.html", "genindex.html")]
    for name in made:
        assert (site / name).with_suffix(".md").is_file(), name
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    assert all(f"({Path(name).with_suffix('.md').as_posix()})" in listed for name in made)
    assert (site / "searchindex.js").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(gallery.EXAMPLES))
def test_the_gallery(name, tmp_path, monkeypatch):
    """Each script runs and makes what its page shows."""
    monkeypatch.setattr(gallery, "KEPT", tmp_path)
    gallery.one(name)
    (tmp_path / "pictures").mkdir()
    page = gallery.shown(name, tmp_path / "pictures")
    assert f"python examples/{name}.py" in page
    assert gallery.EXAMPLES[name].files == () or list((tmp_path / "pictures").iterdir())


def test_every_example_is_in_the_gallery():
    scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert set(gallery.EXAMPLES) == scripts


def test_problems_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/f.css"><script src="gone.js"></script>'
        '<a href="b.html">b</a><a href="#here">here</a><p id="there"></p><a href="#there">there</a>'
    )
    (tmp_path / "a.css").write_text('@import "https://fonts.example/g.css"; p { color: red }')
    found = checks.problems(tmp_path)
    assert found == [
        "a.html: loads https://fonts.example/f.css",
        "a.html: no file gone.js",
        "a.html: no page b.html",
        "a.html: no place #here",
        "a.css: loads https://fonts.example/g.css",
    ]


def test_links_of_a_page(tmp_path):
    (tmp_path / "_pictures").mkdir()
    text = (
        "[a](../ideas/bayes.md#why) [b](../../../tests/conftest.py) `[c](d)`\n"
        "![p](../../../examples/digits.png) [e](../../../plugins/text/README.md) [f](https://x.y)\n"
        "```python\nx[0](1)\n```\n"
    )
    known = {"ideas/bayes", "domains/text"}
    made = render.linked(text, "start/text", known, tmp_path)
    assert "[a](../ideas/bayes.md#why)" in made
    assert "b (`tests/conftest.py`)" in made
    assert "`[c](d)`" in made
    assert "x[0](1)" in made
    assert "![p](../_pictures/examples-digits.png)" in made
    assert (tmp_path / "_pictures/examples-digits.png").is_file()
    assert "[e](../domains/text.md)" in made
    with pytest.raises(FileNotFoundError, match="gone"):
        render.linked("[x](gone.md)", "start/text", known, tmp_path)


def test_docstrings_become_markdown():
    made = docstrings.markdown(
        """One * two.

        x = y:

            a_b = c

        Parameters
        ----------
        n : how many,
            at most
        m : `k` and *

        Raises
        ------
        ValueError : never.
        """
    )
    assert made.startswith("One \\* two.\n\nx = y:\n\n```text\na_b = c\n```\n\n**Parameters**")
    assert "- `n`: how many, at most\n- `m`: `k` and \\*" in made
    assert made.endswith("**Raises**\n\n- `ValueError`: never.")


def test_every_sampler_has_a_page_that_says_when():
    assert set(samplers.WHEN) >= set(registry.specs_of("samplers"))
    measured = {name for name in registry.specs_of("samplers") if samplers.measured(name)}
    assert len(measured) > 15


def test_every_module_of_the_reference_has_a_sentence():
    for name in reference.MODULES:
        page = reference.module_page(name)
        assert page.startswith(f"# {name}\n\n")
        assert len(page) > 300


def test_formulas_are_mathml():
    assert convert(r"\alpha_t x_0").startswith("<math")


def test_plain_pages_have_no_directives():
    page = "# A\n\nb. c\n\n```{toctree}\n:hidden:\n\nx\n```\n"
    assert plain.title(page) == "A"
    assert plain.without_directives(page) == "# A\n\nb. c\n\n"
