import logging
import resource
import socket
import time

import pytest

from gateway import door as doors
from gateway.capacity import STOPPING, CapacityLimits, Shortage
from gateway.door import (
    CROWDED_S,
    LINES_A_SECOND_MAX,
    SharedDoor,
    descriptors_max,
)
from gateway.placement import Gate, Others, Table

SHORTAGE = Shortage("sessions", "7 calls are as many as `sessions_max` allows")


def door(limits=CapacityLimits(), log_refuses=str):  # noqa: B008 - it cannot be changed
    return SharedDoor(limits, Gate(), log_refuses)


def test_a_refusal_is_a_503_with_retry_after_counted_and_logged_with_the_call(caplog):
    shared = door()
    caplog.set_level(logging.WARNING)

    refusal = shared.refuse("call-7", SHORTAGE)

    assert 503 == refusal.status
    assert "5" == dict(refusal.headers)["Retry-After"]
    assert {"sessions": 1} == dict(shared.capacity.refused)
    assert "call call-7 was refused: 7 calls are as many" in caplog.text


def test_who_stops_says_so_and_when_to_try_again():
    shared = door()

    refusal = shared.refuse("call-7", STOPPING)

    assert (503, "the server stops") == (refusal.status, refusal.reason)
    assert "1" == dict(refusal.headers)["Retry-After"]
    assert {"stopping": 1} == dict(shared.capacity.refused)


@pytest.fixture
def tables(tmp_path):
    """Two rows of one table: a door's, and that of another process."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = [Table(tmp_path / "placement", listening.fileno()) for _ in range(2)]
        made[1]._row = 1  # one process's locks do not exclude each other
        yield made
        for table in made:
            table.close()


def now_us():
    return time.monotonic_ns() // 1000


def test_others_know_of_every_connection_that_comes_and_goes(tables):
    ours, other = tables
    shared = SharedDoor(CapacityLimits(sessions_max=2), Gate(ours), str)
    seen = [other.others(now_us())]
    slots = [shared.take(), shared.take()]
    seen.append(other.others(now_us()))
    slots[0].release()
    seen.append(other.others(now_us()))

    assert [Others(1, 0), Others(), Others(1, 1)] == seen


def test_who_cannot_accept_is_waited_for_by_nobody_until_it_can(tables):
    ours, other = tables
    shared = SharedDoor(CapacityLimits(), Gate(ours), str)
    shared.failed()
    failing = other.others(now_us())
    shared.take()

    assert [Others(), Others(1, 1)] == [failing, other.others(now_us())]


def test_a_full_process_is_at_fault_only_where_no_other_takes_its_calls(tables):
    ours, other = tables
    shared = SharedDoor(CapacityLimits(sessions_max=1), Gate(ours), str)
    assert "" == shared.fault
    shared.take()
    alone = shared.fault
    other.write(0, is_accepting=True, now_us=now_us())

    assert "takes no new calls: 1 calls are as many as `sessions_max` allows" == alone
    assert ("", False) == (shared.fault, shared.is_accepting)


def test_what_is_left_of_the_descriptors_is_not_for_connections():
    shared = door(CapacityLimits(descriptors_max=10))
    waits = []
    for _ in range(16):
        waits.append(shared.wait_s())
        shared.take()

    assert [0.0] * 15 + [CROWDED_S] == waits


def test_a_storm_of_refusals_is_counted_and_not_logged_line_by_line(caplog, monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr(doors.time, "monotonic", lambda: now_s[0])
    shared = door()

    for number in range(LINES_A_SECOND_MAX + 50):
        shared.refuse(f"call-{number}", SHORTAGE)
    now_s[0] += 1.0
    shared.measure()

    assert LINES_A_SECOND_MAX + 50 == shared.capacity.refused["sessions"]
    assert LINES_A_SECOND_MAX + 1 == len(caplog.records)
    assert "50 more calls were refused" in caplog.text


def test_a_log_that_wants_no_more_calls_takes_their_slots():
    full = []
    shared = door(log_refuses=lambda: "the log is nearly full" if full else "")
    assert None is shared.take().shortage

    full.append(True)

    assert "log" == shared.take().shortage.name
    assert 1 == shared.capacity.slots


def test_measures_say_how_late_the_loop_is_and_how_much_memory_there_is(monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr(doors.time, "monotonic", lambda: now_s[0])
    shared = door()

    now_s[0] += doors.MEASURE_S + 0.3
    shared.measure()

    assert 299 < shared.capacity.lag_ms < 301
    assert shared.capacity.memory_bytes > 1024**2
    assert 0 < shared.capacity.memory_free <= 1


def test_some_descriptors_are_left_for_what_is_no_connection():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        found = descriptors_max()
        now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert now == hard
    assert found < hard or hard == resource.RLIM_INFINITY
