"""Routing, catching up, hand-over: with a real log, over the bus in memory."""

import time
from pathlib import Path

import acs_packets as acs
import pytest
from hand_worker import HandWorker

from gateway.bus.memory import MemoryHub
from gateway.catch_up import run_at_once
from gateway.log.adoption import adopt
from gateway.log.folder import dead_logs
from gateway.log.writer import Log
from gateway.router import Router
from gateway.session import Identity, Limits, Session
from gateway.wire.descriptor import SessionClose, SessionOpen, unpack
from gateway.wire.frame import FrameKind
from gateway.wire.topology import Pool

RECORD = Pool(delivery="replay")
TICK_US = 20_000


class Gateway:
    """A router with its log and hub, and a clock that the test turns."""

    def __init__(self, root: Path, boot: str = "boot-1", pools: dict[str, Pool] | None = None):
        self.now_us = acs.ZERO_US
        self.hub = MemoryHub(f"memory://{boot}")
        self.log = Log(root / "gateway-0", boot, sync_ms=5, segment_s=0.5, power=False)
        self.router = Router(pools or {"record": RECORD}, self.log, self.hub.send, run_at_once)
        self.sessions: list[Session] = []
        self.packets = 0
        self._closed = False

    def call(self, call_id: str, number: int = 1) -> Session:
        session = 1000 * number + len(self.sessions)
        route = self.router.open(session, call_id)
        identity = Identity(session, call_id, None, "gateway-0", self.now_us)
        self.sessions.append(
            Session(identity, route, Limits(), lambda: self.now_us, lambda _: None)
        )
        self.router.attach(session, self.sessions[-1])
        return self.sessions[-1]

    def turn(self, *workers: HandWorker, talk: bool = True) -> None:
        """20 ms pass: every open session gets a packet, and everybody listens."""
        self.now_us += TICK_US
        if talk:
            for session in self.sessions:
                self.packets += 1
                at_ms = (self.now_us - acs.ZERO_US) / 1000
                session.receive(acs.audio("8:acs:a", acs.pcm(self.packets), acs.stamp(at_ms)), True)
        for worker in workers:
            worker.beat()
        while (message := self.hub.receive()) is not None:
            self.router.receive(*message, self.now_us)
        self.router.flush(self.now_us)
        self.router.tend(self.now_us)
        for worker in workers:
            worker.listen()

    def hang_up(self, session: Session) -> None:
        session.closed(1000, True)
        self.sessions.remove(session)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.hub.close()
            self.log.close(remove=False)


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.close()


def settle(gateway: Gateway, *workers: HandWorker, turns: int = 400) -> None:
    """Let everything that is under way arrive and be acknowledged."""
    for _ in range(turns):
        gateway.turn(*workers, talk=False)
        for worker in workers:
            worker.ack()
        if gateway.router.is_idle():
            return
    raise AssertionError("the router still waits for somebody")


def segments(gateway: Gateway) -> int:
    """Segments on disk, once the writer has written what it was handed."""
    for _ in range(5000):
        if gateway.log.written_up_to() is None:
            return len(list(gateway.log.folder.glob("*.seg")))
        time.sleep(0.001)
    raise AssertionError("the log's writer does not get done")


def seqs(workers: list[HandWorker], session: Session) -> list[int]:
    return sorted({seq for worker in workers for seq in worker.audio()[session.id, 1]})


