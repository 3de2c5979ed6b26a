"""The playground in a browser: click, wait, look."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from asking import until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """visit(url, **options): a page at an address; what it complains of fails the test."""
    said, pages = [], []

    def go(url, **options):
        page = browser.new_context(**options).new_page()
        pages.append(page)
        page.set_default_timeout(60_000)

        def complained(message):
            if message.type == "error" and "401" not in message.text and "422" not in message.text:
                said.append(message.text)

        page.on("console", complained)
        page.on("pageerror", lambda error: said.append(str(error)))

        def asked(request):
            if not request.url.startswith((url, "data:", "blob:")):
                said.append(f"asks outside: {request.url}")

        page.on("request", asked)
        page.goto(url)
        return page

    yield go
    for page in pages:
        page.context.close()
    assert said == []


def generate(page):
    page.click("#go")
    page.wait_for_selector("#files:not([hidden])")


def test_the_page_speaks_to_its_server_alone(server):
    answer = httpx.get(server.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)
    frame = httpx.get(f"{server.url}/assets/frame.html").headers["content-security-policy"]
    assert "sandbox allow-scripts" in frame
    assert "connect-src" not in frame  # so default-src holds: none
    assert httpx.get(f"{server.url}/assets/../web.py").status_code == 404


@needs_chromium
def test_samples_of_the_example(server, visit):
    page = visit(server.url)
    page.wait_for_selector("#field-centre")  # the page asks for the form when it is there
    assert page.text_content("#domain-name") == "toy"
    assert page.text_content("#domain-summary") == "points around a centre"
    assert "config.json" in page.text_content("#field-text .entries")
    page.fill("#field-centre", "1.5\n-2")
    page.fill("#field-seed", "7")
    generate(page)
    assert page.locator("#samples .samples p").count() == 4
    assert page.locator("#way .cell").count() >= 2
    assert page.locator("#files summary").all_inner_texts()[0].startswith("00000.json")
    assert "--centre=1.5 --centre=-2" in page.text_content("#again")
    assert "seed=7" in page.text_content("#again")
    assert page.text_content("#status") == "4 samples."
    page.click("#files summary >> nth=0")
    with page.expect_download() as saved:
        page.click("#files a.save >> nth=0")
    assert saved.value.suggested_filename == "00000.json"
    assert len(page.screenshot()) > 10_000


@needs_chromium
def test_an_error_stands_at_its_field(server, visit):
    page = visit(server.url)
    page.fill("#field-passes", "-1")
    page.click("#go")
    page.wait_for_selector("#field-passes[aria-invalid='true']")
    assert ">= 0" in page.text_content("#field-passes-error")
    assert page.evaluate("document.activeElement.id") == "field-passes"
    assert "field-passes-error" in page.get_attribute("#field-passes", "aria-describedby")
    page.fill("#field-passes", "")
    page.click("#more > summary")
    page.fill("#field-sampler", "nothing")
    page.click("#more > summary")  # hidden again: an error there is shown
    page.click("#go")
    page.wait_for_selector("#field-sampler[aria-invalid='true']")
    assert page.is_visible("#field-sampler-error")
    assert page.get_attribute("#field-passes", "aria-invalid") is None
    page.fill("#field-sampler", "")
    page.fill("#field-centre", "1e30")  # is found by the worker, and belongs to no field
    page.click("#go")
    page.wait_for_selector("#general:not(:empty)")
    assert "left the scale" in page.text_content("#general")


@needs_chromium
def test_keyboard_and_labels(server, visit):
    page = visit(server.url)
    page.wait_for_selector("main:not([hidden])")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    for wanted in ("field-centre", "field-text-file", "field-seed", "go", "example", "clear"):
        assert wanted in seen
    unnamed = page.evaluate(
        """[...document.querySelectorAll('main :is(input, select, textarea, [role=group]), button')]
        .filter((e) => !e.hidden && !(e.labels && e.labels.length) && !e.getAttribute('aria-label')
          && !e.getAttribute('aria-labelledby') && !e.textContent.trim()).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    page.focus("#field-seed")
    page.keyboard.press("Enter")
    page.wait_for_selector("#files:not([hidden])")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_and_wide(server, visit, scheme):
    page = visit(server.url, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    generate(page)
    for width in (360, 700, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", paper)[:3])) > 3 * 128
    assert light == (scheme == "light")
    page.click("[data-theme-toggle]")
    other = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert other != paper


@needs_chromium
def test_uploads_and_stopping(server, visit):
    page = visit(server.url)
    page.click("#clear")
    file = {"name": "mine.txt", "mimeType": "text/plain", "buffer": b"hello"}
    page.set_input_files("#field-text-file", file)
    generate(page)
    page.click("#files summary >> nth=-1")
    assert '"text": "mine.txt"' in page.text_content("#files pre")
    assert 'text="mine.txt"' in page.text_content("#again")
    page.set_input_files("#field-text-file", {**file, "buffer": b" "})
    page.click("#go")
    page.wait_for_selector("#general:not(:empty), #field-text-error:not(:empty)")
    assert "the file is empty" in page.text_content("#request")
    page.click("#field-text button[aria-label='Remove mine.txt']")
    page.fill("#field-num_samples", "1000")
    page.fill("#field-steps", "2000")
    page.click("#go")
    page.click("#stop")
    page.wait_for_selector("#go:not([disabled])")
    until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 0)
    until(lambda: not server.left)


@needs_chromium
def test_the_page_asks_for_the_token(strict, visit):
    page = visit(strict.url)
    page.wait_for_selector("#token:not([hidden])")
    page.fill("#token-field", "sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("main:not([hidden])")
    generate(page)
