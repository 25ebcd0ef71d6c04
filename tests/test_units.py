"""The units of systemd and the configuration that lies beside them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.config import GatewaySettings, UpSettings
from gateway.up.budget import budget
from workers.config import load, workers_config
from workers.recordings.settings import RecordingSettings

SYSTEMD = Path(__file__).parents[1] / "systemd"
UNITS = sorted(
    path for path in SYSTEMD.iterdir() if path.suffix in (".service", ".socket", ".target")
)
PROGRAM = "/opt/acs-ingest/bin/acs-ingest"


def setting(unit: Path, key: str) -> str:
    found = re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)
    assert 1 == len(found), (unit.name, key, found)
    return str(found[0])


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        reason = "no systemd-analyze here; it is in Debian's package systemd"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    line = [program, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units as they are where the program is, and an instance of each template."""
    program = tmp_path / "acs-ingest"
    program.symlink_to(sys.executable)
    for unit in UNITS:
        text = unit.read_text().replace(PROGRAM, str(program))
        for name in (unit.name, unit.name.replace("gateway@.", "gateway@0.")):
            (tmp_path / name.replace("worker@.", "worker@record-0.")).write_text(text)
    return sorted(path for path in tmp_path.iterdir() if "@." not in path.name and path != program)


def test_units_are_clean(installed: list[Path]) -> None:
    assert 5 == len(installed)
    found = analyze("verify", "--recursive-errors=no", *installed)
    assert (0, "", "") == (found.returncode, found.stdout, found.stderr)


@pytest.mark.parametrize(("name", "tenths"), [("gateway@0", 15), ("worker@record-0", 10)])
def test_processes_are_shut_in(installed: list[Path], name: str, tenths: int) -> None:
    [unit] = [path for path in installed if name in path.name]
    options = ["--offline=true", f"--threshold={tenths}", "--no-pager"]
    found = analyze("security", *options, unit)
    assert 0 == found.returncode, found.stdout


@pytest.mark.parametrize("name", ["gateway@.service", "worker@.service"])
def test_options_of_the_units_are_there(name: str) -> None:
    line = setting(SYSTEMD / f"acs-ingest-{name}", "ExecStart").split()
    assert PROGRAM == line[0]
    help_text = subprocess.run(
        [sys.executable, "-m", "gateway", line[1], "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    for option in (part for part in line if part.startswith("--")):
        assert option in help_text


def test_gateway_is_not_killed_before_its_drain_is_over() -> None:
    unit = SYSTEMD / "acs-ingest-gateway@.service"
    drain_s = re.search(r"--drain-s (\d+)", setting(unit, "ExecStart"))
    assert drain_s is not None
    leave_s = budget(600, GatewaySettings().close_s).leave_s
    assert UpSettings().drain_s == int(drain_s[1])
    assert int(drain_s[1]) + leave_s < int(setting(unit, "TimeoutStopSec"))


def test_shipped_configuration_says_the_defaults_of_the_workers_and_names_every_key() -> None:
    shipped = SYSTEMD / "acs-ingest.toml"
    assert workers_config({}) == workers_config(load(shipped))
    [table] = re.findall(r"^\[recording\]\n(.*?)(?=^\[|\Z)", shipped.read_text(), re.M | re.S)
    keys = re.findall(r"^(?:# )?(\w+) = ", table, re.M)
    assert sorted(field.name for field in msgspec.structs.fields(RecordingSettings)) == sorted(keys)
