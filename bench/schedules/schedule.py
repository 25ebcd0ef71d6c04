"""What happens when, in one world: a virtual clock, a queue of events, and a seed that decides.

Processes have threads; a thread does one thing at a time. While a disk is slow the others go on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

#: Where the clock begins: Unix us.
START_US = 1_731_698_172_007_000
#: How many disks may be waited for at the same time.
DEPTH_MAX = 4


class Killed(BaseException):
    """A process ends here, in the middle of what it does."""


class Process:
    """What is killed and paused as one. `ops_left`: it dies at that step of a disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.paused_until_us = 0
        self.ops_left: int | None = None
        #: Threads that are in the middle of something.
        self.busy: set[str] = set()
        self.on_death: Callable[[], None] = lambda: None

    def drain(self) -> None:
        """SIGTERM: to leave in good order."""
        raise NotImplementedError


class Event(NamedTuple):
    """One step. `process` None: of the world around the node."""

    at_us: int
    number: int
    process: Process | None
    thread: str
    name: str
    do: Callable[[], None]


class Schedule:
    """The queue. `trace` is what was done: (us since the start, who, what)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_us = START_US
        self.trace: list[tuple[int, str, str]] = []
        #: Whose code runs.
        self.current: Process | None = None
        self._queue: list[Event] = []
        self._numbers = count()
        self._depth = 0

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.now_us - START_US, who, what))

    def digest(self) -> str:
        """Of the trace: equal for equal runs, in every process."""
        text = "\n".join(f"{at} {who} {what}" for at, who, what in self.trace)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return self.random.random() < share

    def between(self, low_us: int, high_us: int) -> int:
        """A time, evenly distributed."""
        return low_us + int(self.random.random() * (high_us - low_us))

    def after(
        self, delay_us: int, process: Process | None, thread: str, name: str, do: Callable[[], None]
    ) -> None:
        """Let something happen."""
        event = Event(self.now_us + delay_us, next(self._numbers), process, thread, name, do)
        heappush(self._queue, event)

    def every(
        self, mean_us: int, process: Process | None, thread: str, name: str, do: Callable[[], None]
    ) -> None:
        """Let something happen again and again, never at even intervals."""

        def turn() -> None:
            try:
                do()
            finally:
                self.after(self._jitter(mean_us), process, thread, name, turn)

        self.after(self._jitter(mean_us), process, thread, name, turn)

    def _jitter(self, mean_us: int) -> int:
        share = self.random.random()
        return int(mean_us * (0.25 + share + (4 * share if share > 0.95 else 0)))

    def run_until(self, until_us: int) -> None:
        """Do everything that is due until then."""
        while self._queue and self._queue[0].at_us <= until_us:
            self._next()
        self.now_us = max(self.now_us, until_us)

    def _next(self) -> None:
        event = heappop(self._queue)
        self.now_us = max(self.now_us, event.at_us)
        process = event.process
        if process is None:
            outer, self.current = self.current, None
            try:
                event.do()
            finally:
                self.current = outer
        elif process.is_dead:
            return
        elif process.paused_until_us > self.now_us:
            self._later(event, process.paused_until_us)
        elif event.thread in process.busy:
            self._later(event, self.now_us + 2_000)
        else:
            self.trace.append((self.now_us - START_US, process.name, event.name))
            self.run_as(process, event.thread, event.do)

    def _later(self, event: Event, at_us: int) -> None:
        heappush(self._queue, event._replace(at_us=at_us, number=next(self._numbers)))

    def run_as(self, process: Process, thread: str, do: Callable[[], None]) -> None:
        """One step of a thread, to its end or to that of its process."""
        outer, self.current = self.current, process
        process.busy.add(thread)
        try:
            do()
        except Killed:
            if not process.is_dead:
                raise
        finally:
            self.current = outer
            process.busy.discard(thread)

    def pass_time(self, length_us: int) -> None:
        """A step takes so long; whatever is due meanwhile is done. A pause makes it longer."""
        process = self.current
        if self._depth >= DEPTH_MAX:
            return
        self._depth += 1
        try:
            self.run_until(self.now_us + length_us)
            while process is not None and not process.is_dead and self._is_paused(process):
                self.run_until(process.paused_until_us)
        finally:
            self._depth -= 1
            self.current = process

    def _is_paused(self, process: Process) -> bool:
        return process.paused_until_us > self.now_us

    def kill(self, process: Process) -> None:
        """SIGKILL. Frames of it that are under way end at their next step of a disk."""
        if not process.is_dead:
            process.is_dead = True
            self.note(process.name, "KILLED")
            outer, self.current = self.current, None
            try:
                process.on_death()
            finally:
                self.current = outer
