import signal

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.up.budget import budget
from gateway.up.supervisor import (
    DELAY_US_MAX,
    HURRY_US,
    LIFE_US_MIN,
    RETIRE,
    Child,
    Place,
    Signal,
    Start,
    Supervisor,
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
    supervisor = Supervisor(places, budget(drain_s, 5))
    pids = {}
    for step in supervisor.decide(0):
        pids[step.place] = 100 + len(pids)
        supervisor.started(step.place, pids[step.place], 0)
    return supervisor, pids


def end(supervisor: Supervisor, place: Place, code: int, now_us: int) -> int | None:
    """The process that holds a place is gone."""
    pid = supervisor.children[place].pid
    assert pid is not None
    return supervisor.exited(pid, code, now_us)


def signals(number: int, pids: dict[Place, int], *places: Place) -> list[Signal]:
    return [Signal(place, pids[place], number) for place in places]


def test_every_place_is_started_once_in_order() -> None:
    supervisor = Supervisor(NODE, budget(30, 5))
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
        delay_us = end(supervisor, RECORD, 1, now_us)
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
        end(supervisor, RECORD, 1, now_us)
        supervisor.started(RECORD, 7, now_us)
    assert 100_000 == end(supervisor, RECORD, 1, 2 + LIFE_US_MIN)


def test_refused_configuration_is_tried_again_slowly() -> None:
    supervisor, _ = running([GATEWAY])
    assert DELAY_US_MAX == end(supervisor, GATEWAY, 78, 0)
    assert [] == supervisor.decide(DELAY_US_MAX - 1)
    assert [Start(GATEWAY)] == supervisor.decide(DELAY_US_MAX)


def test_failed_start_is_tried_again_with_growing_delay() -> None:
    supervisor = Supervisor([GATEWAY], budget(30, 5))
    assert [Start(GATEWAY)] == supervisor.decide(0)
    assert 100_000 == supervisor.failed(GATEWAY, 0)
    assert [] == supervisor.decide(0)
    assert [Start(GATEWAY)] == supervisor.decide(100_000)
    assert 200_000 == supervisor.failed(GATEWAY, 100_000)


def test_one_death_starts_nothing_else() -> None:
    supervisor, _ = running(NODE)
    end(supervisor, GATEWAY, -9, S)
    assert [Start(GATEWAY)] == supervisor.decide(S + 100_000)


def test_ready_is_forgotten_with_the_process_that_said_it() -> None:
    supervisor, pids = running([GATEWAY])
    supervisor.accepts(pids[GATEWAY])
    assert supervisor.children[GATEWAY].accepts
    end(supervisor, GATEWAY, 1, 0)
    assert not supervisor.children[GATEWAY].accepts
    supervisor.started(GATEWAY, 999, 1)
    supervisor.accepts(pids[GATEWAY])
    assert not supervisor.children[GATEWAY].accepts


def test_drain_tells_gateways_then_workers_then_finish() -> None:
    supervisor, pids = running(NODE)
    supervisor.drain(0)
    told = signals(signal.SIGTERM, pids, GATEWAY, OTHER_GATEWAY)
    assert told == supervisor.decide(0)
    assert [] == supervisor.decide(0)
    assert end(supervisor, GATEWAY, 0, S) is None
    assert [] == supervisor.decide(S)
    end(supervisor, OTHER_GATEWAY, 0, S)
    assert signals(signal.SIGTERM, pids, RECORD, LIVE) == supervisor.decide(S)
    end(supervisor, RECORD, 0, S)
    end(supervisor, LIVE, 0, S)
    assert signals(signal.SIGTERM, pids, FINISH) == supervisor.decide(S)
    assert not supervisor.is_done
    end(supervisor, FINISH, 0, S)
    assert [] == supervisor.decide(S)
    assert supervisor.is_done


def test_worker_that_dies_while_gateways_drain_starts_again() -> None:
    supervisor, pids = running(NODE)
    supervisor.drain(0)
    supervisor.decide(0)
    assert 100_000 == end(supervisor, RECORD, -9, 0)
    assert [Start(RECORD)] == supervisor.decide(100_000)
    supervisor.started(RECORD, 555, 100_000)
    for place in (GATEWAY, OTHER_GATEWAY):
        assert end(supervisor, place, 0, S) is None
    told = [Signal(RECORD, 555, signal.SIGTERM), Signal(LIVE, pids[LIVE], signal.SIGTERM)]
    assert told == supervisor.decide(S)
    assert end(supervisor, RECORD, -9, S) is None


def test_drain_ends_at_once_where_nothing_lives() -> None:
    supervisor = Supervisor([GATEWAY, RECORD], budget(30, 5))
    supervisor.drain(0)
    assert [] == supervisor.decide(0)
    assert supervisor.is_done


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
                end(supervisor, step.place, -9, now_us)
        next_us = supervisor.next_us()
        now_us = now_us if next_us is None else max(now_us, next_us)
    places = (GATEWAY, RECORD, FINISH)
    numbers = (signal.SIGTERM, signal.SIGKILL)
    assert [(place, number) for place in places for number in numbers] == seen
    assert budget(30, 5).deadlines_s[0] * S < now_us <= 30 * S


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
    end(supervisor, GATEWAY, 0, S)
    assert signals(signal.SIGTERM, pids, RECORD) == supervisor.decide(S)
    assert signals(signal.SIGKILL, pids, RECORD) == supervisor.decide(S + HURRY_US)


def test_second_signal_never_lengthens_a_drain() -> None:
    supervisor, pids = running([GATEWAY], drain_s=1)
    supervisor.drain(0)
    supervisor.decide(0)
    supervisor.drain(100_000)
    assert signals(signal.SIGTERM, pids, GATEWAY) == supervisor.decide(100_000)
    assert signals(signal.SIGKILL, pids, GATEWAY) == supervisor.decide(S)


def test_process_that_is_tried_holds_no_place_and_is_not_started_again() -> None:
    supervisor, pids = running([GATEWAY])
    supervisor.generation = 2
    child = supervisor.tries(GATEWAY, 200, S)
    assert (2, [child]) == (child.generation, supervisor.beside)
    assert pids[GATEWAY] == supervisor.children[GATEWAY].pid
    assert supervisor.exited(200, 1, S) is None
    assert (None, 1, []) == (child.pid, child.code, supervisor.beside)
    assert [] == supervisor.decide(60 * S)


def test_promoted_process_holds_the_place_and_the_old_one_is_told_to_leave() -> None:
    supervisor, pids = running([GATEWAY])
    supervisor.accepts(pids[GATEWAY])
    child = supervisor.tries(GATEWAY, 200, S)
    supervisor.accepts(200)
    old, told = supervisor.promote(child)
    assert Signal(GATEWAY, pids[GATEWAY], RETIRE) == told
    assert (child, [old]) == (supervisor.children[GATEWAY], supervisor.beside)
    assert (True, 0) == (child.accepts, child.restarts)
    assert supervisor.exited(pids[GATEWAY], 0, 2 * S) is None
    assert [] == supervisor.beside
    assert 100_000 == supervisor.exited(200, -9, 3 * S)
    assert [Start(GATEWAY)] == supervisor.decide(4 * S)


def test_place_without_a_process_is_taken_and_nobody_is_told() -> None:
    supervisor, _ = running([RECORD])
    end(supervisor, RECORD, 1, 0)
    child = supervisor.tries(RECORD, 200, 0)
    assert (None, []) == (supervisor.promote(child)[1], supervisor.beside)
    assert [] == supervisor.decide(60 * S)


def test_process_that_died_is_not_promoted() -> None:
    supervisor, pids = running([RECORD])
    child = supervisor.tries(RECORD, 200, 0)
    supervisor.exited(200, 1, 0)
    assert supervisor.promote(child)[1] is None
    assert pids[RECORD] == supervisor.children[RECORD].pid


def test_old_gateway_is_told_again_when_its_calls_have_had_their_time() -> None:
    supervisor, pids = running([GATEWAY, RECORD])
    for place in (GATEWAY, RECORD):
        supervisor.promote(supervisor.tries(place, pids[place] + 100, 0))
    supervisor.bound(20 * S)
    supervisor.bound(9 * S)
    supervisor.bound(10 * S)
    assert 9 * S == supervisor.next_us()
    assert [] == supervisor.decide(9 * S - 1)
    assert [Signal(GATEWAY, pids[GATEWAY], RETIRE)] == supervisor.decide(9 * S)
    assert [] == supervisor.decide(10 * S)
    assert supervisor.next_us() is None


def test_third_generation_lives_beside_two_others() -> None:
    supervisor, pids = running([GATEWAY])
    supervisor.promote(supervisor.tries(GATEWAY, 200, 0))
    supervisor.promote(supervisor.tries(GATEWAY, 300, 0))
    assert [pids[GATEWAY], 200] == [child.pid for child in supervisor.beside]
    supervisor.drain(S)
    told = [Signal(GATEWAY, pid, signal.SIGTERM) for pid in (300, pids[GATEWAY], 200)]
    assert told == supervisor.decide(S)


def test_only_who_holds_no_place_is_dismissed() -> None:
    supervisor, pids = running([RECORD])
    child = supervisor.tries(RECORD, 200, 0)
    assert supervisor.dismiss(supervisor.children[RECORD]) is None
    assert Signal(RECORD, 200, RETIRE) == supervisor.dismiss(child)
    assert pids[RECORD] == supervisor.children[RECORD].pid


def test_process_that_comes_while_its_stage_ends_is_told_too() -> None:
    supervisor, pids = running([GATEWAY])
    supervisor.drain(0)
    assert signals(signal.SIGTERM, pids, GATEWAY) == supervisor.decide(0)
    supervisor.tries(GATEWAY, 200, S)
    assert [Signal(GATEWAY, 200, signal.SIGTERM)] == supervisor.decide(S)


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["pass", "exit", "fail", "drain", "try", "promote"]),
        st.integers(0, len(NODE) - 1),
        st.sampled_from([0, 1, 50_000, S, 20 * S, 40 * S]),
        st.sampled_from([0, 1, 69, 78, -9]),
    ),
    max_size=60,
)


