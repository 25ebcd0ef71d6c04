"""A worker's links to its gateways: what to say when, and what a message means. No I/O, no clock.

A link is (gateway's boot id, our boot id, number). It begins with HELLO and ends when the gateway
says GONE, says nothing for a while, leaves out a batch or vanishes; then a new one begins, and
what was not acknowledged comes again on it.
"""

from collections.abc import Collection
from typing import Protocol

from gateway.wire.errors import WireError
from gateway.wire.frame import BATCH, MAGIC
from gateway.wire.messages import (
    Ack,
    Bye,
    Delivery,
    Gone,
    Heartbeat,
    Hello,
    pack,
    unpack_to_worker,
)
from workers.metrics import LinkCounters

HELLO_RETRY_US = 1_000_000
HEARTBEAT_US = 250_000
ACK_US = 100_000
#: A gateway speaks each 100 ms; one that is silent for so long may have been stopped.
SILENT_US = 3_000_000

#: (gateway's boot id, number of the link).
LinkKey = tuple[str, int]


class Consumer(Protocol):
    """What a worker does with batches: `Calls`, or the recorder."""

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """One batch, whole. `WireError` for a bad one: it is counted, and counts as taken."""

    def advance(self, now_us: int) -> None:
        """Time passes; called at least each 50 ms."""

    def has_room(self) -> bool:
        """Whether to go on reading batches; else they wait at the gateways."""

    def safe(self) -> dict[LinkKey, int]:
        """Per live link the highest batch at and below which all is safe."""

    def unsynced_us(self, now_us: int) -> int:
        """Age of the oldest audio taken and not safe."""

    def forget(self, link: LinkKey) -> None:
        """The link died: no acknowledgement of it is wanted any more."""

    def close(self, now_us: int) -> None:
        """Make everything safe; the last call."""


class WorkerIdentity:
    """A worker's pool, name and boot id, and what it can bear."""

    def __init__(
        self,
        pool: str,
        name: str,
        boot_id: str,
        *,
        latency_ms: int = 200,
        delivery: Delivery | None = None,
    ) -> None:
        self.pool = pool
        self.name = name
        self.boot_id = boot_id
        self._latency_ms = latency_ms
        self._delivery: Delivery | None = delivery

    def hello(self, link: int) -> Hello:
        return Hello(
            pool=self.pool,
            name=self.name,
            boot_id=self.boot_id,
            link=link,
            latency_ms=self._latency_ms,
            delivery=self._delivery,
        )


class _Link:
    """One gateway's present link."""

    __slots__ = (
        "acked",
        "beat_us",
        "bye_due_us",
        "heard_us",
        "hello_due_us",
        "is_answered",
        "is_released",
        "key",
        "taken",
    )

    def __init__(self, key: LinkKey, now_us: int, hello_due_us: int) -> None:
        self.key = key
        #: The gateway has answered our HELLO, so it knows the link.
        self.is_answered = False
        #: The gateway has nothing more for us; only while draining.
        self.is_released = False
        self.hello_due_us = hello_due_us
        self.bye_due_us = now_us
        self.heard_us = now_us
        self.beat_us = now_us - HEARTBEAT_US
        self.taken = 0
        self.acked = (0, 0)


