"""One link, gateway side: from a worker's HELLO to its death. Pure.

What was sent and not acknowledged is remembered by number and tick, not by content: what must be
sent again is read back from the log.
"""

from collections import Counter, deque
from collections.abc import Callable
from hashlib import blake2b

from gateway.bus.base import Sent
from gateway.bus.zmq import BATCHES_IN_FLIGHT_MAX
from gateway.in_flight import InFlight
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
#: Nothing becomes safe for this long, and the worker does not say that it waits for a disk.
STUCK_US = 2_000_000
#: Nor is it the disk if the worker says so for this long while another one's disk is quick.
SYNC_US_MAX = 30_000_000
#: `newest`: a worker says what it has read ten times a second, so younger batches say nothing.
UNREAD_US_MIN = 300_000
#: A worker process that was stuck gets no new calls for this long, if there is another.
SHUNNED_US = 60_000_000
#: How long a pool with `replay` that no configuration names is waited for after its last worker.
POOL_GONE_US = 60_000_000

Send = Callable[[bytes, bytes], Sent]
#: Hears of the heads of frames that are thrown away, and why.
Drop = Callable[["PoolState", bytes, str], None]


class Link:
    """What a gateway knows of one worker on one link."""

    def __init__(self, peer: bytes, hello: messages.Hello, pool: "PoolState", now_us: int) -> None:
        self.peer = peer
        self.pool = pool
        self.number = hello.link
        self.name = hello.name
        self.boot_id = hello.boot_id
        self.calls_max = hello.calls_max
        self.latency_ms = hello.latency_ms
        self.heard_us = now_us
        self.sent_us = 0
        self.unsynced_us = 0
        #: Until when it gets no new calls, if there is another worker.
        self.shunned_until_us = 0
        self.in_flight = InFlight(now_us)
        #: Parts of this tick that are still to be sent.
        self.outbox: list[Tick] = []
        #: For a pool with `newest`: parts that wait for credit, oldest first.
        self.waiting: deque[Tick] = deque()
        self.calls: Counter[str] = Counter()
        self._credit_bytes = hello.credit_bytes
        self._queue_us = pool.settings.queue_ms_max * 1000 // 2

    def has_credit(self) -> bool:
        """Whether the worker can be sent another batch."""
        untaken = self.in_flight.sent - self.in_flight.taken
        has_bytes = self.in_flight.untaken_bytes < self._credit_bytes
        return has_bytes and untaken < BATCHES_IN_FLIGHT_MAX

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
                self.in_flight.sent + 1,
                tick.sent_us,
                frames=part.frames,
                payload_bytes=len(part.payload),
                flags=flags,
            )
            message = pack_batch(header, (part.heads,), (part.payload,))
            sent = send(self.peer, message)
            if sent is not Sent.DONE:
                return sent
            # What is read back from the log need not be counted, should it be lost.
            heads = b"" if self.pool.replays else part.heads
            self.in_flight.add(source, tick.number, len(message), heads, now_us)
            self.sent_us = now_us
        return Sent.DONE

    def send_newest(self, send: Send, drop: Drop, now_us: int) -> Sent:
        """`newest`: send what waits, and throw away what has waited for too long.

        Half of `queue_ms_max` audio may wait on the worker's side, unread, and half on ours.
        """
        self.waiting.extend(self.outbox)
        self.outbox.clear()
        unread_us_max = max(self._queue_us, UNREAD_US_MIN)
        while self.waiting and self.in_flight.untaken_us(now_us) <= unread_us_max:
            sent = self.send(send, None, self.waiting[0], now_us)
            if sent is Sent.UNREACHABLE:
                return sent
            if sent is Sent.FULL:
                break
            self.waiting.popleft()
        self._shorten(drop, now_us)
        return Sent.DONE

    def _shorten(self, drop: Drop, now_us: int) -> None:
        """Throw away the audio that has waited for too long, but no OPEN or CLOSE."""
        limit_us = now_us - self._queue_us
        if not self.waiting or self.waiting[0].sent_us >= limit_us:
            return
        kept = [tick for tick in self.waiting if tick.sent_us >= limit_us]
        for tick in tuple(self.waiting)[: len(self.waiting) - len(kept)]:
            is_audio = heads_of(tick.heads)["kind"] == FrameKind.AUDIO
            drop(self.pool, tick.heads, "queue_full")
            control = select(tick, ~is_audio)
            if control.heads:
                kept.insert(0, control)
        self.waiting = deque(sorted(kept, key=lambda tick: tick.number))

    def drop_rest(self, drop: Drop) -> None:
        """`newest`, the worker is gone: count what it has not taken."""
        unsent = [tick.heads for tick in (*self.waiting, *self.outbox)]
        for heads in (*self.in_flight.untaken_heads(), *unsent):
            drop(self.pool, heads, "worker_gone")

    @property
    def batches_in_flight(self) -> int:
        return self.in_flight.sent - self.in_flight.safe

    def is_stuck(self, now_us: int) -> bool:
        """Whether the worker acknowledges nothing, though another one of its pool is well.

        A slow disk is no reason: a worker that waits for one says so, by `unsynced_us`.
        """
        waits_us = self.in_flight.waits_us(now_us)
        others = [link for link in self.pool.links if link is not self]
        if self.unsynced_us < waits_us - STUCK_US:
            return any(link.in_flight.waits_us(now_us) < STUCK_US for link in others)
        return waits_us > SYNC_US_MAX and any(link._is_quick(now_us) for link in others)

    def _is_quick(self, now_us: int) -> bool:
        """Whether the worker's disk has just shown that it is not slow."""
        made_safe_us = self.in_flight.made_safe_us
        is_recent = made_safe_us is not None and now_us - made_safe_us < SYNC_US_MAX // 10
        return is_recent and self.unsynced_us < SYNC_US_MAX // 10

    def sickness(self, now_us: int) -> str:
        """Why the worker's calls have to go to others; empty while it is well."""
        if now_us - self.heard_us > SILENCE_US_MAX:
            return "silent"
        if self.is_stuck(now_us):
            self.pool.shun(self, now_us)
            return "acknowledges nothing"
        return ""

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
        #: Since when it has no worker; of no meaning while it has one.
        self.deserted_us = 0
        #: Boot ids of workers that were stuck, and until when they are shunned.
        self.shunned: dict[str, int] = {}

    @property
    def replays(self) -> bool:
        return self.settings.delivery == "replay"

    def is_unheard(self) -> bool:
        """Whether what comes now is lost to it: no worker is there, and nothing is replayed."""
        return self.is_configured and not self.replays and not self.links

    def is_over(self, now_us: int) -> bool:
        """Whether nobody misses it: no configuration names it, and its workers have left."""
        if self.links or self.is_configured:
            return False
        return not self.replays or now_us - self.deserted_us >= POOL_GONE_US

    def shun(self, link: Link, now_us: int) -> None:
        """A worker was stuck: it may come back, but has to be the last choice for a while."""
        self.shunned = {boot: until for boot, until in self.shunned.items() if until > now_us}
        self.shunned[link.boot_id] = now_us + SHUNNED_US

    def link_for(self, call_id: str, now_us: int) -> Link | None:
        """The link that a call belongs to: the one that has it, else by rendezvous hashing."""
        for link in self.links:
            if call_id in link.calls:
                return link
        links = [link for link in self.links if now_us >= link.shunned_until_us] or self.links
        links = [link for link in links if not link.is_full()] or links
        return max(links, key=lambda link: rendezvous(link.name, call_id), default=None)


def rendezvous(name: str, call_id: str) -> bytes:
    """How strongly a call belongs to a name; equal everywhere and for ever."""
    return blake2b(f"{name}\0{call_id}".encode(errors="surrogateescape"), digest_size=8).digest()
