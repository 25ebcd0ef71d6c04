"""Every bench once, tiny: they must not rot. What they measure here means nothing.

The scenarios of `acs-ingest bench run` are in `load/test_run.py`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.cli import SERVERS
from bench.peers.servers import missing

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


@pytest.mark.parametrize("folder", ["bench/micro", "bench/topology"])
def test_benches_of_parts_run(folder: str) -> None:
    done = run("pytest", folder, "--benchmark-disable", "-q", "-p", "no:cacheprovider")

    assert 0 == done.returncode, done.stdout + done.stderr


def test_ratios_of_a_bench_go_to_its_history(tmp_path: Path) -> None:
    bench = "bench/micro/bench_tick.py"
    quick = ("--benchmark-max-time=0.001", "--benchmark-min-rounds=1")

    done = run("pytest", bench, *quick, "--history", str(tmp_path / "h"), "-p", "no:cacheprovider")

    assert 0 == done.returncode, done.stdout + done.stderr
    found = json.loads((tmp_path / "h").read_text())
    assert "micro/bench_tick" == found["bench"]
    assert {*found["us"]} - {*found["figures"]} == {"bench_baseline_join"}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | None]:
    """How many messages each server has received of the 30 that it was sent."""
    result = tmp_path_factory.mktemp("peers") / "result"
    settings = ("--sockets", "3", "--seconds", "0.2", "--rounds", "1", "--json", str(result))

    done = run("gateway", "bench", "peers", *settings)

    # On a machine that is busy the rig may well be late; what was sent must be there all the same.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {turn["server"]: turn["received"] for turn in json.loads(result.read_text())["turns"]}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", SERVERS)
def test_peer_receives_what_it_is_sent(peers: dict[str, int | None], server: str) -> None:
    if missing(server):
        pytest.skip(missing(server))

    assert (None if server == "do-nothing" else 30) == peers[server]


def test_peers_refuse_more_sockets_than_descriptors() -> None:
    servers = ("--server", "do-nothing", "--server", "quickstart")

    done = subprocess.run(
        [
            *("sh", "-c", 'ulimit -n 1000; exec "$@"', "sh"),
            *(sys.executable, "-m", "gateway", "bench", "peers", "--sockets", "1000", *servers),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 69 == done.returncode
    assert "2200 descriptors are needed and 1000 allowed" in done.stderr
