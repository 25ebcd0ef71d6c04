import os
import random
import socket
import subprocess
import sys

import pytest

from gateway.placement import (
    EVEN_CALLS,
    FRESH_US,
    STEP_BACK_S,
    STEPS_MAX,
    Gate,
    Others,
    Table,
    open_gate,
    steps_back,
)

NOW_US = 10_000_000


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def join(tmp_path, listening):
    """Rows in one table; the locks of one process do not exclude each other, so rows are told."""
    tables = []

    def make(row, listener=None):
        table = Table(tmp_path / "placement", (listener or listening).fileno())
        table._row = row
        tables.append(table)
        return table

    yield make
    for table in tables:
        table.close()


def test_who_is_alone_never_steps_back():
    assert not steps_back(1000, 0, Others(), is_full=False)
    assert not steps_back(1000, 0, Others(), is_full=True)


@pytest.mark.parametrize("ahead", [0, EVEN_CALLS])
def test_who_is_about_even_accepts(ahead):
    assert not steps_back(5 + ahead, 0, Others(3, 5), is_full=False)


def test_who_has_more_steps_back_and_in_the_end_accepts():
    found = [steps_back(8, steps, Others(3, 5), is_full=False) for steps in range(STEPS_MAX + 1)]

    assert [True] * STEPS_MAX + [False] == found


def test_who_is_full_leaves_it_to_others_as_long_as_there_are_any():
    assert steps_back(1, 1_000_000, Others(1, 900), is_full=True)
    assert not steps_back(1, 0, Others(), is_full=True)


def test_a_hundred_calls_end_even_whoever_wakes_first():
    chance = random.Random(7)
    calls = [0] * 4
    for _ in range(100):
        while True:  # whoever wakes; a favourite wakes far more often than the others
            woken = chance.choice([0, 0, 0, 0, 0, 1, 2, 3])
            others = Others(3, min(calls[:woken] + calls[woken + 1 :]))
            if not steps_back(calls[woken], 0, others, is_full=False):
                break
        calls[woken] += 1

    assert all(23 <= each <= 27 for each in calls), calls


def test_others_are_those_on_the_same_socket_that_accept_and_live(join):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        mine, near, full, dead, far = (join(0), join(1), join(2), join(3), join(4, elsewhere))
        mine.write(1, is_accepting=True, now_us=NOW_US)
        near.write(7, is_accepting=True, now_us=NOW_US - 1000)
        full.write(2, is_accepting=False, now_us=NOW_US)
        dead.write(3, is_accepting=True, now_us=NOW_US - FRESH_US)
        far.write(4, is_accepting=True, now_us=NOW_US)

        assert Others(1, 7) == mine.others(NOW_US)
        assert Others(1, 1) == near.others(NOW_US)
        assert Others(2, 1) == full.others(NOW_US)
        assert Others() == far.others(NOW_US)


def test_who_has_left_is_waited_for_by_nobody(join):
    mine, other = join(0), join(1)
    other.write(0, is_accepting=True, now_us=NOW_US)
    assert Others(1, 0) == mine.others(NOW_US)

    other.write(0, is_accepting=False, now_us=0)

    assert Others() == mine.others(NOW_US)


def test_a_gate_knows_whether_others_take_the_calls(join):
    mine, other = join(0), join(1)
    gate = Gate(mine)

    assert not gate.others_accept(NOW_US)

    other.write(9, is_accepting=True, now_us=NOW_US)

    assert gate.others_accept(NOW_US)
    assert not Gate().others_accept(NOW_US)


def test_a_beat_from_before_the_machine_was_started_anew_is_none(join):
    mine, other = join(0), join(1)
    other.write(0, is_accepting=True, now_us=NOW_US + 3_600_000_000)

    assert Others() == mine.others(NOW_US)


def test_the_table_has_its_room_on_the_disk(tmp_path, join):
    join(0)
    found = os.stat(tmp_path / "placement")

    assert found.st_size <= found.st_blocks * 512


NO_ROOM = """
import resource, sys
from pathlib import Path
from gateway.placement import Table, open_gate
path, listener = Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "late":
    gate = open_gate(path, listener)
    gate.tell(1, is_accepting=True, now_us=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
if sys.argv[3] == "early":
    gate = open_gate(path, listener)
for _ in range(3):
    gate.tell(2, is_accepting=True, now_us=2)
print(gate.wait_s(9, is_full=True, now_us=2))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
gate.tell(3, is_accepting=True, now_us=3)
gate.close()
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_disk_that_takes_nothing_costs_the_table_and_not_the_process(tmp_path, listening, when):
    line = [sys.executable, "-c", NO_ROOM, str(tmp_path / "placement"), str(listening.fileno())]
    run = subprocess.run(
        [*line, when], pass_fds=[listening.fileno()], capture_output=True, text=True, check=False
    )

    assert (0, "0.0\n") == (run.returncode, run.stdout)
    assert 1 == run.stderr.count("calls are not shared evenly")


CLAIM = """
import sys
from pathlib import Path
from gateway.placement import Table
table = Table(Path(sys.argv[1]), int(sys.argv[2]))
print(table._row, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claim(tmp_path, listening):
    """Processes that hold a row each."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path / "placement"), str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_every_process_has_a_row_of_its_own_and_a_dead_one_leaves_it(claim):
    first, first_row = claim()
    _, second_row = claim()
    first.kill()
    first.wait()
    _, third_row = claim()

    assert (0, 1, 0) == (first_row, second_row, third_row)


def test_a_gate_waits_for_who_has_fewer_and_counts_it(join):
    mine, other = join(0), join(1)
    gate = Gate(mine)
    other.write(0, is_accepting=True, now_us=NOW_US)

    waits = [gate.wait_s(3, is_full=False, now_us=NOW_US) for _ in range(STEPS_MAX + 1)]
    gate.accepted()

    assert [STEP_BACK_S] * STEPS_MAX + [0.0] == waits
    assert (STEPS_MAX, 1) == (gate.step_backs, gate.insisted)
    assert STEP_BACK_S == gate.wait_s(3, is_full=False, now_us=NOW_US)


def test_a_connection_that_went_to_another_process_ends_the_waiting(join):
    mine, other = join(0), join(1)
    gate = Gate(mine)
    other.write(0, is_accepting=True, now_us=NOW_US)
    for _ in range(STEPS_MAX):
        gate.wait_s(3, is_full=False, now_us=NOW_US)

    gate.missed()

    assert STEP_BACK_S == gate.wait_s(3, is_full=False, now_us=NOW_US)


def test_without_a_table_everything_is_accepted(tmp_path, listening, caplog):
    gate = open_gate(tmp_path / "missing" / "placement", listening.fileno())
    gate.tell(5, is_accepting=True, now_us=NOW_US)

    assert 0.0 == gate.wait_s(1000, is_full=True, now_us=NOW_US)
    assert "calls are not shared evenly" in caplog.text
    gate.close()


def test_the_table_is_for_its_owner_alone(tmp_path, join):
    join(0)

    assert 0o600 == os.stat(tmp_path / "placement").st_mode & 0o777
