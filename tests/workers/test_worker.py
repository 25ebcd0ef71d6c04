import os
import threading
import time

import pytest
from hand_gateway import HandGateway, audio, open_session, open_stream, ramp

from gateway.bus.memory import MemoryHub, MemorySpokes
from gateway.bus.rendezvous import Endpoint
from gateway.bus.zmq import ZmqHub, ZmqSpokes
from gateway.wire.frame import iterate
from gateway.wire.layout import Layout
from gateway.wire.messages import Ack, Bye, Gone, Heartbeat, Hello
from workers.links import SILENT_US, WorkerIdentity
from workers.worker import (
    RECEIVE_US_MAX,
    REPORT_US,
    RESCAN_US,
    RoundsWorker,
    Worker,
    has_ended,
    monotonic_us,
)

WAIT_S = 10


class Keeper:
    """A consumer that keeps what it takes; all of it is safe at once."""

    def __init__(self):
        self.frames, self.numbers, self.forgotten = [], {}, []
        self.room, self.closed, self.fault = True, False, None
        self.takes_us, self.clock = 0, None

    def receive(self, link, number, message, now_us):
        if self.fault is not None:
            raise self.fault
        if self.clock is not None:
            self.clock.now_us += self.takes_us
        self.frames += iterate(message)
        self.numbers[link] = number

    def advance(self, now_us): ...

    def has_room(self):
        return self.room

    def safe(self):
        return self.numbers

    def unsynced_us(self, now_us):
        return 0

    def forget(self, link):
        self.forgotten.append(link)

    def close(self, now_us):
        self.closed = True


class Clock:
    """Time that passes when the test says so."""

    def __init__(self):
        self.now_us = 1_000_000

    def __call__(self):
        return self.now_us


def identity():
    return WorkerIdentity("record", "record-0", "boot-w")


class Rig:
    """A worker over memory, with one gateway that has an endpoint on disk as a real one."""

    def __init__(self, data):
        self.layout = Layout(data)
        self.clock = Clock()
        self.keeper = Keeper()
        self.reports = []
        self.endpoint = Endpoint(self.layout, "g1")
        (self.layout.bus / "g1.ipc").touch()
        self.hub = MemoryHub(self.endpoint.address)
        self.gateway = HandGateway(self.hub)
        self.worker = Worker(
            self.layout,
            identity(),
            self.keeper,
            MemorySpokes(),
            clock=self.clock,
            report=lambda worker: self.reports.append(worker.not_ready),
        )

    def turn(self, passed_us=0):
        self.clock.now_us += passed_us
        self.worker.turn()
        return self.gateway.listen()

    def link_up(self):
        self.turn()
        self.gateway.beat()
        self.turn()

    def vanish(self):
        self.endpoint.close()

    def close(self):
        self.hub.close()
        if (self.layout.bus / "g1.lock").exists():
            self.endpoint.close()


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def test_worker_greets_a_gateway_that_it_finds(rig):
    [hello] = rig.turn()

    assert ("record-0", 1) == (hello.name, hello.link)


def test_batches_reach_the_consumer_and_are_acknowledged(rig):
    rig.link_up()

    rig.gateway.send(open_session(), open_stream(), audio(0))
    rig.turn(RESCAN_US)

    assert 3 == len(rig.keeper.frames)
    assert [Ack(link=1, safe=1, taken=1)] == rig.gateway.of(Ack)


def test_gateways_are_kept_while_nobody_can_look_for_them(rig, out_of_descriptors):
    rig.link_up()

    with out_of_descriptors():
        rig.turn(RESCAN_US)
        blind = rig.worker.not_ready
    rig.turn(RESCAN_US)

    assert "cannot look for gateways: Too many open files" == blind
    assert "" == rig.worker.not_ready
    assert [] == rig.keeper.forgotten
    assert 1 == len(rig.gateway.of(Hello))


def test_gateway_that_says_nothing_gets_a_new_link_over_a_new_socket(rig):
    rig.link_up()
    before = rig.gateway.peer
    rig.turn(SILENT_US)

    assert [1, 2] == [hello.link for hello in rig.gateway.of(Hello)]
    assert before != rig.gateway.peer


