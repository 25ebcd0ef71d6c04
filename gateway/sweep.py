"""Coalesced reads: sockets that the loop does not watch, read once an interval. HOT.

Under load most of what a packet costs is a wake-up and a read of its own. So packets gather in the
kernel, and a sweep reads a socket once for many of them. Where nothing is gained (little load, a
worker that listens live, a silent socket) sockets stay with the loop.
"""

import asyncio
import heapq
import logging
import os
import time
from collections.abc import Callable
from math import inf
from typing import Protocol

import uvloop.loop

from gateway.pace import INTERVAL_MS_MIN, Pace, next_turn_s

logger = logging.getLogger(__name__)

#: Sweeps are sliced: how often one begins, and how long it lasts before the loop has its turn.
TURN_S = 0.01
SLICE_S = 0.003
#: One read of the kernel's buffer, and how many a socket gets in one turn.
READ_BYTES = 64 * 1024
READS_MAX = 4
#: What may gather: beyond it the kernel's buffer (128 KiB at first, its bookkeeping included) could
#: fill up and slow the peer down, so the socket is read more often.
GATHERED_BYTES_MAX = 32 * 1024
#: Of which so much allows a longer interval again.
SPARSE_BYTES_MAX = GATHERED_BYTES_MAX // 4
#: A socket that was empty in so many turns in a row goes back to the loop, for `REST_S`.
EMPTY_TURNS_MAX = 2
REST_S = 1.0
#: Phases by the golden ratio: even for any number of sockets.
PHASE_STEP = 0.6180339887498949

#: Plain TCP on uvloop. What has TLS must be read by its transport; other loops stay as they are.
_TcpTransport: type[asyncio.Transport] = uvloop.loop.TCPTransport  # type: ignore[attr-defined]  # not in its stubs


class Readable(Protocol):
    """What takes the bytes of a connection."""

    def feed(self, data: bytes) -> None:
        """Take bytes, wherever they were read."""


class _Swept:
    """One socket that may be swept. It is paused, and in the heap, while `turn_s` is finite."""

    __slots__ = (
        "descriptor",
        "empty_turns",
        "handler",
        "interval_s",
        "limit_ms",
        "number",
        "phase",
        "rests_until_s",
        "socket",
        "transport",
        "turn_s",
    )

    def __init__(
        self, number: int, socket: Readable, transport: asyncio.Transport, handler: object
    ) -> None:
        self.number = number
        self.socket = socket
        self.transport = transport
        self.handler = handler
        self.descriptor: int = transport.get_extra_info("socket").fileno()
        self.phase = number * PHASE_STEP % 1.0
        self.turn_s = inf
        self.interval_s = 0.0
        #: What its own traffic allows.
        self.limit_ms = inf
        self.empty_turns = 0
        self.rests_until_s = -inf


