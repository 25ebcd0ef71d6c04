import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.up.supervisor import (
    DELAY_US_MAX,
    HURRY_US,
    LIFE_US_MIN,
    Place,
    Signal,
    Start,
    Supervisor,
    gateway_drain_s,
)

S = 1_000_000
GATEWAY = Place("gateway", None, 0)
OTHER_GATEWAY = Place("gateway", None, 1)
RECORD = Place("worker", "record", 0)
LIVE = Place("worker", "live", 0)
FINISH = Place("worker", "finish", 0)
NODE = [GATEWAY, OTHER_GATEWAY, RECORD, LIVE, FINISH]


def running(places: list[Place], drain_s: float = 30) -> tuple[Supervisor, dict[Place, int]]:
    """A supervisor whose places all live since 0, and their pids."""
    supervisor = Supervisor(places, drain_s=drain_s)
    pids = {}
    for step in supervisor.decide(0):
        pids[step.place] = 100 + len(pids)
        supervisor.started(step.place, pids[step.place], 0)
    return supervisor, pids


def signals(number: int, pids: dict[Place, int], *places: Place) -> list[Signal]:
    return [Signal(place, pids[place], number) for place in places]


def test_every_place_is_started_once_in_order() -> None:
    supervisor = Supervisor(NODE, drain_s=30)
    steps = supervisor.decide(0)
    assert [Start(place) for place in NODE] == steps
    for pid, place in enumerate(NODE):
        supervisor.started(place, pid + 1, 0)
    assert [] == supervisor.decide(0)
    assert supervisor.next_us() is None


def test_name_is_the_pools_or_the_roles_with_the_index() -> None:
    assert ["gateway-1", "record-0"] == [OTHER_GATEWAY.name, RECORD.name]


def test_delay_doubles_up_to_its_maximum_and_never_ends() -> None:
    supervisor, _ = running([RECORD])
    now_us, delays = 0, []
    for pid in range(200, 212):
        delay_us = supervisor.exited(RECORD, 1, now_us)
        assert delay_us is not None
        delays.append(delay_us / S)
        assert now_us + delay_us == supervisor.next_us()
        assert [] == supervisor.decide(now_us + delay_us - 1)
        now_us += delay_us
        assert [Start(RECORD)] == supervisor.decide(now_us)
        supervisor.started(RECORD, pid, now_us)
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10, 10] == delays
    assert 12 == supervisor.children[RECORD].restarts


def test_long_life_begins_again_with_the_shortest_delay() -> None:
    supervisor, _ = running([RECORD])
    for now_us in (0, 1, 2):
        supervisor.exited(RECORD, 1, now_us)
        supervisor.started(RECORD, 7, now_us)
    assert 100_000 == supervisor.exited(RECORD, 1, 2 + LIFE_US_MIN)


def test_refused_configuration_is_tried_again_slowly() -> None:
    supervisor, _ = running([GATEWAY])
    assert DELAY_US_MAX == supervisor.exited(GATEWAY, 78, 0)
    assert [] == supervisor.decide(DELAY_US_MAX - 1)
    assert [Start(GATEWAY)] == supervisor.decide(DELAY_US_MAX)


def test_failed_start_is_tried_again_with_growing_delay() -> None:
    supervisor = Supervisor([GATEWAY], drain_s=30)
    assert [Start(GATEWAY)] == supervisor.decide(0)
    assert 100_000 == supervisor.failed(GATEWAY, 0)
    assert [] == supervisor.decide(0)
    assert [Start(GATEWAY)] == supervisor.decide(100_000)
    assert 200_000 == supervisor.failed(GATEWAY, 100_000)


def test_one_death_starts_nothing_else() -> None:
    supervisor, _ = running(NODE)
    supervisor.exited(GATEWAY, -9, S)
    assert [Start(GATEWAY)] == supervisor.decide(S + 100_000)


def test_ready_is_forgotten_with_the_process_that_said_it() -> None:
    supervisor, pids = running([GATEWAY])
    supervisor.accepts(GATEWAY, pids[GATEWAY])
    assert supervisor.children[GATEWAY].accepts
    supervisor.exited(GATEWAY, 1, 0)
    assert not supervisor.children[GATEWAY].accepts
    supervisor.started(GATEWAY, 999, 1)
    supervisor.accepts(GATEWAY, pids[GATEWAY])
    assert not supervisor.children[GATEWAY].accepts


def test_drain_tells_gateways_then_workers_then_finish() -> None:
    supervisor, pids = running(NODE)
    supervisor.drain(0)
    told = signals(signal.SIGTERM, pids, GATEWAY, OTHER_GATEWAY)
    assert told == supervisor.decide(0)
    assert [] == supervisor.decide(0)
    assert supervisor.exited(GATEWAY, 0, S) is None
    assert [] == supervisor.decide(S)
    supervisor.exited(OTHER_GATEWAY, 0, S)
    assert signals(signal.SIGTERM, pids, RECORD, LIVE) == supervisor.decide(S)
    supervisor.exited(RECORD, 0, S)
    supervisor.exited(LIVE, 0, S)
    assert signals(signal.SIGTERM, pids, FINISH) == supervisor.decide(S)
    assert not supervisor.is_done
    supervisor.exited(FINISH, 0, S)
    assert [] == supervisor.decide(S)
    assert supervisor.is_done


