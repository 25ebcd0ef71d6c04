"""One worker process: the loop around its sockets. What it says, and when, `links.py` decides."""

import logging
import select
import time
from collections.abc import Callable, Mapping

from gateway.bus.base import Spoke, Spokes
from gateway.bus.rendezvous import live_endpoints
from gateway.wire.layout import Layout
from workers.links import Consumer, WorkerIdentity, WorkerLinks
from workers.metrics import LinkCounters

TURN_S = 0.02
RESCAN_US = 250_000
REPORT_US = 500_000
#: How long one turn receives before heartbeats and acknowledgements have their turn again.
RECEIVE_US_MAX = 50_000

log = logging.getLogger(__name__)


def monotonic_us() -> int:
    """The clock of a worker."""
    return time.monotonic_ns() // 1000


def unix_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


class Worker:
    """Connects to every gateway that lives, and hands what they send to `consumer`.

    `find` tells the address of each of them by boot id. An exception of the consumer ends `run`:
    the gateways replay what was not acknowledged. `report` is called twice a second and at the end.
    """

    def __init__(
        self,
        layout: Layout,
        identity: WorkerIdentity,
        consumer: Consumer,
        spokes: Spokes,
        *,
        counters: LinkCounters | None = None,
        clock: Callable[[], int] = monotonic_us,
        find: Callable[[Layout], Mapping[str, str]] = live_endpoints,
        report: Callable[["Worker"], None] | None = None,
        parent_fd: int | None = None,
    ) -> None:
        self._layout = layout
        self._consumer = consumer
        self._spokes = spokes
        self._clock = clock
        self._find = find
        self._report = report
        self._parent_fd = parent_fd
        self._links = WorkerLinks(identity, consumer, counters or LinkCounters())
        self._connected: dict[str, Spoke] = {}
        self._addresses: Mapping[str, str] = {}
        self._rescan_due_us = 0
        #: Why gateways cannot be looked for just now.
        self._blindness = ""
        self._report_due_us = 0
        self._has_room = True

    def run(self) -> None:
        """Until `drain` was called and every gateway has released this worker."""
        try:
            while not self._links.is_released:
                self.turn()
                # Messages that there is no room for would end the wait at once, again and again:
                # measured, a recorder behind a slow disk took a whole core for nothing.
                self._spokes.wait(TURN_S, messages=self._has_room)
            self._consumer.close(self._clock())
            if self._report is not None:
                self._report(self)
        finally:
            self._spokes.close()

    def drain(self) -> None:
        """Leave. May be called from a signal handler."""
        self._links.drain()
        self._rescan_due_us = 0  # gateways that have just left need not be waited for
        self._spokes.wake()

    def retire(self) -> None:
        """Leave, for another process is there in our place. May be called from a handler."""
        self.drain()

    @property
    def not_ready(self) -> str:
        """Why this worker serves nobody just now; empty where it does."""
        if self._links.is_draining:
            return "draining"
        if self._blindness:
            return f"cannot look for gateways: {self._blindness}"
        return "" if self._links.is_linked else "no gateway"

    def turn(self) -> None:
        """Receive what waits, let time pass, say what is due."""
        if self._parent_fd is not None and has_ended(self._parent_fd):
            self._parent_fd = None
            self._links.drain()
        now_us = self._clock()
        if now_us >= self._rescan_due_us:
            self._rescan_due_us = now_us + RESCAN_US
            self._rescan(now_us)
        self._has_room = self._receive()
        now_us = self._clock()
        self._consumer.advance(now_us)
        messages = self._links.advance(now_us)
        for gateway in self._links.take_silent():
            self._connected[gateway].close()
            self._connected[gateway] = self._spokes.connect(self._addresses[gateway])
        for gateway, message in messages:
            # What cannot be sent is said again: the gateway's silence opens a new link.
            self._connected[gateway].send(message)
        if self._report is not None and now_us >= self._report_due_us:
            self._report_due_us = now_us + REPORT_US
            self._report(self)

    def _rescan(self, now_us: int) -> None:
        try:
            self._addresses = self._find(self._layout)
            self._blindness = ""
        except OSError as fault:
            if not self._blindness:
                log.error("cannot look for gateways: %s; those that are known are kept", fault)
            self._blindness = fault.strerror or str(fault)
        new, vanished = self._links.update(self._addresses, now_us)
        for gateway in vanished:
            self._connected.pop(gateway).close()
        for gateway in new:
            self._connected[gateway] = self._spokes.connect(self._addresses[gateway])

    def _receive(self) -> bool:
        """Returns whether there was room for whatever comes next."""
        has_room = True
        share_us = RECEIVE_US_MAX // max(1, len(self._connected))
        for gateway, spoke in self._connected.items():
            began_us = now_us = self._clock()
            has_room = self._consumer.has_room()
            if not has_room:
                # Unread batches use up the credit: the gateways keep the rest in their logs.
                self._links.hear(gateway, now_us)
                continue
            while (message := spoke.receive()) is not None:
                self._links.receive(gateway, message, now_us)
                now_us = self._clock()
                if now_us - began_us > share_us:
                    self._links.hear(gateway, now_us)
                    break
        return has_room


class RoundsWorker:
    """A worker without gateways, that looks for work by itself: `finish`.

    `turn(now_us, is_draining)`, by the wall clock, does a piece of work and says whether there was
    one.
    """

    def __init__(
        self,
        turn: Callable[[int, bool], bool],
        *,
        report: Callable[["RoundsWorker"], None] | None = None,
        parent_fd: int | None = None,
        idle_s: float = 0.2,
    ) -> None:
        self._turn = turn
        self._report = report
        self._parent_fd = parent_fd
        self._idle_s = idle_s
        self._is_draining = False
        self._is_retired = False
        self._report_due_us = 0

    def run(self) -> None:
        """Until `retire` was called, or `drain` and nothing is due."""
        while not self._is_retired:
            # What waits for somebody to dial again is due in a drain: so there is a round of it.
            is_draining = self._is_draining
            if not self._round(is_draining) and is_draining:
                break
        if self._report is not None:
            self._report(self)

    def drain(self) -> None:
        """Leave. May be called from a signal handler."""
        self._is_draining = True

    def retire(self) -> None:
        """Leave what waits to another process. May be called from a signal handler."""
        self._is_retired = True

    @property
    def not_ready(self) -> str:
        """Why no work is looked for; empty where it is."""
        return "draining" if self._is_draining else ""

    def _round(self, is_draining: bool) -> bool:
        if self._parent_fd is not None and has_ended(self._parent_fd):
            self._is_draining = True
        did_work = self._turn(unix_us(), is_draining)
        now_us = monotonic_us()
        if self._report is not None and now_us >= self._report_due_us:
            self._report_due_us = now_us + REPORT_US
            self._report(self)
        if not did_work and not is_draining:
            time.sleep(self._idle_s)
        return did_work


def has_ended(descriptor: int) -> bool:
    """Whether the other end of a pipe is closed; nothing is ever written to it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
