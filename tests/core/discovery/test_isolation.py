"""Nine broken plugins, truly installed beside healthy ones, each question in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import broken_plugins
from broken_plugins import BROKEN, wheel

# one process installs them for all of these tests
pytestmark = pytest.mark.xdist_group("isolation")

QUARANTINED = [name for name, one in BROKEN.items() if one.state == "broken"]


class Home:
    """A folder with the nine installed, and settings that remember the one that hangs."""

    def __init__(self, folder: Path) -> None:
        self.site, self.settings = folder / "site", folder / "settings"

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: v for name, v in os.environ.items() if not name.startswith("UNNOISE_")}
        path = os.pathsep.join(filter(None, [str(self.site), kept.get("PYTHONPATH", "")]))
        return subprocess.run(
            [sys.executable, "-m", "unnoise", *words],
            env={
                **kept,
                "PYTHONPATH": path,
                "UNNOISE_CONFIG_DIR": str(self.settings),
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "400",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def states(self) -> dict[str, str]:
        listed = json.loads(self("plugins", "list", "--json").stdout)
        return {info["name"]: info["state"] for info in listed}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("isolation"))
    broken_plugins.install(made.site)
    made("domains")  # this start waits for the plugin that hangs
    return made


@pytest.fixture(scope="module")
def healthy(home: Home) -> set[str]:
    done = home("domains", "--json", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert done.stderr == ""
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", BROKEN)
def test_list_and_show_say_what_is_wrong_and_how_to_mend_it(name, home):
    one = BROKEN[name]
    (info,) = json.loads(home("plugins", "show", name, "--json").stdout)
    assert info["distribution"] == f"unnoise-{name}"
    assert info["state"] == one.state
    assert one.reason in info["reason"]
    assert one.fix in info["fix"]
    shown = home("plugins", "show", name).stdout
    assert one.reason in shown
    assert one.fix in shown
    (row,) = [
        line for line in home("plugins", "list").stdout.splitlines() if line.startswith(f"{name} ")
    ]
    assert one.reason in row


def test_doctor_says_it_of_all_and_tries_again(home):
    done = home("plugins", "doctor")
    assert done.returncode == 1
    for name, one in BROKEN.items():
        head = f"{name} (unnoise-{name} 1.0): {one.state}\n"
        assert head in done.stdout
        said = done.stdout.partition(head)[2].split("\n")
        assert said[0].startswith("  wrong: ")
        assert one.reason in said[0]
        assert said[1].startswith("  mend:  ")
        assert one.fix in said[1]
    assert "when it was last tried" not in done.stdout


@pytest.mark.parametrize("words", [("domains",), ("plugins", "list")])
def test_listings_have_every_healthy_domain_and_one_line_for_each_other(words, home, healthy):
    done = home(*words, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)  # what a plugin prints is not in it
    if words == ("domains",):
        assert set(found) == {*healthy, "loud"}
    lines = done.stderr.splitlines()
    assert len(lines) == len(QUARANTINED) + 1  # and the taken name
    for name in [*QUARANTINED, "taken-name"]:
        assert sum(f"plugin {name!r} " in line for line in lines) == 1


def test_a_hang_is_waited_for_once_and_again_when_its_files_change(home, tmp_path):
    other = Home(tmp_path)
    other.site.mkdir()
    words = ["pip", "install", "-q", "--no-index", "--no-deps", "--target", str(other.site)]
    made = wheel("hangs", BROKEN["hangs"].source, tmp_path)
    subprocess.run([sys.executable, "-m", *words, str(made)], check=True)

    tried, remembered = (other("plugins", "show", "hangs").stdout for _ in range(2))

    assert "after 5 s\n" in tried
    assert "after 5 s when it was last tried" in remembered
    (module,) = other.site.glob("unnoise_hangs/__init__.py")
    module.write_text(BROKEN["prints"].source)
    assert other.states()["hangs"] == "ok"


def test_a_memory_that_cannot_be_read_or_kept_only_costs_the_wait(home, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "damaged", tmp_path / "file"):
        if folder.name == "damaged":
            folder.mkdir()
            (folder / "hangs.json").write_text("[")
        done = home("domains", "--json", UNNOISE_CONFIG_DIR=str(folder))
        assert done.returncode == 0
        assert "loud" in json.loads(done.stdout)


def test_generate_of_another_domain_works(home, healthy, tmp_path):
    if "images" not in healthy:
        pytest.skip("unnoise-images is not installed")
    out = tmp_path / "out"
    done = home("generate", "images", "--steps", "2", "--num-samples", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("*.png"))) == 1
    asked = home("generate", "future", "--out", str(out / "more"))
    assert asked.returncode == 2
    assert "future" in asked.stderr.splitlines()[-1]


def test_disable_and_enable_last(home):
    assert home("plugins", "disable", "raises-at-import").returncode == 0
    try:
        assert home.states()["raises-at-import"] == "disabled"
        assert "raises-at-import" not in home("domains").stderr
    finally:
        assert home("plugins", "enable", "raises-at-import").returncode == 0
    assert home.states()["raises-at-import"] == "broken"


def test_an_allow_list_leaves_the_broken_ones_alone(home):
    done = home("domains", "--json", UNNOISE_PLUGINS="prints")
    assert (set(json.loads(done.stdout)), done.stderr) == ({"loud"}, "")
    done = home("domains", "--json", UNNOISE_PLUGINS="")
    assert (json.loads(done.stdout), done.stderr) == ({}, "")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises-at-import", "RuntimeError: no weather today"),
        ("raises-in-hook", "ValueError: bad day"),
        ("missing-library", "ModuleNotFoundError: No module named 'not_to_be_had'"),
    ],
)
def test_strict_raises_the_exception_of_the_plugin(name, error, home):
    done = home("domains", UNNOISE_PLUGINS=name, UNNOISE_STRICT="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == error


def test_strict_does_not_pass_over_a_remembered_hang(home):
    done = home("domains", UNNOISE_PLUGINS="hangs", UNNOISE_STRICT="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("unnoise: it was still loading after 5 s")