def test_a_call_that_begins_with_a_worker_there_is_heard_live(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(10):
        gateway.turn(worker)

    assert list(range(10)) == seqs([worker], session)
    assert [f.kind for f in worker.frames[:3]] == [FrameKind.OPEN, FrameKind.OPEN, FrameKind.AUDIO]
    assert unpack(worker.frames[0].payload, SessionOpen).call_id == "call-1"
    assert list(range(1, 11)) == worker.batches


def test_a_worker_that_comes_late_is_given_everything_from_the_log(gateway):
    session = gateway.call("call-1")
    for _ in range(100):
        gateway.turn()
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    for _ in range(10):
        gateway.turn(worker)
    gateway.hang_up(session)
    settle(gateway, worker)

    assert list(range(110)) == seqs([worker], session)
    order = [frame.seq for frame in worker.frames if frame.kind == FrameKind.AUDIO]
    assert sorted(order) == order


def test_a_dead_workers_calls_go_to_another_with_what_it_had_not_made_safe(gateway):
    first = HandWorker(gateway.hub, "record-0")
    first.hello()
    gateway.turn(first)
    session = gateway.call("call-1")
    for _ in range(50):
        gateway.turn(first)
    first.ack(safe=first.batches[20])
    gateway.turn(first)
    first.die()
    second = HandWorker(gateway.hub, "record-1")
    second.hello()
    for _ in range(20):
        gateway.turn(second)
    gateway.hang_up(session)
    settle(gateway, second)

    safe = {seq for seq in first.audio()[session.id, 1] if seq <= 20}
    assert set(range(71)) == safe | set(second.audio()[session.id, 1])
    assert gateway.router.links_lost == 1


def test_calls_stay_with_their_worker_when_another_comes(gateway):
    first = HandWorker(gateway.hub, "record-0")
    first.hello()
    gateway.turn(first)
    sessions = [gateway.call(f"call-{n}") for n in range(8)]
    second = HandWorker(gateway.hub, "record-1")
    second.hello()
    for _ in range(5):
        gateway.turn(first, second)
    later = [gateway.call(f"later-{n}", 2) for n in range(16)]
    for _ in range(5):
        gateway.turn(first, second)

    assert {session.id for session in sessions} <= {key[0] for key in first.audio()}
    assert not {session.id for session in sessions} & {key[0] for key in second.audio()}
    heard = {key[0] for key in second.audio()}
    assert heard
    assert heard < {session.id for session in later}


def test_a_worker_without_credit_is_served_from_the_log_and_loses_nothing(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello(credit_bytes=3000)
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(60):
        gateway.turn(worker)
    behind = len(worker.audio()[session.id, 1])
    for _ in range(60):
        worker.ack()
        gateway.turn(worker)
    gateway.hang_up(session)
    settle(gateway, worker)

    assert behind < 60
    assert list(range(120)) == seqs([worker], session)


def test_a_silent_worker_loses_its_calls_and_is_told_when_it_wakes(gateway):
    first = HandWorker(gateway.hub, "record-0")
    first.hello()
    gateway.turn(first)
    session = gateway.call("call-1")
    second = HandWorker(gateway.hub, "record-1")
    second.hello()
    for _ in range(100):
        gateway.turn(second)
    first.listen()
    first.ack()
    gateway.turn(second)
    first.listen()
    gateway.hang_up(session)
    settle(gateway, second)

    assert list(range(101)) == seqs([second], session)
    assert [m["kind"] for m in first.control if m["kind"] == "GONE"] == ["GONE", "GONE"]
    assert gateway.router.stale_messages == 1


def test_segments_go_when_every_worker_has_made_them_safe(gateway):
    worker = HandWorker(gateway.hub, "record-0")
    worker.hello()
    gateway.turn(worker)
    gateway.call("call-1")
    for _ in range(200):
        gateway.turn(worker)
    unsafe = segments(gateway)
    worker.ack()
    gateway.turn(worker)
    worker.ack()
    gateway.turn(worker, talk=False)

    assert unsafe >= 7
    assert segments(gateway) <= 2


def test_the_log_of_a_dead_gateway_is_delivered_and_its_sessions_are_closed(tmp_path):
    dead = Gateway(tmp_path, "boot-1")
    session = dead.call("call-1")
    for _ in range(120):
        dead.turn()
    dead.close()
    heir = Gateway(tmp_path, "boot-2")
    worker = HandWorker(heir.hub, "record-0")
    worker.hello()
    [folder] = dead_logs(tmp_path)
    heir.router.adopt(adopt(folder))
    settle(heir, worker)
    heir.close()

    assert list(range(120)) == seqs([worker], session)
    closes = [frame for frame in worker.frames if frame.kind == FrameKind.CLOSE]
    assert [frame.stream for frame in closes] == [1, 0]
    assert unpack(closes[-1].payload, SessionClose).cause == "gateway_died"
    assert not folder.exists()


def test_a_live_pool_hears_a_call_from_the_moment_it_joins(gateway):
    session = gateway.call("call-1")
    for _ in range(10):
        gateway.turn()
    worker = HandWorker(gateway.hub, "ears-0", pool="ears")
    worker.hello()
    for _ in range(5):
        gateway.turn(worker)

    assert [frame.kind for frame in worker.frames[:2]] == [FrameKind.OPEN, FrameKind.OPEN]
    assert list(range(11, 15)) == seqs([worker], session) or list(range(10, 15)) == seqs(
        [worker], session
    )


def test_a_live_pool_that_does_not_read_loses_the_oldest_and_it_is_counted(tmp_path):
    pools = {"record": RECORD, "ears": Pool(queue_ms_max=200)}
    gateway = Gateway(tmp_path, pools=pools)
    worker = HandWorker(gateway.hub, "ears-0", pool="ears")
    worker.hello(credit_bytes=2000)
    gateway.turn(worker)
    session = gateway.call("call-1")
    for _ in range(50):
        gateway.turn(worker)
    for _ in range(20):
        worker.ack()
        gateway.turn(worker)
    gateway.close()

    heard = seqs([worker], session)
    assert heard[-1] == 69
    assert 70 - len(heard) == gateway.router.pools["ears"].dropped["queue_full"]
    assert FrameKind.OPEN in {frame.kind for frame in worker.frames}
