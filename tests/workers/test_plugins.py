import sys

import pytest

from gateway.wire.topology import Pool
from workers.audio import Outcome
from workers.errors import ConfigError
from workers.metrics import CallsCounters
from workers.plugins import load_processor, load_sink, pipelines
from workers.processors.base import Place
from workers.processors.level import Level
from workers.sinks.wav import WavSink

MODULE = """
from workers import Processor

class Mine(Processor):
    class Settings(Processor.Settings, frozen=True):
        depth: int = 1

    settings: Settings

class Loose(Processor):
    class Settings:
        pass

def function(): ...
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with entry points for processors."""

    def install(name, **targets):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{entry} = {target}" for entry, target in targets.items()]
        text = "\n".join(["[acs_ingest.processors]", *lines, ""])
        (folder / "entry_points.txt").write_text(text)
        (tmp_path / f"{name}_plugins.py").write_text(MODULE)
        (tmp_path / f"{name}_broken.py").write_text("raise ValueError('no licence')\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        for module in (f"{name}_plugins", f"{name}_broken"):
            monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def fault_of(name, table=None):
    with pytest.raises(ConfigError) as caught:
        load_processor(name, table or {})
    assert f"processors.{name}" == caught.value.path
    return caught.value.reason


def test_ours_are_found_as_everybody_elses():
    assert Level is load_processor("level", {}).make
    assert WavSink is load_sink("wav", {}).make


def test_installed_plug_in_is_found_with_its_settings(install):
    install("acme", mine="acme_plugins:Mine")

    plugin = load_processor("mine", {"depth": 3, "on_error": "end_call"})

    assert ("Mine", 3, "end_call") == (
        plugin.make.__name__,
        plugin.settings.depth,
        plugin.settings.on_error,
    )


def test_unknown_plug_in_is_refused_and_the_installed_ones_named(install):
    install("acme", mine="acme_plugins:Mine")

    assert "no such plug-in; installed are: level, mine" == fault_of("nothing")


def test_unknown_sink_is_refused():
    with pytest.raises(ConfigError, match=r"\[sinks\] tape: no such plug-in; installed are: wav"):
        load_sink("tape", {})


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("acme_broken:Mine", "ValueError: no licence"),
        ("acme_plugins:Missing", "AttributeError: "),
        ("acme_nowhere:Mine", "ModuleNotFoundError: "),
    ],
)
def test_plug_in_that_cannot_be_imported_is_refused_with_the_reason(install, target, reason):
    install("acme", mine=target)

    assert f"cannot import {target}: {reason}" in fault_of("mine")


def test_two_packages_with_one_name_are_refused(install):
    install("acme", mine="acme_plugins:Mine")
    install("other", mine="other_plugins:Mine")

    expected = "more than one package offers it: acme_plugins:Mine, other_plugins:Mine"
    assert expected == fault_of("mine")


@pytest.mark.parametrize("target", ["function", "MODULE"])
def test_what_is_no_processor_is_refused(install, target, tmp_path):
    install("acme", mine=f"acme_plugins:{target}")
    (tmp_path / "acme_plugins.py").write_text(MODULE + "\nMODULE = str\n")

    assert "is no subclass of workers.Processor" in fault_of("mine")


def test_settings_of_no_relation_are_refused(install):
    install("acme", mine="acme_plugins:Loose")

    assert "its Settings do not inherit from Processor.Settings" == fault_of("mine")


def test_setting_that_cannot_be_decoded_is_refused_with_its_path():
    with pytest.raises(ConfigError) as caught:
        load_processor("level", {"window_ms": "long"})

    assert "processors.level.window_ms" == caught.value.path


def test_unknown_setting_is_refused():
    assert "unknown field `window`" in fault_of("level", {"window": 1})


def test_each_call_has_plug_ins_of_its_own(tmp_path):
    pool = Pool(processors=("level",), sinks=("wav",))
    place = Place(data=tmp_path, pool="tap")

    open_pipeline = pipelines(pool, place, {}, {"wav": {"durability": "power"}}, CallsCounters())
    one, two = open_pipeline("call-1", None), open_pipeline("call-2", "correlation")
    for pipeline in (one, two):
        pipeline.open()
        pipeline.close(Outcome.ENDED)

    assert ("call-2", "correlation") == (two.call.call_id, two.call.correlation_id)
    assert {"call-1", "call-2"} == {path.name for path in (tmp_path / "taps" / "tap").iterdir()}