class World:
    """Does what a supervisor decides, and keeps what must always hold."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(NODE, budget(30, 5))
        self.now_us = 0
        self.live: dict[int, Place] = {}
        self.tried: list[Child] = []
        self.pid = 100
        self.is_draining = False

    def obey(self, *, can_start: bool = True) -> None:
        for step in self.supervisor.decide(self.now_us):
            if isinstance(step, Signal):
                assert self.live[step.pid] == step.place
                assert self.is_draining
                if step.number == signal.SIGKILL:
                    self.exit(step.pid, -9)
                continue
            assert self.supervisor.children[step.place].pid is None
            assert not (self.is_draining and step.place.role == "gateway")
            if can_start:
                self.supervisor.started(step.place, self.spawn(step.place), self.now_us)
            else:
                self.supervisor.failed(step.place, self.now_us)

    def spawn(self, place: Place) -> int:
        self.pid += 1
        self.live[self.pid] = place
        return self.pid

    def exit(self, pid: int, code: int) -> None:
        del self.live[pid]
        self.supervisor.exited(pid, code, self.now_us)

    def end(self, place: Place, code: int) -> None:
        """The first that lives, if one does."""
        for pid in [pid for pid, its in self.live.items() if its == place][:1]:
            self.exit(pid, code)

    def upgrade(self, kind: str, place: Place) -> None:
        if kind == "try":
            child = self.supervisor.tries(place, self.spawn(place), self.now_us)
            self.tried.append(child)
        elif self.tried:
            self.supervisor.promote(self.tried.pop())


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
        elif kind in ("try", "promote") and not world.is_draining:
            world.upgrade(kind, NODE[index])
        elif kind == "drain":
            world.supervisor.drain(world.now_us)
            world.is_draining = True
        world.obey(can_start=kind != "fail")
    if not world.is_draining:
        world.now_us += DELAY_US_MAX
        world.obey()
        assert set(NODE) == set(world.live.values())
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
