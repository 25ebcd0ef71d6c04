"""A gateway's router with its log and hub, in one process, and a clock that the test turns."""

import time
from pathlib import Path

import acs_packets as acs
from hand_worker import HandWorker

from gateway.bus.memory import MemoryHub
from gateway.catch_up import RunRead, run_at_once
from gateway.log.writer import Log
from gateway.router import Router
from gateway.session import Identity, Limits, Session
from gateway.wire.topology import Pool

RECORD = Pool(delivery="replay")
TICK_US = 20_000


class Gateway:
    """A router with its log and hub, and a clock that the test turns."""

    def __init__(
        self,
        root: Path,
        boot: str = "boot-1",
        pools: dict[str, Pool] | None = None,
        run_read: RunRead = run_at_once,
    ) -> None:
        self.now_us = acs.ZERO_US
        self.hub = MemoryHub(f"memory://{boot}")
        self.log = Log(root / "gateway-0", boot, sync_ms=5, segment_s=0.5, power=False)
        self.router = Router(pools or {"record": RECORD}, self.log, self.hub.send, run_read)
        self.sessions: list[Session] = []
        self.packets = 0
        self._closed = False

    def call(self, call_id: str, number: int = 1) -> Session:
        session = 1000 * number + len(self.sessions)
        route = self.router.open(session, call_id)
        identity = Identity(session, call_id, None, "gateway-0", "boot-1", self.now_us)
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
    """Segments that are kept, once the writer has written what it was handed."""
    for _ in range(5000):
        if gateway.log.written_up_to() is None:
            return gateway.log.segments
        time.sleep(0.001)
    raise AssertionError("the log's writer does not get done")


def seqs(workers: list[HandWorker], session: Session) -> list[int]:
    return sorted({seq for worker in workers for seq in worker.audio()[session.id, 1]})
