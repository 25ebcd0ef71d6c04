"""Every bench once, tiny: they must not rot. What they measure here means nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.load.cli import SERVERS

ROOT = Path(__file__).parents[2]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_micro_benches_run() -> None:
    done = run("pytest", "bench/micro", "--benchmark-disable", "-q", "-p", "no:cacheprovider")

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_load_bench_measures_every_server(tmp_path: Path) -> None:
    servers = [argument for name in SERVERS for argument in ("--server", name)]
    settings = ("--sockets", "3", "--seconds", "0.2", "--rounds", "1")

    done = run("bench.load", "front", *settings, *servers, "--json", str(tmp_path / "result"))

    # On a machine that is busy the rig may well be late; what was sent must be there all the same.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads((tmp_path / "result").read_text())
    received = {turn["server"]: turn["received"] for turn in found["turns"]}
    assert {name: None if name == "do-nothing" else 30 for name in SERVERS} == received


def test_load_bench_refuses_more_sockets_than_descriptors() -> None:
    servers = [argument for name in SERVERS for argument in ("--server", name)]

    done = subprocess.run(
        [
            *("sh", "-c", 'ulimit -n 1000; exec "$@"', "sh"),
            *(sys.executable, "-m", "bench.load", "front", "--sockets", "1000", *servers),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 69 == done.returncode
    assert "6200 descriptors are needed and 1000 allowed" in done.stderr