def test_gateway_that_comes_later_is_found(tmp_path):
    rig = Rig(tmp_path)
    rig.vanish()
    rig.turn()
    assert [] == rig.gateway.heard

    rig.endpoint = Endpoint(rig.layout, "g1")
    (rig.layout.bus / "g1.ipc").touch()
    rig.turn(RESCAN_US - 1)
    assert [] == rig.gateway.heard
    rig.turn(1)

    assert 1 == len(rig.gateway.of(Hello))
    rig.close()


def test_gateway_that_vanishes_is_forgotten(rig):
    rig.link_up()

    rig.vanish()
    rig.turn(RESCAN_US)

    assert [("g1", 1)] == rig.keeper.forgotten
    assert "no gateway" == rig.worker.not_ready


def test_worker_is_ready_once_a_gateway_has_answered(rig):
    rig.turn()
    assert "no gateway" == rig.worker.not_ready

    rig.gateway.beat()
    rig.turn()
    assert "" == rig.worker.not_ready
    rig.worker.drain()

    assert "draining" == rig.worker.not_ready


def test_reports_come_twice_a_second(rig):
    rig.turn()
    rig.turn(REPORT_US - 1)
    assert 1 == len(rig.reports)

    rig.turn(1)

    assert 2 == len(rig.reports)


def test_slow_consumer_does_not_keep_heartbeats_waiting(rig):
    rig.link_up()
    rig.keeper.clock, rig.keeper.takes_us = rig.clock, RECEIVE_US_MAX + 1
    for _ in range(3):
        rig.gateway.send(audio(0))

    heartbeats = len([m for _ in range(3) for m in rig.turn(RESCAN_US) if isinstance(m, Heartbeat)])

    assert 3 == heartbeats
    assert 3 == len(rig.keeper.frames)


def test_very_slow_consumer_does_not_take_its_gateway_for_silent(rig):
    rig.link_up()
    rig.keeper.clock, rig.keeper.takes_us = rig.clock, SILENT_US
    rig.gateway.send(audio(0))

    rig.turn()

    assert [] == rig.keeper.forgotten


def test_consumer_without_room_leaves_batches_where_they_are(rig):
    rig.link_up()
    rig.keeper.room = False
    rig.gateway.send(audio(0))

    rig.turn(SILENT_US)
    assert [] == rig.keeper.frames
    assert [] == rig.keeper.forgotten
    rig.keeper.room = True
    rig.turn()

    assert 1 == len(rig.keeper.frames)


def test_wait_without_room_is_for_no_message(rig, monkeypatch):
    waits = []

    def wait(_spokes, _timeout_s, *, messages=True):
        waits.append(messages)
        rig.keeper.room = not rig.keeper.room
        if len(waits) == 3:
            rig.worker.drain()
            rig.endpoint.close()

    monkeypatch.setattr(MemorySpokes, "wait", wait)
    rig.worker.run()

    assert [True, False, True] == waits[:3]


def test_end_of_the_parents_pipe_drains(rig):
    read, write = os.pipe()
    rig.worker = Worker(rig.layout, identity(), Keeper(), MemorySpokes(), parent_fd=read)
    rig.worker.turn()
    assert "draining" != rig.worker.not_ready

    os.close(write)
    rig.worker.turn()
    rig.worker.turn()

    assert "draining" == rig.worker.not_ready
    os.close(read)


def test_run_ends_when_the_gateway_has_let_go(rig):
    rig.link_up()
    rig.worker.drain()
    rig.turn()
    assert 1 == len(rig.gateway.of(Bye))

    rig.gateway.say(Gone(link=1, reason="bye"))
    rig.worker.run()

    assert rig.keeper.closed
    assert "draining" == rig.reports[-1]


def test_run_ends_without_a_report_as_well(tmp_path):
    worker = Worker(Layout(tmp_path), identity(), keeper := Keeper(), MemorySpokes())
    worker.drain()

    worker.run()

    assert keeper.closed


def test_fault_of_the_consumer_ends_the_run(rig):
    rig.link_up()
    rig.keeper.fault = RuntimeError("ours")
    rig.gateway.send(audio(0))

    with pytest.raises(RuntimeError, match="ours"):
        rig.worker.run()

    assert not rig.keeper.closed


