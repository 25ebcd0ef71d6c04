"""Messages arrive in order or not at all, and who is gone is known to be, after a while."""

import pytest

from bench.schedules.bus import SimulatedBus, SimulatedHub
from bench.schedules.schedule import START_US, Process, Schedule
from gateway.bus.base import Sent, Spoke

LATER_US = 1_000_000


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(1)


@pytest.fixture
def bus(schedule: Schedule) -> SimulatedBus:
    return SimulatedBus(schedule, delay_us=100_000, mark=3)


@pytest.fixture
def hub(bus: SimulatedBus) -> SimulatedHub:
    return bus.bind("boot-1")


@pytest.fixture
def worker() -> Process:
    return Process("record-0")


@pytest.fixture
def spoke(bus: SimulatedBus, hub: SimulatedHub, worker: Process) -> Spoke:
    return bus.spokes(worker).connect("boot-1")


def all_of(hub: SimulatedHub) -> list[tuple[bytes, bytes]]:
    found = []
    while (message := hub.receive()) is not None:
        found.append(message)
    return found


def test_messages_take_a_while_and_keep_their_order(
    schedule: Schedule, hub: SimulatedHub, spoke: Spoke
) -> None:
    for number in range(10):
        spoke.send(bytes([number]))
    assert [] == all_of(hub)

    schedule.now_us += LATER_US
    assert [bytes([number]) for number in range(10)] == [message for _, message in all_of(hub)]


def test_a_queue_has_a_mark(schedule: Schedule, hub: SimulatedHub, spoke: Spoke) -> None:
    [peer] = hub.connections
    assert [Sent.DONE] * 3 + [Sent.FULL] == [hub.send(peer, b"x") for _ in range(4)]

    schedule.now_us += LATER_US
    assert b"x" == spoke.receive()
    assert Sent.DONE == hub.send(peer, b"x")


def test_what_is_sent_to_who_is_gone_is_lost_until_that_is_known(
    schedule: Schedule, bus: SimulatedBus, hub: SimulatedHub, spoke: Spoke, worker: Process
) -> None:
    [peer] = hub.connections
    for number in range(5):
        spoke.send(bytes([number]))
    bus.worker_died(worker)
    assert Sent.DONE == hub.send(peer, b"lost")

    schedule.now_us += LATER_US
    arrived = [message for _, message in all_of(hub)]
    assert arrived == [bytes([number]) for number in range(5)][: len(arrived)]
    assert Sent.UNREACHABLE == hub.send(peer, b"lost")


def test_a_connection_that_broke_is_mended_as_another_peer(
    schedule: Schedule, bus: SimulatedBus, hub: SimulatedHub, spoke: Spoke
) -> None:
    [before] = hub.connections
    hub.send(before, b"lost")
    [connection] = bus.connections()
    bus.break_off(connection)
    schedule.now_us += LATER_US

    assert spoke.receive() is None
    spoke.send(b"hello")
    schedule.now_us += LATER_US
    [(peer, message)] = all_of(hub)
    assert (b"hello", True) == (message, peer != before)


def test_of_a_gateway_that_ended_some_may_still_arrive_and_nothing_gets_there(
    schedule: Schedule, bus: SimulatedBus, hub: SimulatedHub, spoke: Spoke
) -> None:
    [peer] = hub.connections
    for number in range(3):
        hub.send(peer, bytes([number]))
    hub.close()
    spoke.send(b"lost")
    schedule.now_us += LATER_US

    arrived = []
    while (message := spoke.receive()) is not None:
        arrived.append(message)
    assert arrived == [bytes([number]) for number in range(3)][: len(arrived)]
    assert bus.hub_at("boot-1") is None
    assert schedule.now_us == START_US + LATER_US
