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


class Lane(NamedTuple):
    """One stream of one socket: a packet every tick, `offset_s` after the tick's begin."""

    offset_s: float
    send: Callable[[bytes], int]
    #: Which of the tick's frames.
    frame: int = 0


def send_tick(
    lanes: Sequence[Lane],
    frames: Sequence[bytes],
    begin_s: float,
    late_s: array[float],
    listen: Callable[[], float],
) -> list[Lane]:
    """Send a tick's packets, each when it is due by `time.perf_counter`; how late goes to `late_s`.

    Between them `listen` is called, and says after how many seconds again. Returns the lanes whose
    sockets did not take their packet whole.
    """
    clock, sleep = time.perf_counter, time.sleep
    failed = []
    listen_s = begin_s
    for lane in lanes:
        offset_s, send, number = lane
        due_s = begin_s + offset_s
        now_s = clock()
        while now_s < due_s:
            if now_s >= listen_s:
                listen_s = now_s + listen()
            sleep(max(min(due_s, listen_s) - clock(), NAP_S))
            now_s = clock()
        late_s.append(now_s - due_s)
        frame = frames[number]
        try:
            if send(frame) != len(frame):
                failed.append(lane)
        except OSError:
            failed.append(lane)
    return failed


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
        step_s = TICK_S / len(sockets)
        self.lanes = [Lane(number * step_s, each.send) for number, each in enumerate(sockets)]
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

    def listen(self) -> float:
        """Answer the pings that wait on any socket; returns when to look again, in s."""
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
        return LISTEN_EVERY_S

    def wait(self, seconds: float) -> None:
        """Let time pass, and answer pings."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.listen()
            time.sleep(min(left, LISTEN_EVERY_S))

    def load(self, caller: Caller, ticks: int) -> Load:
        """Send one packet a tick on each socket of a server, the sockets spread over the tick."""
        late = array("d")
        cpu_s = time.process_time()
        begin_s = time.perf_counter()
        unsent = 0
        for tick in range(ticks):
            frames = (next(caller.frames),)
            unsent += len(
                send_tick(caller.lanes, frames, begin_s + tick * TICK_S, late, self.listen)
            )
        sent = ticks * len(caller.lanes) - unsent
        caller.sent += sent
        wall_s = time.perf_counter() - begin_s
        p50, p99, most = np.percentile(np.asarray(late) * 1000, (50, 99, 100)).tolist()
        return Load(sent, unsent, wall_s, time.process_time() - cpu_s, p50, p99, most)

    def close(self) -> None:
        """Cut every socket."""
        for connection in self._sockets.values():
            connection.close()
        self._epoll.close()


def upgrade_request(call_id: str, correlation_id: str) -> bytes:
    """What a call begins with."""
    return (
        "GET /media HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"x-ms-call-connection-id: {call_id}\r\n"
        f"x-ms-call-correlation-id: {correlation_id}\r\n\r\n"
    ).encode()


def _upgraded(port: int) -> socket.socket:
    """One socket through its upgrade."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), CONNECT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(upgrade_request(str(uuid4()), str(uuid4())))
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
