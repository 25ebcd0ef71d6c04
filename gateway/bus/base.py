"""What both transports of the bus offer: two small interfaces, one for each end.

A gateway has one `Hub`, a worker one `Spoke` per gateway. Sends never block; what cannot be sent is
reported, never kept here. One message is one bytes object.
"""

from enum import Enum
from typing import Protocol


class Sent(Enum):
    """What became of a message that a hub was given."""

    DONE = "done"
    FULL = "full"  # the peer's queue is at its mark: its credit was too large
    UNREACHABLE = "unreachable"  # no such peer (any more)


class Hub(Protocol):
    """The gateway's end: many peers, each known by the bytes that came with its first message."""

    def fileno(self) -> int:
        """Readable when messages may wait; edge-triggered, so `receive` until it returns None."""

    def send(self, peer: bytes, message: bytes) -> Sent:
        """Queue `message` for `peer`."""

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next (peer, message), or None when none waits."""

    def close(self) -> None:
        """Give up what is still queued after a moment, and free the endpoint."""


class Spoke(Protocol):
    """The worker's end: one gateway."""

    def send(self, message: bytes) -> bool:
        """Queue `message`; False where the queue is full."""

    def receive(self) -> bytes | None:
        """The next message, or None when none waits."""

    def close(self) -> None:
        """Hand over what is queued, if that is quick, and disconnect."""


class Spokes(Protocol):
    """All spokes of one worker, and the wait for any of them."""

    def connect(self, address: str) -> Spoke:
        """A spoke to the gateway that is bound at `address`."""

    def wait(self, timeout_s: float, *, messages: bool = True) -> None:
        """Return when a message may wait at any spoke, on `wake`, or after `timeout_s`.

        Without `messages`, for who would not take one now, only the latter two end it.
        """

    def wake(self) -> None:
        """End a `wait` now. May be called from a signal handler or another thread."""

    def close(self) -> None:
        """Close every spoke."""
