"""What is advised when something is missing: the nearest name, never a stranger's distribution."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unnoise.cli import main
from unnoise.discovery import registry
from unnoise.discovery.advice import OWN, diagnose, to_install, to_update, unknown_domain
from unnoise.errors import PluginError

PLUGIN = """
from unnoise.specs import DomainSpec, hookimpl

@hookimpl
def unnoise_domains():
    return [DomainSpec("weather", "wind", {target!r})]
"""
PLUGINS = Path(__file__).parents[3] / "plugins"


def told(install, target: str, **modules: str) -> str:
    """What is said of a plugin whose domain has this target."""
    install("weather", PLUGIN.format(target=target), **modules)
    with pytest.raises(PluginError) as caught:
        registry.resolve(registry.find("domains", "weather"))
    return str(caught.value)


def test_the_names_of_this_project_are_those_of_its_plugins():
    found = {}
    for path in PLUGINS.glob("*/pyproject.toml"):
        text = path.read_text(encoding="utf-8")
        found[path.parent.name] = re.search(r'^name = "(.*)"$', text, re.MULTILINE)[1]
    assert found == {name: f"unnoise-{name}" for name in OWN}


@pytest.mark.parametrize(
    ("target", "named", "meant"),
    [
        ("unnoise_weather.domian:Weather", "unnoise_weather.domian", "unnoise_weather.domain"),
        ("unnoise_wether.domain:Weather", "unnoise_wether", "unnoise_weather"),
        ("unnoise_weather.domain:Wether", "Wether", "Weather"),
        ("unnoise_weather.domain:Weather.Innner", "Innner", "Inner"),
        ("unnoise_weather.domain.deep:Weather", "unnoise_weather.domain.deep", ""),
    ],
)
def test_a_misspelt_target_is_named_with_the_nearest(target, named, meant, install, here):
    said = told(install, target, domain="class Weather:\n    class Inner: pass")
    assert f"'{named}'" in said
    assert target in said
    assert not meant or f"did you mean '{meant}'?" in said
    assert "pip install" not in said


def test_a_misspelt_import_within_a_plugin(install, here):
    said = told(
        install,
        "unnoise_weather.domain:Weather",
        domain="from unnoise_weather.netwrok import Net",
        network="class Net: pass",
    )
    assert "there is no module 'unnoise_weather.netwrok'" in said
    assert "did you mean 'unnoise_weather.network'?" in said
    assert "pip install" not in said


def test_a_misspelt_module_of_an_installed_library(install, here):
    said = told(install, "unnoise_weather.domain:Weather", domain="import json.decodr")
    assert "there is no module 'json.decodr'; did you mean 'json.decoder'?" in said


def test_a_misspelt_entry_point(install, here, site, capsys):
    install("weather", "")
    path = site / "unnoise_weather-1.0.dist-info" / "entry_points.txt"
    path.write_text("[unnoise]\nweather = unnoise_weathre\n")
    (info,) = registry.named("weather")
    assert info.state == "broken"
    assert info.reason == "there is no module 'unnoise_weathre'"
    assert info.fix.startswith("did you mean 'unnoise_weather'?")
    assert "pip install" not in capsys.readouterr().err


def test_a_missing_library_is_named_with_what_the_plugin_says_of_it(install, here, site):
    source = "import not_to_be_had.at_all"
    target = "unnoise_weather.domain:Weather"
    said = told(install, target, domain=source)
    assert "needs the library 'not_to_be_had', which is not installed; `pip check`" in said
    assert "pip install" not in said
    with (site / "unnoise_weather-1.0.dist-info" / "METADATA").open("a") as file:
        file.write("Requires-Dist: Not-to.be_had>=3\n")
    with pytest.raises(PluginError, match=r"unnoise-weather requires 'Not-to.be_had>=3'"):
        registry.resolve(registry.find("domains", "weather"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wether", "did you mean 'weather'?"),
        ("image", "did you mean 'images'? to install it: pip install unnoise-images"),
        ("Images", "to install it: pip install unnoise-images"),
        ("text2images", "did you mean 'text2image'? to install it: pip install unnoise-text2image"),
        ("purify", "to install it: pip install unnoise-purify"),
        ("rm -rf; x", ""),
        ("anything-else", ""),
    ],
)
def test_an_unknown_domain(name, said):
    assert unknown_domain(name, ["weather"]) == said


@pytest.mark.skipif("images" not in registry.domains(), reason="needs unnoise-images")
def test_an_installed_domain_that_is_misspelt_is_not_to_be_installed(capsys):
    assert main(["generate", "image"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'images'?" in said
    assert "pip install" not in said


def test_only_names_of_this_project_are_installed_or_updated():
    assert to_install("Images") == "pip install unnoise-images"
    assert to_install("weather") == ""
    assert to_update("unnoise") == "pip install -U unnoise"
    assert to_update("Unnoise_Text") == "pip install -U unnoise-text"
    assert "pip" not in to_update("unnoise-weather")


def test_other_exceptions_are_told_in_one_line():
    found = diagnose(ValueError("two\nlines"))
    assert (found.message, found.fix) == ("ValueError: two lines", "")
    assert diagnose(PluginError("as it is")).message == "as it is"
    lost = ModuleNotFoundError("no", name="lost")
    assert "`pip check`" in diagnose(lost, distribution="nobody-has-this").fix