class Sweeper:
    """Every socket of the process that may be swept, and when."""

    def __init__(self, pace: Pace, latency_ms: Callable[[object], float] = lambda _: inf) -> None:
        """`latency_ms(handler)`: how long packets of a socket may wait to be read."""
        #: Turns, each a slice of the sockets.
        self.sweeps = 0
        self.reads = 0
        self.empty_reads = 0
        #: Sockets that the loop does not watch now.
        self.paused = 0
        self._pace = pace
        self._latency_ms = latency_ms
        self._sockets: dict[Readable, _Swept] = {}
        self._joined = 0
        #: (turn, number, socket) by time; what does not match the socket's `turn_s` is void.
        self._due: list[tuple[float, int, _Swept]] = []
        self._timer: asyncio.Handle | None = None

    @property
    def interval_ms(self) -> float:
        """What the load asks for; 0: every socket is read at once."""
        return self._pace.interval_ms

    def join(self, socket: Readable, transport: asyncio.Transport | None, handler: object) -> None:
        """Take a socket whose upgrade is done. It must `leave` before its descriptor is closed."""
        if self._pace.interval_ms_max and isinstance(transport, _TcpTransport):
            self._joined += 1
            swept = _Swept(self._joined, socket, transport, handler)
            self._sockets[socket] = swept
            self._place(swept, time.monotonic())

    def leave(self, socket: Readable) -> None:
        """Give a socket back to the loop for good: it closes, or is gone."""
        swept = self._sockets.pop(socket, None)
        if swept is not None:
            self._give_back(swept)

    def tend(self, packets: int, now_s: float) -> None:
        """A few times a second: follow the load. `packets`: how many were read in all."""
        before_ms = self._pace.interval_ms
        interval_ms = self._pace.measure(packets, now_s)
        if interval_ms != before_ms:
            self.reconsider()
        elif interval_ms:
            for swept in self._sockets.values():
                if swept.turn_s == inf:
                    self._place(swept, now_s)

    def reconsider(self) -> None:
        """Go by what the handlers can bear now."""
        now_s = time.monotonic()
        for swept in self._sockets.values():
            self._place(swept, now_s)

    def _place(self, swept: _Swept, now_s: float) -> None:
        """Let a socket be read as often as it must be, by the loop or by sweeps."""
        # A turn may come late by as much as lies between two.
        bearable_ms = self._latency_ms(swept.handler) - TURN_S * 1000
        interval_ms = min(self._pace.interval_ms, bearable_ms, swept.limit_ms)
        if interval_ms < INTERVAL_MS_MIN or now_s < swept.rests_until_s:
            self._give_back(swept)
            return
        swept.interval_s = interval_ms / 1000
        turn_s = next_turn_s(now_s, swept.interval_s, swept.phase)
        if turn_s >= swept.turn_s:
            return
        if swept.turn_s == inf:
            swept.transport.pause_reading()
            self.paused += 1
        swept.turn_s = turn_s
        heapq.heappush(self._due, (turn_s, swept.number, swept))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN_S, self._turn)

    def _give_back(self, swept: _Swept) -> None:
        if swept.turn_s != inf:
            swept.turn_s = inf
            swept.empty_turns = 0
            self.paused -= 1
            swept.transport.resume_reading()

    def _turn(self) -> None:
        """One slice: read whoever is due, for `SLICE_S` at most."""
        now_s = time.monotonic()
        until_s = now_s + SLICE_S
        self.sweeps += 1
        due = self._due
        is_done = True
        while due and due[0][0] <= now_s:
            turn_s, number, swept = due[0]
            if turn_s != swept.turn_s:
                heapq.heappop(due)
                continue
            swept.turn_s = next_turn_s(now_s, swept.interval_s, swept.phase)
            heapq.heapreplace(due, (swept.turn_s, number, swept))
            self._read(swept, now_s)
            if time.monotonic() >= until_s:
                is_done = False
                break
        loop = asyncio.get_running_loop()
        self._timer = None
        if not is_done:
            self._timer = loop.call_soon(self._turn)
        elif due:
            self._timer = loop.call_later(TURN_S, self._turn)

    def _read(self, swept: _Swept, now_s: float) -> None:
        """Read what has gathered on a socket, and hand it over."""
        gathered = 0
        for _ in range(READS_MAX):
            if swept.turn_s == inf or swept.transport.is_closing():
                return  # it has left, or is about to
            self.reads += 1
            try:
                data = os.read(swept.descriptor, READ_BYTES)
            except BlockingIOError:
                self.empty_reads += 1
                break
            except OSError:
                swept.transport.abort()
                return
            if not data:
                # The end: the loop, which reads it again, knows what to do.
                self.leave(swept.socket)
                return
            gathered += len(data)
            try:
                swept.socket.feed(data)
            except Exception:
                logger.exception("a socket failed on what it was fed; it is cut")
                swept.transport.abort()
                return
            if len(data) < READ_BYTES:
                break
        if not gathered or gathered > GATHERED_BYTES_MAX or swept.limit_ms != inf:
            self._heed(swept, gathered, now_s)
        else:
            swept.empty_turns = 0

    def _heed(self, swept: _Swept, gathered: int, now_s: float) -> None:
        """Read a socket on which nothing had gathered, or too much, at other times."""
        if not gathered:
            swept.empty_turns += 1
            if swept.empty_turns >= EMPTY_TURNS_MAX:
                swept.rests_until_s = now_s + REST_S
                self._give_back(swept)
            return
        swept.empty_turns = 0
        if gathered > GATHERED_BYTES_MAX:
            half_ms = swept.interval_s * 1000 / 2
            swept.limit_ms = max(half_ms, INTERVAL_MS_MIN)
            if half_ms < INTERVAL_MS_MIN:
                swept.rests_until_s = now_s + REST_S
        elif gathered <= SPARSE_BYTES_MAX:
            swept.limit_ms = inf
        self._place(swept, now_s)
