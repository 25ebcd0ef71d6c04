"""Every scenario once, tiny, against a real node. What it measures here means nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.load.scenarios import SCENARIOS

#: On a machine that is busy the rig may well be late, and frames old.
TIMINGS = ("the rig was late", "the machine was full", "a rig used", "frame age", "CPU:")
TINY = ("--calls", "3", "--seconds", "0.4", "--call-s", "0.2", "--steps", "2", "--verify", "50")
AT_ONCE = 4

pytestmark = pytest.mark.timeout(180)
Run = tuple[subprocess.CompletedProcess[str], Path]


def bench_run(folder: Path, name: str, *options: str) -> Run:
    path = folder / f"{name}.jsonl"
    line = [sys.executable, "-m", "gateway", "bench", "run", name, *TINY, *options]
    done = subprocess.run(
        [*line, "--data", str(folder), "--json", str(path)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done, path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """They mostly wait, so some of them wait at the same time."""
    folder = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(bench_run, folder, name) for name in SCENARIOS}
        futures["steady recording"] = pool.submit(
            bench_run, tmp_path_factory.mktemp("recording"), "steady", "--ages", "recording"
        )
        yield futures


def found(runs: dict[str, Future[Run]], name: str) -> dict[str, Any]:
    done, path = runs[name].result()
    assert done.returncode in (0, 1), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(path.read_text())
    return result


@pytest.mark.parametrize("name", [*SCENARIOS, "steady recording"])
def test_nothing_is_lost_and_every_recording_is_right(
    runs: dict[str, Future[Run]], name: str
) -> None:
    result = found(runs, name)

    faults = [*result["faults"], *result["broken"]]
    assert [] == [fault for fault in faults if not fault.startswith(TIMINGS)]
    recordings = result["recordings"]
    # A call that came at the very end may have said nothing.
    assert recordings["calls"] >= recordings["checked"] == recordings["right"] > 0


def test_result_is_readable_by_people(runs: dict[str, Future[Run]]) -> None:
    done, _ = runs["steady"].result()

    assert "rigs' lateness" in done.stdout
    assert "recordings" in done.stdout
    assert "starting a node" in done.stderr


def test_capacity_goes_up_by_steps(runs: dict[str, Future[Run]]) -> None:
    result = found(runs, "capacity")

    assert [3, 6][: len(result["steps"])] == [step["target"] for step in result["steps"]]
    assert result["figures"]["knee_calls"] in (0, 3, 6)


def test_churn_dials_again(runs: dict[str, Future[Run]]) -> None:
    assert found(runs, "churn")["totals"]["calls"] > 3


def test_burst_says_how_long_accepting_took(runs: dict[str, Future[Run]]) -> None:
    assert found(runs, "burst")["figures"]["accept_p99_ms"] > 0


def test_recorder_was_killed(runs: dict[str, Future[Run]]) -> None:
    assert found(runs, "worker-kill")["kills"] > 0


def test_slow_consumer_loses_what_is_counted(runs: dict[str, Future[Run]]) -> None:
    assert found(runs, "slow-consumer")["totals"]["dropped"]["slow"] > 0


def test_settings_are_those_of_the_scenario(runs: dict[str, Future[Run]]) -> None:
    assert found(runs, "mixed-16k")["settings"]["mixed"]
    assert 24_000 == found(runs, "unmixed-24k")["settings"]["rate"]


def test_run_without_room_on_the_disk_is_refused(tmp_path: Path) -> None:
    done, path = bench_run(tmp_path, "soak", "--calls", "20000", "--seconds", "900000")

    assert 69 == done.returncode
    assert "GB are needed" in done.stderr or "descriptors are needed" in done.stderr
    assert not path.exists()