class WorkerLinks:
    """The links of one worker, one for each gateway that lives."""

    def __init__(
        self, identity: WorkerIdentity, consumer: Consumer, counters: LinkCounters
    ) -> None:
        self._identity = identity
        self._consumer = consumer
        self.counters = counters
        self._links: dict[str, _Link] = {}
        #: Links that were ever begun; the number of the last.
        self._begun = 0
        self._silent: list[str] = []
        self._ack_due_us = 0
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    @property
    def is_linked(self) -> bool:
        """Whether some gateway knows this worker."""
        return any(link.is_answered for link in self._links.values())

    @property
    def is_released(self) -> bool:
        """Draining, and no gateway has anything more for this worker."""
        return self._is_draining and all(link.is_released for link in self._links.values())

    def update(self, gateways: Collection[str], now_us: int) -> tuple[list[str], list[str]]:
        """Take note of which gateways live; returns whom to connect to, and whom to disconnect."""
        vanished = [gateway for gateway in self._links if gateway not in gateways]
        for gateway in vanished:
            link = self._links.pop(gateway)
            if not link.is_released:
                self._consumer.forget(link.key)
        if self._is_draining:
            return [], vanished
        new = [gateway for gateway in gateways if gateway not in self._links]
        for gateway in new:
            self._begin(gateway, now_us, now_us)
        return new, vanished

    def take_silent(self) -> list[str]:
        """Gateways given up for their silence since the last call.

        Their sockets have to be made anew: ZeroMQ does not mend every connection that broke.
        """
        silent, self._silent = self._silent, []
        return silent

    def drain(self) -> None:
        """Say BYE to all; batches are taken and acknowledged until they let this worker go."""
        self._is_draining = True

    def receive(self, gateway: str, message: bytes, now_us: int) -> None:
        """A message from a gateway."""
        self.hear(gateway, now_us)
        link = self._links[gateway]
        if message.startswith(MAGIC):
            self._batch(link, message, now_us)
            return
        try:
            control = unpack_to_worker(message)
        except WireError:
            self.counters.bad_messages += 1
            return
        if control is None:
            self.counters.unknown_messages += 1
        elif control.link != link.key[1] or link.is_released:
            return  # said to a link that is over
        elif isinstance(control, Gone):
            self.counters.links_gone += 1
            self._give_up(link, now_us)
        elif isinstance(control, Heartbeat):
            self._answered(link)

    def hear(self, gateway: str, now_us: int) -> None:
        """The gateway speaks: messages of it wait, though there is no time for them just now."""
        self._links[gateway].heard_us = now_us

    def advance(self, now_us: int) -> list[tuple[str, bytes]]:
        """What is to be said now, and to which gateway."""
        messages: list[tuple[str, bytes]] = []
        for link in tuple(self._links.values()):
            if not link.is_released and now_us - link.heard_us >= SILENT_US:
                self.counters.links_silent += link.is_answered
                self._silent.append(link.key[0])
                self._give_up(link, now_us)
        for gateway, link in self._links.items():
            messages += [(gateway, pack(message)) for message in self._due(link, now_us)]
        return messages + self._acknowledge(now_us)

    def _due(self, link: _Link, now_us: int) -> list[Hello | Heartbeat | Bye]:
        messages: list[Hello | Heartbeat | Bye] = []
        number = link.key[1]
        if link.is_released:
            return messages
        if self._is_draining:
            if now_us >= link.bye_due_us:
                link.bye_due_us = now_us + HELLO_RETRY_US
                messages.append(Bye(link=number))
        elif not link.is_answered and now_us >= link.hello_due_us:
            link.hello_due_us = now_us + HELLO_RETRY_US
            messages.append(self._identity.hello(number))
        if link.is_answered and now_us - link.beat_us >= HEARTBEAT_US:
            link.beat_us = now_us
            unsynced_us = self._consumer.unsynced_us(now_us)
            messages.append(Heartbeat(link=number, unsynced_us=unsynced_us))
        return messages

    def _acknowledge(self, now_us: int) -> list[tuple[str, bytes]]:
        if now_us < self._ack_due_us:
            return []
        self._ack_due_us = now_us + ACK_US
        safe = self._consumer.safe()
        messages = []
        for gateway, link in self._links.items():
            reached = (min(safe.get(link.key, 0), link.taken), link.taken)
            if not link.is_released and reached != link.acked:
                link.acked = reached
                ack = Ack(link=link.key[1], safe=reached[0], taken=reached[1])
                messages.append((gateway, pack(ack)))
        return messages

    def _batch(self, link: _Link, message: bytes, now_us: int) -> None:
        if len(message) < BATCH.size:
            self.counters.bad_batches += 1
            return
        # Read without `unpack_batch`: one that is damaged further on still has its number.
        of_link, number = BATCH.unpack_from(message)[6:8]
        if of_link != link.key[1] or link.is_released:
            self.counters.stale_batches += 1
            return
        self._answered(link)
        if number <= link.taken:
            self.counters.repeated_batches += 1
        elif number > link.taken + 1:
            # Acknowledgements are cumulative: nothing behind the hole could be said to be safe.
            self.counters.missing_batches += 1
            self._give_up(link, now_us)
        else:
            link.taken = number
            self.counters.batches += 1
            try:
                self._consumer.receive(link.key, number, message, now_us)
            except WireError:
                self.counters.bad_batches += 1

    def _answered(self, link: _Link) -> None:
        if not link.is_answered:
            link.is_answered = True
            self.counters.links_opened += 1

    def _give_up(self, link: _Link, now_us: int) -> None:
        """The link is dead. The next one, unless this worker leaves anyhow."""
        self._consumer.forget(link.key)
        if self._is_draining:
            link.is_released = True
            return
        # A gateway that refuses every HELLO at once hears one a second.
        hello_due_us = now_us if link.is_answered else max(now_us, link.hello_due_us)
        self._begin(link.key[0], now_us, hello_due_us)

    def _begin(self, gateway: str, now_us: int, hello_due_us: int) -> None:
        """A link of its own, though the gateway went and came back: what is still being made safe
        of an older one must not be acknowledged on it."""
        self._begun += 1
        self._links[gateway] = _Link((gateway, self._begun), now_us, hello_due_us)