def test_worker_that_dies_while_gateways_drain_starts_again() -> None:
    supervisor, pids = running(NODE)
    supervisor.drain(0)
    supervisor.decide(0)
    assert 100_000 == supervisor.exited(RECORD, -9, 0)
    assert [Start(RECORD)] == supervisor.decide(100_000)
    supervisor.started(RECORD, 555, 100_000)
    for place in (GATEWAY, OTHER_GATEWAY):
        assert supervisor.exited(place, 0, S) is None
    told = [Signal(RECORD, 555, signal.SIGTERM), Signal(LIVE, pids[LIVE], signal.SIGTERM)]
    assert told == supervisor.decide(S)
    assert supervisor.exited(RECORD, -9, S) is None


def test_drain_ends_at_once_where_nothing_lives() -> None:
    supervisor = Supervisor([GATEWAY, RECORD], drain_s=30)
    supervisor.drain(0)
    assert [] == supervisor.decide(0)
    assert supervisor.is_done


@pytest.mark.parametrize(("drain_s", "expected"), [(30, 18), (24, 12), (10, 5), (1, 0.5)])
def test_gateways_leave_workers_twelve_seconds_or_half(drain_s: float, expected: float) -> None:
    assert expected == gateway_drain_s(drain_s)


def test_stubborn_processes_are_killed_stage_by_stage_within_the_drain() -> None:
    supervisor, _ = running([GATEWAY, RECORD, FINISH])
    supervisor.drain(0)
    seen = []
    now_us = 0
    while not supervisor.is_done:
        for step in supervisor.decide(now_us):
            assert isinstance(step, Signal)
            seen.append((step.place, step.number))
            if step.number == signal.SIGKILL:
                supervisor.exited(step.place, -9, now_us)
        next_us = supervisor.next_us()
        now_us = now_us if next_us is None else max(now_us, next_us)
    places = (GATEWAY, RECORD, FINISH)
    numbers = (signal.SIGTERM, signal.SIGKILL)
    assert [(place, number) for place in places for number in numbers] == seen
    assert gateway_drain_s(30) * S < now_us <= 30 * S


def test_process_that_even_sigkill_does_not_end_is_left_behind() -> None:
    supervisor, _ = running([GATEWAY, RECORD], drain_s=10)
    supervisor.drain(0)
    supervisor.decide(0)
    now_us = 0
    while not supervisor.is_done:
        supervisor.decide(now_us)
        next_us = supervisor.next_us()
        now_us = now_us if next_us is None else max(now_us, next_us)
    assert now_us <= 10 * S


def test_second_signal_tells_the_stage_under_way_again_and_shortens_all() -> None:
    supervisor, pids = running([GATEWAY, RECORD], drain_s=3600)
    supervisor.drain(0)
    supervisor.decide(0)
    supervisor.drain(S)
    assert signals(signal.SIGTERM, pids, GATEWAY) == supervisor.decide(S)
    supervisor.drain(S)
    assert [] == supervisor.decide(S)
    supervisor.exited(GATEWAY, 0, S)
    assert signals(signal.SIGTERM, pids, RECORD) == supervisor.decide(S)
    assert signals(signal.SIGKILL, pids, RECORD) == supervisor.decide(S + HURRY_US)


def test_second_signal_never_lengthens_a_drain() -> None:
    supervisor, pids = running([GATEWAY], drain_s=1)
    supervisor.drain(0)
    supervisor.decide(0)
    supervisor.drain(100_000)
    assert signals(signal.SIGTERM, pids, GATEWAY) == supervisor.decide(100_000)
    assert signals(signal.SIGKILL, pids, GATEWAY) == supervisor.decide(S)


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["pass", "exit", "fail", "drain"]),
        st.integers(0, len(NODE) - 1),
        st.sampled_from([0, 1, 50_000, S, 20 * S, 40 * S]),
        st.sampled_from([0, 1, 69, 78, -9]),
    ),
    max_size=60,
)


class World:
    """Does what a supervisor decides, and keeps what must always hold."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(NODE, drain_s=30)
        self.now_us = 0
        self.live: dict[Place, int] = {}
        self.pid = 100
        self.is_draining = False

    def obey(self, *, can_start: bool = True) -> None:
        for step in self.supervisor.decide(self.now_us):
            if isinstance(step, Signal):
                assert self.live[step.place] == step.pid
                assert self.is_draining
                if step.number == signal.SIGKILL:
                    self.end(step.place, -9)
                continue
            assert step.place not in self.live
            assert not (self.is_draining and step.place.role == "gateway")
            if can_start:
                self.pid += 1
                self.live[step.place] = self.pid
                self.supervisor.started(step.place, self.pid, self.now_us)
            else:
                self.supervisor.failed(step.place, self.now_us)

    def end(self, place: Place, code: int) -> None:
        if self.live.pop(place, None):
            self.supervisor.exited(place, code, self.now_us)


@settings(deadline=None)
@given(HAPPENINGS)
def test_every_place_lives_again_in_time_and_every_drain_ends_in_time(
    happenings: list[tuple[str, int, int, int]],
) -> None:
    world = World()
    world.obey()
    for kind, index, wait_us, code in happenings:
        world.now_us += wait_us
        if kind == "exit":
            world.end(NODE[index], code)
        elif kind == "drain":
            world.supervisor.drain(world.now_us)
            world.is_draining = True
        world.obey(can_start=kind != "fail")
    if not world.is_draining:
        world.now_us += DELAY_US_MAX
        world.obey()
        assert set(NODE) == set(world.live)
    world.supervisor.drain(world.now_us)
    world.is_draining = True
    until_us = world.now_us + 30 * S
    world.obey()
    while not world.supervisor.is_done:
        next_us = world.supervisor.next_us()
        assert next_us is not None
        world.now_us = max(world.now_us, next_us)
        assert world.now_us <= until_us
        world.obey()
    assert {} == world.live
