"""What the sockets of a front process share: the door, the limits, the counters."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.admission import Refusal, UpgradeRequest
from gateway.pace import Pace
from gateway.sweep import Sweeper


class Handler(Protocol):
    """What a socket hands its messages to."""

    def receive(self, message: bytes, text: bool, /) -> int:
        """One whole message, unmasked. Returns 0 to go on, or a code to close the socket with."""

    def closed(self, code: int | None, proper: bool, /) -> None:
        """The last call: nothing more comes. `proper`: a close frame came from the peer."""


#: What a handler may have besides, as `take`: (data, at, most bytes of a message) of masked frames;
#: returns where it ended, and how many messages it took. It may take none.
Take = Callable[[bytes | bytearray, int, int], tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class SocketLimits:
    """How long things may take, and how large a message may be."""

    handshake_s: float = 5.0
    message_bytes_max: int = 65_536
    ping_s: float = 20.0
    pong_s: float = 20.0
    close_s: float = 5.0


class FrontCounters:
    """What happened at the door and on the sockets."""

    def __init__(self) -> None:
        self.accepted = 0
        self.handshake_timeouts = 0
        self.messages = 0
        self.unsent_dropped = 0
        self.handler_faults = 0
        self.refused: Counter[str] = Counter()  # by HTTP status
        self.closed: Counter[str] = Counter()  # by close code, `none` without a close frame

    def totals(self) -> Iterator[tuple[str, str, int]]:
        """(name, help, value) of each counter without labels."""
        yield "upgrades", "Sockets that were upgraded.", self.accepted
        yield (
            "handshake_timeouts",
            "Handshakes that were not done in time.",
            self.handshake_timeouts,
        )
        yield "messages", "Messages read from sockets, on the usual lane.", self.messages
        yield "unsent_dropped", "Messages to a peer that does not read.", self.unsent_dropped
        yield "handler_faults", "Sockets closed by a fault of ours.", self.handler_faults

    def breakdowns(self) -> Iterator[tuple[str, str, str, Counter[str]]]:
        """(name, label, help, values) of each counter with a label."""
        yield "refused", "status", "Requests that were not upgraded.", self.refused
        yield "closes", "code", "Sockets that are over.", self.closed


class Socket(Protocol):
    """A connection, as the front sees it."""

    def tend(self, now_s: float) -> None:
        """Look after its deadlines."""

    def close(self, code: int, reason: str = "") -> None:
        """Close it in order."""

    def abort(self) -> None:
        """Cut it."""


Admit = Callable[[UpgradeRequest], Handler | Refusal]


class Front:
    """Every connection of the process, and what they have in common."""

    def __init__(self, admit: Admit, limits: SocketLimits, sweeper: Sweeper | None = None) -> None:
        """Without a sweeper every socket is read at once."""
        self.admit = admit
        self.limits = limits
        self.counters = FrontCounters()
        self.sweeper = sweeper or Sweeper(Pace(0))
        self.sockets: set[Socket] = set()

    def tend(self, now_s: float) -> None:
        """Several times a second: pings, whatever took too long, and how often sockets are read.

        `now_s` is the loop's time.
        """
        for socket in tuple(self.sockets):
            socket.tend(now_s)
        self.sweeper.tend(self.counters.messages, now_s)

    def close_all(self, code: int, reason: str) -> None:
        """Close every socket in order; who has not upgraded yet is cut."""
        for socket in tuple(self.sockets):
            socket.close(code, reason)

    def abort_all(self) -> None:
        """Cut every socket that is left."""
        for socket in tuple(self.sockets):
            socket.abort()
