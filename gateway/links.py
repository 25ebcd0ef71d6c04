"""One link, gateway side: from a worker's HELLO to its death. Pure.

Batches that were sent and not acknowledged are remembered by number and by the tick that they came
from, not by content: what must be sent again is read back from the log.
"""

from collections import Counter, deque
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from gateway.bus.base import Sent
from gateway.bus.zmq import BATCHES_IN_FLIGHT_MAX
from gateway.log.ticks import Tick, heads_of, select, split
from gateway.wire import messages
from gateway.wire.frame import (
    BATCH,
    BATCH_BYTES_MAX,
    FrameKind,
    batch_header,
    pack_batch,
)
from gateway.wire.topology import Pool

#: No message of a worker for this long: it hangs.
SILENCE_US_MAX = 1_500_000
HEARTBEAT_US = 100_000

Send = Callable[[bytes, bytes], Sent]


class InFlight(NamedTuple):
    """A batch that is not known to be safe."""

    number: int
    source: object  # the log that its tick is in
    tick: int
    size: int


class Link:
    """What a gateway knows of one worker on one link."""

    def __init__(self, peer: bytes, hello: messages.Hello, pool: "PoolState", now_us: int) -> None:
        self.peer = peer
        self.pool = pool
        self.number = hello.link
        self.name = hello.name
        self.boot_id = hello.boot_id
        self.calls_max = hello.calls_max
        self.heard_us = now_us
        self.sent_us = 0
        self.unsynced_us = 0
        #: Parts of this tick that are still to be sent.
        self.outbox: list[Tick] = []
        #: For a pool with `newest`: parts that wait for credit, oldest first.
        self.waiting: deque[Tick] = deque()
        self.calls: Counter[str] = Counter()
        self._credit_bytes = hello.credit_bytes
        self._in_flight: deque[InFlight] = deque()
        self._untaken_bytes = 0
        self._taken = 0
        self._next = 1

    def has_credit(self) -> bool:
        """Whether the worker can be sent another batch."""
        untaken = self._next - 1 - self._taken
        return self._untaken_bytes < self._credit_bytes and untaken < BATCHES_IN_FLIGHT_MAX

    def is_full(self) -> bool:
        """Whether the worker has as many calls as it wanted at most."""
        return self.calls_max is not None and len(self.calls) >= self.calls_max

    def send(self, send: Send, source: object, tick: Tick, now_us: int, flags: int = 0) -> Sent:
        """Send a tick's frames in as many batches as they need: all of them, or none.

        Credit is asked for once, and may be overdrawn by one tick. Where the socket does not take
        a batch for all that, the rest is not sent, and what was stays in flight.
        """
        if not self.has_credit():
            return Sent.FULL
        for part in split(tick, BATCH_BYTES_MAX - BATCH.size):
            header = batch_header(
                self.number,
                self._next,
                tick.sent_us,
                frames=part.frames,
                payload_bytes=len(part.payload),
                flags=flags,
            )
            message = pack_batch(header, (part.heads,), (part.payload,))
            sent = send(self.peer, message)
            if sent is not Sent.DONE:
                return sent
            self._in_flight.append(InFlight(self._next, source, tick.number, len(message)))
            self._untaken_bytes += len(message)
            self._next += 1
            self.sent_us = now_us
        return Sent.DONE

    def send_newest(self, send: Send, now_us: int) -> Sent:
        """`newest`: send what waits, and throw away what has waited for too long."""
        self.waiting.extend(self.outbox)
        while self.waiting:
            sent = self.send(send, None, self.waiting[0], now_us)
            if sent is Sent.UNREACHABLE:
                return sent
            if sent is Sent.FULL:
                break
            self.waiting.popleft()
        self._shorten(now_us)
        return Sent.DONE

    def _shorten(self, now_us: int) -> None:
        """Throw away the audio that has waited for too long, but no OPEN or CLOSE."""
        limit_us = now_us - self.pool.settings.queue_ms_max * 1000
        if not self.waiting or self.waiting[0].sent_us >= limit_us:
            return
        kept = [tick for tick in self.waiting if tick.sent_us >= limit_us]
        for tick in tuple(self.waiting)[: len(self.waiting) - len(kept)]:
            is_audio = heads_of(tick.heads)["kind"] == FrameKind.AUDIO
            self.pool.dropped["queue_full"] += int(is_audio.sum())
            control = select(tick, ~is_audio)
            if control.heads:
                kept.insert(0, control)
        self.waiting = deque(sorted(kept, key=lambda tick: tick.number))

    def acknowledge(self, ack: messages.Ack) -> None:
        """Take an acknowledgement; numbers that were never sent are ignored."""
        taken = min(ack.taken, self._next - 1)
        if taken > self._taken:
            self._untaken_bytes -= sum(
                batch.size for batch in self._in_flight if self._taken < batch.number <= taken
            )
            self._taken = taken
        while self._in_flight and self._in_flight[0].number <= min(ack.safe, taken):
            self._in_flight.popleft()

    def oldest_tick(self, source: object) -> int | None:
        """The oldest tick of `source` of which something is in flight."""
        return min(
            (batch.tick for batch in self._in_flight if batch.source is source), default=None
        )

    @property
    def batches_in_flight(self) -> int:
        return len(self._in_flight)

    def is_silent(self, now_us: int) -> bool:
        """Whether the worker has said nothing for too long."""
        return now_us - self.heard_us > SILENCE_US_MAX

    def is_heartbeat_due(self, now_us: int) -> bool:
        """Whether the worker has heard nothing for a while."""
        return now_us - self.sent_us >= HEARTBEAT_US


class PoolState:
    """One pool, gateway side."""

    def __init__(self, name: str, settings: Pool, *, is_configured: bool) -> None:
        self.name = name
        self.settings = settings
        self.is_configured = is_configured
        self.links: list[Link] = []
        #: Frames thrown away, by reason.
        self.dropped: Counter[str] = Counter()

    @property
    def replays(self) -> bool:
        return self.settings.delivery == "replay"

    def link_for(self, call_id: str) -> Link | None:
        """The link that a call belongs to: the one that has it, else by rendezvous hashing."""
        for link in self.links:
            if call_id in link.calls:
                return link
        links = [link for link in self.links if not link.is_full()] or self.links
        return max(links, key=lambda link: rendezvous(link.name, call_id), default=None)


def rendezvous(name: str, call_id: str) -> bytes:
    """How strongly a call belongs to a name; equal everywhere and for ever."""
    return blake2b(f"{name}\0{call_id}".encode(errors="surrogateescape"), digest_size=8).digest()
