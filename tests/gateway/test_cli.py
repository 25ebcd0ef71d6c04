import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints, version

import click
import pytest
from click.testing import CliRunner, Result

from gateway import cli
from gateway.cli import COMMANDS_GROUP, main
from gateway.errors import ConfigError, Unavailable

HEAVY = ("numpy", "zmq", "uvloop", "aiohttp", "soundfile", "prometheus_client", "asyncio")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="acs-ingest")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )


def test_help_lists_commands_without_importing_what_they_need() -> None:
    done = python(
        "import sys\n"
        "from gateway.cli import main\n"
        "main(['--help'], prog_name='acs-ingest', standalone_mode=False)\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)\n"
    )
    assert "" == done.stderr.strip()
    for name in ("check", "gateway", "up", "worker"):
        assert f"\n  {name} " in done.stdout


def test_module_is_run_as_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway", "--version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert f"acs-ingest, version {version('acs-ingest')}\n" == done.stdout


def test_unknown_command_is_a_usage_error() -> None:
    result = run("dance")
    assert 2 == result.exit_code
    assert "No such command 'dance'" in result.stderr


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("kind")
def fail(kind: str) -> None:
    """Fail in some way."""
    faults = {
        "config": ConfigError("a.toml: [up] x", "unknown key"),
        "port": Unavailable("the port is taken"),
        "usage": click.UsageError("not so"),
        "bug": ZeroDivisionError("ours"),
    }
    raise faults[kind]


@pytest.fixture
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(EntryPoint):
        def load(self) -> object:
            return fail

    points = [
        Failing("fail", "x:fail", COMMANDS_GROUP),
        EntryPoint("gone", "no.such.module:gone", COMMANDS_GROUP),
        EntryPoint("odd", "os:path", COMMANDS_GROUP),
    ]

    def entry_points(**chosen: str) -> EntryPoints:
        return EntryPoints(points).select(**chosen)

    monkeypatch.setattr(cli, "entry_points", entry_points)


@pytest.mark.usefixtures("_commands")
@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("config", 78, "Error: a.toml: [up] x: unknown key\n"),
        ("port", 69, "Error: the port is taken\n"),
    ],
)
def test_fault_with_an_exit_code_is_one_line(kind: str, code: int, line: str) -> None:
    result = run("fail", kind)
    assert (code, line) == (result.exit_code, result.stderr)


@pytest.mark.usefixtures("_commands")
def test_usage_error_stays_one() -> None:
    assert 2 == run("fail", "usage").exit_code


@pytest.mark.usefixtures("_commands")
def test_fault_of_ours_is_told_with_its_traceback() -> None:
    result = run("fail", "bug")
    assert 70 == result.exit_code
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: ours" in result.stderr


@pytest.mark.usefixtures("_commands")
def test_command_that_cannot_be_loaded_is_listed_as_such() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "gone (cannot be loaded: ModuleNotFoundError: No module named 'no'" in text
    assert "odd (cannot be loaded: os:path is no command)" in text
    assert "fail Fail in some way." in text


@pytest.mark.usefixtures("_commands")
def test_command_that_cannot_be_loaded_fails_with_one_line() -> None:
    result = run("gone", "--some", "option")
    assert 70 == result.exit_code
    assert "Error: the command `gone` cannot be loaded: ModuleNotFoundError" in result.stderr
    assert 1 == result.stderr.count("\n")
