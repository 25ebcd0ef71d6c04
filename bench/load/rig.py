"""The rig: many client sockets in one process, and packets on an absolute schedule.

It must be cheap and punctual, and it shows how cheap and how punctual it was.
"""

from __future__ import annotations

import select
import socket
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from bench.load.frames import PONG, TICK_MS, audio_frames, masked, opening, pings
from bench.load.processes import RigError

TICK_S = TICK_MS / 1000
#: Naps of less cost more than they spare.
NAP_S = 100e-6
LISTEN_EVERY_S = 0.01
CONNECT_S = 10.0
Send = Callable[[bytes], int]


class Load(NamedTuple):
    """One server's turn, as the rig saw it."""

    sent: int
    unsent: int  # the server's socket took nothing, or a part only
    wall_s: float
    rig_cpu_s: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float


class Caller:
    """The sockets of one server, and the clock of what they say.

    The clock stands still between two loads, so that the audio has no gaps.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        #: Messages so far: every socket has announced itself.
        self.sent = len(sockets)
        self.frames: Iterator[bytes] = audio_frames(time.time_ns() // 1_000_000)


class Rig:
    """Sockets to all servers."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self.lost_sockets = 0

    def dial(self, port: int, count: int) -> Caller:
        """`count` calls to a server on loopback, upgraded and announced. Raises `RigError`."""
        sockets = []
        for _ in range(count):
            connection = _upgraded(port)
            connection.sendall(opening())
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)
            sockets.append(connection)
            self.listen()
        return Caller(sockets)

    def listen(self) -> None:
        """Answer the pings that wait on any socket."""
        for descriptor, _ in self._epoll.poll(0):
            connection = self._sockets[descriptor]
            try:
                data = connection.recv(4096)
            except OSError:
                data = b""
            if not data:
                self._epoll.unregister(descriptor)
                self.lost_sockets += 1
            for payload in pings(data):
                connection.send(masked(PONG, payload, b"\x00\x00\x00\x00"))

    def wait(self, seconds: float) -> None:
        """Let time pass, and answer pings."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.listen()
            time.sleep(min(left, LISTEN_EVERY_S))

    def load(self, caller: Caller, ticks: int) -> Load:
        """Send one packet a tick on each socket of a server, the sockets spread over the tick."""
        late = array("d")
        sends = [connection.send for connection in caller.sockets]
        cpu_s = time.process_time()
        begin_s = time.perf_counter()
        sent = unsent = 0
        for tick in range(ticks):
            taken = self._tick(sends, next(caller.frames), begin_s + tick * TICK_S, late)
            sent += taken
            unsent += len(sends) - taken
        caller.sent += sent
        wall_s = time.perf_counter() - begin_s
        p50, p99, most = np.percentile(np.asarray(late) * 1000, (50, 99, 100)).tolist()
        return Load(sent, unsent, wall_s, time.process_time() - cpu_s, p50, p99, most)

    def _tick(self, sends: Sequence[Send], frame: bytes, due_s: float, late: array[float]) -> int:
        """One packet on each socket; returns how many were taken whole."""
        clock, sleep = time.perf_counter, time.sleep
        step_s = TICK_S / len(sends)
        size = len(frame)
        taken = 0
        listen_s = due_s
        for send in sends:
            now_s = clock()
            if now_s < due_s:
                if now_s >= listen_s:
                    self.listen()
                    listen_s = now_s + LISTEN_EVERY_S
                sleep(max(due_s - now_s, NAP_S))
                now_s = clock()
            late.append(now_s - due_s)
            try:  # noqa: SIM105 - a context manager for each packet would cost more than it says
                taken += send(frame) == size
            except OSError:
                pass
            due_s += step_s
        return taken

    def close(self) -> None:
        """Cut every socket."""
        for connection in self._sockets.values():
            connection.close()
        self._epoll.close()


def _upgraded(port: int) -> socket.socket:
    """One socket through its upgrade."""
    request = (
        "GET /media HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"x-ms-call-connection-id: {uuid4()}\r\nx-ms-call-correlation-id: {uuid4()}\r\n\r\n"
    )
    try:
        connection = socket.create_connection(("127.0.0.1", port), CONNECT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(4096)
            if not piece:
                break
            answer += piece
    except OSError as fault:
        raise RigError(f"a server on port {port} does not take calls: {fault}") from fault
    if not answer.startswith(b"HTTP/1.1 101"):
        raise RigError(f"a server on port {port} refuses calls: {answer[:60]!r}")
    return connection