def until(condition):
    """Wait for what another thread or socket brings about."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_worker_over_real_sockets_takes_acknowledges_and_leaves(tmp_path):
    layout = Layout(tmp_path)
    endpoint = Endpoint(layout, "g1")
    hub = ZmqHub(endpoint.address)
    gateway = HandGateway(hub)
    keeper = Keeper()
    worker = Worker(layout, identity(), keeper, ZmqSpokes())
    thread = threading.Thread(target=worker.run)
    thread.start()

    until(lambda: gateway.listen() or gateway.peer)
    gateway.beat()
    for seq in range(20):
        gateway.send(audio(seq))
    until(lambda: gateway.listen() and Ack(link=1, safe=20, taken=20) in gateway.heard)
    worker.drain()
    until(lambda: gateway.listen() and gateway.of(Bye))
    gateway.send(audio(20))
    until(lambda: gateway.listen() and Ack(link=1, safe=21, taken=21) in gateway.heard)
    gateway.say(Gone(link=1, reason="bye"))
    thread.join(WAIT_S)

    assert not thread.is_alive()
    assert keeper.closed
    payloads = [frame.payload for frame in keeper.frames]
    assert [ramp(320 * seq).tobytes() for seq in range(21)] == payloads
    hub.close()
    endpoint.close()


def test_worker_over_real_sockets_leaves_when_its_gateway_is_killed(tmp_path):
    layout = Layout(tmp_path)
    endpoint = Endpoint(layout, "g1")
    hub = ZmqHub(endpoint.address)
    gateway = HandGateway(hub)
    keeper = Keeper()
    worker = Worker(layout, identity(), keeper, ZmqSpokes())
    thread = threading.Thread(target=worker.run)
    thread.start()
    until(lambda: gateway.listen() or gateway.peer)

    worker.drain()
    endpoint.close()
    hub.close()
    thread.join(WAIT_S)

    assert not thread.is_alive()
    assert [("g1", 1)] == keeper.forgotten


def test_open_pipe_has_not_ended():
    read, write = os.pipe()

    assert not has_ended(read)
    os.close(write)
    assert has_ended(read)
    os.close(read)


def test_clock_goes_forward_in_microseconds():
    before = monotonic_us()

    assert before <= monotonic_us() < before + 60_000_000


class Rounds:
    """Work for a `RoundsWorker`: so many pieces, then SIGTERM's part."""

    def __init__(self, pieces, **options):
        self.pieces, self.times, self.reports = pieces, [], []
        self.worker = RoundsWorker(self.turn, idle_s=0, **options)

    def turn(self, now_us, is_draining):
        self.times.append(now_us)
        if len(self.times) == 2:
            self.worker.drain()
        return len(self.times) <= self.pieces


@pytest.mark.parametrize(("pieces", "rounds"), [(0, 3), (5, 6)])
def test_worker_without_gateways_leaves_when_nothing_is_due(pieces, rounds):
    work = Rounds(pieces)

    work.worker.run()

    assert rounds == len(work.times)
    assert "draining" == work.worker.not_ready


def test_worker_without_gateways_that_is_replaced_leaves_what_waits():
    worker = RoundsWorker(lambda now_us, is_draining: worker.retire() or True, idle_s=0)

    worker.run()

    assert "" == worker.not_ready


def test_worker_without_gateways_looks_once_more_for_what_is_due_in_a_drain():
    told = []

    def turn(now_us, is_draining):
        told.append(is_draining)
        worker.drain()  # as a signal does, after the look
        return False

    worker = RoundsWorker(turn, idle_s=0)
    worker.run()

    assert [False, True] == told


def test_worker_without_gateways_reports_at_once_and_at_the_end():
    reports = []
    work = Rounds(0, report=lambda worker: reports.append(worker.not_ready))

    work.worker.run()

    assert ["", "draining"] == reports


def test_worker_without_gateways_leaves_when_its_parent_is_gone():
    read, write = os.pipe()
    os.close(write)
    worker = RoundsWorker(lambda now_us, is_draining: False, parent_fd=read)

    worker.run()

    assert "draining" == worker.not_ready
    os.close(read)
