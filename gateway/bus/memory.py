"""The bus within one process, for tests and benches: the same interfaces, no ZeroMQ."""

from collections import deque
from itertools import count
from typing import ClassVar

from gateway.bus.base import Sent, Spoke
from gateway.bus.zmq import HIGH_WATER_MARK


class MemoryHub:
    """A hub that `MemorySpokes` reach by its address in `MemoryHub.at`."""

    at: ClassVar[dict[str, "MemoryHub"]] = {}

    def __init__(self, address: str) -> None:
        """Bind at `address`. Raises OSError where another hub is."""
        if address in self.at:
            raise OSError(f"cannot bind {address}: address in use")
        self._address = address
        self._inbox: deque[tuple[bytes, bytes]] = deque()
        self._outboxes: dict[bytes, deque[bytes]] = {}
        self._peers = count(1)
        self.at[address] = self

    def fileno(self) -> int:
        return -1

    def attach(self) -> tuple[bytes, deque[bytes]]:
        """A new peer's name and the queue that it reads."""
        peer = b"peer-%d" % next(self._peers)
        self._outboxes[peer] = deque()
        return peer, self._outboxes[peer]

    def detach(self, peer: bytes) -> None:
        """Forget a peer: sends to it are UNREACHABLE from now on."""
        self._outboxes.pop(peer, None)

    def put(self, peer: bytes, message: bytes) -> None:
        """What a spoke sends."""
        self._inbox.append((peer, message))

    def send(self, peer: bytes, message: bytes) -> Sent:
        outbox = self._outboxes.get(peer)
        if outbox is None:
            return Sent.UNREACHABLE
        if len(outbox) >= HIGH_WATER_MARK:
            return Sent.FULL
        outbox.append(message)
        return Sent.DONE

    def receive(self) -> tuple[bytes, bytes] | None:
        return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        self.at.pop(self._address, None)


class MemorySpoke:
    """A spoke of a `MemoryHub`."""

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._peer, self._inbox = hub.attach()

    def send(self, message: bytes) -> bool:
        self._hub.put(self._peer, message)
        return True

    def receive(self) -> bytes | None:
        return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        self._hub.detach(self._peer)


class MemorySpokes:
    """Spokes whose wait returns at once: whoever tests decides when time passes."""

    def __init__(self) -> None:
        self._spokes: list[MemorySpoke] = []

    def connect(self, address: str) -> Spoke:
        spoke = MemorySpoke(MemoryHub.at[address])
        self._spokes.append(spoke)
        return spoke

    def wait(self, timeout_s: float, *, messages: bool = True) -> None:
        """Return at once."""

    def wake(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        for spoke in self._spokes:
            spoke.close()
