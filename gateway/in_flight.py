"""What a link has sent and its worker has not made safe: numbers and ticks, no content. Pure.

A slow disk leaves hours of batches here, so nothing below looks at all of them.
"""

from collections import deque
from typing import NamedTuple


class Untaken(NamedTuple):
    """A batch that the worker is not known to have read."""

    number: int
    size: int  # bytes of the message
    heads: bytes  # of its frames, where somebody has to count what is lost with it
    sent_us: int


class InFlight:
    """Batches by number, which is counted from 1."""

    def __init__(self, now_us: int) -> None:
        #: The last batch that was sent, the last that was read, the last that is safe.
        self.sent = 0
        self.taken = 0
        self.safe = 0
        self.untaken_bytes = 0
        #: Since when nothing has become safe though something was in flight.
        self.progress_us = now_us
        #: When something last became safe; None: never.
        self.made_safe_us: int | None = None
        self._untaken: deque[Untaken] = deque()
        #: By log: (batch, tick) in rising order of both. One whose tick no later batch is older
        #: than says nothing that the later one does not say, and is left out.
        self._oldest: dict[object, deque[tuple[int, int]]] = {}

    def add(self, source: object, tick: int, size: int, heads: bytes, now_us: int) -> None:
        """A batch was sent; its frames are in `tick` of the log `source`."""
        if self.sent == self.safe:
            self.progress_us = now_us
        self.sent += 1
        self.untaken_bytes += size
        self._untaken.append(Untaken(self.sent, size, heads, now_us))
        ticks = self._oldest.setdefault(source, deque())
        while ticks and ticks[-1][1] >= tick:
            ticks.pop()
        ticks.append((self.sent, tick))

    def acknowledge(self, safe: int, taken: int, now_us: int) -> None:
        """Take an acknowledgement; numbers that were never sent are ignored."""
        self.taken = max(self.taken, min(taken, self.sent))
        while self._untaken and self._untaken[0].number <= self.taken:
            self.untaken_bytes -= self._untaken.popleft().size
        safe = min(safe, self.taken)
        if safe <= self.safe:
            return
        self.safe = safe
        self.progress_us = self.made_safe_us = now_us
        for source, ticks in tuple(self._oldest.items()):
            while ticks and ticks[0][0] <= safe:
                ticks.popleft()
            if not ticks:
                del self._oldest[source]

    def oldest_tick(self, source: object) -> int | None:
        """The oldest tick of a log of which something is not safe."""
        ticks = self._oldest.get(source)
        return ticks[0][1] if ticks else None

    def untaken_heads(self) -> list[bytes]:
        """The heads of every batch that the worker is not known to have read."""
        return [batch.heads for batch in self._untaken]

    def untaken_us(self, now_us: int) -> int:
        """For how long the oldest batch that is not known to be read has been on its way."""
        return now_us - self._untaken[0].sent_us if self._untaken else 0

    def waits_us(self, now_us: int) -> int:
        """For how long nothing has become safe though something is in flight."""
        return now_us - self.progress_us if self.sent > self.safe else 0
