"""The loader: what a broken, greedy or slow plugin can and cannot do to everybody else.

Every plugin here is a distribution as pip leaves it behind, in a folder on the path.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from broken_hooks import BROKEN, domain, hook

import unnoise
from unnoise import specs
from unnoise.discovery import registry
from unnoise.errors import ConfigError, PluginError


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_one_row_and_one_warning(source, reason, install, here, capsys):
    before = registry.plugins(), registry.domains()
    assert capsys.readouterr().err == ""
    install("weather", source)
    registry.reload()

    after = registry.plugins(), registry.domains()

    (row,) = [info for info in after[0] if info.name == "weather"]
    assert row.state == "broken"
    assert reason in row.reason
    assert row.fix
    assert ([info for info in after[0] if info is not row], after[1]) == before
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("unnoise: plugin 'weather' (unnoise-weather 1.0) is broken: ")
    with pytest.raises(PluginError, match="its plugin is broken") as caught:
        registry.find("domains", "weather")
    assert caught.value.fix == row.fix


def test_all_of_them_at_once_on_the_command_line(install, command):
    healthy = json.loads(command("domains", "--json").stdout)
    for number, (source, _) in enumerate(BROKEN.values()):
        install(f"broken-{number}", source)
    install("loud", "print('good morning')\n" + domain("loud"))

    listed = command("plugins", "list", "--json")
    domains = command("domains", "--json")

    states = {info["name"]: info["state"] for info in json.loads(listed.stdout)}
    assert [states[f"broken-{n}"] for n in range(len(BROKEN))] == ["broken"] * len(BROKEN)
    assert states["core"] == states["loud"] == "ok"
    assert set(json.loads(domains.stdout)) == {*healthy, "loud"}
    for done in (listed, domains):
        assert done.returncode == 0
        assert len(done.stderr.splitlines()) == len(BROKEN)


def test_what_a_plugin_prints_is_captured(install, here, capfd):
    install("loud", "print('good morning')\n" + domain("loud"))
    (info,) = registry.named("loud")
    assert info.state == "ok"
    assert info.reason == "printed while loading: good morning"
    assert "loud" in registry.domains()
    assert capfd.readouterr() == ("", "")


def test_a_hang_ends_at_the_stated_limit(install, here, capsys):
    install("slow", "import time; time.sleep(3600)")
    here.setattr("unnoise.discovery.loader.SECONDS_TO_LOAD", 0.3)
    (info,) = registry.named("slow")
    assert info.state == "broken"
    assert info.reason == "it was still loading after 0.3 s"
    assert capsys.readouterr().err.count("\n") == 1


def test_strict_raises_the_original_exception(install, here):
    install("weather", "raise ZeroDivisionError('mine')")
    here.setenv("UNNOISE_STRICT", "1")
    with pytest.raises(ZeroDivisionError, match="mine"):
        registry.plugins()


def test_a_name_of_the_core_cannot_be_taken(install, here, capsys):
    mine = registry.find("samplers", "ddim")
    install(
        "weather",
        hook(
            "return [SamplerSpec('DDIM', '', 'evil:Sampler'), SamplerSpec('mine', '', 'a:b')]",
            name="unnoise_samplers",
        ),
    )
    registry.reload()
    assert registry.find("samplers", "ddim") == mine
    assert registry.find("samplers", "mine").target == "a:b"
    (info,) = registry.named("weather")
    assert info.state == "conflict"
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"by unnoise {unnoise.__version__} and by unnoise-weather 1.0" in err


def test_a_name_belongs_to_the_distribution_called_after_it(install, here, capsys):
    install("weather", domain("weather", "good:Domain"))
    install("squatter", domain("Weather", "evil:Domain"), distribution="aaa-first-on-the-path")
    assert registry.find("domains", "weather").target == "good:Domain"
    states = {info.name: info.state for info in registry.plugins()}
    assert (states["weather"], states["squatter"]) == ("ok", "conflict")
    err = capsys.readouterr().err
    assert "unnoise-weather 1.0" in err
    assert "aaa-first-on-the-path 1.0" in err


def test_between_equal_claims_nobody_wins_until_one_is_disabled(install, here):
    for name in ("alpha", "beta"):
        both = f"[DomainSpec('weather', '', '{name}:D'), DomainSpec('{name}-only', '', 'a:b')]"
        install(name, hook(f"return {both}"), distribution=f"{name}-weather")

    with pytest.raises(PluginError, match=r"alpha-weather 1\.0 and by beta-weather 1\.0"):
        registry.find("domains", "weather")
    assert "weather" not in registry.domains()
    assert {"alpha-only", "beta-only"} <= set(registry.domains())
    assert {registry.named(name)[0].state for name in ("alpha", "beta")} == {"conflict"}

    registry.disable("alpha")
    assert registry.find("domains", "weather").target == "beta:D"
    assert registry.named("beta")[0].state == "ok"


def test_a_plugin_name_taken_twice(install, here):
    install("weather", domain("one"), distribution="first")
    install("Weather", domain("two"), distribution="second")
    assert [info.state for info in registry.named("weather")] == ["conflict", "conflict"]
    registry.disable("first")
    assert [info.state for info in registry.named("weather")] == ["disabled", "ok"]
    assert "two" in registry.domains()
    assert "one" not in registry.domains()


def test_nobody_takes_the_place_of_the_core(install, here):
    install("core", domain("weather"), distribution="evil")
    states = {info.distribution: info.state for info in registry.plugins()}
    assert (states["unnoise"], states["evil"]) == ("ok", "conflict")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [(None, {"rain", "snow"}), ("", set()), ("Rain", {"rain"}), ("unnoise_snow , rain", None)],
)
def test_allow_list(listed, expected, install, here, capsys):
    install("rain", domain("rain"))
    install("snow", domain("snow"))
    if listed is not None:
        here.setenv("UNNOISE_PLUGINS", listed)
    found = set(registry.domains())
    assert found & {"rain", "snow"} == ({"rain", "snow"} if expected is None else expected)
    assert listed is None or found <= {"rain", "snow"}
    assert registry.find("samplers", "ddim")
    assert capsys.readouterr().err == ""


def test_allow_list_with_a_name_that_is_not_installed(here, capsys):
    here.setenv("UNNOISE_PLUGINS", "raim")
    assert registry.domains() == {}
    assert capsys.readouterr().err == (
        "unnoise: UNNOISE_PLUGINS names 'raim', which is not installed\n"
    )


def test_disable_and_enable_last_from_process_to_process(install, command):
    install("weather", domain("weather"))

    def state() -> str:
        listed = json.loads(command("plugins", "list", "--json").stdout)
        return next(info["state"] for info in listed if info["name"] == "weather")

    assert state() == "ok"
    assert command("plugins", "disable", "unnoise_weather").returncode == 0
    assert state() == "disabled"
    assert "weather" not in command("domains", "--json").stdout
    asked = command("plugins", "show", "weather")
    assert "unnoise plugins enable weather" in asked.stdout
    assert command("plugins", "enable", "weather").returncode == 0
    assert state() == "ok"


def test_settings_that_cannot_be_read(install, here, tmp_path):
    install("weather", domain("weather"))
    folder = tmp_path / "settings"
    folder.mkdir()
    for text in ("{", "[]", '{"disabled": "weather"}', '{"disabled": [1]}'):
        (folder / "plugins.json").write_text(text)
        registry.reload()
        with pytest.raises(ConfigError, match="mend or delete the file"):
            registry.domains()
    (folder / "plugins.json").unlink()
    (folder / "plugins.json").mkdir()
    with pytest.raises(ConfigError, match="mend or delete the file"):
        registry.domains()


def test_settings_that_cannot_be_written(install, here, tmp_path):
    install("weather", domain("weather"))
    (tmp_path / "file").write_text("")
    here.setenv("UNNOISE_CONFIG_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(unnoise.errors.UnnoiseError, match="UNNOISE_CONFIG_DIR"):
        registry.disable("weather")


def test_an_interrupted_write_leaves_the_old_settings(install, here, tmp_path):
    install("weather", domain("weather"))
    registry.disable("weather")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    here.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        registry.enable("weather")
    assert [path.name for path in (tmp_path / "settings").iterdir()] == ["plugins.json"]
    assert registry.named("weather")[0].state == "disabled"


def test_unknown_names_say_what_to_do(install, here):
    install("weather", domain("weather"))
    with pytest.raises(PluginError) as caught:
        registry.find("domains", "wether")
    text = str(caught.value)
    assert "'wether'" in text
    assert "did you mean 'weather'?" in text
    assert "pip install" not in text
    with pytest.raises(PluginError, match="did you mean 'ddim'"):
        registry.find("samplers", "dddim")
    with pytest.raises(PluginError, match="no plugin of this name"):
        registry.enable("wether")
    with pytest.raises(PluginError, match="cannot be switched off"):
        registry.disable("unnoise")


def test_names_are_compared_after_normalisation(install, here):
    install("weather", domain("Big.Weather_map"))
    assert registry.find("domains", "big-weather-map").name == "Big.Weather_map"
    assert registry.find("spaces", "Zero_COM").name == "zero-com"


def test_targets_are_imported_when_asked_for(install, here):
    target = "unnoise_weather.heavy:Outer.Inner"
    install("weather", domain("weather", target), heavy="class Outer:\n    class Inner: pass")
    spec = registry.find("domains", "weather")
    assert "unnoise_weather.heavy" not in sys.modules
    assert registry.resolve(spec) is sys.modules["unnoise_weather.heavy"].Outer.Inner


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import not_to_be_had.at_all", r"needs the library 'not_to_be_had'.*`pip check`"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("", "has no attribute 'Domain'"),
    ],
)
def test_a_target_that_fails_is_our_error(source, message, install, here):
    install("weather", domain("weather", "unnoise_weather.heavy:Domain"), heavy=source)
    with pytest.raises(PluginError, match=message):
        registry.resolve(registry.find("domains", "weather"))


def test_a_distribution_seen_twice_counts_once(install, here, tmp_path):
    install("weather", domain("weather"))
    other = tmp_path / "other"
    other.symlink_to(tmp_path / "site")
    here.syspath_prepend(str(other))
    assert [info.name for info in registry.named("weather")] == ["weather"]


def test_damaged_metadata_does_not_stop_the_others(install, site, here, capsys):
    install("weather", domain("weather"))
    broken = site / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "entry_points.txt").write_text("[unnoise]\nthis is not an entry point\n")
    (broken / "METADATA").write_bytes(b"\xff\xfe")
    assert "weather" in registry.domains()
    assert capsys.readouterr().err.count("\n") == 1


def test_the_core_provides_what_it_lists(here):
    (core,) = registry.named("core")
    assert core.state == "ok"
    assert set(core.provides) == {"kernels", "spaces", "samplers", "schedules", "codecs"}
    for kind, names in core.provides.items():
        for name in names:
            assert callable(registry.resolve(registry.find(kind, name)))


@pytest.mark.parametrize(
    ("kind", "module", "base"),
    [
        ("kernels", "unnoise.kernels", "TransitionKernel"),
        ("schedules", "unnoise.kernels", "Schedule"),
        ("codecs", "unnoise.codecs", "Codec"),
        ("samplers", "unnoise.samplers", "Sampler"),
        ("spaces", "unnoise.spaces", "DataSpace"),
    ],
)
def test_the_core_lists_what_it_has(kind, module, base, here):
    public = importlib.import_module(module)
    final = {
        name
        for name in public.__all__
        if isinstance(thing := getattr(public, name), type)
        and issubclass(thing, getattr(public, base))
        and not inspect.isabstract(thing)
    }
    here.setenv("UNNOISE_PLUGINS", "")
    registry.reload()
    assert {spec.target for spec in registry.specs_of(kind).values()} == {
        f"{module}:{name}" for name in final
    }


def test_every_kind_has_a_hook_that_is_documented():
    from unnoise import hookspecs

    for kind, wanted in specs.KINDS.items():
        function = getattr(hookspecs, f"unnoise_{kind}")
        assert function.__doc__
        assert wanted.__doc__


def test_listing_imports_no_torch_and_no_target(install, python):
    install("weather", domain("weather", "unnoise_weather.heavy:D"), heavy="raise SystemExit")
    script = "import sys, unnoise; print(*unnoise.domains()); print(*sys.modules)"
    domains, imported = (set(line.split()) for line in python("-c", script).stdout.splitlines())
    assert "weather" in domains
    assert "unnoise_weather" in imported
    heavy = {"torch", "numpy", "pydantic", "rich", "cyclopts", "unnoise_weather.heavy"}
    assert not imported & heavy


def test_the_function_is_not_hidden_by_a_module():
    import unnoise.discovery.loader
    import unnoise.discovery.registry

    package = Path(unnoise.__file__).parent
    modules = {path.stem for path in package.iterdir()} - {"errors"}
    assert not modules & set(unnoise.__all__)
    assert callable(unnoise.plugins)
    assert callable(unnoise.domains)
    with pytest.raises(AttributeError, match="'plugin'"):
        unnoise.plugin  # noqa: B018
