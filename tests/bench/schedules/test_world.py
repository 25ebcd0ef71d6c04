"""Schedules hold, play again exactly, and find what is planted."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import gateway.log.writer
import gateway.router
import workers.links
import workers.recorder
from bench.schedules import run as running
from bench.schedules.cli import schedules
from bench.schedules.run import play, play_all, told
from bench.schedules.world import Outcome
from workers.recordings import placing, touched

COUNT = 150
#: A planted bug must be found by one of so many.
FOUND_WITHIN = 1000

retain, resume = gateway.router.first_needed, gateway.router.resume_ticks


def test_what_gateways_have_read_is_recorded_or_declared_missing() -> None:
    failed = [outcome for outcome in play_all(range(COUNT), 1) if outcome.faults]

    assert [] == [told(outcome) for outcome in failed]


@pytest.mark.parametrize("hashes", ["1", "2"])
def test_a_seed_plays_again_exactly_in_another_process(hashes: str) -> None:
    seeds = range(8)
    code = "from bench.schedules.run import play\nfor seed in range(8): print(play(seed).digest)"

    again = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONHASHSEED": hashes},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    digests = [play(seed).digest for seed in seeds]
    assert digests == again.stdout.split()
    assert len(seeds) == len(set(digests))


def first_failing(seeds: Iterable[int]) -> Outcome | None:
    return next((outcome for outcome in map(play, seeds) if outcome.faults), None)


def retires_too_early(*arguments: object) -> int | None:
    needed = retain(*arguments)
    return None if needed is None else needed + 1


def resumes_too_late(*arguments: object) -> dict[object, int | None]:
    found = resume(*arguments)
    return {source: None if tick is None else tick + 1 for source, tick in found.items()}


def numbers_links_anew(links: Any, gateway: str, now_us: int, hello_due_us: int) -> None:
    old = links._links.get(gateway)
    number = 1 if old is None else old.key[1] + 1
    links._links[gateway] = workers.links._Link((gateway, number), now_us, hello_due_us)


def syncs_nothing(files: touched.Touched, real: Any = touched.Touched.make_safe) -> None:
    files.sync = False
    real(files)


def syncs_no_names(files: touched.Touched) -> None:
    files._folders.clear()


@pytest.mark.timeout(240)  # some need hundreds of schedules
@pytest.mark.parametrize(
    ("where", "name", "planted"),
    [
        pytest.param(gateway.router, "first_needed", retires_too_early, id="retires too early"),
        pytest.param(gateway.router, "resume_ticks", resumes_too_late, id="resumes too late"),
        pytest.param(
            workers.recorder._Writer, "has_done", lambda *_: True, id="acknowledges too early"
        ),
        pytest.param(
            workers.links.WorkerLinks, "_begin", numbers_links_anew, id="numbers links anew"
        ),
        pytest.param(
            placing, "_kept", lambda _pieces, _stream, facts: facts.with_audio, id="keeps copies"
        ),
        pytest.param(touched.Touched, "make_safe", syncs_nothing, id="syncs nothing"),
        pytest.param(touched.Touched, "sync_folders", syncs_no_names, id="syncs no names"),
        pytest.param(
            gateway.log.writer.Log, "_poisoned", lambda *_: None, id="trusts a failed sync"
        ),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, planted: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, planted)

    assert first_failing(range(FOUND_WITHIN)) is not None


def test_an_error_of_a_process_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("planted")

    monkeypatch.setattr(gateway.router.Router, "tend", fail)
    outcome = play(0)

    assert outcome.faults[0].startswith("ValueError: planted in test_world.py:")


def test_a_failing_seed_is_told_with_its_schedule_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway.router, "resume_ticks", resumes_too_late)
    failing = first_failing(range(FOUND_WITHIN))
    assert failing is not None
    seed = str(failing.seed)

    done = CliRunner().invoke(schedules, ["--count", "1", "--seed", seed, "--processes", "1"])
    again = CliRunner().invoke(schedules, ["--replay", seed])

    assert (1, 1) == (done.exit_code, again.exit_code)
    lines = again.output.splitlines()
    assert f"seed {seed} fails; its schedule, in seconds:" == lines[0]
    assert f"again: acs-ingest bench schedules --replay {seed}" == lines[-1]
    assert len(failing.trace) == sum(line.startswith("    ") for line in lines[1:])
    assert set(lines) <= set(done.output.splitlines())
    assert f"failed: {seed}" == done.output.splitlines()[-1]


def test_where_all_hold_the_exit_status_is_0() -> None:
    done = CliRunner().invoke(schedules, ["--count", "3", "--processes", "1"])
    again = CliRunner().invoke(schedules, ["--replay", "1"])
    wrong = CliRunner().invoke(schedules, ["--count", "0"])

    assert (0, 0, 2) == (done.exit_code, again.exit_code, wrong.exit_code)
    assert done.output.endswith("0 schedules failed\n")


def test_processes_share_the_seeds() -> None:
    outcomes = list(play_all(range(20, 44), 2))

    assert list(range(20, 44)) == sorted(outcome.seed for outcome in outcomes)
    assert play(20).digest in {outcome.digest for outcome in outcomes}


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MEMORY", tmp_path)
    changing = os.open, os.fdatasync, os.stat
    descriptors = len(os.listdir("/proc/self/fd"))
    for seed in range(5):
        play(seed)

    assert [] == list(tmp_path.iterdir())
    assert changing == (os.open, os.fdatasync, os.stat)
    assert descriptors == len(os.listdir("/proc/self/fd"))
