"""The sockets of a driver: dialled without waiting, upgraded, kept alive, closed in order."""

from __future__ import annotations

import errno
import json
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from bench.load.frames import CLOSE, PING, PONG, Speech, closing, masked, opening, short_frames
from bench.load.histogram import Histogram
from bench.load.rig import TICK_S, Lane, upgrade_request

#: Nobody dials for longer, nor waits for longer for the answer to a close.
PATIENCE_S = 10.0
#: A socket's phase within the tick: any number of neighbours is spread evenly.
GOLDEN = 0.618_033_988_75


class State(Enum):
    """Of a socket."""

    CONNECTING = "connecting"
    UPGRADING = "upgrading"
    OPEN = "open"
    CLOSING = "closing"
    OVER = "over"


class Place(NamedTuple):
    """A line's number, and when within a tick its streams speak."""

    number: int
    streams: int

    def offsets_s(self) -> list[float]:
        """Of each stream, after the tick's begin."""
        phase = self.number * GOLDEN
        return [(phase + n / self.streams) % 1 * TICK_S for n in range(self.streams)]

    def correlation_id(self) -> str:
        """Says the offsets, so that who takes the audio can tell when it was sent."""
        offsets = "-".join(str(round(offset_s * 1e6)) for offset_s in self.offsets_s())
        return f"load-{offsets}-{uuid4()}"


def offsets_of(correlation_id: str) -> list[int]:
    """In us, from an id that `Place` has made. Raises ValueError."""
    parts = correlation_id.split("-")[:-5]
    if parts[:1] != ["load"]:
        raise ValueError("not of a call of the bench")
    return [int(offset) for offset in parts[1:]]


@dataclass(slots=True, eq=False)
class Line:
    """One call: one socket."""

    place: Place
    call_id: str
    correlation_id: str
    socket: socket.socket
    since_s: float  # it was dialled, or began to close
    state: State = State.CONNECTING
    answer: bytes = b""
    lanes: list[Lane] = field(default_factory=list)
    first_tick: int = 0
    ticks: int = 0
    unsent: int = 0

    #: Of a frame that was taken in part: nothing may come before it.
    rest: bytes = b""

    def send(self, frame: bytes) -> int:
        """Send a frame whole, now or, where a part is taken, later. Raises OSError: not at all."""
        if self.rest:
            self.rest = self.rest[self.socket.send(self.rest) :]
            if self.rest:
                return 0
        taken = self.socket.send(frame)
        self.rest = frame[taken:]
        return len(frame)


class Switchboard:
    """All lines of a process."""

    def __init__(self, port: int, speech: Speech, calls_path: Path) -> None:
        self._port = port
        self._streams = speech.streams
        self._opening = opening(speech.rate)
        self._epoll = select.epoll()
        self._lines: dict[int, Line] = {}
        self._pending: dict[int, Line] = {}  # dialled or closing, by descriptor
        self._opened: list[Line] = []
        self._lost: list[Line] = []
        self._calls = calls_path.open("a", encoding="utf-8")
        self.open: dict[Line, None] = {}
        self.accept = Histogram()
        self.refused: Counter[str] = Counter()
        self.dialled = self.ended = self.lost = 0

    @property
    def pending(self) -> int:
        """Lines that are being dialled or closed, or have not spoken yet."""
        return len(self._pending) + len(self._opened)

    def dial(self, number: int) -> None:
        """Begin a call."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        place = Place(number, self._streams)
        line = Line(place, str(uuid4()), place.correlation_id(), connection, time.perf_counter())
        failure = connection.connect_ex(("127.0.0.1", self._port))
        if failure not in (0, errno.EINPROGRESS):
            self._give_up(line, errno.errorcode[failure])
            return
        descriptor = connection.fileno()
        self._lines[descriptor] = self._pending[descriptor] = line
        self._epoll.register(descriptor, select.EPOLLOUT)

    def listen(self, now_s: float) -> None:
        """Go on with all sockets that can."""
        for descriptor, _ in self._epoll.poll(0):
            line = self._lines[descriptor]
            if line.state is State.CONNECTING:
                self._connected(line)
            else:
                self._read(line)
        for line in [each for each in self._pending.values() if now_s - each.since_s > PATIENCE_S]:
            self._give_up(line, "no answer")

    def take_opened(self) -> list[Line]:
        """Lines that may speak from now on."""
        opened, self._opened = self._opened, []
        return [line for line in opened if line.state is State.OPEN]

    def take_lost(self) -> list[Line]:
        """Lines that the server has ended."""
        lost, self._lost = self._lost, []
        return lost

    def hang_up(self, line: Line) -> None:
        """Close a line that is open."""
        self.open.pop(line, None)
        self._note(line)
        line.state, line.since_s = State.CLOSING, time.perf_counter()
        self._pending[line.socket.fileno()] = line
        try:
            line.send(closing())
        except OSError:
            self._give_up(line, "")

    def close(self) -> None:
        """Cut everything."""
        for line in self._lines.values():
            line.socket.close()
        self._epoll.close()
        self._calls.close()

    def _connected(self, line: Line) -> None:
        failure = line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            self._give_up(line, errno.errorcode[failure])
            return
        line.state = State.UPGRADING
        self._epoll.modify(line.socket.fileno(), select.EPOLLIN)
        line.socket.send(upgrade_request(line.call_id, line.correlation_id))

    def _read(self, line: Line) -> None:
        try:
            data = line.socket.recv(4096)
        except OSError:
            data = b""
        if line.state is State.UPGRADING:
            self._upgraded(line, data)
            return
        for opcode, payload in short_frames(data):
            if opcode == PING:
                line.socket.send(masked(PONG, payload, b"\x00\x00\x00\x00"))
            elif opcode == CLOSE and line.state is State.CLOSING:
                self.ended += 1
                self._drop(line)
                return
        if not data:
            self._give_up(line, "cut")

    def _upgraded(self, line: Line, data: bytes) -> None:
        line.answer += data
        if data and b"\r\n\r\n" not in line.answer:
            return
        if not line.answer.startswith(b"HTTP/1.1 101"):
            status = line.answer[9:12].decode("ascii", "replace")
            self._give_up(line, status or "cut")
            return
        self.accept.add_ms([1000 * (time.perf_counter() - line.since_s)])
        del self._pending[line.socket.fileno()]
        line.state = State.OPEN
        line.socket.send(self._opening)
        self.dialled += 1
        self.open[line] = None
        self._opened.append(line)

    def _give_up(self, line: Line, why: str) -> None:
        if line.state in (State.CONNECTING, State.UPGRADING):
            self.refused[why] += 1
        else:
            self.lost += 1
            if line.state is State.OPEN:
                self.open.pop(line, None)
                self._lost.append(line)
        self._drop(line)

    def _drop(self, line: Line) -> None:
        line.state = State.OVER
        descriptor = line.socket.fileno()
        self._lines.pop(descriptor, None)
        self._pending.pop(descriptor, None)
        line.socket.close()  # which takes it out of the epoll, too

    def _note(self, line: Line) -> None:
        """What a call has said, for those who check its recording."""
        said = {
            "call_id": line.call_id,
            "correlation_id": line.correlation_id,
            "number": line.place.number,
            "first": line.first_tick,
            "ticks": line.ticks,
            "unsent": line.unsent,
        }
        self._calls.write(json.dumps(said) + "\n")
        self._calls.flush()
